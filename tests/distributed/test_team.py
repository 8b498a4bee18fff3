"""What ranks do together beside steps: callbacks, resuming, measuring, and what is refused."""

import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.distributed import failures
from arraycnn.distributed.launchers import check_launch, launched
from arraycnn.distributed.threads import OnThreads, on_threads
from arraycnn.errors import InvalidTypeError, InvalidValueError, NonFiniteError
from ranks import IMAGES, LABELS, PLAIN, numbers, on_ranks, trained


class Noted(cnn.Callback):
    save_every = 2

    def __init__(self, ends_after=None):
        self.steps, self.epochs, self.saved, self.ends_after = 0, 0, [], ends_after

    def on_steps(self, progress):
        self.steps += len(progress.losses)

    def on_epoch(self, record):
        self.epochs += 1
        return self.epochs == self.ends_after

    def on_save(self, state):
        self.saved.append(state)


def test_callbacks_are_called_on_rank_0_and_end_all_ranks():
    noted = [Noted(ends_after=2), Noted(ends_after=1), Noted()]
    more = {"images": IMAGES[:40], "labels": LABELS[:40], "epochs": 5}
    found = on_threads(3, lambda rank: trained(rank, callbacks=[noted[rank.rank]], **more))
    assert [one.epochs for one in noted] == [2, 0, 0]
    assert [one.steps for one in noted] == [4, 0, 0]
    assert {model.epochs_done for model, _ in found} == {2}
    assert all(model.unfinished is not None for model, _ in found)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_training_of_two_ranks_goes_on_with_three(deterministic):
    kept, count = Noted(ends_after=2), 40 if deterministic else 45
    kept.save_every = 3 if deterministic else 2  # of 2 or 3 steps an epoch
    more = {"images": IMAGES[:count], "labels": LABELS[:count]}
    more |= {"deterministic": deterministic, "block": 7}
    on_threads(2, lambda rank: trained(rank, epochs=3, callbacks=[kept] * (not rank.rank), **more))
    within = next(s for s in kept.saved if s.step == 1)  # within the second epoch
    states = [within, None, None]  # rank 0 alone has the file
    resumed = on_threads(3, lambda rank: trained(rank, epochs=3, resume=states[rank.rank], **more))
    whole = on_ranks(1, epochs=3, **more)[0][0]
    for model, _ in resumed:
        if deterministic:
            assert np.array_equal(numbers(model), numbers(whole))
        np.testing.assert_allclose(numbers(model), numbers(whole), rtol=0, atol=1e-10)


def test_a_plateau_is_the_same_on_all_ranks():
    """It goes by records of which each rank has measured a part; after a resume, by rank 0's."""
    rng = np.random.default_rng(5)
    held_out = rng.integers(0, 256, (150, 8, 8, 1), dtype=np.uint8), rng.integers(0, 3, 150)
    rule = cnn.SGD(cnn.Plateau(0.1, patience=1, factor=0.5))  # better twice, then no more
    more = {"optimizer": rule, "epochs": 6, "validation": held_out}
    kept = Noted(ends_after=4)
    on_threads(2, lambda rank: trained(rank, callbacks=[kept] * (not rank.rank), **more))
    states = [kept.saved[-1], None]
    found = on_threads(2, lambda rank: trained(rank, resume=states[rank.rank], **more))
    one = trained(None, **more)
    for model, history in [one, *on_ranks(2, **more), *found]:
        assert [r.learning_rate for r in history] == [0.1, 0.1, 0.1, 0.1, 0.05, 0.025]
        np.testing.assert_allclose(numbers(model), numbers(one[0]), rtol=0, atol=1e-10)


def test_measures_and_predictions_are_shared():
    model = trained(None, epochs=1)[0]
    seen = []

    class Read(cnn.ImageSource):
        shape, dtype = (450, 8, 8, 1), IMAGES.dtype

        def read(self, indices):
            seen.append(len(indices))
            return IMAGES[indices % 45]

    images, labels = Read().read(np.arange(450)), np.resize(LABELS, 450)
    wanted = model.evaluate(images, labels), model.predict(images)
    batches = [(images[i : i + 50], labels[i : i + 50]) for i in range(0, 450, 50)]

    def work(rank):
        own = trained(None, epochs=1)[0]
        shared = {"distributed": OnThreads(joined=rank)}
        return (
            own.evaluate(images, labels, **shared),
            own.predict(Read(), **shared),
            own.evaluate(batches, **shared),
        )

    seen.clear()
    for metrics, predictions, of_batches in on_threads(2, work):
        assert metrics == wanted[0]  # to the last bit
        assert np.array_equal(predictions, wanted[1])
        assert of_batches.loss == pytest.approx(wanted[0].loss)
    # Each image was read by one rank, beside the few by which each tells what images these are.
    assert sum(count for count in seen if count > 16) == 450


def test_nan_ends_all_ranks_alike():
    found = []

    def work(rank):
        network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
        model = cnn.Model(network, (8, 8), backend=PLAIN, dtype="float64")
        shared = OnThreads(block=4, joined=rank)
        with pytest.raises(NonFiniteError) as error:
            model.fit(
                *(IMAGES / 255, LABELS),
                batch_size=20,
                optimizer=cnn.SGD(1e308),
                epochs=2,
                distributed=shared,
            )
        found.append((str(error.value), numbers(model).tobytes()))

    on_threads(3, work)
    assert len(set(found)) == 1
    assert np.isfinite(np.frombuffer(found[0][1])).all()


def differing(of_others=None, **of_rank_1):
    def work(rank):
        given = of_rank_1 if rank.rank == 1 else of_others or {}
        with pytest.raises(InvalidValueError) as error:
            trained(rank, **given)
        return str(error.value)

    first, second, third = on_threads(3, work)
    assert first == second == third
    return first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch_size": 19}, "batch_size is 20 on ranks 0, 2 and 19 on rank 1"),
        ({"epochs": 3}, "epochs is 2 on ranks 0, 2 and 3 on rank 1"),
        ({"accumulate": 2}, "accumulate is 1 on ranks 0, 2 and 2 on rank 1"),
        ({"block": 5}, "block is 4 on ranks 0, 2 and 5 on rank 1"),
        ({"optimizer": cnn.SGD(0.1)}, "optimizer is SGD(learning_rate=0.05"),
        ({"labels": (LABELS + 1) % 3}, "labels is int32 (45,)"),
        ({"images": 255 - IMAGES}, "images is uint8 (45, 8, 8, 1)"),
        ({"images": IMAGES[:44], "labels": LABELS[:44]}, "images is uint8 (45, 8, 8, 1)"),
        ({"backend": cnn.ArrayAPIStrict()}, "backend is numpy on ranks 0, 2 and array-api-strict"),
    ],
)
def test_ranks_that_differ_are_refused_before_the_first_step(given, said):
    assert said in differing(**given)


SOFT = 0.7 * np.eye(3)[np.resize(LABELS, 450)] + 0.1
OTHER_SOFT = np.where(np.arange(450)[:, None] == 100, 1 / 3, SOFT)
"""Another label at one place, which is none of the 64 that a sample would be of."""
MANY = {"images": np.resize(IMAGES, (450, 8, 8, 1))}
WEIGHTS = np.linspace(0.5, 1.5, 45)
HELD_OUT = IMAGES, LABELS


@pytest.mark.parametrize(
    ("others", "rank_1", "said"),
    [
        (
            {"sample_weight": WEIGHTS},
            {"sample_weight": WEIGHTS[::-1]},
            "sample_weight is float64 (45,)",
        ),
        ({}, {"sample_weight": WEIGHTS}, "sample_weight is None on ranks 0, 2 and float64 (45,)"),
        ({"labels": SOFT, **MANY}, {"labels": OTHER_SOFT, **MANY}, "labels is float64 (450, 3)"),
        ({"validation": HELD_OUT}, {}, "validation labels is int32 (45,)"),
        ({"validation": HELD_OUT}, {"validation": (255 - IMAGES, LABELS)}, "validation images is"),
    ],
)
def test_so_are_those_of_which_other_data_differ(others, rank_1, said):
    assert said in differing(others, **rank_1)


def test_other_versions_are_refused(monkeypatch):
    from arraycnn.training import team

    seen = iter([{"arraycnn": "1"}, {"arraycnn": "2"}, {"arraycnn": "1"}])
    monkeypatch.setattr(team, "versions", lambda: next(seen))
    assert "version of arraycnn is " in differing()


def test_batches_need_a_block_for_each_rank():
    def work(rank):
        with pytest.raises(InvalidValueError, match=r"batches of 8 images have 2 blocks of 4"):
            trained(rank, batch_size=8)
        trained(rank, batch_size=9, epochs=1)  # as it says: (3 - 1) * 4 + 1

    on_threads(3, work)


def test_so_do_their_parts():
    def work(rank):
        with pytest.raises(InvalidValueError, match=r"20 images in 3 parts .* have 2 blocks of 4"):
            trained(rank, accumulate=3)
        # As it says, 3 * ((3 - 1) * 4 + 1).
        trained(rank, batch_size=27, accumulate=3, epochs=1)

    on_threads(3, work)


@pytest.mark.parametrize("wrong", [{"block": 0}, {"block": 2.5}, {"deterministic": 1}])
def test_settings_are_checked(wrong):
    with pytest.raises((InvalidTypeError, InvalidValueError), match="OnThreads: "):
        OnThreads(**wrong)


def test_fit_takes_a_value_of_settings():
    with pytest.raises(InvalidTypeError, match=r"distributed: must be a value such as MPI\(\)"):
        cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(3)), (8, 8)).fit(
            IMAGES / 255, LABELS, distributed="mpi"
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("lost"), "KeyError: 'lost'"),
        (MemoryError(), "MemoryError"),
        (ValueError("two\nlines"), "ValueError: two lines"),
    ],
)
def test_an_error_is_told_and_ends_all(error, said, monkeypatch, caplog):
    ended = []
    rank = SimpleNamespace(rank=2, size=4, abort=lambda: ended.append(caplog.messages[:]))
    monkeypatch.setattr(failures, "_joined", [])
    monkeypatch.setattr(failures.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sys, "excepthook", lambda *known: ended.append(known[1]))
    failures.end_all_on_failure(rank)
    sys.excepthook(type(error), error, None)
    line = f"rank 2 of 4, on {socket.gethostname()}: {said}: this ends all ranks"
    assert ended == [error, [line]]  # as ever, and told before it ends


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"PMI_SIZE": "4", "PMI_RANK": "2", "MPI_LOCALRANKID": "0"}, ("MPICH", 4, 2, 0)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, ("Open MPI", 2, 1, None)),
        ({"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}, ("torchrun", 8, 5, 1)),
        (
            {"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2", "SLURM_LOCALID": "1"},
            ("SLURM", 3, 2, 1),
        ),
        ({"SLURM_NTASKS": "3", "SLURM_PROCID": "0"}, None),  # a batch script itself
        ({"PMI_SIZE": "many", "PMI_RANK": "0"}, None),
    ],
)
def test_what_launchers_say(environment, found):
    said = launched(environment)
    assert (said and (said.by, said.size, said.rank, said.local_rank)) == found


@pytest.mark.parametrize("by", ["torchrun", "SLURM", "MPICH"])
def test_ranks_that_do_not_see_each_other_are_refused(by):
    environments = {
        "torchrun": {"WORLD_SIZE": "2", "RANK": "1"},
        "SLURM": {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
        "MPICH": {"PMI_SIZE": "2", "PMI_RANK": "1"},
    }
    with pytest.raises(
        InvalidValueError, match=f"{by} has begun 2 processes of which MPI in rank 1"
    ):
        check_launch(1, environments[by])
    check_launch(2, environments[by])
    check_launch(1, {})
