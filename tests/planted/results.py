"""Faults in what reads data, measures, says, exports: the commands, the report, the estimator."""

MEASURES, CELLS = "report/test_report_measures.py", "report/test_report_cells.py"
CLI = "cli/test_cli_images.py -k 'share or own'"
SCHEDULES = "cli/test_cli_schedules.py"
ESTIMATOR = "test_estimator.py"
KINDS = "test_estimator_kinds.py"
DATA = "data/test_data_dataset.py data/test_data_idx.py data/test_data_own.py execution/test_streaming.py"

FAULTS = [
    ("cli/training_data.py", "watched = (select(data.train_images, held_out), data.train_labels[held_out])", "watched = (select(data.train_images, kept), data.train_labels[kept])", CLI),
    ("cli/training_data.py", "watched = (select(data.train_images, held_out), data.train_labels[held_out])", "watched = (data.test_images, data.test_labels)", CLI),
    ("cli/train.py", "steps = epochs * -(-len(prepared.labels) // batch_size)", "steps = epochs * (len(prepared.labels) // batch_size)", SCHEDULES),
    ("cli/training_kit.py", "OneCycle(rate)", "OneCycle(rate / 2)", SCHEDULES),
    ("cli/run.py", "differs = best.steps_done != job.model.steps_done", "differs = best.steps_done > job.model.steps_done", "cli/test_cli_images.py -k best_epoch"),
    ("cli/run.py", 'record["seconds"] * record["images_per_second"]', 'record["images_per_second"]', "report/test_report_cells.py -k train_says"),
    ("cli/evaluate.py", "loss = sum(one.loss * count for", "loss = sum(one.loss * done / len(counts) + 0 * count for", "cli/test_cli_images.py -k measures_the_part"),
    ("cli/tables.py", "enumerate(list(value.items())[1:], start=2)", "enumerate(list(value.items())[:1], start=2)", "report/test_report_cells.py -k predict"),
    ("estimator/base.py", "batch_size=self.batch_size", "batch_size=32", "test_estimator.py -k 'model_of_the_same or random_state or one_cycle'"),
    ("estimator/base.py", "Any] = OneCycle)", "Any] = Constant)", "test_estimator.py -k 'model_of_the_same or random_state or one_cycle'"),
    ("estimator/base.py", "return int(self.random_state)", "return int(bool(self.random_state))", "test_estimator.py -k 'model_of_the_same or random_state or one_cycle'"),
    ("estimator/classifier.py", "(probabilities > THRESHOLD)", "(probabilities >= THRESHOLD + 0.1)", KINDS),
    ("estimator/classifier.py", "compute_sample_weight(self.class_weight, y)", "1.0", KINDS),
    ("estimator/classifier.py", "self._image_weights(sample_weight, rows, y)\n        classes", "None\n        classes", KINDS),
    ("estimator/classifier.py", "return BinaryCrossEntropy()", "return BinaryCrossEntropy(0.1)", KINDS),
    ("estimator/regressor.py", "found[:, 0] if self._has_one else found", "found[:, 0]", KINDS),
    ("estimator/regressor.py", "None if sample_weight is None else self._weights(sample_weight, rows)", "None", KINDS),
    ("estimator/regressor.py", "MeanSquaredError() if self.loss is None else self.loss", "MeanSquaredError()", KINDS),
    ("model/log_probabilities.py", "-np.logaddexp(0.0, -z)", "-np.logaddexp(0.0, z)", KINDS),
    ("report/measures.py", 'side="left"', 'side="right"', MEASURES),
    ("report/measures.py", "precision=ratio(right, taken)", "precision=ratio(right, support)", MEASURES),
    ("report/measures.py", "_Z_95 = 1.959963984540054", "_Z_95 = 1.645", MEASURES),
    ("report/sections.py", '{"train": "training", "validation"', '{"validation": "training", "train"', CELLS),
    ("report/sections.py", "(r & ~right[0])", "(r & right[0])", CELLS),
    ("report/internals_sections.py", "(output > 0)", "(output >= 0)", CELLS),
    ("report/examined.py", "rows(pictures, np.arange(batch))", "rows(pictures, np.arange(batch)[::-1])", CELLS),
    ("export/torch_parts.py", "hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256", "len(content) < 64", "data/test_digests.py -k exported"),
    ("export/torch.py", "names = model.class_names or", "names =", "export/test_export_torch.py"),
    ("export/onnx/__init__.py", "json.dumps(model.class_names)", "json.dumps(sorted(model.class_names))", "export/test_export_names.py"),
    ("export/safetensors.py", '"input_shape": model.input_shape,', '"input_shape": (*model.input_shape[1::-1], model.input_shape[2]),', "export/test_import_safetensors.py"),
    ("data/dataset.py", "[seed, _TEST_STREAM]", "[0, _TEST_STREAM]", DATA),
    ("data/dataset.py", "min(size * total // whole, size - 1)", "min(size * total // whole, size)", DATA),
    ("data/idx.py", "    if stream.read(1):\n", "    if False:\n", DATA),
    ("data/image_source.py", "_Selection(self._source, self._indices[indices])", "_Selection(self._source, indices)", DATA),
    ("data/download.py", "span is not None and int(span[1]) == done", "span is not None", "data/test_data_download.py"),
]  # fmt: skip
