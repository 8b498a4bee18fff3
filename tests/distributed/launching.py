"""Real ranks for the tests: begun by the mpiexec beside this Python, and killed one by one."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")


def environment(**more):
    """What root, and more ranks than cores, need of Open MPI; and the mpiexec of this environment."""
    return {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **more,
    }


def command_of(ranks, *command):
    return ["mpiexec", "-n", str(ranks), sys.executable, *map(str, command)]


def mpiexec(ranks, *command, limit=300, **more):
    """The result of Python's ``command`` on so many ranks."""
    found = command_of(ranks, *command)
    return subprocess.run(
        found, capture_output=True, text=True, timeout=limit, env=environment(**more)
    )


class Launched:
    """Ranks that run on beside the test."""

    def __init__(self, ranks, *command):
        self._mark = f"ARRAYCNN_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            command_of(ranks, *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**{name: value}),
        )

    def processes(self):
        """The process of each rank, those that are alive."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                lines = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                arguments = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile, or is another's
                continue
            if self._mark in lines and b"mpiexec" not in arguments:
                named = dict(line.partition("=")[::2] for line in lines)
                for name in RANKS:
                    if name in named:
                        found[int(named[name])] = int(folder.name)
        return found

    def kill(self, rank):
        """Whether there was such a rank."""
        process = self.processes().get(rank)
        try:
            if process is not None:
                os.kill(process, signal.SIGKILL)
        except ProcessLookupError:  # it has ended meanwhile
            return False
        return process is not None

    def ended(self, within):
        """(seconds until all has ended, what was said); TimeoutExpired where it has not."""
        began = time.monotonic()
        try:
            said, _ = self.process.communicate(timeout=within)
        finally:
            self.close()
        return time.monotonic() - began, said

    def close(self):
        """End what is left; only processes of this launch."""
        for process in self.processes().values():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.kill()
        self.process.wait()
