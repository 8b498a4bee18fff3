"""Remedies of the command line: train, evaluate, export, import, bench."""

import json
import re
import shutil
from pathlib import Path

import pytest

import arraycnn as cnn
from remedies import making
from remedies.following import Here, follows
from remedies.trained import QUICK, trained


@follows("cli/__init__.py", "--debug shows where")
def an_internal_error(here: Here) -> None:
    from arraycnn.cli import info

    def broken(*_: object, **__: object) -> None:
        message = "planted"
        raise RuntimeError(message)

    here.patch.setattr(info.info, "callback", broken)
    code, _, lines = here.cli("info")
    assert code == 1
    here._see("\n".join(lines))
    code, _, lines = here.cli("info", "--debug")
    assert any(line.startswith("Traceback") for line in lines)
    assert any("raise RuntimeError(message)" in line for line in lines)


@follows("cli/__init__.py", "use smaller batches, or fewer or smaller images")
def memory_runs_out(here: Here) -> None:
    def limited(data: object, count: int, *seed: int) -> object:
        if count > 100:
            raise MemoryError
        return original(data, count, *seed)

    from arraycnn.data.dataset import DataSet

    original = DataSet.limited
    here.patch.setattr(DataSet, "limited", limited)
    here.refused_command("train", "--backend", "numpy", "--limit", 200, "--out", "run")
    shutil.rmtree(here.path / "run", ignore_errors=True)
    here.accepted_command("train", *QUICK, "--out", "run")


@follows("cli/evaluate.py", "--part all measures on every image")
def evaluated_on_the_part_held_out(here: Here) -> None:
    making.write_pictures(here.path / "pets", count=12)
    run = ("train", "--dataset", "pets", "--network", "scratch", "--epochs", 1)
    here.accepted_command(*run, "--backend", "numpy", "--out", "run")
    evaluate = ("evaluate", "run/last.npz", "--dataset", "pets", "--json", "--backend", "numpy")
    here.told_command(*evaluate)
    out = here.accepted_command(*evaluate, "--part", "all")
    assert json.loads(out)["images"] == 24


@follows("cli/export.py", "choose another --out, or add --force")
def an_export_that_exists(here: Here) -> None:
    run = trained(here)
    export = ("export", run / "last.npz", "--format", "safetensors")
    here.accepted_command(*export)
    (run / "last.safetensors").write_bytes(b"something else")
    here.refused_command(*export)
    here.accepted_command(*export, "--out", here.path / "other.safetensors")
    here.accepted_command(*export, "--force")


@follows("cli/import_weights.py", "leave them out")
def a_shape_for_a_file_that_has_one(here: Here) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    run = trained(here)
    here.accepted_command("export", run / "last.npz", "--format", "safetensors")
    given = ("import", run / "last.safetensors", "--out", here.path / "m.npz")
    here.refused_command(*given, "--input-shape", "8x8", "--classes", 10)
    here.accepted_command(*given)


@follows("cli/bench.py", "leave it out")
def a_shape_to_bench_a_file_that_has_one(here: Here) -> None:
    run = trained(here)
    given = (
        "bench",
        run,
        "--backend",
        "numpy",
        "--seconds",
        0.001,
        "--batch-size",
        1,
        "--no-torch",
    )
    here.refused_command(*given, "--input-shape", "8x8")
    here.accepted_command(*given)


def _exported(here: Here) -> Path:
    """The weights of a run, without what describes their network."""
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    run = trained(here)
    here.accepted_command("export", run / "last.npz", "--format", "safetensors")
    arrays = library.load_file(run / "last.safetensors")
    library.save_file(arrays, here.path / "w.safetensors")
    return here.path / "w.safetensors"


_IMPORT = ("--network", "scratch", "--input-shape", "8x8", "--force")


@follows("cli/import_weights.py", "where one was not used give 0 or 1 for it")
def a_mean_without_its_deviation(here: Here) -> None:
    given = ("import", _exported(here), *_IMPORT, "--mean", 0.1307)
    here.refused_command(*given)
    here.accepted_command(*given, "--std", 1)


@follows(
    "cli/import_weights.py",
    "were the weights trained behind another Normalize, give its --mean and --std",
)
def weights_trained_behind_another_normalize(here: Here) -> None:
    given = ("import", _exported(here), *_IMPORT)
    assert re.search(here.remedy.pattern(), here._see(here.cli(*given)[1]))
    out = here.accepted_command(*given, "--mean", 0.1307, "--std", 0.3081)
    assert not re.search(here.remedy.pattern(), out)
    assert "0.1307" in out


@follows("export/safetensors_import.py", "begin it with Rescale()")
def a_mean_for_a_network_that_scales_nothing(here: Here) -> None:
    from arraycnn.export import export_safetensors, import_safetensors

    pytest.importorskip("safetensors", reason="safetensors is not installed")
    raw = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    export_safetensors(cnn.Model(raw, (8, 8)), here.path / "raw.safetensors")
    scaling = cnn.Rescale(0.1307, 0.3081)
    with here.refused():
        import_safetensors(here.path / "raw.safetensors", raw, (8, 8), scaling=scaling)
    export_safetensors(making.model(), here.path / "w.safetensors")
    import_safetensors(here.path / "w.safetensors", making.small(), (8, 8), scaling=scaling)
