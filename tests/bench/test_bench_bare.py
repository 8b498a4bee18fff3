"""bench/ on a machine that has no git, no tools and no home to write to: it measures all the same."""

import json
import os

import pytest

import gpu_record
import gpu_worker
import harness
from gpu import parse
from test_bench_gpu import run

DRY = (
    *("--device", "cpu", "--nets", "a", "--images", "16", "--batches", "16", "--rounds", "1"),
    *("--precisions", "fp32", "--contenders", "arraycnn"),
)


def test_it_measures_where_no_program_is_found_and_no_home_can_be_written(tmp_path):
    path = tmp_path / "dry.json"
    done = run(*DRY, "--out", str(path), PATH="/nonexistent", HOME="/dev/null")
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["commit"] is None
    assert len(result["cells"]) == 5
    assert result["not_measured"] == {}
    assert "of an unknown commit" in done.stdout.splitlines()[0]


def test_without_git_no_commit_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert harness.commit() is None


def test_a_result_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path):
    file = tmp_path / "file"
    file.touch()
    done = run(*DRY, "--out", str(file / "dry.json"))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench/gpu.py: nothing was measured: ")
    assert "choose another --out" in line


@pytest.mark.parametrize("text", ["", "{"])
def test_a_file_that_is_no_result_is_said_before_anything_is_measured(text, tmp_path):
    path = tmp_path / "dry.json"
    path.write_text(text)
    done = run(*DRY, "--out", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bench/gpu.py: nothing was measured: {path}: is no result")
    assert path.read_text() == text


def test_what_another_source_has_measured_is_not_gone_on_with(tmp_path, monkeypatch):
    """Without git both commits are unknown, and equal."""
    options = parse(["--device", "cpu", "--out", str(tmp_path / "dry.json")])
    monkeypatch.setattr(gpu_record, "commit", lambda: None)
    first = gpu_record.begun(options, {"device": "CPU"})
    first.cell("train a fp32 16")
    first.write()
    assert gpu_record.begun(options, {"device": "CPU"}).result["cells"]
    monkeypatch.setattr(gpu_record, "digest_of_sources", lambda: "another")
    assert not gpu_record.begun(options, {"device": "CPU"}).result["cells"]


CACHES = ("CUPY_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")


@pytest.mark.parametrize("home", ["/dev/null", None])
def test_caches_lie_beside_the_inputs_where_no_home_can_be_written(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", home or str(tmp_path))
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    found = gpu_worker.environment("cpu", tmp_path / "inputs")
    kept = [name for name in CACHES if name in found]
    assert kept == ([*CACHES] if home else [])
    assert all(found[name].startswith(str(tmp_path / "inputs")) for name in kept)
    named = gpu_worker.environment("cpu", tmp_path / "inputs", caches="/given")
    assert all(named[name].startswith("/given/") for name in CACHES)


def test_a_cache_that_is_named_stays_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    assert gpu_worker.environment("cpu", tmp_path)["CUPY_CACHE_DIR"] == str(tmp_path)
    assert os.environ["CUPY_CACHE_DIR"] == str(tmp_path)
