"""Faults in the path to a CUDA device: who gives recordings back, what is asked once, what is said."""

OWNERS = "execution/test_cuda_recordings.py"
PRODUCTS = "ops/test_cuda_matmul.py -k number_by_number_take"
PLACING = "model/test_placing.py"
REFUSALS = "execution/test_cuda_refusals.py"
TEXTS = "ops/test_cuda_launcher.py -k text"
PROBE = "backends/test_cupy_probe.py"
LAUNCHER = "ops/test_cuda_launcher.py -k 'recording or memory'"

FAULTS = [
    ("ops/cuda/sources.py", "return _generated.get(file) or _of_file(file)", "return _of_file(file)", TEXTS),
    ("ops/cuda/sources.py", "hashlib.sha256(text.encode())", "hashlib.sha256(text[:40].encode())", TEXTS),
    ("ops/cuda/sources.py", "hashlib.sha256(text.encode()).hexdigest()[:16]", "id(text)", TEXTS),
    ("ops/cuda/sources.py", "if not isinstance(text, str):", "if False:", TEXTS),
    ("ops/cuda/sources.py", "if header not in _files():", "if False:", TEXTS),
    ("ops/cuda/sources.py", "_generated[name] = _with_headers(text, name, set())", "_generated[name] = text", TEXTS),
    ("ops/cuda/launcher.py", "self.launch(generated(text), kernel, grid, block, args, shared)", "self.start(generated(text), kernel, grid, block, args, shared)", TEXTS),
    ("ops/cuda/launcher.py", "self.launch(generated(text), kernel, grid, block, args, shared)", "self.launch(generated(text), kernel, grid, block, args)", TEXTS),
    ("ops/cuda/cupy.py", "        self._recordings.append((pool, weakref.ref(recording)))\n", "", LAUNCHER),
    ("ops/cuda/cupy.py", "recording.is_released = True", "pass", LAUNCHER),
    ("ops/cuda/cupy.py", "pool.free_all_blocks()", "pass", LAUNCHER),
    ("ops/cuda/cupy.py", "if recording is None or recording.is_released:", "if True:", LAUNCHER),
    ("ops/cuda/cupy.py", "if recording is None or recording.is_released:", "if recording and recording.is_released:", LAUNCHER),
    ("ops/cuda/cupy.py", "if not pool.total_bytes():", "if True:", LAUNCHER),
    ("execution/recorded.py", "self._launcher.release(recordings.graphs.popitem()[1])", "recordings.graphs.popitem()", OWNERS),
    ("execution/recorded_inference.py", "        outputs.clear()", "        pass", OWNERS),
    ("execution/recorded_inference.py", "        self._launcher.release(replay)\n", "", OWNERS),
    ("execution/recorded_inference.py", "while self._recorded:", "if self._recorded:", OWNERS),
    ("model/model.py", "closing(plan), failures_in_words", "failures_in_words", OWNERS),
    ("model/model.py", "known[1].close()", "pass", OWNERS),
    ("training/batch_stream.py", "        self._plan.close()", "        pass", OWNERS),
    ("profiling/profile.py", ", closing(steps)", "", OWNERS),
    ("backends/cuda_probe.py", "@cache\ndef import_cupy()", "def import_cupy()", PROBE + " -k asked_once"),
    ("backends/cuda_probe.py", 'cupy.RawKernel(_PRODUCT, "arraycnn_probe")((1,), (256,), (ones, doubled, result))', "result = cupy.matmul(ones, doubled)", PROBE),
    ("backends/cuda_probe.py", "if not (product == 16.0 * 2.0).all():", "if False:", PROBE),
    ("training/machine_failures.py", "raise said from error", "raise said from None", REFUSALS),
    ("training/machine_failures.py", "if (said := backend.in_words(error)) is not None:", "if (said := None) is not None:", REFUSALS),
    ("execution/at_work.py", "        at = at.__cause__", "        at = None", REFUSALS),
    ("backends/cupy.py", "if isinstance(error, NotRecordedError):", "if isinstance(error, Exception):", REFUSALS),
    ("backends/cupy.py", "library = _LIBRARY.search(str(error))", "library = None", REFUSALS),
    ("ops/cuda/cupy.py", "isinstance(error, ArraycnnError | MemoryError)", "isinstance(error, ArraycnnError)", LAUNCHER),
    ("ops/cuda/cupy.py", "isinstance(error, ArraycnnError | MemoryError)", "isinstance(error, MemoryError)", LAUNCHER),
    ("ops/cuda/cupy.py", " or not isinstance(error, Exception)", "", LAUNCHER),
    ("model/placing.py", "if not backend.fits(array.size * np.dtype(dtype).itemsize):", "if False:", PLACING),
    ("model/placing.py", "array.size * np.dtype(dtype).itemsize", "array.nbytes", PLACING),
    ("model/placing.py", "return converted(self._array[indices], self.dtype)", "return self._array[indices]", PLACING),
    ("model/inputs.py", "y = self.labels(labels, x.shape[0])", "y = self.backend.asarray(self.labels(labels, x.shape[0]))", PLACING),
    ("model/inputs.py", "yield where, self.array(batch) if is_read else batch", "yield where, batch", PLACING),
    ("model/inputs.py", "labels.read_part(where)", "labels.read_part(slice(None))", PLACING),
    ("model/image_inputs.py", "                    _check_finite(some)", "                    pass", PLACING),
    ("training/machine_failures.py", "                _ = frame.f_locals", "                pass", REFUSALS),
    ("training/machine_failures.py", "            _clear_frames(error)\n            raise said from error", "            raise said from error", REFUSALS),
    ("ops/cuda/tiles.py", 'singly=rounding != "Tf32"', "singly=True", PRODUCTS),
    ("ops/cuda/tiles.py", 'singly=rounding != "Tf32"', "singly=False", PRODUCTS),
    ("ops/cuda/tiles.py", " and (tile.singly or not singly)", "", PRODUCTS),
    ("ops/dense/cuda.py", 'set(forms) == {"Form<true, 1>"}', "True", PRODUCTS),
    ("execution/recorded.py", "min(whole or max(1, wanted), _CAPACITY)", "min(max(UNROLLED, whole), _CAPACITY)", "execution/test_cuda_graph.py -k part_by_part"),
    ("execution/recorded.py", "min(whole or max(1, wanted), _CAPACITY)", "1", "execution/test_cuda_graph.py -k part_by_part"),
]  # fmt: skip
