"""A file that holds no result, or cannot take one, is said in a line, before anything is measured."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest

import gpu_record
import result_file
from gpu import parse

BENCH = Path(__file__).parents[2] / "bench"
NO_RESULTS = ("", "{", "[1]", "3")
OF_A_TASK = ("quality.py", "digits", "--seeds", "0", "--threads", "1", "--results")
WRITERS = (
    ("cpu.py", "--only", "machine", "--out"),
    ("scaling.py", "--out"),
    OF_A_TASK,
)
READERS = (
    ("cpu.py", "--only", "machine", "--out"),
    ("scaling.py",),
    ("table.py",),
    ("chart.py",),
    ("quality.py", "--table", "--results"),
    OF_A_TASK,
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script with arguments, here, since each process would import the package; its end."""

    def ended(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(BENCH / script), run_name="__main__")
        assert capsys.readouterr() == ("", "")
        return caught.value.code

    return ended


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "result.json"
    result_file.check_writable(path)
    assert list(path.parent.iterdir()) == []
    result_file.write(path, {"a": [1, 2.5]})
    assert result_file.read(path) == {"a": [1, 2.5]}
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    result_file.write(path, {"a": 1})

    def full(self, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(result_file.NoResult, match=r"result\.json: No space left on device"):
        result_file.write(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize("writer", WRITERS, ids=lambda words: words[0])
@pytest.mark.parametrize("kind", ["of a file", "a folder"])
def test_where_none_can_be_written(run, writer, kind, tmp_path):
    path = tmp_path / "folder" / "digits-0.json"
    if kind == "of a file":
        path.parent.touch()
        why = "File exists"
    else:
        path.mkdir(parents=True)
        why = "Is a directory"
    given = path.parent if writer is OF_A_TASK else path
    assert run(*writer, given).startswith(f"{path}: {why}")


@pytest.mark.parametrize("text", NO_RESULTS)
@pytest.mark.parametrize("reader", READERS, ids=lambda words: words[0])
def test_what_is_no_result(run, reader, text, tmp_path):
    path = tmp_path / "digits-0.json"
    path.write_text(text)
    line = run(*reader, tmp_path if reader[0] == "quality.py" else path)
    assert line.startswith(f"{path}: is no result (")
    assert path.read_text() == text


@pytest.mark.parametrize("text", NO_RESULTS)
def test_an_earlier_result_of_the_device_that_is_none(text, tmp_path, monkeypatch):
    """bench/gpu.py looks for one where no --out is given."""
    monkeypatch.setattr(gpu_record, "HERE", tmp_path)
    path = tmp_path / "results" / "nvidia-h200-2000-01-01.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(result_file.NoResult) as caught:
        gpu_record.begun(parse([]), {"device": "NVIDIA H200"})
    assert str(caught.value).startswith(f"{path}: is no result (")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_what_cannot_be_read(run, tmp_path):
    path = tmp_path / "result.json"
    path.write_text("{}")
    path.chmod(0)
    assert run("table.py", path) == f"{path}: Permission denied"


def test_what_is_not_there(run, tmp_path):
    path = tmp_path / "result.json"
    assert run("table.py", path) == f"{path}: No such file or directory"
