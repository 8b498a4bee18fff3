"""Remedies of ``arraycnn report``: a run that was stopped, without its data set, or damaged."""

import json

import arraycnn as cnn
from remedies import making
from remedies.following import Here, follows
from remedies.trained import report_command, trained


@follows("cli/report.py", "reporting on {}")
def a_report_of_a_run_that_was_stopped(here: Here) -> None:
    run = trained(here)
    (run / "summary.json").unlink()
    here.told_command(*report_command(here))
    assert f"reporting on {'best.npz' if 'best' in here.message else 'last.npz'}" in here.message


@follows("report/run.py", "wait for its first save, or train again")
def a_report_without_a_model(here: Here) -> None:
    run = trained(here)
    kept = {path: path.read_bytes() for path in run.glob("*.npz")}
    for path in kept:
        path.unlink()
    here.refused_command("report", "run", "--backend", "numpy")
    for path, content in kept.items():
        path.write_bytes(content)
    here.accepted_command("report", "run", "--backend", "numpy")


@follows(
    "storage/run_folder.py",
    "say what it is with --dataset, or hand the images over in Python: "
    "arraycnn.report.examine(model, images, labels)",
)
def a_report_on_no_data_set(here: Here) -> None:
    from arraycnn import report

    run = trained(here)
    config = json.loads((run / "config.json").read_text())
    del config["dataset"]
    (run / "config.json").write_text(json.dumps(config))
    here.refused_command(*report_command(here))
    here.accepted_command(*report_command(here), "--dataset", "digits")
    images, labels = making.some(12, 8, classes=10)
    report.examine(cnn.Model.load(run / "best.npz"), images, labels)


@follows("cli/report.py", "not compared")
def a_report_on_data_without_a_digest(here: Here) -> None:
    run = trained(here)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data_sha256": None}))
    here.told_command(*report_command(here))
    (run / "config.json").write_text(json.dumps(config))
    here.accepted_command(*report_command(here))


@follows("report/run.py", "restore it")
def a_report_of_a_damaged_size(here: Here) -> None:
    run = trained(here)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(json.dumps(json.loads(text) | {"image_size": "large"}))
    here.refused_command(*report_command(here))
    (run / "config.json").write_text(text)
    here.accepted_command(*report_command(here))
