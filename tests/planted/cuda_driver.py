"""Faults in what the backend, the launcher and the recorded plan ask of CUDA, found on tests/host_driver.

A wait that is missing, another device, an address that is stale, memory that is kept, a copy or a wait
within a recording, and work that is done again and again.
"""

MEMORY = "backends/test_host_driver_memory.py --host-driver=lazy"
BLOCKS = "backends/test_host_driver.py --host-driver=lazy -k launcher"
CAPTURE = "backends/test_host_driver_capture.py --host-driver=lazy"
DEVICES = "backends/test_host_driver_devices.py --host-driver=lazy"
ORDER = "backends/test_host_driver_order.py --host-driver=lazy"
LOADING = "backends/test_host_driver_loading.py --host-driver=lazy"

# The test that finds it is named where others of its file take seconds before it.
ALLOCATED = f"{CAPTURE} -k replayed_allocate"
BUDGETS = f"{CAPTURE} -k budget"
COUNTERS = f"{ORDER} -k share_no_counters"
FREE = f"{DEVICES} -k memory_is_asked"
SENT = f"{ORDER} -k set_that_is_sent"
PREDICTIONS = f"{MEMORY} -k predictions"

FAULTS = [
    # A wait that is missing.
    ("ops/cuda/cupy.py", "        self._arrived[turn].synchronize()", "        pass", SENT),
    ("ops/cuda/cupy.py", "        self._stream.wait_event(self._taken[turn])", "        pass", SENT),
    ("ops/cuda/cupy.py", "        self._current().wait_event(self._arrived[turn])\n", "", SENT),
    ("ops/cuda/cupy.py", "        self._arrived[turn].record(self._stream)\n", "", SENT),
    ("ops/cuda/cupy.py", "        self._taken[turn].record(self._current())\n", "", SENT),
    ("ops/cuda/cupy.py", "            taken.record(self._current())\n", "            pass\n", f"{ORDER} -k a_new_sender"),
    ("ops/cuda/cupy.py", "                part()\n", "                with self._launcher._cupy.cuda.Stream.null:\n                    part()\n", f"{ORDER} -k stream_of_the_users"),
    ("ops/cuda/cupy.py", "self._cupy.asnumpy(array)", "self._cupy.asnumpy(array, stream=self._cupy.cuda.Stream(non_blocking=True))", ORDER),
    ("backends/cupy.py", "                array.device.synchronize()", "                pass", DEVICES),
    # Another device.
    ("ops/cuda/cupy.py", "        with self._device:\n            # Where", "        if True:\n            # Where", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            return self._cupy.ascontiguousarray(array)", "        return self._cupy.ascontiguousarray(array)", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            return self._cupy.asarray(array)", "        return self._cupy.asarray(array)", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            function =", "        if True:\n            function =", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            return _PinnedSender", "        if True:\n            return _PinnedSender", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            counters, stream", "        if True:\n            counters, stream", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            stream = cupy.cuda.Stream", "        if True:\n            stream = cupy.cuda.Stream", DEVICES),
    ("ops/cuda/cupy.py", "        with self._device:\n            for part in self.parts", "        if True:\n            for part in self.parts", DEVICES),
    ("ops/cuda/cupy.py", " and array.device.id == self._number", "", DEVICES),
    ("backends/cupy.py", "if array.device.id == self.device:", "if True:", DEVICES),
    ("backends/cupy.py", "return self._library().cuda.Device(self.device)", "return self._library().cuda.Device(0)", DEVICES),
    ("backends/cupy.py", "free, _ = self._library().cuda.Device(self.device).mem_info", "free, _ = self._library().cuda.Device(0).mem_info", FREE),
    ("backends/cupy.py", "with cupy.cuda.Device(self.device) as device:", "with cupy.cuda.Device(0) as device:", FREE),
    ("backends/cupy.py", "        if not self.graph:\n            return super().training_plan(task, carry)\n", "", f"{DEVICES} -k without_a_graph"),
    # An address, or what lies there, that is stale.
    ("ops/cuda/cupy.py", "with stream, cupy.cuda.using_allocator(recording.pool.malloc):", "with stream:", ORDER),
    ("execution/recorded_inference.py", "        static[...] = images\n        replay()", "        replay()", f"{ORDER} -k replayed_prediction"),
    ("execution/recorded.py", "        tables.cursor[...] = 0\n", "", ORDER),
    ("execution/recorded.py", "            images.bring(wanted)\n", "", SENT),
    ("execution/recorded.py", "tables.rows[: count * size] = asarray(images.rows(indices, size))", "tables.rows[: count * size] = asarray(indices)", SENT),
    ("execution/recorded.py", "            overwrite(self._carry, before)\n", "            pass\n", ORDER),
    ("execution/recorded.py", "            recordings.tables.cursor[...] = cursor\n", "", ORDER),
    # Memory that is kept.
    ("ops/cuda/cupy.py", "                    pool.free_all_blocks()", "                    pass", MEMORY),
    ("ops/cuda/cupy.py", "        self._recordings.append((pool, weakref.ref(recording)))\n", "", MEMORY),
    ("execution/recorded_inference.py", "if len(self._recorded) == _MOST_RECORDINGS:", "if False:", PREDICTIONS),
    # Within a recording: a wait, a copy from the host, a module that is loaded, a copy of what is there.
    ("execution/recorded.py", "        self._run_program(recordings, arrays, tables=count)", "        self._run_program(recordings, arrays, tables=count)\n        self._launcher.to_numpy(tables.losses)", CAPTURE),
    ("execution/recorded.py", "        self._run_program(recordings, arrays, tables=count)", "        self._run_program(recordings, arrays, tables=count)\n        self._launcher.asarray(np.zeros(3))", CAPTURE),
    ("execution/recorded.py", "                self._rehearse(recordings)\n", "                pass\n", CAPTURE),
    ("ops/cuda/loaded.py", "        return self._functions[key]", "        return self._load(*key)", CAPTURE),
    ("execution/recorded.py", "        self._run_program(recordings, arrays, tables=count)", "        self._run_program(recordings, {**arrays, 'cursor': tables.cursor.copy()}, tables=count)", CAPTURE),
    ("ops/cuda/cupy.py", "                stream.begin_capture()\n                self._here", "                stream.begin_capture(cupy.cuda.runtime.streamCaptureModeGlobal)\n                self._here", CAPTURE),
    ("ops/cuda/cupy.py", "pool = self._cupy.cuda.MemoryPool()", "pool = self._cupy.get_default_memory_pool()", CAPTURE),
    ("execution/recorded.py", "        self._run_program(recordings, arrays, tables=count)", "        self._run_program(recordings, arrays, tables=count)\n        tables.losses += 0.0", CAPTURE),
    # What a block may have: threads, and static and dynamic memory together.
    ("program/render/cuda/kernel_text.py", "__launch_bounds__({self.threads})", "__launch_bounds__({self.threads // 2})", CAPTURE),
    ("ops/cuda/cupy.py", "static = function.shared_size_bytes", "static = 0", BLOCKS),
    ("ops/cuda/cupy.py", "        return MOST_STATIC_SHARED - static", "        return MOST_STATIC_SHARED", BLOCKS),
    ("ops/cuda/cupy.py", "if static + shared > MOST_SHARED:", "if False:", BLOCKS),
    ("ops/cuda/cupy.py", "    function.max_dynamic_shared_size_bytes = shared\n", "", BLOCKS),
    ("ops/cuda/cupy.py", "if shared > self._shared.get((file, kernel), 0):", "if shared:", BLOCKS),
    # Counters that kernels share which may run at a time.
    ("ops/cuda/cupy.py", "self._here.counters, self._cupy", "self.__dict__.setdefault('_counters', {}), self._cupy", COUNTERS),
    ("ops/cuda/cupy.py", "self._cupy.cuda.get_current_stream().ptr", "0", COUNTERS),
    ("ops/cuda/cupy.py", "            return self._here.recording.counter", "            return self._cupy.zeros((COUNTERS,), 'int32')", CAPTURE),
    # Work that is done again and again.
    ("execution/recorded.py", "if steps not in recordings.graphs:", "if True:", ALLOCATED),
    ("execution/recorded.py", "lengths = (self._unrolled, 1)", "lengths = (self._unrolled * 2, 1)", BUDGETS),
    ("execution/recorded.py", "                    self._replay(self._graph(recordings, length))", "                    self._replay(self._graph(recordings, length))\n                    self._launcher.to_numpy(tables.cursor)", BUDGETS),
    ("execution/recorded_inference.py", "if kind not in self._recorded:", "if True:", BUDGETS),
    ("backends/cuda_probe.py", "@cache\ndef import_cupy()", "def import_cupy()", BUDGETS),
    # Kernels that are compiled one after the other, on another device, or over what nobody wrote.
    ("execution/recorded.py", "self._launcher.rehearse(lambda: self._step(recordings))", "self._step(recordings)", LOADING),
    ("execution/recorded_inference.py", "self._launcher.rehearse(forward)", "forward()", LOADING),
    ("ops/cuda/cupy.py", "self._kernels.rehearse(work)", "work()", LOADING),
    ("ops/cuda/cupy.py", "self._cupy.zeros if self._kernels.are_noted else self._cupy.empty", "self._cupy.empty", LOADING),
    ("ops/cuda/cupy.py", "        with self._device:  # of the thread, of which there may be several", "        if True:", LOADING),
]  # fmt: skip
