"""Run the tests of the CUDA kernels under AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/sanitize_cuda.py [options of pytest]

The access checker, which the tests use by themselves, knows the memory that is given to a kernel; the
sanitizers also know one shared array from the next. They must be in the process from its start, so
Python itself runs under them, and a fault ends it with the sanitizer's report.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
NOT_OF_KERNELS = tuple(f"test_cuda_{name}.py" for name in ("host", "compile", "graph", "launcher"))


def environment() -> dict[str, str]:
    """That of a Python process in which `HostLauncher` runs kernels under the sanitizers."""
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "ARRAYCNN_HOST_CUDA": "sanitized",
        "LD_PRELOAD": ":".join(libraries),
        "PYTHONMALLOC": "malloc",  # so that each object has its own bounds
        "ASAN_OPTIONS": "detect_leaks=0",
    }


def main() -> None:
    files = [
        path for path in sorted(TESTS.rglob("test_cuda_*.py")) if path.name not in NOT_OF_KERNELS
    ]
    command = [sys.executable, "-m", "pytest", *sys.argv[1:], *map(str, files)]
    os.execve(sys.executable, command, environment())


if __name__ == "__main__":
    main()
