"""Standard streams as a shell may leave them: closed, or of an encoding that lacks letters."""

import os
import subprocess
import sys

import pytest

TRAIN = "train --backend numpy --no-fast --limit 60 --epochs 1 --network scratch --out run"


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_training_does_not_need_its_streams(closed, tmp_path):
    command = f"{sys.executable} -m arraycnn {TRAIN} {closed}"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert b"internal error" not in result.stderr
    assert (tmp_path / "run" / "summary.json").is_file()
    # No file of the run got the number of a stream, and with it what was meant for that.
    assert (tmp_path / "run" / "summary.json").read_bytes().startswith(b"{")


def test_an_ascii_output_has_every_result(tmp_path):
    program = (
        "from arraycnn.cli.console import prepare_streams, show; prepare_streams(); "
        "show('98.6\\u202f% \\u2192 \\u732b')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert result.stdout.splitlines() == [b"98.6 % -> \\u732b"], result.stderr
