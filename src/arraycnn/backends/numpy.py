"""NumPy on the CPU: the default, on all cores."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import BackendUnavailableError, InvalidTypeError
from arraycnn.execution import InferencePlan, Task, TrainingPlan
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.setting_checks import check_count
from arraycnn.training.step import CROSS_ENTROPY, Carry

if TYPE_CHECKING:  # what makes plans is imported when it is asked for
    from arraycnn.execution.clocked import ClockedNumPyPlans
    from arraycnn.execution.clocked_compiled import ClockedCompiled
    from arraycnn.execution.host import HostPlans
    from arraycnn.ops.clock import Clock

LLVMLITE = "0.44"
"""The oldest version that makes the compiled kernels; the extra ``fast`` asks for it."""


@dataclass(frozen=True)
class NumPy(Backend):
    """NumPy arrays, computed by NumPy on several threads.

    Parameters
    ----------
    threads : int or None
        How many threads work; None is one for each core this process may use. The results do not
        depend on it, to the last bit.
    fast : bool or None
        Whether kernels compiled through llvmlite (``pip install "arraycnn[fast]"``) replace NumPy's
        where they are faster; None is where llvmlite is installed. Results differ by rounding.
    """

    threads: int | None = None
    fast: bool | None = None

    name: ClassVar[str] = "numpy"

    @property
    def kernels(self) -> Kernels:
        return self._plans().kernels

    def __post_init__(self) -> None:
        if self.fast is not None and not isinstance(self.fast, bool):
            message = f"NumPy: fast must be True, False or None, got {self.fast!r}"
            raise InvalidTypeError(message)
        if self.threads is not None:
            check_count("NumPy: threads", self.threads)

    @property
    def device_name(self) -> str:
        kernels = "compiled" if self._is_fast() else "NumPy"
        return f"CPU ({platform.machine()}), {self._threads()} threads, {kernels} kernels"

    @property
    def version(self) -> str:
        return np.__version__

    def check(self) -> None:
        if not self._is_fast():
            return
        if self.fast:
            import_library("llvmlite", self.name, 'pip install "arraycnn[fast]"')
        try:
            found = import_module("llvmlite").__version__
            if not _is_at_least(found, LLVMLITE):
                message = f"its version is {found}, and compiled kernels need {LLVMLITE} or newer"
                raise ImportError(message)
            self._plans()
        except Exception as error:
            message = (
                f"backend numpy: llvmlite is installed and does not work ({one_line(error)}); "
                "update it (numba, where it is installed, too), uninstall it, or take "
                "NumPy(fast=False), as train --no-fast does"
            )
            raise BackendUnavailableError(message) from error

    def asarray(self, array: Any) -> Array:
        return array if isinstance(array, np.ndarray) else adopt(self, array, np.from_dlpack)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.asarray(array)

    def training_plan(self, task: Task, carry: Carry) -> TrainingPlan:
        return self._plans().training_plan(self, task, carry)

    def inference_plan(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        return self._plans().inference_plan(self, network, params, state, dtype, loss)

    def clocked_plans(self, clock: Clock, joins: bool) -> ClockedNumPyPlans | ClockedCompiled:
        """Plans whose steps note in ``clock`` what each of their parts takes.

        Without ``joins``, the steps of a chain run on all images one after the other.
        """
        if self._is_fast():
            from arraycnn.execution.clocked_compiled import ClockedCompiled

            return ClockedCompiled(self._threads(), clock, joins)
        from arraycnn.execution.clocked import ClockedNumPyPlans

        return ClockedNumPyPlans(self._threads(), clock)

    def _plans(self) -> HostPlans:
        return _compiled(self._threads()) if self._is_fast() else _plain(self._threads())

    def _is_fast(self) -> bool:
        return find_spec("llvmlite") is not None if self.fast is None else self.fast

    def _threads(self) -> int:
        return usable_cores() if self.threads is None else self.threads


def _is_at_least(version: str, least: str) -> bool:
    """Whether ``version`` is not before ``least``; one without such numbers, as of a build, is not."""
    found, wanted = ([int(part) for part in re.findall(r"\d+", v)[:2]] for v in (version, least))
    return len(found) < 2 or found >= wanted


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _compiled(threads: int) -> HostPlans:
    """The compiled kernels and what runs them; llvmlite is imported here."""
    from arraycnn.execution.compiled import Compiled

    return Compiled(threads)


@cache
def _plain(threads: int) -> HostPlans:
    """NumPy's own kernels and what runs them."""
    from arraycnn.execution.numpy import NumPyPlans

    return NumPyPlans(threads)
