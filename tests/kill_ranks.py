#!/usr/bin/env python3
"""Ranks killed at random moments of a training: all end within 10 s, and the training goes on.

    python tests/kill_ranks.py --runs 20       # with the mpiexec beside this Python
    python tests/kill_ranks.py --ranks 3

Each run is begun on as many ranks, one of which gets SIGKILL at a moment drawn from the time that the
whole run took. It then goes on from its last save on as many ranks, to the same bits as the run that
was never stopped, or on another number, to 1e-10 in float64. Ends with 1 where one does not.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "distributed"))

EPOCHS = 30


def train(folder: Path) -> None:
    """What each rank does: train on from the last save, if any, and leave all numbers in a file."""
    import arraycnn as cnn
    from arraycnn.distributed import MPI
    from ranks import IMAGES, LABELS, PLAIN, network, numbers

    shared, last = MPI(block=4), folder / "last.npz"
    model, state = cnn.Model(network(), (8, 8), backend=PLAIN, dtype="float64"), None
    if last.exists():
        model, state = cnn.Model.load_training(last, backend=PLAIN)
    model.fit(
        *(IMAGES, LABELS),
        epochs=EPOCHS,
        batch_size=20,
        optimizer=cnn.SGD(0.05, momentum=0.9),
        validation=(IMAGES, LABELS),
        callbacks=[cnn.Checkpoint(model, last, save_every=2)],
        resume=state,
        distributed=shared,
    )
    if not shared.communicator.rank:
        np.save(folder / "numbers.npy", numbers(model))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    if given.work is not None:
        train(given.work)
        return
    from launching import mpiexec

    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        whole.mkdir()
        began = time.monotonic()
        done = mpiexec(given.ranks, __file__, "--work", whole, limit=600)
        assert done.returncode == 0, done.stderr
        taken, wanted = time.monotonic() - began, np.load(whole / "numbers.npy")
        draw, failed, killed, slowest = random.Random(given.seed), 0, 0, 0.0
        for number in range(given.runs):
            folder = Path(name) / f"run{number}"
            folder.mkdir()
            on = given.ranks if number % 2 == 0 else draw.choice([1, 3, 4])
            moment = draw.uniform(0.0, taken)
            died, seconds, wrong = one(folder, given.ranks, on, moment, draw, wanted)
            slowest, failed, killed = max(slowest, seconds), failed + bool(wrong), killed + died
            what = f"killed after {moment:.1f} s" if died else "was over, or had not begun"
            what += f", ended in {seconds:.1f} s, went on with {on} for {given.ranks} ranks"
            print(f"{number + 1:3d}/{given.runs} {what}: {wrong or 'as it should'}", flush=True)
    fine = f"{given.runs - failed} of {given.runs} runs as they should"
    print(f"{fine}, {killed} of them killed; slowest end {slowest:.1f} s")
    sys.exit(bool(failed))


def one(
    folder: Path, ranks: int, on: int, moment: float, draw: random.Random, wanted: np.ndarray
) -> tuple[bool, float, str]:
    """(whether a rank was killed, seconds from then to the end of all, what is wrong)."""
    from launching import Launched, mpiexec

    launched, rank = Launched(ranks, __file__, "--work", folder), draw.randrange(ranks)
    try:
        time.sleep(moment)
        died = launched.kill(rank)  # else it is over, or has not begun
        seconds, _ = launched.ended(within=60)
    except subprocess.TimeoutExpired:
        return True, 60.0, "others did not end"
    finally:
        launched.close()
    if seconds > 10 and launched.process.returncode:
        return died, seconds, "others ended late"
    done = mpiexec(on, __file__, "--work", folder, limit=600)
    if done.returncode:
        return died, seconds, f"it did not go on: {done.stderr[-300:]}"
    found = np.load(folder / "numbers.npy")
    if on == ranks and not np.array_equal(found, wanted):
        return died, seconds, f"other bits, by {np.abs(found - wanted).max()}"
    if not np.allclose(found, wanted, rtol=0, atol=1e-10):
        return died, seconds, f"other numbers, by {np.abs(found - wanted).max()}"
    return died, seconds, ""


if __name__ == "__main__":
    main()
