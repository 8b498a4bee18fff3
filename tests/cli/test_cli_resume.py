"""arraycnn train: stopped, resumed, refused, and run into faults, through its entry point."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arraycnn import CuPy, Model, NumPy
from arraycnn.callbacks.time_limit import TimeLimit

ARRAYCNN = Path(sys.executable).parent / "arraycnn"
KILL_SAVES = Path(__file__).parent.parent / "kill_saves.py"
BASE = ("train", "--backend", "numpy", "--network", "scratch", "--limit", "200", "--epochs", "4")
TIMES = ("seconds", "images_per_second")


@pytest.fixture
def stopped(cli, monkeypatch):
    """A run in the folder "run" that its time limit ended after one step."""
    with monkeypatch.context() as patch:
        patch.setattr(TimeLimit, "_look", lambda self: setattr(self, "reached", True) or True)
        patch.setattr("arraycnn.training.loop._MOST_STEPS", 1)
        code, out, _ = cli(*BASE, "--out", "run", "--time-limit", "9", "--save-every", "1")
    assert code == 0
    assert "ended by its time limit after 0 epochs" in out
    return Path("run")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_same(one, other):
    for name in ("last.npz", "best.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    found = [
        [{k: v for k, v in line.items() if k not in TIMES} for line in lines(run / "metrics.jsonl")]
        for run in (one, other)
    ]
    assert found[0] == found[1]


# --- going on -------------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_to_the_same_end(cli, stopped):
    assert cli(*BASE, "--out", "whole")[0] == 0
    assert Model.load("run/last.npz").steps_done == 1
    code, out, errors = cli("train", "--resume", "run")
    assert code == 0
    assert "saved to run" in out
    assert errors[0] == "arraycnn: goes on from epoch 1, step 1 of 6"
    assert [line.split()[:2] for line in errors[1:]] == [["epoch", str(n)] for n in (1, 2, 3, 4)]
    check_same(Path("whole"), stopped)
    names = {"config.json", "metrics.jsonl", "last.npz", "best.npz", "summary.json"}
    assert {path.name for path in stopped.iterdir()} == names


def test_a_finished_run_says_so_and_changes_nothing(cli):
    cli(*BASE, "--out", "run")
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    code, out, errors = cli("train", "--resume", "run")
    assert code == 0
    assert errors == [
        "arraycnn: run folder run: is finished; --epochs N --override would train it further"
    ]
    assert "test accuracy" in out
    code, out, _ = cli("train", "--resume", "run", "--json")
    value = json.loads(out)
    assert (code, len(value["history"]), value["ended_by"]) == (0, 4, "epochs")
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_run_killed_before_its_summary_is_measured_when_resumed(cli):
    cli(*BASE, "--out", "run")
    summary = json.loads(Path("run/summary.json").read_text())
    Path("run/summary.json").unlink()
    content = Path("run/last.npz").read_bytes()
    code, _, errors = cli("train", "--resume", "run")
    assert (code, errors) == (0, ["arraycnn: goes on from the end of epoch 4"])
    assert json.loads(Path("run/summary.json").read_text())["test_loss"] == summary["test_loss"]
    assert Path("run/last.npz").read_bytes() == content
    assert len(lines(Path("run/metrics.jsonl"))) == 4


def test_a_run_killed_before_its_first_save_begins_when_resumed(cli):
    cli(*BASE, "--out", "whole")
    Path("run").mkdir()
    shutil.copy("whole/config.json", "run")
    code, _, errors = cli("train", "--resume", "run")
    assert (code, errors[0]) == (0, "arraycnn: run folder run: holds no save yet, begins anew")
    check_same(Path("whole"), Path("run"))


def test_a_run_goes_on_on_another_backend(cli, stopped):
    pytest.importorskip("torch")
    assert cli("train", "--resume", "run", "--backend", "torch")[0] == 0
    assert [line["backend"] for line in lines(stopped / "metrics.jsonl")] == ["torch"] * 4
    assert json.loads((stopped / "config.json").read_text())["backend"] == "torch"


# --- other settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--epochs", "5"), "--epochs was 4, got 5"),
        (("--batch-size", "16"), "--batch-size was 32, got 16"),
        (("--learning-rate", "0.1"), "--learning-rate was 0.003, got 0.1"),
        (("--optimizer", "sgd"), "--optimizer was adamw, got sgd"),
        (("--schedule", "cosine"), "--schedule was one-cycle, got cosine"),
        (("--monitor", "validation_accuracy"), "--monitor was validation_loss, got"),
        (("--patience", "3"), "--patience was None, got 3"),
        (("--limit", "100"), "--limit was 200, got 100"),
        (("--validation", "0.5"), "--validation was 0.08"),
    ],
)
def test_other_settings_are_refused_by_name_or_overridden(change, said, cli, stopped):
    before = {path: path.read_bytes() for path in stopped.iterdir()}
    code, _, errors = cli("train", "--resume", "run", *change)
    assert (code, len(errors)) == (2, 1)
    assert said in errors[0]
    assert errors[0].endswith("leave that out, or add --override")
    assert {path: path.read_bytes() for path in stopped.iterdir()} == before
    code, _, errors = cli("train", "--resume", "run", *change, "--override")
    assert code == 0, errors
    # and from now on it is the run's own
    code, _, errors = cli("train", "--resume", "run", *change)
    assert (code, "is finished" in errors[0]) == (0, True)


@pytest.mark.parametrize("change", [("--network", "basic"), ("--seed", "1")])
def test_what_a_model_is_made_of_cannot_be_overridden(change, cli, stopped):
    code, _, errors = cli("train", "--resume", "run", *change, "--override")
    assert code == 2
    assert f"{change[0]} was" in errors[0]
    assert "cannot change within a run" in errors[0]


def test_the_same_settings_may_be_given_again(cli, stopped):
    assert cli(*BASE, "--resume", "run", "--save-every", "3")[0] == 0


def test_pictures_of_ones_own_keep_the_size_they_were_stretched_to(cli):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 8), np.uint8)
    for number, picture in enumerate(pixels):
        folder = Path("pets", "cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    settings = ("--dataset", "pets", "--image-size", "7x6", "--network", "scratch", "--epochs", "1")
    code, _, errors = cli("train", *settings, "--backend", "numpy", "--out", "run")
    assert code == 0, errors
    code, _, errors = cli("train", "--resume", "run")
    assert code == 0, errors
    assert "is finished" in errors[-1]
    code, _, errors = cli("train", "--resume", "run", "--image-size", "7x7")
    assert (code, len(errors)) == (2, 1)
    assert "--image-size was 7x6, got 7x7" in errors[0]


def test_other_data_is_noticed(cli, stopped):
    config = json.loads((stopped / "config.json").read_text())
    config["data_sha256"] = "0" * 64
    (stopped / "config.json").write_text(json.dumps(config))
    code, _, errors = cli("train", "--resume", "run")
    assert code == 2
    assert "the data was 0000" in errors[0]


def test_more_epochs_go_on_from_a_finished_run(cli):
    settings = (*BASE, "--schedule", "constant")
    cli(*settings, "--out", "whole", "--epochs", "6")
    cli(*settings, "--out", "run")
    code, _, errors = cli("train", "--resume", "run", "--epochs", "6", "--override")
    assert code == 0
    assert errors[0] == "arraycnn: goes on from the end of epoch 4"
    assert len(errors) == 3  # and of the two epochs that were added
    check_same(Path("whole"), Path("run"))


def test_files_of_another_run_are_noticed(cli, stopped):
    cli(*BASE, "--network", "lenet5", "--dataset", "digits", "--out", "other")
    cli("train", "--backend", "numpy", "--limit", "200", "--epochs", "1", "--out", "basic")
    shutil.copy("basic/last.npz", "run/last.npz")
    code, _, errors = cli("train", "--resume", "run")
    assert code == 2
    assert "restore the file that belongs there" in errors[0]
    cli(*BASE, "--optimizer", "sgd", "--out", "sgd")
    shutil.copy("sgd/last.npz", "run/last.npz")
    code, _, errors = cli("train", "--resume", "run")
    assert code == 2
    assert len(errors) == 1
    assert "optimizer was SGD(learning_rate=OneCycle" in errors[0]
    shutil.copy("sgd/best.npz", "run/last.npz")
    code, _, errors = cli("train", "--resume", "run")
    assert code == 2
    assert "holds a model and no training to resume" in errors[0]


def test_mistakes_are_one_line_and_exit_code_2(cli, stopped):
    Path("half").mkdir()
    Path("half/config.json").write_text("{")
    Path("strange").mkdir()
    Path("strange/config.json").write_text('{"epochs": "many"}')
    table = [
        (("--resume", "absent"), "holds no run"),
        (("--resume", "half"), "config.json is damaged"),
        (("--resume", "strange"), "'many' is not a valid integer"),
        (("--resume", "run", "--out", "new"), "exclude each other"),
        (("--override",), "--override needs --resume"),
        (("--patience", "3", "--validation", "0"), "--patience needs images to watch"),
        (("--save-every", "0"), "0 is not in the range"),
        (("--time-limit", "0"), "must be above 0"),
        (("--time-limit", "nan"), "must be finite"),
        (("--monitor", "test_accuracy"), "must be one of validation_loss, validation_accuracy"),
    ]
    for arguments, said in table:
        code, out, errors = cli("train", *arguments)
        assert (code, out, len(errors)) == (2, "", 1), (arguments, errors)
        assert said in errors[0]
    data = bytearray((stopped / "last.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (stopped / "last.npz").write_bytes(data)
    code, _, errors = cli("train", "--resume", "run")
    assert (code, len(errors)) == (2, 1)
    assert "its bytes have changed" in errors[0]


# --- ending early ---------------------------------------------------------------------------------


def test_patience_ends_a_run_for_good_unless_it_is_overridden(cli):
    settings = ("--optimizer", "sgd", "--schedule", "constant", "--learning-rate", "1.5")
    code, out, _ = cli(*BASE, *settings, "--epochs", "50", "--patience", "2", "--out", "run")
    assert code == 0
    records = lines(Path("run/metrics.jsonl"))
    summary = json.loads(Path("run/summary.json").read_text())
    best = int(np.argmin([record["validation_loss"] for record in records])) + 1
    assert len(records) == best + 2 < 50
    assert (summary["ended_by"], summary["best"]["epoch"]) == ("patience", best)
    assert Model.load("run/best.npz").epochs_done == best
    assert f"best epoch {best} by validation loss" in out
    assert f"ended by its patience after {best + 2} epochs" in out
    code, _, errors = cli("train", "--resume", "run")
    assert "is finished" in errors[0]
    cli("train", "--resume", "run", "--patience", "3", "--override")
    assert len(lines(Path("run/metrics.jsonl"))) > best + 2


def test_without_validation_there_is_no_best(cli):
    code, _, _ = cli(*BASE, "--validation", "0", "--out", "run")
    assert code == 0
    assert not Path("run/best.npz").exists()
    assert json.loads(Path("run/summary.json").read_text())["best"] is None


def test_all_logs_can_be_written(cli):
    pytest.importorskip("tensorboardX")
    code, _, errors = cli(*BASE, "--csv", "--log-steps", "--tensorboard", "--out", "run")
    assert code == 0, errors
    assert len(Path("run/metrics.csv").read_text().splitlines()) == 5
    assert len(lines(Path("run/steps.jsonl"))) == 4 * 6
    assert list(Path("run/tensorboard").iterdir())


# --- signals --------------------------------------------------------------------------------------


def start(tmp_path, *arguments):
    """A long run in a process of its own, once its first lines are written."""
    command = [ARRAYCNN, "train", "--backend", "numpy", "--epochs", "400", "--out", "run"]
    process = subprocess.Popen(
        [*command, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and lines(metrics)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_sets_the_exit_code(number, code, tmp_path):
    process = start(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "arraycnn train --resume run goes on" in errors.splitlines()[-1]
    model, training = Model.load_training(tmp_path / "run" / "last.npz")
    records = lines(tmp_path / "run" / "metrics.jsonl")
    assert model.epochs_done == len(records) == len(training.records) > 0
    assert not list((tmp_path / "run").glob(".*"))
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    process = start(tmp_path)
    command = [ARRAYCNN, "train", "--resume", "run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    process.kill()
    process.communicate()
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"run folder run: is in use by process {process.pid}" in line


def before_each_chunk(monkeypatch, act):
    """Call ``act`` with the chunk's number, from 1, before a training on NumPy runs its steps."""
    make_plan = NumPy.training_plan

    def plan_that_acts(self, task, carry):
        plan, numbers = make_plan(self, task, carry), itertools.count(1)
        run = plan.run

        def acting(*arguments):
            act(next(numbers))
            return run(*arguments)

        plan.run = acting
        return plan

    monkeypatch.setattr(NumPy, "training_plan", plan_that_acts)


def test_a_second_signal_ends_the_command_at_once(cli, monkeypatch):
    """Injected: both signals come while one step runs."""

    def interrupt(number):
        if number == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before_each_chunk(monkeypatch, interrupt)
    code, _, _ = cli(*BASE, "--save-every", "1", "--out", "run")
    assert code == 130
    assert Model.load("run/last.npz").steps_done == 2


# --- faults of disk and folder --------------------------------------------------------------------


SMALL = ("--network", "scratch", "--limit", "200", "--epochs", "60", "--log-steps")


# In the new process itself: a fork that runs Python here would upset libraries with threads.
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
# Let the permissions of files hold for root, too: PR_CAPBSET_DROP, CAP_DAC_OVERRIDE.
NO_PRIVILEGES = """
import ctypes, os
if os.geteuid() == 0:
    assert ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) == 0
"""


def other_process(tmp_path, prepare, *arguments):
    script = f"{prepare}\nimport os, sys\nos.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", script, ARRAYCNN, "train", "--backend", "numpy", *arguments]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )


def errors_of(said):
    """The command's own lines, but for what it says where kernels take long to compile."""
    lines = [line for line in said.splitlines() if line.startswith("arraycnn: ")]
    return [line for line in lines if "compiling kernels for this machine" not in line]


def check_rescued(cli, tmp_path, whole_settings):
    """The folder that was written elsewhere goes on to the end of a run that met no fault."""
    assert cli("train", "--resume", "run-rescued")[0] == 0
    assert cli("train", "--backend", "numpy", *whole_settings, "--out", "whole")[0] == 0
    check_same(tmp_path / "whole", tmp_path / "run-rescued")
    steps = [lines(tmp_path / name / "steps.jsonl") for name in ("whole", "run-rescued")]
    assert steps[0] == steps[1]


def test_a_file_that_may_not_grow_loses_nothing(cli, tmp_path):
    """For real: the system refuses to let a file of the process grow above a limit."""
    settings = (*SMALL, "--batch-size", "16")  # the lines of steps grow faster than what is saved
    result = other_process(tmp_path, SMALL_FILES, *settings, "--out", "run")
    assert result.returncode == 2
    rescued, error = errors_of(result.stderr)
    assert "the training so far is in run-rescued" in rescued
    assert error == (
        "arraycnn: run folder run: cannot be written (File too large); check folder and disk"
    )
    assert "Traceback" not in result.stderr
    check_rescued(cli, tmp_path, settings)
    # and what was saved in the run folder is whole
    assert cli("train", "--resume", "run")[0] == 0
    check_same(tmp_path / "whole", tmp_path / "run")


def test_a_full_disk_loses_nothing(cli, tmp_path):
    """For real: a file system of 60 kB, which this process alone sees."""
    (tmp_path / "small").mkdir()
    command = [str(ARRAYCNN), "train", "--backend", "numpy", *SMALL, "--out", "small/run"]
    # What is on that disk is gone with the process: it is copied out.
    mount = "mount -t tmpfs -o size=60k none small"
    script = mount + ' && { "$@"; code=$?; cp -r small/. kept; exit $code; }'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    (tmp_path / "kept").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    try:
        probe = subprocess.run(
            [*unshare, "sh", "-c", mount],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("this machine has no unshare: nothing can be mounted for one process")
    if probe.returncode:
        pytest.skip(f"this machine lets nobody mount: {probe.stderr.decode().strip()}")
    result = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    rescued, error = errors_of(result.stderr)
    assert f"the training so far is in {tmp_path}/run-rescued" in rescued
    assert "small/run" in error
    assert "No space left on device" in error
    check_rescued(cli, tmp_path, SMALL)
    assert cli("train", "--resume", "kept/run")[0] == 0
    check_same(tmp_path / "whole", tmp_path / "kept" / "run")


def test_a_read_only_folder_is_one_clear_error(cli, stopped, tmp_path):
    """For real."""
    content = {path: path.read_bytes() for path in stopped.iterdir()}
    (tmp_path / "parent").mkdir()
    for folder in ("parent", "run"):
        (tmp_path / folder).chmod(0o555)
    try:
        table = [
            (("--out", "parent/run"), "run folder parent/run: cannot be written (Permission"),
            (("--resume", "run"), "run folder run: cannot be written (Permission denied)"),
        ]
        for arguments, said in table:
            result = other_process(tmp_path, NO_PRIVILEGES, *arguments)
            assert result.returncode == 2
            (error,) = [line for line in errors_of(result.stderr) if "NumPy, because" not in line]
            assert said in error
    finally:
        for folder in ("parent", "run"):
            (tmp_path / folder).chmod(0o755)
    assert {path: path.read_bytes() for path in stopped.iterdir()} == content


def test_a_run_folder_that_is_deleted_while_it_trains_loses_nothing(cli, tmp_path):
    """For real."""
    process = start(tmp_path, "--network", "scratch", "--log-steps")
    while (tmp_path / "run").exists():  # the run may write a file between two steps of this
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    rescued, error = errors_of(errors)
    assert "the training so far is in run-rescued" in rescued
    assert "run" in error
    assert "No such file or directory" in error
    assert not (tmp_path / "run").exists()
    model, training = Model.load_training(tmp_path / "run-rescued" / "last.npz")
    assert model.epochs_done == len(lines(tmp_path / "run-rescued" / "metrics.jsonl")) > 0
    settings = ("--epochs", str(model.epochs_done + 1), "--override")
    assert cli("train", "--resume", "run-rescued", *settings)[0] == 0
    assert training.step <= training.course.steps


def test_a_training_that_can_be_saved_nowhere_keeps_its_last_save(cli, monkeypatch):
    """Injected: every write fails from some moment on."""
    write, calls = os.write, []

    def full(descriptor, content):
        calls.append(None)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        code, _, errors = cli(*BASE, "--save-every", "1", "--log-steps", "--out", "run")
    assert code == 2
    *_, rescued, error = errors
    assert "could be saved nowhere else; run/last.npz holds its last save" in rescued
    assert "No space left on device" in error
    assert {path.name for path in Path().iterdir()} == {"run"}
    assert cli("train", "--resume", "run")[0] == 0
    assert cli(*BASE, "--log-steps", "--out", "whole")[0] == 0
    check_same(Path("whole"), Path("run"))


def failing_at(number, error, monkeypatch):
    """Injected: from the training's chunk ``number`` on, every one of them raises ``error``."""

    def fail(chunk):
        if chunk >= number:
            raise error

    before_each_chunk(monkeypatch, fail)


def test_memory_that_runs_out_within_a_training_loses_nothing(cli, monkeypatch):
    """Injected."""
    with monkeypatch.context() as patch:
        patch.setattr("arraycnn.training.loop._MOST_STEPS", 1)
        failing_at(3, MemoryError(), patch)
        code, _, errors = cli(*BASE, "--log-steps", "--out", "run")
    assert code == 2
    goes_on, error = errors
    assert "--override goes on from the last save" in goes_on
    assert "training: out of memory with batches of 32 images" in error
    assert Model.load("run/last.npz").steps_done == 2
    assert cli("train", "--resume", "run")[0] == 0
    assert cli(*BASE, "--log-steps", "--out", "whole")[0] == 0
    check_same(Path("whole"), Path("run"))


def test_a_device_that_disappears_leaves_the_last_save(cli, monkeypatch):
    """Injected, with CUDA's own words."""
    with monkeypatch.context() as patch:
        patch.setattr(NumPy, "is_lost", CuPy.is_lost)
        failing_at(5, RuntimeError("cudaErrorUnknown: unknown error"), patch)
        code, _, errors = cli(*BASE, "--save-every", "1", "--log-steps", "--out", "run")
    assert code == 2
    goes_on, error = errors
    assert goes_on == "arraycnn: arraycnn train --resume run goes on from the last save"
    assert "the device does not answer any more (cudaErrorUnknown: unknown error)" in error
    assert Model.load("run/last.npz").steps_done == 4
    assert cli("train", "--resume", "run")[0] == 0
    assert cli(*BASE, "--log-steps", "--out", "whole")[0] == 0
    check_same(Path("whole"), Path("run"))


def test_clocks_that_jump_change_nothing(cli, monkeypatch):
    """Injected: each look at a clock finds it hours before or after the last one."""
    settings = (*BASE, "--time-limit", "1000", "--patience", "9", "--csv", "--log-steps")
    assert cli(*settings, "--out", "whole")[0] == 0
    jumps = itertools.cycle([3.6e4, -7.2e4, 1.0, 9e5, -8e5])
    with monkeypatch.context() as patch:
        for name in ("time", "perf_counter"):
            patch.setattr(time, name, lambda: 1e6 + next(jumps))
        assert cli(*settings, "--out", "run")[0] == 0
    check_same(Path("whole"), Path("run"))
    for line in lines(Path("run/metrics.jsonl")):
        assert line["seconds"] >= 0
        assert line["images_per_second"] >= 0


def test_a_sample_of_the_moments_at_which_a_run_can_be_stopped():
    """A sample of what ``python tests/kill_saves.py`` tries whole."""
    result = subprocess.run(
        [sys.executable, KILL_SAVES, "--quick"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    counts = [line.split()[:4] for line in result.stdout.splitlines()[1:]]
    assert [count[0] for count in counts] == ["calls", "power", "full", "moments"]
    for _, stopped, _, same in counts:
        assert int(stopped) == int(same) >= 2
