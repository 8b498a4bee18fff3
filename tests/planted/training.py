"""Faults in what runs, keeps and goes on with a training."""

FIT = "training/test_fit.py -k 'plain_softmax or seed or chunks_change or progress'"
RESUME = (
    "training/test_resume.py training/test_resume_unfinished.py training/test_resume_refused.py"
)
CALLBACKS = "callbacks/test_callbacks.py"

FAULTS = [
    ("training/loop.py", "train_loss=state.loss_sum / course.images", "train_loss=state.loss_sum / (course.steps * course.batch_size)", FIT),
    ("training/loop.py", "self._rates(state.position - 1, 1)[0]),", "self._rates(state.position - course.steps, 1)[0]),", FIT),
    ("training/loop.py", "accuracies=correct / self._sizes(state.told, len(losses))", "accuracies=correct / course.batch_size", "execution/test_learning_rates.py -k 'numpy and own_rate'"),
    ("training/loop.py", "self._images += self.state.images - before.images", "self._images += self.state.images", FIT),
    ("training/loop.py", "period - position % period for period", "period for period", CALLBACKS),
    ("training/batch_order.py", "default_rng([seed, epoch])", "default_rng([seed, min(epoch, 1)])", "training/test_fit.py -k 'plain_softmax and numpy'"),
    ("training/batch_order.py", "order[step * self.batch_size : (step + 1) * self.batch_size]", "order[step * self.batch_size : min((step + 1) * self.batch_size, self.images - 1)]", "training/test_fit.py -k 'plain_softmax and numpy'"),
    ("training/batch_order.py", "-(-self.images // self.batch_size)", "self.images // self.batch_size + 1", "training/test_batch_order.py"),
    ("storage/checkpoint.py", " or value.dtype != dtype", "", "storage/test_checkpoint.py -k arrays_that_are_not"),
    ("storage/checkpoint.py", "entry.compress_type != zipfile.ZIP_STORED", "False", "storage/test_checkpoint.py -k grow_in_memory"),
    ("storage/checkpoint.py", "hashlib.sha256(content)", "hashlib.sha256(content[: 2**16])", "data/test_digests.py -k 'model_file or checkpoint or hashes'"),
    ("training/state.py", '("epochs", "batch_size", "images", "seed")', '("epochs", "batch_size", "images")', "training/test_resume_refused.py -k another_model"),
    ("training/state.py", "first_step=steps_before - state.position", "first_step=steps_before", "training/test_resume_refused.py -k another_batch_size"),
    ("training/state.py", "state.correct > state.images", "state.correct > course.images", "training/test_resume_refused.py -k describes_no_training"),
    ("model/model.py", "watching = (*callbacks, optimizer.learning_rate)", "watching = callbacks", "training/test_plateau.py -k needs"),
    ("optimizers/schedules.py", "        check_watched_names(self.schedule, names)", "        pass", "training/test_plateau.py -k needs"),
    ("training/watched.py", "if validates else trained", "if True else trained", "callbacks/test_callbacks.py -k without_validation"),
    ("training/watched.py", "if validates and not _tells_names(loss):", "if not _tells_names(loss):", "training/test_watched.py"),
    ("training/watched.py", 'return "measures" in vars(newest)', "return True", "training/test_watched.py"),
    ("training/watched.py", 'return "measures" in vars(newest)', "return False", "training/test_watched.py"),
    ("model/model.py", "if not state.complete:  # else", "if True:  # else", "training/test_watched.py"),
    ("training/watched.py", 'f"train_{loss.measure}")', '"train_accuracy")', "training/test_watched.py"),
    ("training/history.py", "(value - best) > min_delta", "(value - best) >= min_delta", "callbacks/test_callbacks.py -k best"),
    ("callbacks/early_stopping.py", "waited >= self._patience", "waited > self._patience", "callbacks/test_callbacks.py -k early"),
    ("callbacks/checkpoints.py", "if state.step or not state.records:", "if not state.records:", "callbacks/test_callbacks.py -k best"),
    ("callbacks/logs.py", '(line["epoch"], line["step"]) <= now', '(line["epoch"], line["step"]) < now', "callbacks/test_callbacks.py -k 'log or lines'"),
    ("callbacks/logs.py", "int(row[0]) <= epochs", "int(row[0]) < epochs", "callbacks/test_callbacks.py -k 'log or lines'"),
    ("storage/run_folder.py", "stem, number = path, 1\n", "stem, number = path, 2\n", "storage/test_run_folder.py"),
    ("training/batch_stream.py", "if len(labels) > size else None", "if len(labels) > 2 * size else None", "execution/test_streaming.py -k 'not every_backend'"),
]  # fmt: skip
