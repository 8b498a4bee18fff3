"""A process that run.py starts: a line of JSON, [target, corpus, found, seed], is a fork that fuzzes.

Importing and instrumenting take longer than a short run; so all of one process share them.
"""

import atexit
import json
import os
import resource
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import atheris
import numpy  # noqa: F401  before the packages below are instrumented, as it takes long

PACKAGES = ["arraycnn", "gzip", "zipfile", "json", "click", "PIL"]


def main() -> None:
    with atheris.instrument_imports(include=PACKAGES):
        from PIL import Image, WebPImagePlugin  # noqa: F401

        import seeds  # noqa: F401
        import targets  # noqa: F401
        from promises import clean_up

        Image.preinit()
    atexit.register(clean_up)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            fuzz(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"\nended with exit status {os.waitstatus_to_exitcode(status)}", flush=True)


def fuzz(name: str, corpus: str, found: str, seed: int) -> None:
    """Until a signal ends this process, or what is found does."""
    from promises import require
    from run import INPUT_SECONDS, MEMORY_MB
    from seeds import SEEDS, WORDS
    from targets import TARGETS

    print(f"fuzzing in process {os.getpid()}", flush=True)
    for number, content in enumerate(SEEDS[name]()):
        (Path(corpus) / f"seed{number}").write_bytes(content)

    def within_time(data: bytes) -> None:
        # libFuzzer's own clock goes on while other programs have the processor: it is for hangs.
        began = time.process_time()
        TARGETS[name](data)
        taken = time.process_time() - began
        require(taken <= INPUT_SECONDS, f"an input takes {INPUT_SECONDS} seconds at most", taken)

    words = Path(corpus).with_suffix(".words")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS[name]))
    tracemalloc.start(1)
    # An allocation that is never touched does not count for libFuzzer's limit; here it fails.
    resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY_MB * 2**20,) * 2)
    atheris.Setup(
        [
            sys.argv[0],
            corpus,
            f"-dict={words}",
            f"-artifact_prefix={found}/",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={10 * INPUT_SECONDS}",
            f"-report_slow_units={INPUT_SECONDS}",
            "-max_len=4096",
            "-reload=0",
            "-print_final_stats=1",
            "-len_control=20",
            f"-seed={seed}",
        ],
        within_time,
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


main()
