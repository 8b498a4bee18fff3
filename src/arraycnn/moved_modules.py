"""Modules that have moved: their former names go on importing, as pickles of models need.

What a pickle holds is found by the module that its class was in when it was written.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType

FORMER_NAMES = {
    "batch_size": "training.batch_size",
    "batch_stream": "training.batch_stream",
    "checkpoint": "storage.checkpoint",
    "class_names": "model.class_names",
    "course": "training.batch_order",
    "data.forms": "data.reader_choice",
    "data.found": "data.reader_result",
    "data.own": "data.user_sets",
    "estimator_rows": "estimator.rows",
    "extras": "optional_packages",
    "familiarity": "model.distribution_shift",
    "file_kinds": "data.file_kinds",
    "files": "storage.atomic_writes",
    "fitting": "training.loop",
    "folder_lock": "storage.folder_lock",
    "guarding": "training.machine_failures",
    "history": "training.history",
    "image_files": "data.image_files",
    "image_inputs": "model.image_inputs",
    "inputs": "model.inputs",
    "label_inputs": "model.label_inputs",
    "layers.batch_norm2d": "layers.batch_norm",
    "layers.boxes": "layers.augmentation.boxes",
    "layers.cutmix": "layers.augmentation.cutmix",
    "layers.cutout": "layers.augmentation.cutout",
    "layers.drawn": "layers.augmentation.drawn",
    "layers.elastic_deformation": "layers.augmentation.elastic_deformation",
    "layers.horizontal_flip": "layers.augmentation.horizontal_flip",
    "layers.mixing": "layers.augmentation.mixing",
    "layers.mixup": "layers.augmentation.mixup",
    "layers.random_affine": "layers.augmentation.random_affine",
    "layers.random_brightness": "layers.augmentation.random_brightness",
    "layers.random_contrast": "layers.augmentation.random_contrast",
    "layers.random_crop": "layers.augmentation.random_crop",
    "layers.random_erasing": "layers.augmentation.random_erasing",
    "layers.random_shift": "layers.augmentation.random_shift",
    "layers.twins": "layers.export_forms",
    "layers.warp": "layers.augmentation.warp",
    "locks": "storage.file_lock",
    "logits": "model.log_probabilities",
    "measuring": "training.evaluation",
    "model_file": "storage.model_file",
    "picture_values": "data.picture_values",
    "polarity": "data.polarity",
    "provenance": "storage.provenance",
    "report.inner_sections": "report.internals_sections",
    "report.inside": "report.internals",
    "report.tiles": "report.thumbnails",
    "report.words": "report.sentences",
    "run_folder": "storage.run_folder",
    "schedules": "optimizers.schedules",
    "settings": "setting_checks",
    "standing": "model.standing",
    "summary": "model.summary",
    "text": "escaping",
    "training_state": "training.state",
    "user_paths": "storage.user_paths",
}
"""Former name to name, both below arraycnn."""


class FormerNames:
    """A finder of imports that is asked last, and serves the former name of a module with it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, former = name.partition(".")
        if package != "arraycnn" or former not in FORMER_NAMES:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(_name_now(module.__name__))

    def get_code(self, name: str) -> CodeType | None:
        """What `python -m` runs."""
        code: CodeType | None = find_spec(_name_now(name)).loader.get_code(_name_now(name))  # type: ignore[union-attr]
        return code


def _name_now(name: str) -> str:
    return f"arraycnn.{FORMER_NAMES[name.partition('.')[2]]}"


def serve_former_names() -> None:
    """From now on modules import by their former names, too."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())
