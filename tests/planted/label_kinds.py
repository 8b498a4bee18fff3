"""Faults in labels that are no classes: of sets, of measures, and on the command line."""

KINDS, MEASURES = "data/test_label_kinds.py", "report/test_report_other_measures.py"
COMMANDS = "cli/test_cli_losses.py -k "
REPORT = "report/test_report_others.py -k 'found or own_loss or which or sheets or fit'"
PAGE = "report/test_report_others.py -k page"

FAULTS = [
    ("data/label_kinds.py", "return np.zeros(len(labels), np.int32)", "return np.arange(len(labels))", KINDS),
    ("data/label_kinds.py", "y[..., np.newaxis] if y.ndim in (1, 3) else y", "y[..., np.newaxis] if y.ndim == 1 else y", KINDS),
    ("data/label_kinds.py", "return int(labels.max()) + 1 if", "return int(labels.max()) if", KINDS),
    ("data/label_kinds.py", "    check_finite(y)\n", "", KINDS),
    ("data/label_kinds.py", 'check_shares(found, "labels")', "pass", KINDS),
    ("data/csv_table.py", "labels, odd = sorted(labels + odd), []", "labels, odd = labels + odd[::-1], []", KINDS),
    ("data/csv_table.py", "return {*self.labels, *self.others}", "return {self.label, *self.others}", KINDS),
    ("data/csv_files.py", "if not NUMBER.fullmatch(cell):", "if False:", KINDS),
    ("data/array_files.py", "(kind != \"pixels\" and len(names) != outputs)", "False", KINDS),
    ("model/class_names.py", "order = np.argsort(places)", "order = places", KINDS),
    ("data/sampling.py", "constant = np.ptp(of_each, axis=0) == 0", "constant = of_each.max(axis=0) == 1", COMMANDS + "never_differ"),
    ("report/label_measures.py", "np.where(last, ", "np.where(True, ", MEASURES),
    ("report/label_measures.py", "min(0.0, falling[place] - 0.5)", "0.0", MEASURES),
    ("report/label_measures.py", 'side="right"', 'side="left"', MEASURES),
    ("report/label_measures.py", "_rows(probabilities) > threshold", "_rows(probabilities) >= threshold", MEASURES),
    ("report/number_measures.py", "label = told - true, true - first", "label = told - true, true", MEASURES),
    ("report/number_measures.py", "first = true[0] if before is None else before.first", "first = true[0]", MEASURES),
    ("cli/losses.py", "(1.0 - share) / ", "1.0 / ", COMMANDS + "weights"),
    ("cli/losses.py", " and not options.is_remembered(setting)", "", COMMANDS + "goes_on"),
    ("cli/evaluate.py", "return trained.evaluate(held, augment=augment)", "pass", COMMANDS + "'python and labels'"),
    ("cli/answers.py", "THRESHOLD if threshold is None else threshold", "THRESHOLD", COMMANDS + "threshold"),
    ("cli/evaluation_details.py", "has = told > self._threshold", "has = told > THRESHOLD", COMMANDS + "threshold"),
    ("cli/answers.py", "np.bincount(taken.reshape(-1), minlength=len(names)) / taken.size", "np.bincount(taken.reshape(-1), minlength=len(names)) / len(taken)", COMMANDS + "'python and pixels'"),
    ("cli/training_data.py", "split_validation(strata(data.train_labels), validation or 0.0, seed)", "split_validation(strata(data.train_labels), validation or 0.0, 0)", COMMANDS + "'python and numbers'"),
    ("report/internals.py", "return gradient / float(outputs.shape[0])", "return gradient", REPORT),
    ("report/internals.py", "if model.loss == CROSS_ENTROPY:", "if outputs.ndim == 2 and labels.ndim == 1:", REPORT),
    ("report/examination.py", "return model.evaluate(pictures, true).loss", "return measures.log_loss(probabilities, true)", REPORT),
    ("report/examined.py", "if loss.class_weight is not None else", "if False else", REPORT),
    ("report/other_examinations.py", "np.where(has, 1.0 - self.probabilities, self.probabilities)", "np.where(has, self.probabilities, 1.0 - self.probabilities)", REPORT),
    ("report/other_examinations.py", "errors[part] = (taken != true)", "errors[part] = (taken == true)", REPORT),
    ("report/other_examinations.py", "outputs=dict(zip(places, from_source, strict=True))", "outputs=dict(zip(places, from_source[::-1], strict=True))", REPORT),
    ("report/other_examinations.py", "counts = counts + confusion_matrix(", "counts = confusion_matrix(", REPORT),
    ("report/other_examinations.py", "counts = counts + label_counts(", "counts = label_counts(", REPORT),
    ("report/other_examinations.py", "number_sums(true, told, sums)", "number_sums(true, told)", REPORT),
    ("report/other_charts.py", "_SHADES[classes % len(_SHADES)]", "_SHADES[(classes + 1) % len(_SHADES)]", REPORT),
    ("report/sentences.py", 'metric = f"{kind}{field}"', 'name = metric = f"{kind}{field}"', PAGE),
    ("report/sections.py", 'charts.measure_of(epochs) if panel == "accuracy" else panel', "panel", PAGE),
    ("report/other_sections.py", "scores.f1 / (2.0 - scores.f1)", "scores.f1 / 2.0", REPORT),
    ("report/other_sections.py", '"best threshold": found.thresholds', '"best threshold": found.best_f1', REPORT),
]  # fmt: skip
