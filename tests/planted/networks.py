"""Faults in networks by name and of a user's file, in their arguments, and in checkpoints by their keys."""

KNOWN = "export/test_known_checkpoints.py"
NETWORKS = "test_networks.py"
ARGUMENTS = "test_network_arguments.py"
CLI = "cli/test_cli_networks.py"

FAULTS = [
    # The networks.
    ("networks/resnet.py", "filters // 4", "filters // 2", KNOWN + " -k resnet20"),
    ("networks/resnet.py", "(1, 1) if torch_padding", '"same" if torch_padding', KNOWN + " -k resnet20"),
    ("networks/resnet.py", "AvgPool2d(1, stride)", "AvgPool2d(2, stride)", KNOWN + " -k resnet20"),
    ("networks/imagenet_resnet.py", "MaxPool2d(3, 2, padding=(1, 1))", 'MaxPool2d(3, 2, padding="same")', KNOWN + " -k gives"),
    ("networks/imagenet_resnet.py", "*_normalised(filters, 1),\n        ReLU(),\n        *_normalised(filters, 3, stride)", "*_normalised(filters, 1, stride),\n        ReLU(),\n        *_normalised(filters, 3)", KNOWN + " -k resnet50"),
    ("networks/imagenet_resnet.py", "shape_changes = stride > 1 or channels != given", "shape_changes = stride > 1", KNOWN + " -k resnet50"),
    ("networks/vgg.py", '"same" if head == "average" else "valid"', '"same"', KNOWN + " -k vgg11"),
    ("networks/vgg.py", "AdaptiveAvgPool2d(pooled)", "AdaptiveAvgPool2d(7)", NETWORKS + " -k arguments_change"),
    ("networks/mobilenet.py", "int(full * width)", "int(full * 0.25)", NETWORKS + " -k arguments_change"),
    ("networks/densenet.py", "_bottleneck(growth)", "_bottleneck(12)", NETWORKS + " -k arguments_change"),
    ("networks/unet.py", "_level(width, halvings)", "_level(width, 2)", NETWORKS + " -k arguments_change"),
    # Checkpoints by their keys.
    ("export/known_resnets.py", "if around and block == 0 and (stage > 1 or narrow)", "if around and block == 0 and stage > 1", KNOWN + " -k resnet50"),
    ("export/known_resnets.py", '"torch_padding": True, ', "", KNOWN + " -k resnet32"),
    ("export/known_resnets.py", "(d >= 50) == narrow", "True", KNOWN + " -k mixed"),
    ("export/known_resnets.py", 'last == "linear" else', 'last == "fc" else', KNOWN + " -k gives"),
    ("export/known_vggs.py", "3 if batch_norm else 2", "3", KNOWN + " -k vgg"),
    ("export/known_vggs.py", "IMAGENET if pooled == 7", "IMAGENET if pooled == 1", KNOWN + " -k vgg"),
    ("export/checkpoint_keys.py", "scaling if input_shape[2] == 3 else None", "scaling", KNOWN + " -k grey"),
    ("export/checkpoint_keys.py", "array.ndim != axes or", "", KNOWN + " -k mixed"),
    ("export/checkpoint_keys.py", "_CIFAR100 if classes == 100 else", "", KNOWN + " -k resnet32"),
    ("export/checkpoint_keys.py", 'prefix, found = candidate, True', 'prefix = candidate', KNOWN + " -k gives"),
    ("export/safetensors_import.py", "if (*shape, 1)[2:3] != (channels,):", "if False:", KNOWN + " -k named"),
    ("export/safetensors_import.py", "if name not in (None, known.name):", "if False:", KNOWN + " -k gives"),
    ("export/safetensors_import.py", "scaling = known.scaling if scaling is None else scaling", "scaling = known.scaling", KNOWN + " -k grey"),
    ("export/safetensors_import.py", "known.input_shape\n    channels", "(224, 224, 3)\n    channels", KNOWN + " -k gives"),
    # Arguments that are text.
    ("networks/arguments.py", "key=lambda one: one is str", "key=lambda one: one is not str", ARGUMENTS),
    ("networks/arguments.py", "return text.lower() in _TRUE", "return bool(text)", ARGUMENTS),
    ("networks/arguments.py", "if not math.isfinite(number):", "if False:", ARGUMENTS),
    ("networks/arguments.py", "eval_str=True", "eval_str=False", ARGUMENTS),
    ("networks/arguments.py", "if name in known:", "if False:", ARGUMENTS),
    # Files of a user's own.
    ("networks/user_code.py", "hashlib.sha256(content)", 'hashlib.sha256(path.encode())', ARGUMENTS),
    ("networks/user_code.py", "kind.__name__ not in own", "True", ARGUMENTS),
    ("networks/user_code.py", "except (Exception, SystemExit) as error:\n        if", "except Exception as error:\n        if", ARGUMENTS),
    ("networks/user_code.py", "        del sys.modules[module.__name__]\n", "", ARGUMENTS),
    ("networks/user_code.py", "lines[-1]", "lines[0] + 1", ARGUMENTS),
    ("cli/networks.py", "if comes_from_a_run(param, ctx):", "if False:", CLI + " -k goes_on"),
    ("cli/user_code.py", "with redirect_stdout(sys.stderr):", "if True:", CLI + " -k prints"),
    ("cli/user_code.py", "known != code.sha256:", "False:", CLI + " -k changed_one"),
    ("cli/user_code.py", "if code.sha256 is None:\n            raise\n", "raise\n", CLI + " -k does_not_fit"),
    ("cli/resume.py", "before != now and not override", "False", CLI + " -k moved"),
    ("cli/resume.py", "one.rpartition(\":\")[2] == other", "one.rpartition(\":\")[2] != \"\" or other", CLI + " -k another_network"),
    ("cli/resume.py", '"network_arg", "seed", ', '"seed", ', CLI + " -k named_network_takes"),
    ("cli/model_for_data.py", "if given not in (None, classes):", "if False:", CLI + " -k does_not_fit"),
    ("cli/run.py", '{"layers": job.code.layers,', '{"layers": (),', CLI + " -k prints"),
    ("report/run.py", '"network_sha256", "sampling"', '"sampling"', CLI + " -k repeat"),
    ("report/run.py", "elif isinstance(value, list):", "elif False:", CLI + " -k repeat"),
    ("report/run.py", '_SWITCHES = {"fast", "graph"}', '_SWITCHES = {"graph"}', CLI + " -k repeat"),
]  # fmt: skip
