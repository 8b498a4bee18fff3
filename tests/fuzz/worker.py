"""One fuzzing process: ``worker.py TARGET CORPUS FOUND SEED``, started by run.py."""

import atexit
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
    name, corpus, found, seed = sys.argv[1:]
    with atheris.instrument_imports(include=PACKAGES):
        from PIL import Image, WebPImagePlugin  # noqa: F401
        from run import INPUT_SECONDS, MEMORY_MB
        from seeds import SEEDS, WORDS
        from targets import TARGETS, clean_up, require

        Image.preinit()
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
    atexit.register(clean_up)
    warnings.simplefilter("ignore")
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
