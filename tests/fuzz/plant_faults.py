"""Plant one fault at a time in a parser: do the fuzzers find it?

    python tests/fuzz/plant_faults.py            # all, some minutes
    python tests/fuzz/plant_faults.py idx        # those whose target or text contains the word

Each fault is put into a copy of the package, and its target is fuzzed from the seeds alone, without
what was found before, until the fault shows or two minutes are over.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from run import Fuzzer, Outcome

PACKAGE = Path(__file__).parent.parent.parent / "src" / "arraycnn"
SECONDS = 120.0

# (target, file under src/arraycnn, what stands there, the fault)
FAULTS = [
    ("idx", "data/idx.py", "if 0 in header.shape:", "if False:"),
    ("idx", "data/idx.py", "if stream.read(1):", "if False:"),
    ("idx", "data/idx.py", "if header.nbytes > most:", "if False:"),
    ("idx", "data/idx.py", "if len(sizes) < 4 * ndim:", "if False:"),
    ("idx", "data/idx.py", "except (gzip.BadGzipFile, zlib.error)", "except gzip.BadGzipFile"),
    ("arrays", "data/numpy_files.py", "if length > _LONGEST_HEADER:", "if False:"),
    ("pickled", "data/pickled.py", "if count < 0 or end > len(self._content):", "if count < 0:"),
    ("pickled", "data/pickled.py", "if self._at != len(self._content):", "if self._at > 2**40:"),
    (
        "pickled",
        "data/pickled.py",
        "found = NAMES.get((module, name))",
        "found = NAMES.get((module, name), print)",
    ),
    ("pickled", "data/pickled_arrays.py", "if expected != len(data):", "if False:"),
    ("pickled", "data/pickled_arrays.py", '"F" if fortran is True else "C"', '"C"'),
    ("table", "data/csv_table.py", "if len(cells) != layout.columns:", "if False:"),
    ("table", "data/csv_table.py", "((values >= 0) & (values <= 255)).all()", "True"),
    ("table", "data/csv_table.py", "except UnicodeDecodeError:", "except KeyError:"),
    ("table", "data/csv_table.py", "np.uint8 if whole else np.float32", "np.uint8"),
    ("published", "data/cifar.py", "transpose(0, 2, 3, 1)", "transpose(0, 3, 2, 1)"),
    ("published", "data/emnist.py", "images.swapaxes(1, 2)", "images"),
    ("published", "data/emnist.py", "or label in found:", "or False:"),
    ("published", "data/idx_files.py", "return rows[:, 0].copy()", "return rows[:, 1].copy()"),
    ("published", "data/npz_pairs.py", "if len(row) == 3}", "}"),
    ("image", "data/image_files.py", "except Exception as error:", "except OSError as error:"),
    ("image", "data/image_files.py", "if width * height > MAX_PIXELS:", "if False:"),
    ("checkpoint", "storage/checkpoint.py", "if comment != _MARK + _digest(body):", "if False:"),
    (
        "checkpoint",
        "storage/checkpoint.py",
        "except Exception as error:",
        "except ValueError as error:",
    ),
    ("checkpoint", "layers/config.py", "if self._left < 0:", "if False:"),
    ("config", "layers/config.py", "settings: {one_line(error)}", "settings: {error}"),
    ("config", "layers/config.py", "if name not in known:", "if False:"),
    ("options", "cli/options.py", "if not math.isfinite(number):", "if False:"),
    ("options", "cli/options.py", "[1-9][0-9]{0,4}", "[0-9]*"),
]


def search(target: str, file: str, text: str, fault: str) -> Outcome:
    """Fuzz ``target`` on a copy of the package with ``fault`` in place of ``text``."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "arraycnn"
        shutil.copytree(PACKAGE, package)
        source = (package / file).read_text()
        if source.count(text) != 1:
            raise SystemExit(f"{file} does not hold {text!r} once: mend the table")
        (package / file).write_text(source.replace(text, fault))
        os.environ["PYTHONPATH"] = folder
        with Fuzzer() as fuzzer:
            return fuzzer.fuzz(target, SECONDS, found=Path(folder) / "found")


def main() -> None:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    faults = [fault for fault in FAULTS if any(word in part for part in fault)]
    missed = 0
    for number, fault in enumerate(faults, start=1):
        outcome = search(*fault)
        missed += not outcome.failure
        state = "found " if outcome.failure else "MISSED"
        print(
            f"{number:2d}/{len(faults)} {state} after {outcome.executions:,} executions, "
            f"{outcome.seconds:.0f} s: {fault[1]}: {fault[2]} -> {fault[3]}: "
            f"{outcome.failure[:120]}",
            flush=True,
        )
    print(f"{len(faults) - missed} of {len(faults)} faults found")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
