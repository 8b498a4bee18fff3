"""bench/cpu.py, on one small cell of each section."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent.parent / "bench"
OURS = ["arraycnn numpy", *(["arraycnn fast"] if find_spec("llvmlite") else [])]
PEERS = {"torch eager": "torch", "torch channels_last": "torch", "jax jit": "jax"}
PEERS |= {"arraycnn torch": "torch"}


def run(*arguments):
    # No commit is named: it might be another one by the time that a run goes on.
    environment = {**os.environ, "GIT_DIR": os.devnull}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def bench(path, *arguments):
    small = ("--nets", "a", "--batches", "16", "--rounds", "1", "--seconds", "0")
    return run(BENCH / "cpu.py", *small, "--out", path, *arguments)


def test_every_section_is_measured_and_shown(tmp_path):
    path = tmp_path / "cpu.json"
    ours = OURS[-1]  # the kernels that a user gets here; the bare pass measures NumPy's
    done = bench(path, "--peers", ours)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    without_torch = [] if find_spec("torch") else ["cold: import torch"]

    assert list(result["errors"]) == without_torch
    assert set(result["sgemm_gflops"]) == {"1", str(result["threads"])}
    assert set(result["images_per_second"]) == {"train a 16", "infer a 1", "infer a 1024"}
    assert len(result["images_per_second"]["train a 16"][ours]) == 1
    assert result["peak_mib"]["a 256"][ours] > 20
    assert "1" in result["threads_images_per_second"]["a 256"][ours]
    assert "4096" in result["batches_images_per_second"]["a"][ours]
    profile = result["profile"]["a 64"][ours]
    kernels = [row["kernel"] for row in profile["rows"]]
    assert {"conv2d_max_pool2d", "conv2d_max_pool2d_backward", "dense_backward"} <= set(kernels)
    assert all(row["microseconds"] > 0 for row in profile["rows"])
    table = run(BENCH / "table.py", path).stdout
    for title in ("Training, ", "Inference, ", "Peak memory ", "From the shell "):
        assert title in table
    for title in ("on several threads", "of several sizes", "training step's time goes"):
        assert title in table
    assert table.strip() in done.stdout

    again = bench(path, "--only", "train", "--batches", "8", "--peers", OURS[0])
    assert again.returncode == 0, again.stderr
    added = json.loads(path.read_text())
    assert set(added["images_per_second"]) == {*result["images_per_second"], "train a 8"}
    assert added["profile"] == result["profile"]
    more = bench(path, "--only", "train", "--batches", "8", "--peers", OURS[-1])
    assert more.returncode == 0, more.stderr
    assert set(json.loads(path.read_text())["images_per_second"]["train a 8"]) == set(OURS)


@pytest.mark.parametrize("package", sorted(set(PEERS.values())))
def test_every_peer_runs_the_same_training(package, tmp_path):
    pytest.importorskip(package, reason=f"{package} is not installed")
    path = tmp_path / "cpu.json"
    peers = ["arraycnn numpy", *(peer for peer, its_own in PEERS.items() if its_own == package)]
    done = bench(path, "--only", "train", "--nets", "b", "--peers", ",".join(peers))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["errors"] == {}
    assert set(result["images_per_second"]["train b 16"]) == set(peers)


def test_a_traced_network_is_trained_and_its_first_step_measured(tmp_path):
    path = tmp_path / "networks.json"
    arguments = ("--only", "train,first", "--nets", "swish", "--batches", "2", "--peers")
    done = bench(path, *arguments, ",".join(OURS))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["errors"] == {}
    assert set(result["images_per_second"]["train swish 2"]) == set(OURS)
    for peer in OURS:
        first = result["first_step"]["swish 2"][peer]
        assert set(first) == {"seconds", "steady", "mib", "trace"}
        assert first["mib"] > 1
        assert first["trace"] > 0
    for title in ("networks that people train", "Until the first step", "How far a process grows"):
        assert title in done.stdout


@pytest.mark.parametrize(
    ("net", "steps"),
    [
        *((net, 3) for net in ("a", "lenet", "norm", "average", "swish", "resnet8", "unet")),
        # Norms of few numbers, one upon another, make rounding large: after a third step PyTorch's
        # own loss in float32 is 0.4 % and 9 % from its loss in float64.
        ("resnet18", 2),
        ("mobilenet", 2),
    ],
)
def test_the_twin_of_a_network_is_that_network(net, steps, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.syspath_prepend(str(BENCH))
    from nets import dataset
    from peers import peers

    images, labels = dataset(net, 8)
    losses, predicted = {}, {}
    for name in ("arraycnn numpy", "torch eager"):
        step, predict = peers(1)[name](net, 4, images, labels)
        losses[name] = [step(1) for _ in range(steps)]
        predicted[name] = predict(images).shape
    assert sorted(predicted["torch eager"]) == sorted(predicted["arraycnn numpy"])
    assert losses["torch eager"] == pytest.approx(losses["arraycnn numpy"], rel=3e-3)


def test_tables_of_networks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    from chart import groups
    from table import cpu_tables

    first = {"seconds": 1.5, "steady": 0.1, "mib": 30.0, "trace": 0.25}
    torch = first | {"seconds": 4.25, "mib": 60.0}
    result = {
        "threads": 2,
        "images_per_second": {
            "train relu 64": {"arraycnn fast": [100.0], "torch eager": [50.0], "jax jit": [10.0]},
            "train swish 64": {"arraycnn fast": [90.0], "torch eager": [60.0], "jax jit": [5.0]},
            "infer swish 1": {"arraycnn fast": [9.0], "torch eager": [6.0], "jax jit": []},
            "train norm 64": {
                "arraycnn torch": [9.0, 8.0, 7.0],
                "arraycnn jax": [3.0],
                "torch eager": [5.0],
                "torch compile": [10.0],
                "jax jit": [4.0],
            },
        },
        "first_step": {
            "swish 64": {"arraycnn fast": first, "torch eager": torch, "jax jit": torch}
        },
    }
    tables = cpu_tables(result).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables]
    swish = "the basic network with a user's activation"
    assert ["the basic network", "64", "100, 2.00x", "", "torch eager 50", "jax jit 10"] in rows
    assert [swish, "64", "90, 1.50x", "", "torch eager 60", "jax jit 5"] in rows
    assert [swish, "1", "9, 1.50x", "", "torch eager 6", ""] in rows
    norm = "the basic network with batch norm"
    by_hand = "8 (7-9), 0.80x", "torch compile 10", "3, 0.75x", "jax jit 4"
    assert [row for row in rows if row[0] == norm] == [[norm, "64", *by_hand]]
    assert ["compiled kernels", "64", "100", "90, 0.90x"] in rows
    assert [swish, "64", "1.50", "4.25", "4.25"] in rows
    assert [swish, "64", "30, 0.50x", "", "torch eager 60", "jax jit 60"] in rows
    assert [swish, "64", "0.25", ""] in rows
    assert groups(result) == []  # the chart is of the two networks in detail


def test_another_training_is_not_timed():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from argparse import Namespace\n"
        "import cpu_rates\n"
        "options = Namespace(seconds=0.0, rounds=1, pythons={})\n"
        "with cpu_rates.Workers({'x': ('arraycnn numpy', 1)}, options) as workers:\n"
        "    workers.losses['a', 16] = 100.0\n"
        "    print(workers.rates('train', 'a', (16,)), workers.errors)\n"
    )
    done = run("-c", code, BENCH)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{} {'x train a 16': \"its loss is 2.")


def test_what_was_measured_elsewhere_is_not_mixed_in(tmp_path):
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps({"device": "another"}))
    done = bench(path, "--only", "machine")
    assert done.returncode == 1
    assert "is of another" in done.stderr
    assert json.loads(path.read_text()) == {"device": "another"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "train,speed"), "got 'speed'"),
        (("--peers", "keras"), "got 'keras'"),
        (("--nets", "c"), "takes of a, b, cifar, lenet, relu, norm, average, swish, resnet8, "),
        (("--pythons", "torch eager"), "got '' for torch eager: no such file"),
    ],
)
def test_bad_options(arguments, message, tmp_path):
    done = bench(tmp_path / "cpu.json", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
