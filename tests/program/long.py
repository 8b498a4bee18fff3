"""Thousands of random networks: rendered steps against the eager ones, until the time is over.

    python tests/program/long.py --minutes 60 [--seed 0]

Prints how many it tried; a network that differs is printed whole, and makes the exit code 1.
"""

import argparse
import random
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.append(str(Path(__file__).parent.parent))  # what the tests have in common

import random_networks

_AT_ONCE = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    end, tried, number = time.monotonic() + 60 * arguments.minutes, 0, arguments.seed
    engines = [random_networks.on_numpy]
    if find_spec("llvmlite") is not None:
        engines.append(random_networks.on_kernels)
    names = ", ".join(engine.__name__ for engine in engines)
    print(f"random networks from seed {arguments.seed}, {names}", flush=True)
    while time.monotonic() < end:

        @seed(number)
        @settings(
            max_examples=_AT_ONCE, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        @given(random_networks.networks())
        def run(case: random_networks.Case) -> None:
            nonlocal tried
            if time.monotonic() < end:
                random_networks.check(case, *engines)
                tried += 1

        try:
            run()
        except Exception as error:
            print(
                f"after {tried} networks, seed {number}: {error!r}",
                *getattr(error, "__notes__", []),
                sep="\n",
            )
            return 1
        number += 1
    print(f"{tried} random networks, all as the eager step has them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
