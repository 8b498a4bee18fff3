"""Faults in augmentation by the command line, in recipes, and in the networks that these name."""

AUGMENT = "cli/test_cli_augmentation.py -k "
RECIPE = "cli/test_cli_recipes.py -k "
NETWORK = "test_networks.py -k 'published or wrong'"
REPORT = "report/test_report_run.py -k repeats"
BEGINS = "model/test_with_augmentation.py"

FAULTS = [
    ("cli/augmentation.py", 'float(part) if is_real else int(part)', "float(part)", AUGMENT + "'refused or text'"),
    ("cli/augmentation.py", "if place or not setting:", "if not setting:", AUGMENT + "refused"),
    ("cli/augmentation.py", "setting not in known or setting in given", "setting not in known", AUGMENT + "refused"),
    ("cli/augmentation.py", "if parts or not first[2]:", "if not first[2]:", AUGMENT + "text"),
    ("cli/augmentation.py", "if given or resumed else USUAL", "if given else USUAL", AUGMENT + "first_command"),
    ("cli/augmentation.py", "for text in texts if text != NONE", "for text in texts[:1] if text != NONE", AUGMENT + "python"),
    ("cli/augmentation.py", "NONE in given and len(given) > 1", "False", AUGMENT + "refused"),
    ("cli/augmentation.py", 'labels == "pixels" and', "False and", AUGMENT + "moved"),
    ("cli/augmentation.py", 'AUGMENTATIONS[name].moves_pixels)', 'name == "flip")', AUGMENT + "moved"),
    ("cli/resume.py", '"from_model", "augment"}', '"from_model"}', AUGMENT + "python"),
    ("cli/train.py", "augment=list(augment)", 'augment=list(tuned["augment"])', AUGMENT + "first_command"),
    ("cli/evaluation_details.py", "if augment:  # copies", "if False:  # copies", AUGMENT + "evaluate"),
    ("cli/evaluation_details.py", "trained.predict(images, augment=augment)", "trained.predict(images)", AUGMENT + "evaluate"),
    ("cli/predict.py", "augment=self._augment)", ")", AUGMENT + "evaluate"),
    ("model/with_augmentation.py", "first if place and not rest else", "first if False else", BEGINS),
    ("model/with_augmentation.py", "rest = network.layers[place + 1 :]", "rest = network.layers[1:]", BEGINS),
    ("model/with_augmentation.py", "        model.seed,\n", "        0,\n", BEGINS),
    ("model/with_augmentation.py", "made.standing = replace(made.standing, params=params, state=state)", "made.standing = replace(made.standing, params=params)", BEGINS),
    ("model/with_augmentation.py", 'if not getattr(layer, "training_only", False):\n            message', 'if False:\n            message', BEGINS),
    ("cli/recipes.py", 'context.params.get("resume") is None', "True", RECIPE + "goes_on"),
    ("cli/recipes.py", "[*found.get(one.name, []), value] if one.multiple else value", "[value] if one.multiple else value", RECIPE + "'shown and cifar'"),
    ("cli/recipes.py", "value = True if is_flag else next(words)", "value = next(words)", RECIPE + "'shown and cifar'"),
    ("cli/recipes.py", "said = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)", "said = (ParameterSource.DEFAULT_MAP,)", RECIPE + "'shown and fast'"),
    ("cli/recipes.py", "source is ParameterSource.COMMANDLINE:", "False:", RECIPE + "refused"),
    ("cli/recipes.py", "and of_nothing and not", "and False and not", RECIPE + "refused"),
    ("cli/recipes.py", "return rate if is_its else None", "return rate", RECIPE + "optimizer"),
    ("cli/recipes.py", 'given["show"] and given["recipe"] is None', "False", RECIPE + "refused"),
    ("cli/train.py", '("resume", "show", "override"', '("resume", "override"', RECIPE + "'trains_what and fast'"),
    ("report/run.py", '_OPTIONS = {"from_model": "from"}', "_OPTIONS = {}", REPORT),
    ("report/run.py", '{"data_sha256", "from_sha256",', '{"data_sha256",', REPORT),
    ("networks/mnist.py", "return [layer, BatchNorm(), ReLU()]", "return [layer, ReLU()]", NETWORK),
    ("networks/mnist.py", "*stage(2 * width)", "*stage(width)", NETWORK),
    ("networks/mnist.py", "Conv2d(filters, 5, 2, padding", "Conv2d(filters, 5, 1, padding", NETWORK),
    ("networks/mnist.py", "if dropout >= 1.0:", "if dropout > 1.0:", NETWORK),
    ("networks/mnist.py", "Dense(classes, bias=False),", "Dense(classes),", NETWORK),
]  # fmt: skip
