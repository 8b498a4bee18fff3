"""bench/soak.py in short: its rounds leave nothing behind, and it tells what grows."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's /proc")
sys.path.insert(0, str(Path(__file__).parent.parent.parent / "bench"))

from soak import Sample, Workload, growth, leaks, sample  # noqa: E402

MIB = 2**20


def test_rounds_leave_no_file_and_no_thread(tmp_path):
    work = Workload(tmp_path)
    work.round(seed=0)  # which starts the pool's threads
    before = sample()
    work.round(seed=1)
    work.round(seed=2)
    after = sample()
    # Fewer are possible: what other tests have left in this process may be closed meanwhile.
    assert after.files <= before.files
    assert after.threads <= before.threads
    assert work.calls == 24
    assert work.saves > 6
    assert work.steps > 0


def series(resident, files=5, threads=3, rounds=100):
    """Samples whose memory is ``resident(round)`` MiB; the last may hold other files, threads."""
    samples = [Sample(int(resident(n) * MIB), 5, 3) for n in range(rounds)]
    samples[-1] = samples[-1]._replace(files=files, threads=threads)
    return samples


def test_a_slow_start_is_no_leak():
    samples = series(lambda n: min(100 + 10 * n, 200))
    assert growth(samples) == 0
    assert leaks(samples) == []


def test_one_large_moment_is_no_leak():
    assert leaks(series(lambda n: 500 if n == 95 else 200)) == []


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (series(lambda n: 200 + 0.1 * n), "resident memory grew by"),
        (series(lambda n: 200, files=6), "1 more open files"),
        (series(lambda n: 200, threads=5), "2 more threads"),
    ],
)
def test_what_grows_is_told(samples, told):
    (line,) = leaks(samples)
    assert told in line
