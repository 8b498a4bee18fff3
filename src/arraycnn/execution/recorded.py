"""The recorded plan: the program of a step is noted once, launch by launch, and run again and again.

Starting a kernel from Python costs more than running a small one; a recording of several steps is
started as one: as a CUDA graph, or as a list of launches that compiled code works through. So
parameters, layer and optimizer state are changed in place, and whatever differs from step to step
(images, learning rate, number of the step) is read by the kernels, from tables that are filled once
a chunk. Python looks at nothing before the chunk's end. What cannot be part of a program is called
as it is written, in its turn.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from arraycnn.data.image_source import ArraySource
from arraycnn.distributed.parts import Part
from arraycnn.execution.copies import copied, copy, overwrite
from arraycnn.execution.plan import Finished, StepMemory, Task
from arraycnn.execution.recordable import Launcher, Render, Rendered, Steps, rendered
from arraycnn.ops import Array, Kernels
from arraycnn.ops.random_bits import seed_words
from arraycnn.ops.step_tables import StepTables
from arraycnn.program.collectives import traced_whole
from arraycnn.program.compose import training_schedule
from arraycnn.program.render.opaque_calls import is_calling, rehearsing
from arraycnn.program.steps import named
from arraycnn.training.step import Carry

UNROLLED = 16
"""Steps of the longer graph: enough that starting it costs nothing by comparison."""

_CAPACITY = 1024
"""Steps the tables hold: more come in turns."""

SENT_BYTES = 64 * 2**20
"""How much of a data set on the host is sent at a time, or one batch where that is more."""


@dataclass(frozen=True)
class _Recordings:
    """The graphs of one batch size, by how many steps they run; each made when first needed."""

    tables: StepTables
    images: "_SetImages"
    part: Part
    graphs: dict[int, Callable[[], None]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Progress:
    """How far a run has come: one value, so an interrupt finds all of it old, or all of it new.

    ``results`` are those of tables that were worked through; ``tables`` the ones at work, whose
    cursor counts the steps that are whole.
    """

    first_step: int
    results: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    tables: StepTables | None = None


class _SetImages:
    """The images that the steps read: the whole data set, or some sent just before.

    Attributes
    ----------
    images : array, on the device
    steps : int
        How many steps find their images in it.
    """

    def __init__(self, launcher: Launcher, task: Task, batch: int) -> None:
        self._source = task.images
        self.images, self.steps = self._source.resident, _CAPACITY
        self._is_sent = self.images is None
        if self._is_sent:
            dtype = task.dtype if self._source.dtype.kind == "f" else self._source.dtype
            shape = self._source.shape[1:]
            bytes_a_step = max(1, batch * math.prod(shape) * np.dtype(dtype).itemsize)
            if launcher.sends:
                wanted = SENT_BYTES // bytes_a_step
                whole = wanted // UNROLLED * UNROLLED  # of the longer graph
                self.steps = min(whole or max(1, wanted), _CAPACITY)
            else:
                self.steps = 1  # nothing is won by reading ahead
            rows = self.steps * batch
            self.images = launcher.empty((rows, *shape), dtype)
            self._sender = launcher.sender((rows, *shape), dtype)

    def rows(self, indices: np.ndarray, batch: int) -> np.ndarray:
        """Where in `images` the data set's ``indices`` will be found."""
        if not self._is_sent:
            return indices
        return (np.arange(len(indices)) % (self.steps * batch)).astype(np.int32)

    def bring(self, indices: np.ndarray) -> None:
        """Send the images of the next `steps` steps."""
        if self._is_sent:
            self._sender.send(self._source.read(indices), self.images)


class RecordedTraining:
    """A `TrainingPlan` of any step that can be traced, of a user's optimizer too, replayed.

    Parameters
    ----------
    launcher : Launcher
    steps : Steps or None
        The first and the last kernel of a step; None where its program itself reads the tables and
        notes its results there.
    kernels : Kernels
        Of the program's heads.
    task : Task
    carry : Carry
        Copied: the plan changes its own in place.
    unrolled : int
        Steps of the longer recording; 1 where starting one costs nothing, and no kernel is loaded.
    memory : function
        Measures what the recordings take.
    render : Render
    """

    def __init__(
        self,
        launcher: Launcher,
        steps: Steps | None,
        kernels: Kernels,
        task: Task,
        carry: Carry,
        unrolled: int = UNROLLED,
        *,
        memory: Callable[[], StepMemory],
        render: Render,
    ) -> None:
        if task.images.resident is not None:  # else each step would make them lie so
            images = launcher.contiguous(task.images.resident)
            task = replace(task, images=ArraySource(images))
        self._launcher = launcher
        self._steps = steps
        self._kernels = kernels
        self._unrolled = unrolled
        self._measured_memory = memory
        self._task = task
        self._carry = copied(carry)
        # Labels that come with the batches lie in an array like others; steps find theirs there.
        self._labels = task.labels.resident
        if self._labels is None:
            kind = task.dtype if task.objective.floating else np.int32
            self._labels = launcher.asarray(np.zeros(task.labels.shape, kind))
        self._seed = launcher.asarray(seed_words(task.seed))
        # The kernels that begin and end a step take class numbers and correct; others are the
        # program's.
        self._numbers = self._labels
        if not task.objective.are_numbers:
            self._numbers = launcher.asarray(np.zeros(self._labels.shape[:1], np.int32))
        self._no_correct = launcher.asarray(np.zeros((), np.int32))
        self._render = render
        self._rendered: dict[int, Rendered] = {}
        self._kept: list[Any] = []
        """What recordings point to."""
        self._recordings: dict[int, _Recordings] = {}
        self._progress: _Progress | None = None
        self._torn = False
        """Whether parameters may be other than what the steps that are whole have made."""

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        self._progress, done = _Progress(first_step), 0
        for size, group in groupby(batches, key=len):  # a short last batch has graphs of its own
            run = list(group)
            for start in range(0, len(run), _CAPACITY):
                part = run[start : start + _CAPACITY]
                rates = learning_rates[done : done + len(part)]
                self._run_equal(size, self._progress, part, rates)
                done += len(part)
        return _joined(self._progress.results)

    def rehearse(self, batches: Sequence[np.ndarray]) -> None:
        """Run steps for the sake of their kernels and memory: the plan is of no use afterwards."""
        with rehearsing():
            self.run(0, batches, np.zeros(len(batches)))

    def finished(self) -> Finished | None:
        progress = self._progress
        if progress is None:
            return None
        results = progress.results
        if progress.tables is not None:
            whole = int(self._launcher.to_numpy(progress.tables.cursor)[0])
            results = (*results, self._fetched(progress.tables, whole))
        return Finished(progress.first_step, *_joined(results), self._torn)

    def snapshot(self) -> Carry:
        return copied(self._carry)

    def restore(self, carry: Carry) -> None:
        self._progress, self._torn = None, True
        overwrite(self._carry, carry)
        self._torn = False

    def close(self) -> None:
        for recordings in self._recordings.values():
            while recordings.graphs:
                self._launcher.release(recordings.graphs.popitem()[1])
        self._recordings.clear()
        self._kept.clear()

    def memory(self) -> StepMemory:
        return self._measured_memory()

    def _run_equal(
        self, size: int, progress: _Progress, batches: list[np.ndarray], rates: np.ndarray
    ) -> None:
        """Run steps whose batches are all of ``size`` images, and add to the run's ``progress``."""
        part = self._task.part(size)
        rows = part.rows
        batches = [batch[rows] for batch in batches]
        if size not in self._recordings:
            images = _SetImages(self._launcher, self._task, part.size)
            self._recordings[size] = _Recordings(self._new_tables(part.size), images, part)
        recordings, count = self._recordings[size], len(batches)
        size, asarray = part.size, self._launcher.asarray
        tables, images = recordings.tables, recordings.images
        indices = np.concatenate(batches)
        first = progress.first_step + sum(len(losses) for losses, _ in progress.results)
        steps = np.arange(first, first + count, dtype=np.int32)
        tables.order[: count * size] = asarray(indices)
        tables.rows[: count * size] = asarray(images.rows(indices, size))
        tables.steps[:count] = asarray(steps)
        with np.errstate(over="ignore"):  # a rate that becomes infinite shows in the next loss
            tables.rates[:count] = asarray(rates.astype(self._task.dtype))
        tables.cursor[...] = 0
        self._progress = replace(progress, tables=tables)
        for start in range(0, count, images.steps):
            ready = min(images.steps, count - start)
            wanted = indices[start * size : (start + ready) * size]
            images.bring(wanted)
            if self._task.labels.resident is None:
                labels = self._task.labels.read(wanted)
                self._labels[asarray(wanted)] = asarray(labels)
            lengths = (self._unrolled, 1)
            for length, times in zip(lengths, divmod(ready, self._unrolled), strict=True):
                for _ in range(times):
                    self._replay(self._graph(recordings, length))
        results = (*progress.results, self._fetched(tables, count))
        self._progress = replace(progress, results=results)

    def _replay(self, graph: Callable[[], None]) -> None:
        self._torn = not self._launcher.atomic
        before = is_calling.set(False)
        try:
            graph()
        except BaseException:
            # What a step changes, it changes after its last call: nothing is half done.
            self._torn = self._torn and not is_calling.get()
            raise
        finally:
            is_calling.reset(before)
        self._torn = False

    def _fetched(self, tables: StepTables, count: int) -> tuple[np.ndarray, np.ndarray]:
        to_numpy = self._launcher.to_numpy
        measured = tables.correct_counts if tables.measures is None else tables.measures
        return to_numpy(tables.losses[:count]), to_numpy(measured[:count])

    def _graph(self, recordings: _Recordings, steps: int) -> Callable[[], None]:
        """The graph of the next ``steps`` steps, for which all stands ready."""
        if steps not in recordings.graphs:
            if self._unrolled > 1:
                self._rehearse(recordings)

            def work() -> None:
                for _ in range(steps):
                    self._step(recordings)

            recordings.graphs[steps] = self._launcher.capture(work)
        return recordings.graphs[steps]

    def _rehearse(self, recordings: _Recordings) -> None:
        """Run a step that changes nothing, so that every kernel has been compiled and loaded."""
        cursor, before = copy(recordings.tables.cursor), self.snapshot()
        self._torn = True
        try:
            with rehearsing():
                self._launcher.rehearse(lambda: self._step(recordings))
        finally:
            overwrite(self._carry, before)
            recordings.tables.cursor[...] = cursor
            self._torn = False

    def _step(self, recordings: _Recordings) -> None:
        """One step at the tables' cursor, all of it on the device."""
        task = self._task
        arrays = {"images": recordings.images.images, "seed": self._seed, **named(self._carry)}
        if task.objective.weighted:
            arrays["weights"] = task.weights
        if self._steps is None:
            self._run_on_tables(recordings, arrays)
        else:
            self._run_between(self._steps, recordings, arrays)

    def _run_on_tables(self, recordings: _Recordings, arrays: dict[str, Array]) -> None:
        tables = recordings.tables
        count = tables.steps.shape[0]
        arrays |= {
            "rows": tables.rows.reshape(count, tables.batch),
            "indices": tables.order.reshape(count, tables.batch),
            "labels": self._labels,
            "rate": tables.rates,
            "step": tables.steps,
            "cursor": tables.cursor,
            "losses": tables.losses,
            "measures": tables.correct_counts if tables.measures is None else tables.measures,
        }
        self._run_program(recordings, arrays, tables=count)

    def _run_between(self, steps: Steps, recordings: _Recordings, arrays: dict[str, Array]) -> None:
        """The program between the step's first and last kernel."""
        tables, launcher, objective = recordings.tables, self._launcher, self._task.objective
        indices, rows, labels, step, rate = steps.begin_step(launcher, tables, self._numbers)
        arrays |= {"rows": rows, "indices": indices, "rate": rate, "step": step}
        arrays["labels"] = labels if objective.are_numbers else self._labels
        noted = 0
        if tables.measures is not None:
            arrays |= {"cursor": tables.cursor, "measures": tables.measures}
            noted = tables.measures.shape[0]
        outputs = self._run_program(recordings, arrays, noted=noted)
        correct = outputs["correct"] if tables.measures is None else self._no_correct
        # The program's loss is a mean already.
        steps.finish_step(launcher, replace(tables, batch=1), outputs["loss"], correct)

    def _run_program(
        self, recordings: _Recordings, arrays: dict[str, Array], noted: int = 0, tables: int = 0
    ) -> dict[str, Any]:
        """The outputs by name; ``noted`` and ``tables`` as of `training_program`."""
        task, part = self._task, recordings.part
        if part.images not in self._rendered:
            schedule = training_schedule(
                *(
                    task.network,
                    task.optimizer,
                    self._carry,
                    arrays["images"],
                    part.size,
                    task.dtype,
                ),
                gather=True,
                objective=task.objective,
                whole=task.labels.shape[0],
                noted=noted,
                tables=tables,
                whole_batch=None if task.share is None else traced_whole(task.share, part),
            )
            self._rendered[part.images] = rendered(self._render, schedule)
        outputs, held = self._rendered[part.images](self._launcher, self._kernels, arrays)
        self._kept.append(held)
        return outputs

    def _new_tables(self, batch: int) -> StepTables:
        empty, dtype, measures = self._launcher.empty, self._task.dtype, None
        if not self._task.objective.has_kernel:
            measures = empty((_CAPACITY,), dtype)
            measures[...] = 0.0
        return StepTables(
            order=empty((_CAPACITY * batch,), "int32"),
            rows=empty((_CAPACITY * batch,), "int32"),
            steps=empty((_CAPACITY,), "int32"),
            rates=empty((_CAPACITY,), dtype),
            cursor=empty((1,), "int32"),
            losses=empty((_CAPACITY,), dtype),
            correct_counts=empty((_CAPACITY,), "int32"),
            batch=batch,
            measures=measures,
        )


def _joined(
    results: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    losses, correct_counts = [np.zeros(0)], [np.zeros(0, np.int64)]
    for some_losses, some_counts in results:
        losses.append(some_losses)
        correct_counts.append(some_counts)
    return np.concatenate(losses).astype(float), np.concatenate(correct_counts)
