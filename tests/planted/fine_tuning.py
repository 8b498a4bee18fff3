"""Faults in parameter groups, freezing and new heads."""

GROUPS = "optimizers/test_parameter_groups.py -k 'not torch'"
TORCH = "optimizers/test_parameter_groups.py -k 'torchs and AdamW'"
TUNING = "training/test_fine_tuning.py -k 'not jax'"
COMMAND = "cli/test_cli_fine_tuning.py -k "
JAX = "training/test_fine_tuning.py -k 'around and jax'"

FAULTS = [
    ("optimizers/parameter_groups.py", "for count in range(1, len(names) + 1)", "for count in range(len(names), len(names) + 1)", GROUPS),
    ("optimizers/parameter_groups.py", "fnmatchcase(place, self.pattern)", "place.startswith(self.pattern)", GROUPS),
    ("optimizers/parameter_groups.py", "sorted(flatten(params).items())", "flatten(params).items()", GROUPS),
    ("optimizers/parameter_groups.py", "group.vectors_only and axes > 1", "group.vectors_only and axes > 2", TORCH),
    ("optimizers/parameter_groups.py", "way.frozen if group.frozen is None else group.frozen", "way.frozen or bool(group.frozen)", TORCH),
    ("optimizers/parameter_groups.py", "learning_rate * way.scale", "learning_rate / way.scale", TORCH),
    ("optimizers/parameter_groups.py", "weight_decay=way.weight_decay)", "weight_decay=0.0)", TORCH),
    ("optimizers/parameter_groups.py", "if way.weight_decay is None:", "if not way.weight_decay:", TORCH),
    ("optimizers/parameter_groups.py", "            if not way.frozen:\n", "            if True:\n", GROUPS),
    ("optimizers/parameter_groups.py", "if way.frozen)", "if not way.frozen)", TORCH),
    ("optimizers/parameter_groups.py", "if not any(map(group.matches, flatten(params))):", "if False:", GROUPS),
    ("optimizers/parameter_groups.py", "        if not parts:\n", "        if False:\n", GROUPS),
    ("training/step.py", "replace(context, frozen=frozen_paths(optimizer, carry.params))", "replace(context)", TUNING),
    ("layers/layer.py", "path, self.frozen, self.whole", "path, frozenset(), self.whole", TUNING),
    ("layers/layer.py", '".".join((*self.path, name)) not in self.frozen', "name not in self.frozen", TUNING),
    ("layers/batch_norm.py", 'context.mode == "train" and context.trains(params)', 'context.mode == "train"', TUNING),
    ("layers/sequential.py", "0 if need_dx else first_to_learn(", "0 if True else first_to_learn(", TUNING),
    ("layers/sequential.py", "if learns), len(names))", "if learns), 0)", "training/test_fine_tuning.py -k frozen_branch"),
    ("execution/jitted_parts.py", "0 if need_dx else first_to_learn(", "0 if True else first_to_learn(", JAX),
    ("execution/jitted_parts.py", "return frozen_paths(self._optimizer, params)", "return frozenset()", JAX),
    ("program/screening.py", "inputs, HEADS, frozen)", "inputs, HEADS)", "training/test_fine_tuning.py -k 'around and numpy'"),
    ("model/new_head.py", '{**new, "0": old["0"] if is_body else old}', "new", TUNING),
    ("model/new_head.py", "is_body = len(names) == 1", "is_body = False", TUNING),
    ("model/new_head.py", "params=params, state=state", "params=params", TUNING),
    ("cli/fine_tuning.py", "Group(pattern, frozen=True) for pattern in given", "Group(pattern, frozen=True) for pattern in given[1:] or given", COMMAND + "'groups_are'"),
    ("cli/fine_tuning.py", "learning_rate_scale=float(number)", "learning_rate_scale=1.0 / float(number)", COMMAND + "'groups_are'"),
    ("cli/fine_tuning.py", "check_patterns(self.groups, params, _option_of)", "check_patterns(self.groups, params)", "cli/test_cli_fine_tuning.py -k 'leave_no_run'"),
    ("cli/fine_tuning.py", "        check_patterns(self.groups, params, _option_of)\n", "", "cli/test_cli_fine_tuning.py -k 'leave_no_run'"),
    ("cli/fine_tuning.py", "if grouped.frozen_paths(params).issuperset(flatten(params)):", "if False:", "cli/test_cli_fine_tuning.py -k 'leave_no_run'"),
    ("cli/fine_tuning.py", "        if resumed is not None:\n", "        if False:\n", COMMAND + "'goes_on'"),
    ("cli/train.py", "elif begun is not None and begun.exists():", "elif False:", COMMAND + "'goes_on'"),
    ("cli/resume.py", '"seed", "from_model", ', '"seed", ', COMMAND + "'goes_on'"),
    ("cli/resume.py", "model.loss = fresh.loss", "pass", COMMAND + "'loss_has'"),
    ("cli/losses.py", "labels.size / classes / np", "labels.size / np", COMMAND + "'loss_has'"),
    ("cli/losses.py", 'given["top_k"] >= classes', 'given["top_k"] > classes', COMMAND + "'leave_no_run'"),
    ("report/measures.py", "np.argsort(-chances, axis=1, kind=\"stable\")", "np.argsort(chances, axis=1, kind=\"stable\")[:, ::-1]", "report/test_report_measures.py -k top_k"),
    ("report/examination.py", "model.classes > _MANY_CLASSES", "model.classes > _TOP + 7", "report/test_report_inside.py -k most_likely"),
]  # fmt: skip
