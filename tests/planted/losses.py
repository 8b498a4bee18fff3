"""Faults in losses, in the labels that they take, and in what files, logs and exports say of them."""

LOSSES, FILES = "losses/test_losses.py", "losses/test_loss_files.py -k "
TRAINING, LOGS = "losses/test_loss_training.py -k ", "callbacks/test_callbacks.py -k log"
PROGRAM = "program/test_program_losses.py"

FAULTS = [
    ("losses/cross_entropy.py", "gradient = chances * xp.sum(targets, axis=-1, keepdims=True) - targets", "gradient = chances - targets", LOSSES),
    ("losses/cross_entropy.py", "rest = self.label_smoothing / float(outputs.shape[-1])", "rest = self.label_smoothing", LOSSES),
    ("losses/cross_entropy.py", "before < float(self.top_k)", "before <= float(self.top_k)", LOSSES),
    ("losses/binary_cross_entropy.py", "gradient - has * xp.where(is_above, smaller, larger)", "gradient - has * xp.where(is_above, larger, smaller)", LOSSES),
    ("losses/binary_cross_entropy.py", "has_not * (xp.log1p(small) + above)", "has_not * (xp.log1p(small) + below + outputs)", LOSSES),
    ("losses/cross_entropy.py", "(outputs == picked) & is_later", "outputs == picked", LOSSES),
    ("losses/loss.py", "tuple(found) != (count,)", "False", LOSSES),
    ("losses/huber.py", "self.delta * (size - 0.5 * self.delta)", "self.delta * size", LOSSES),
    ("losses/mean_squared_error.py", "error * (2.0 / numbers_of_each(outputs))", "error * 2.0", LOSSES),
    ("losses/loss.py", "known = has + told > 0", "known = has > 0", LOSSES),
    ("losses/loss.py", "small = xp.exp(-xp.abs(x))", "small = xp.exp(-x)", LOSSES),
    ("training/batch_loss.py", "part = share * part", "pass", LOSSES),
    ("program/screening.py", " and type(objective.loss) in LOSSES.values()", "", TRAINING + "counts"),
    ("program/steps.py", "HEADS.gather(given, random.indices) if whole else given", "given", TRAINING + "'program and not compiled'"),
    ("program/steps.py", "xp.arange(table.shape[0], dtype=np.int32) == cursor", "xp.arange(table.shape[0], dtype=np.int32) >= cursor", PROGRAM),
    ("model/label_inputs.py", "fits and (all_are or not is_one_hot(y))", "fits and not is_one_hot(y)", TRAINING + "soft_ones"),
    ("data/label_rules.py", "wrong = (y < -_ROUNDING) | (y > 1.0 + _ROUNDING)", "wrong = y > 1.0 + _ROUNDING", TRAINING + "refused_everywhere"),
    ("losses/config.py", "{**LOSSES, **{loss.__name__: loss for loss in user_losses}}", "dict(LOSSES)", TRAINING + "file_names"),
    ("training/state.py", "if state.loss != loss:", "if False:", TRAINING + "'goes_on and not compiled'"),
    ("storage/model_file.py", '{"format_version": LOSS_VERSION, "loss":', '{"loss":', FILES + "version"),
    ("storage/model_file.py", "if model.loss != CROSS_ENTROPY:", "if True:", TRAINING + "file_names"),
    ("export/torch.py", "(*channels, *height_width)", "(*height_width, *channels)", FILES + "module"),
    ("export/safetensors_import.py", "if loss is None and own is not None:", "if False:", FILES + "keep"),
    ("cli/import_weights.py", "model.class_names, model.loss", "model.class_names, None", FILES + "import_command"),
    ("cli/resume.py", "if label_kind(saved.loss) != data.kind:", "if False:", FILES + "resumed"),
    ("report/charts.py", 'if name.startswith("train_"):', "if False:", FILES + "curves"),
    ("report/run.py", '"others": known}', '"others": {}}', "report/test_report_run.py -k besides"),
    ("callbacks/logs.py", '[*row, *[""] * len(new)]', "row", LOGS),
    ("training/history.py", 'metric.endswith(("loss", "error"))', 'metric.endswith("loss")', TRAINING + "watched"),
    ("model/inputs.py", "if not isinstance(loss, ClassificationLoss):", "if False:", "test_estimator_weights.py -k loss_of"),
]  # fmt: skip
