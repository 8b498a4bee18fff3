"""Modules that have moved import by their former names: pickles and programs of users have those."""

import pickle
import subprocess
import sys
from importlib import import_module

import pytest

import arraycnn
from arraycnn.moved_modules import FORMER_NAMES


@pytest.mark.parametrize("former", FORMER_NAMES)
def test_a_former_name_is_the_module(former):
    module = import_module(f"arraycnn.{FORMER_NAMES[former]}")
    assert import_module(f"arraycnn.{former}") is module
    assert module.__name__ == module.__spec__.name == f"arraycnn.{FORMER_NAMES[former]}"


@pytest.mark.parametrize("module", ["training.batch_stream", "batch_stream"])
def test_a_class_that_has_moved_is_where_it_was(module):
    assert import_module(f"arraycnn.{module}").Batches is arraycnn.Batches


def test_a_pickle_of_before_the_move_is_read():
    now = pickle.dumps(arraycnn.Cosine(0.1), protocol=0)
    before = now.replace(b"arraycnn.optimizers.schedules", b"arraycnn.schedules")
    assert before != now
    assert pickle.loads(before) == arraycnn.Cosine(0.1)


def test_python_runs_a_former_name():
    command = [sys.executable, "-m", "arraycnn.fitting"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_names_that_never_were_are_missing():
    with pytest.raises(ModuleNotFoundError, match=r"arraycnn\.coarse"):
        import_module("arraycnn.coarse")


def test_former_names_are_imported_only_when_asked_for():
    program = "import sys, arraycnn; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {f"arraycnn.{name}" for name in FORMER_NAMES} & set(done.stdout.split())
