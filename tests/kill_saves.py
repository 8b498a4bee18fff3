"""Stop a run at every moment of its saves, and see that it goes on to the same end.

    python tests/kill_saves.py            # all, some minutes
    python tests/kill_saves.py --quick    # a sample

Four ways to be stopped, each followed by ``--resume``, whose end is compared with that of a run
never stopped: last.npz and best.npz byte for byte, the logs line by line but for their times.

calls    killed before every open, write, fsync, rename and removal that the run makes in its
         folder, and in the middle of every write
power    the folder as a disk may hold it when the power fails at such a call: writes that were
         not synced dropped, or torn, and names that were not synced dropped or kept
full     from such a call on, the disk is full; the command must end with one line and exit code 2
moments  a process of its own, killed with SIGKILL at a random moment
"""

import argparse
import csv
import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from arraycnn.cli import main

TIMES = ("seconds", "images_per_second")
SETTINGS = (
    *("--backend", "numpy", "--network", "scratch", "--optimizer", "momentum", "--epochs", "3"),
    *("--limit", "150", "--save-every", "2", "--log-steps", "--csv"),
)
# Long enough to be hit at any moment.
LONG = ("--backend", "numpy", "--epochs", "12", "--save-every", "7", "--log-steps", "--csv")


# --- a run, and what it ends with -----------------------------------------------------------------


def arraycnn(*arguments: object, prepare: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Run the command line in a child of this process: (exit code, what it wrote to stderr)."""
    with tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if child == 0:
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(errors.fileno(), 2)
                sys.argv = ["arraycnn", *map(str, arguments)]
                prepare()
                main()
            except SystemExit as end:
                sys.stderr.flush()
                os._exit(end.code if isinstance(end.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(99)
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(status), errors.read()


def outcome(folder: Path) -> dict[str, object]:
    """All that a finished run must have in common with one that was never stopped."""
    found: dict[str, object] = {"names": sorted(path.name for path in folder.iterdir())}
    for name in ("last.npz", "best.npz"):
        found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for name in ("metrics.jsonl", "steps.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        found[name] = [{k: v for k, v in line.items() if k not in TIMES} for line in lines]
    rows = csv.DictReader(io.StringIO((folder / "metrics.csv").read_text()))
    found["metrics.csv"] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    summary = json.loads((folder / "summary.json").read_text())
    found["summary.json"] = {k: summary[k] for k in ("test_loss", "best", "epochs", "ended_by")}
    return found


@dataclass
class Count:
    """How often a run was stopped in one way, and went on to the same end."""

    title: str
    stopped: int = 0
    same: int = 0
    before: int = 0
    """Of those: stopped before there was a run to resume, and begun again."""
    faults: list[str] = field(default_factory=list)

    def check(self, what: str, folder: Path, expected: dict[str, object], settings: tuple) -> None:
        """Resume the run in ``folder``, or begin it where it had not begun, and compare."""
        self.stopped += 1
        begun = (folder / "config.json").exists()
        self.before += not begun
        command = ("--resume", folder) if begun else (*settings, "--out", folder)
        code, errors = arraycnn("train", *command)
        if code != 0:
            self.faults.append(f"{what}: exit code {code}: {errors.strip()[-300:]}")
            return
        found = outcome(folder)
        differing = [name for name in expected if found[name] != expected[name]]
        if differing:
            self.faults.append(f"{what}: another {', '.join(differing)}")
        self.same += not differing

    def show(self) -> None:
        print(f"{self.title:<10}{self.stopped:5d} stops {self.same:5d} with the same end ", end="")
        print(f"({self.before} before the run had begun)", flush=True)
        for fault in self.faults:
            print(f"    {fault}")


# --- watching a run's calls -----------------------------------------------------------------------


@dataclass
class Call:
    """One call of ``os`` on a file of the folder; names are relative to it, "" is the folder."""

    kind: str
    name: str
    target: str = ""
    content: bytes = b""
    flags: int = 0


class Watch:
    """Lets ``react`` look at each call on the folder before it is made, or cut a write short."""

    def __init__(self, folder: Path, react: Callable[[int, Call], int | None]) -> None:
        self.folder = folder.resolve()
        self.react = react
        self.calls = 0
        self.names: dict[int, str] = {}

    def install(self) -> None:
        real = {
            name: getattr(os, name) for name in ("open", "write", "fsync", "close", "ftruncate")
        }
        real |= {name: getattr(os, name) for name in ("replace", "unlink")}

        def seen(call: Call) -> int | None:
            self.calls += 1
            return self.react(self.calls - 1, call)

        def watched_open(path, flags, *rest, **more):
            name = self.relative(path)
            if name is not None:
                seen(Call("open", name, flags=flags))
            descriptor = real["open"](path, flags, *rest, **more)
            if name is not None:
                self.names[descriptor] = name
            return descriptor

        def watched_write(descriptor, content):
            if descriptor in self.names:
                length = seen(Call("write", self.names[descriptor], content=bytes(content)))
                if length is not None:
                    real["write"](descriptor, bytes(content)[:length])
                    os.kill(os.getpid(), signal.SIGKILL)
            return real["write"](descriptor, content)

        def watched_fsync(descriptor):
            if descriptor in self.names:
                seen(Call("fsync", self.names[descriptor]))
            real["fsync"](descriptor)

        def watched_ftruncate(descriptor, length):
            if descriptor in self.names:
                seen(Call("truncate", self.names[descriptor], content=bytes(length)))
            real["ftruncate"](descriptor, length)

        def watched_close(descriptor):
            self.names.pop(descriptor, None)
            real["close"](descriptor)

        def watched_replace(source, target):
            if self.relative(source) is not None:
                seen(Call("replace", self.relative(source), self.relative(target)))
            real["replace"](source, target)

        def watched_unlink(path, **more):
            if not more and self.relative(path) is not None:
                seen(Call("unlink", self.relative(path)))
            real["unlink"](path, **more)

        os.open, os.write, os.fsync, os.close = (
            watched_open,
            watched_write,
            watched_fsync,
            watched_close,
        )
        os.ftruncate, os.replace, os.unlink = watched_ftruncate, watched_replace, watched_unlink

    def relative(self, path: object) -> str | None:
        try:
            name = os.path.relpath(os.fspath(path), self.folder)
        except TypeError:
            return None
        return None if name.startswith("..") else "" if name == "." else name


def recorded(folder: Path) -> list[Call]:
    """The calls of a run that is not stopped."""
    with tempfile.TemporaryFile() as log:

        def note(number: int, call: Call) -> None:
            fields = (call.kind, call.name, call.target, call.content.hex(), call.flags)
            log.write((json.dumps(fields) + "\n").encode())
            log.flush()

        code, errors = arraycnn(
            "train", *SETTINGS, "--out", folder, prepare=Watch(folder, note).install
        )
        assert code == 0, errors
        log.seek(0)
        rows = [json.loads(line) for line in log]
    return [
        Call(kind, name, to, bytes.fromhex(data), flags) for kind, name, to, data, flags in rows
    ]


# --- the four ways --------------------------------------------------------------------------------


def at_every_call(work: Path, calls: list[Call], expected: dict, sample: int) -> Count:
    count = Count("calls")
    for number, call in list(enumerate(calls))[::sample]:
        for half in (False, True) if call.kind == "write" else (False,):

            def stop(at: int, seen: Call, number: int = number, half: bool = half) -> int | None:
                if at != number:
                    return None
                if half:
                    return len(seen.content) // 2
                os.kill(os.getpid(), signal.SIGKILL)
                return None

            folder = work / f"call{number}{'half' if half else ''}"
            prepare = Watch(folder, stop).install
            code, errors = arraycnn("train", *SETTINGS, "--out", folder, prepare=prepare)
            what = f"call {number}, {'in' if half else 'before'} {call.kind} of {call.name!r}"
            if code != -signal.SIGKILL:
                count.faults.append(f"{what}: was not killed: {code} {errors}")
            count.check(what, folder, expected, SETTINGS)
            shutil.rmtree(folder)
    return count


@dataclass
class Inode:
    """A file's bytes as the process sees them, and as the last fsync left them on the disk."""

    now: bytes = b""
    synced: bytes = b""


def disks(calls: list[Call]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """What the folder may hold after a power failure before each call: (what, bytes by name)."""
    names: dict[str, Inode] = {}
    synced_names: dict[str, Inode] = {}
    for number, call in enumerate([*calls, Call("end", "")]):
        kept = {
            "unsynced writes and names dropped": {n: i.synced for n, i in synced_names.items()},
            "unsynced writes dropped, names kept": {n: i.synced for n, i in names.items()},
            "unsynced writes torn, names kept": {n: torn(i) for n, i in names.items()},
            "unsynced names dropped, writes kept": {n: i.now for n, i in synced_names.items()},
        }
        for what, files in kept.items():
            yield f"power off before call {number} ({call.kind} of {call.name!r}), {what}", files
        if call.kind == "open" and call.name:
            if call.flags & os.O_CREAT:
                names.setdefault(call.name, Inode())
            if call.flags & os.O_TRUNC:
                names[call.name].now = b""
        elif call.kind == "write":
            names[call.name].now += call.content  # appended, or the first write to a file
        elif call.kind == "truncate":
            names[call.name].now = names[call.name].now[: len(call.content)]
        elif call.kind == "fsync" and call.name:
            names[call.name].synced = names[call.name].now
        elif call.kind == "fsync":
            synced_names = dict(names)
        elif call.kind == "replace":
            names[call.target] = names.pop(call.name)
        elif call.kind == "unlink":
            del names[call.name]


def torn(inode: Inode) -> bytes:
    if not inode.now.startswith(inode.synced):
        return inode.synced
    return inode.now[: (len(inode.synced) + len(inode.now) + 1) // 2]


def at_every_power_failure(work: Path, calls: list[Call], expected: dict, sample: int) -> Count:
    count = Count("power")
    seen: set[str] = set()
    states = []
    for what, files in disks(calls):
        key = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        if key not in seen:
            seen.add(key)
            states.append((what, files))
    for what, files in states[::sample]:
        folder = work / "power"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        count.check(what, folder, expected, SETTINGS)
        shutil.rmtree(folder)
    return count


def when_full(work: Path, calls: list[Call], expected: dict, sample: int) -> Count:
    count = Count("full")
    for number, call in list(enumerate(calls))[::sample]:
        if call.kind not in ("open", "write", "fsync", "replace"):
            continue

        def fail(at: int, seen: Call, number: int = number) -> None:
            grows = seen.kind in ("write", "replace") or seen.flags & os.O_CREAT
            if at == number or (at > number and grows):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        folder = work / f"full{number}"
        prepare = Watch(folder, fail).install
        code, errors = arraycnn("train", *SETTINGS, "--out", folder, prepare=prepare)
        what = f"full from call {number} on ({call.kind} of {call.name!r})"
        said = [line for line in errors.splitlines() if "No space left on device" in line]
        if call.name == ".lock" and call.kind == "write" and code == 0:
            pass
        elif code != 2 or len(said) != 1 or "Traceback" in errors:
            count.faults.append(f"{what}: exit code {code}: {errors}")
        for rescued in work.glob(f"{folder.name}-rescued*"):
            count.check(f"{what}, rescued", rescued, expected, SETTINGS)
            shutil.rmtree(rescued)
        count.check(what, folder, expected, SETTINGS)
        shutil.rmtree(folder, ignore_errors=True)
    return count


def at_random_moments(work: Path, times: int, seed: int) -> Count:
    count = Count("moments")
    command = [sys.executable, "-m", "arraycnn", "train", *LONG, "--out"]
    began = time.monotonic()
    subprocess.run([*command, work / "whole"], check=True, capture_output=True)
    seconds = time.monotonic() - began
    expected = outcome(work / "whole")
    draw = random.Random(seed)
    for number in range(times):
        folder = work / f"moment{number}"
        process = subprocess.Popen([*command, folder], stdout=-3, stderr=-3)
        while not folder.exists() and process.poll() is None:
            time.sleep(0.001)
        moment = draw.uniform(0.0, 0.7 * seconds)
        time.sleep(moment)
        process.kill()
        process.wait()
        count.check(f"killed {moment:.3f} s after its folder was made", folder, expected, LONG)
        shutil.rmtree(folder)
    return count


def load_kernels(folder: Path) -> None:
    """Train once in this process: its children begin with what they would load for a second each."""
    sys.argv = ["arraycnn", "train", *SETTINGS, "--out", str(folder)]
    silent = io.StringIO()
    with suppress(SystemExit), redirect_stdout(silent), redirect_stderr(silent):
        main()


def run_all() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a sample, in a few seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        load_kernels(work / "first")
        calls = recorded(work / "whole")
        expected = outcome(work / "whole")
        shutil.rmtree(work / "whole")
        print(f"a run makes {len(calls)} calls in its folder", flush=True)
        sample = 37 if chosen.quick else 1
        counts = []
        for way in (at_every_call, at_every_power_failure, when_full):
            counts.append(way(work, calls, expected, sample))
            counts[-1].show()
        counts.append(at_random_moments(work, 2 if chosen.quick else 20, chosen.seed))
        counts[-1].show()
    raise SystemExit(any(count.faults for count in counts))


if __name__ == "__main__":
    run_all()
