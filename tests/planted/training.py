"""Faults in what runs, keeps and goes on with a training."""

FIT = "test_fit.py test_callbacks.py test_learning_rates.py"
RESUME = "test_resume.py test_checkpoint.py"
FOLDER = "test_run_folder.py test_callbacks.py test_cli_resume.py"

FAULTS = [
    ("fitting.py", "train_loss=state.loss_sum / course.images", "train_loss=state.loss_sum / (course.steps * course.batch_size)", FIT),
    ("fitting.py", "self._rates(state.position - 1, 1)[0]),", "self._rates(state.position - course.steps, 1)[0]),", FIT),
    ("fitting.py", "accuracies=correct / self._sizes(first, len(losses))", "accuracies=correct / course.batch_size", FIT),
    ("fitting.py", "self._images += after.images - before.images", "self._images += after.images", FIT),
    ("fitting.py", "period - position % period for period", "period for period", FIT),
    ("course.py", "default_rng([seed, epoch])", "default_rng([seed, min(epoch, 1)])", FIT),
    ("course.py", "order[step * self.batch_size : (step + 1) * self.batch_size]", "order[step * self.batch_size : min((step + 1) * self.batch_size, self.images - 1)]", FIT),
    ("course.py", "-(-self.images // self.batch_size)", "self.images // self.batch_size + 1", FIT),
    ("checkpoint.py", " or value.dtype != dtype", "", "test_checkpoint.py"),
    ("checkpoint.py", "entry.compress_type != zipfile.ZIP_STORED", "False", "test_checkpoint.py"),
    ("checkpoint.py", "hashlib.sha256(content)", "hashlib.sha256(content[: 2**16])", "test_digests.py"),
    ("training_state.py", '("epochs", "batch_size", "images", "seed")', '("epochs", "batch_size", "images")', RESUME),
    ("training_state.py", "first_step=steps_before - state.position", "first_step=steps_before", RESUME),
    ("training_state.py", "state.correct > state.images", "state.correct > course.images", RESUME),
    ("history.py", "> min_delta:", ">= min_delta:", FIT),
    ("callbacks/early_stopping.py", "waited >= self._patience", "waited > self._patience", FIT),
    ("callbacks/checkpoints.py", "if state.step or not state.records:", "if not state.records:", FOLDER),
    ("callbacks/logs.py", '(line["epoch"], line["step"]) <= now', '(line["epoch"], line["step"]) < now', FOLDER),
    ("callbacks/logs.py", "int(row[0]) <= state.epochs_done", "int(row[0]) < state.epochs_done", FOLDER),
    ("run_folder.py", "stem, number = path, 1\n", "stem, number = path, 2\n", FOLDER),
    ("batch_stream.py", "if len(labels) > size else None", "if len(labels) > 2 * size else None", "test_streaming.py"),
]  # fmt: skip
