"""How much memory a process may still take."""

from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def free_host_memory() -> int | None:
    """Bytes, by the tightest of the system's memory, its container's and the process's own limit.

    None where the system does not tell.
    """
    found = [_available(), _container(), _address_space()]
    return min((size for size in found if size is not None), default=None)


def _available() -> int | None:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable:" in line)
    except (OSError, StopIteration):
        return None


def _container() -> int | None:
    try:
        limit, used = (
            (_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current")
        )
        return None if limit == "max" else max(0, int(limit) - int(used))
    except OSError:
        return None


def _address_space() -> int | None:
    """What is left below RLIMIT_AS, as ``ulimit -v`` sets it."""
    try:
        import resource  # which Windows has not

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int((_PROC / "self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - pages * resource.getpagesize())
