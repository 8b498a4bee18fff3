"""Runs of the command line that the cases begin with."""

from pathlib import Path

from remedies.following import Here

QUICK = ("--backend", "numpy", "--limit", 60, "--epochs", 1, "--network", "scratch")
_KEPT: dict[str, bytes] = {}
"""The files of a run: all cases begin with the same one, so it is trained once."""


def trained(here: Here, *arguments, out: str = "run") -> Path:
    """The folder of a run, of usual settings but for ``arguments``."""
    folder = here.path / out
    if arguments or not _KEPT:
        here.accepted_command("train", *QUICK, "--out", out, *arguments)
    if not arguments and not _KEPT:
        _KEPT.update({path.name: path.read_bytes() for path in folder.iterdir()})
    folder.mkdir(exist_ok=True)
    if not arguments:
        for name, content in _KEPT.items():
            (folder / name).write_bytes(content)
    return folder


def report_command(here: Here) -> tuple[str, ...]:
    """The command for a report on "run", which draws nothing: only what comes before can refuse."""
    from arraycnn.cli import report

    here.patch.setattr(report, "write_report", lambda runs, folder: folder / "report.html")
    return ("report", "run", "--backend", "numpy")
