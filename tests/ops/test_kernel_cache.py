"""Where compiled kernels are kept: on machines that let us write nowhere, and safe from others."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import arraycnn

SOURCE = Path(arraycnn.__file__).parent
PROGRAM = """
import logging, arraycnn, numpy as np
logging.basicConfig(format="%(message)s")
from arraycnn.backends import get_backend
from arraycnn.ops import Window
backend = get_backend("numpy")
backend.check()
window = Window((2, 2), (2, 2))
dy, winners = np.ones((1, 1, 1, 2), np.float32), np.zeros((1, 1, 1, 2), np.uint8)
dx = backend.kernels.max_pool2d_backward(dy, winners, (1, 2, 2, 2), window, "first")
print(dx.sum(), arraycnn.__file__)
"""


@pytest.fixture(autouse=True)
def llvmlite():
    return pytest.importorskip("llvmlite", reason="llvmlite is not installed")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package where nothing can be written: root, too, cannot make a folder of a file."""
    pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    folder = tmp_path_factory.mktemp("read-only")
    shutil.copytree(SOURCE, folder / "arraycnn", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "arraycnn" / "ops" / "compiled" / "__pycache__").touch()
    return folder


def start(package, cwd, **changes):
    """A process without a home that computes with one kernel: (standard output, lines of errors)."""
    nowhere = str(package / "arraycnn" / "__init__.py")
    environment = {**os.environ, "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    environment |= {"PYTHONPATH": str(package), "TMPDIR": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("ARRAYCNN_KERNELS", "NUMBA_CACHE_DIR"):
        environment.pop(name, None)
    for name, value in changes.items():
        environment.pop(name) if value is None else environment.update({name: str(value)})
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.stdout == f"2.0 {package / 'arraycnn' / '__init__.py'}\n", result.stderr
    return result.stderr.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="folders of others are a matter of POSIX")
def test_without_a_home_kernels_are_kept_in_a_private_temporary_folder(package, tmp_path):
    (line,) = start(package, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"arraycnn-{os.getuid()}"
    assert f"are kept in {folder}" in line
    assert "set ARRAYCNN_KERNELS" in line
    assert folder.stat().st_mode & 0o777 == 0o700
    kept = {file: file.stat().st_mtime_ns for file in folder.rglob("*.kernel")}
    assert len(kept) == 2  # code of the kernel, and of what runs it
    start(package, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.kernel")} == kept


@pytest.mark.skipif(os.name == "nt", reason="folders of others are a matter of POSIX")
def test_where_that_folder_is_not_ours_nothing_is_kept_and_nothing_in_it_is_run(package, tmp_path):
    folder = tmp_path / f"arraycnn-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    (line,) = start(package, tmp_path)
    assert "compiled anew in each run; set ARRAYCNN_KERNELS" in line
    assert not list(folder.iterdir())
    # The remedy, taken literally.
    assert start(package, tmp_path, ARRAYCNN_KERNELS=tmp_path / "mine") == []
    assert list((tmp_path / "mine" / "kernels").glob("*.kernel"))


@pytest.mark.parametrize(
    ("own", "earlier", "folder"),
    [("mine", "", "mine"), ("", "its", "its/arraycnn"), ("mine", "its", "mine")],
)
def test_the_folder_is_the_users_choice(own, earlier, folder, tmp_path, monkeypatch):
    from arraycnn.ops.compiled.caching import cache_folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARRAYCNN_KERNELS", own)
    monkeypatch.setenv("NUMBA_CACHE_DIR", earlier)
    assert cache_folder.__wrapped__() == tmp_path / folder
    assert (tmp_path / folder).is_dir()


def test_an_account_without_a_home_gets_no_folder_called_tilde(package, tmp_path, monkeypatch):
    from arraycnn.ops.compiled.caching import users_root

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it is without a home
    assert users_root() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification has ignored
    assert users_root() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert users_root() == tmp_path / "arraycnn" / "kernels"


def open_to_all(path):
    path.mkdir(parents=True)
    path.chmod(0o777)


def open_to_the_group(path):
    path.mkdir(parents=True)
    path.chmod(0o770)


def a_link(path):
    (path.parent / "elsewhere").mkdir(parents=True)
    path.symlink_to(path.parent / "elsewhere")


def a_file(path):
    path.parent.mkdir(parents=True)
    path.touch()


def in_a_folder_open_to_all(path):
    open_to_all(path.parent)


def beneath_a_folder_open_to_all(path):
    open_to_all(path.parent.parent)


@pytest.mark.skipif(os.name == "nt", reason="folders of others are a matter of POSIX")
@pytest.mark.parametrize(
    "prepare",
    [
        *(open_to_all, open_to_the_group, a_link, a_file),
        *(in_a_folder_open_to_all, beneath_a_folder_open_to_all),
    ],
)
def test_what_others_could_have_written_is_refused(prepare, tmp_path):
    from arraycnn.ops.compiled.caching import make_private

    folder = tmp_path / "one" / "two" / "kernels"
    prepare(folder)
    with pytest.raises(OSError, match=r"alone|another folder|exists"):
        make_private(folder)


@pytest.mark.skipif(os.name == "nt", reason="folders of others are a matter of POSIX")
def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    from arraycnn.ops.compiled.caching import make_private

    make_private(tmp_path / "mine")
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    with pytest.raises(PermissionError, match="this user's alone"):
        make_private(tmp_path / "mine")


@pytest.mark.skipif(os.name == "nt", reason="folders of others are a matter of POSIX")
def test_a_new_folder_is_private_whatever_the_umask(tmp_path):
    from arraycnn.ops.compiled.caching import make_private

    before = os.umask(0)
    try:
        make_private(tmp_path / "root" / "kernels")
    finally:
        os.umask(before)
    for folder in (tmp_path / "root" / "kernels", tmp_path / "root"):
        assert folder.stat().st_mode & 0o777 == 0o700


def parts_compiled(folder):
    """A kernel, as a process has it that begins, and how many of its parts had to be compiled."""
    from arraycnn.ops.compiled import linking, objects
    from arraycnn.ops.dense import compiled_kernels as dense

    compiled = []
    with pytest.MonkeyPatch.context() as patch:
        real = objects.machine_code
        patch.setattr(linking, "machine_code", lambda *of: compiled.append(of) or real(*of))
        loaded = linking.load(dense.forward, "float32", 36, objects.ObjectFiles(folder))
    assert loaded.address
    return len(compiled)


PARTS = 3
"""The kernel, the product that it is linked with, and that of few columns which this calls."""


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-1], bytes.swapcase])
def test_a_damaged_file_of_the_cache_is_written_anew(damage, tmp_path):
    assert parts_compiled(tmp_path) == PARTS
    for file in tmp_path.rglob("*.kernel"):
        intact = file.read_bytes()
        file.write_bytes(damage(intact))
        assert parts_compiled(tmp_path) == 1
        assert file.read_bytes() == intact
    assert parts_compiled(tmp_path) == 0


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, monkeypatch, caplog):
    from arraycnn.ops.compiled import caching

    def full(*_):
        raise OSError(28, "No space left on device")

    caching._tell.cache_clear()
    monkeypatch.setattr("arraycnn.ops.compiled.objects.write_atomically", full)
    for _ in range(2):
        assert parts_compiled(tmp_path) == PARTS
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()


def test_what_a_killed_process_left_in_the_cache_is_removed_when_it_is_old(tmp_path):
    names = [f".{'0' * 64}.kernel.{number}.tmp" for number in range(2)]
    for name, age in zip(names, (7200.0, 60.0), strict=True):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    parts_compiled(tmp_path)
    assert {path.name for path in tmp_path.glob(".*")} == {names[1]}


def test_a_source_by_another_name_or_with_other_words_is_another(tmp_path):
    from arraycnn.ops.compiled.objects import digest_of_files

    def digest(**files):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return digest_of_files(folder)

    assert digest(a="x = 1\n", b="") == digest(a="x = 1\n", b="")
    others = [digest(a="x = 1\n", b=""), digest(a="x = 2\n", b=""), digest(a="", b="x = 1\n")]
    others += [digest(a="x = 1\n", c=""), digest(a="x = 1\n")]
    assert len(set(others)) == 5
    with pytest.raises(ImportError, match="no source files"):
        digest()


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        ("llvmlite", "__version__", "0.99.0"),
        ("llvmlite.binding", "llvm_version_info", (99, 0, 0)),
        ("llvmlite.binding", "get_default_triple", lambda: "aarch64-unknown-linux-gnu"),
        ("llvmlite.binding", "get_host_cpu_name", lambda: "generic"),
        ("llvmlite.binding", "get_host_cpu_features", dict),
        ("arraycnn.ops.compiled.objects", "_THIS_FILE", b"other options"),
    ],
)
def test_another_processor_or_compiler_has_another_key(owner, name, value, monkeypatch):
    from arraycnn.ops.compiled import objects

    class Features(dict):
        def flatten(self):
            return ""

    before = objects.digest_of_machine.__wrapped__()
    assert before == objects.digest_of_machine()
    monkeypatch.setattr(f"{owner}.{name}", Features if value is dict else value)
    assert objects.digest_of_machine.__wrapped__() != before


def test_a_key_is_of_the_sources_as_they_were_imported_and_of_the_machine(tmp_path, monkeypatch):
    from arraycnn.ops.compiled import linking, objects
    from arraycnn.program.render import machine

    sources = {
        linking: Path(linking.__file__).parent.parent,
        machine: Path(machine.__file__).parent,
    }
    for module, folder in sources.items():
        assert objects.digest_of_files(folder) == module._SOURCES
    assert parts_compiled(tmp_path) == PARTS
    assert parts_compiled(tmp_path) == 0
    for name, value in (("_SOURCES", "other"), ("digest_of_machine", lambda: "other")):
        with monkeypatch.context() as patch:
            patch.setattr(linking, name, value)
            assert parts_compiled(tmp_path) == PARTS
    assert parts_compiled(tmp_path) == 0


FORKS = """
import os, signal, threading, time
from arraycnn.ops.compiled import linking, objects
from arraycnn.ops.max_pool2d import compiled_kernels as pools
from arraycnn.program.render import machine

def compile_one():
    return linking.load(pools.pool_backward, "float32", 36, objects.ObjectFiles(None)).address

cache = machine.KernelCache(None)
cache._found_or_new = lambda code: (time.sleep(code), compile_one())
for ask in (compile_one, lambda: cache.kernel(0.5), lambda: cache.kernel(0.6)):
    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        assert compile_one()
        assert cache.kernel(0.0)[1]
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_compiles_leaves_no_lock_behind():
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=120)


def test_threads_that_ask_first_for_a_kernel_get_the_code_that_is_kept(monkeypatch):
    """What one of them compiles in vain would be given back while the other launches it."""
    from arraycnn.ops.compiled import launches
    from arraycnn.ops.max_pool2d import compiled_kernels as pools

    barrier, real, found = threading.Barrier(2), launches.load, []

    def slow(*arguments):
        time.sleep(0.05)
        return real(*arguments)

    def ask():
        barrier.wait()
        found.append(launches.address(pools.pool_backward, "float64"))

    monkeypatch.setattr(launches, "load", slow)
    monkeypatch.setattr(launches, "_kept", {})
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == 2 * [launches.address(pools.pool_backward, "float64")]
