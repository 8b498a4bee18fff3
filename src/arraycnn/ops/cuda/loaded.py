"""The kernels of a device: each compiled once, and those of a step all at the same time.

What takes the time is the compiler's work on each kernel: putting many into one program saves a tenth
of it, and then none is found again where another network, batch size or precision needs some of them.
So each is a program of its own, kept by CuPy on disk, and the cores of the host share the work, during
which the compiler does not hold Python's lock.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class _IsMissing(BaseException):
    """Ends what is rehearsed, whatever errors it handles by itself."""


class _Here(threading.local):
    """What a thread rehearses: other threads start kernels meanwhile, as ever."""

    is_rehearsing = False
    noted: dict[tuple[str, str], Future[Any]] | None = None
    """The kernels that were asked for and are missing; None where kernels are started."""

    pool: ThreadPoolExecutor


class LoadedKernels:
    """Functions that start kernels, by file and name.

    Parameters
    ----------
    load : function
        Of a file and the name of a kernel in it; called on several threads.
    """

    def __init__(self, load: Callable[[str, str], Any]) -> None:
        self._load = load
        self._functions: dict[tuple[str, str], Any] = {}
        self._here = _Here()

    @property
    def are_noted(self) -> bool:
        """Whether this thread starts no kernel, but asks which it would."""
        return self._here.noted is not None

    def get(self, file: str, kernel: str) -> Any:
        """What starts ``kernel``, or None where it is noted."""
        key, here = (file, kernel), self._here
        if here.noted is not None:
            if key not in self._functions and key not in here.noted:
                here.noted[key] = here.pool.submit(self._load, *key)
            return None
        if key not in self._functions:
            if here.is_rehearsing:
                raise _IsMissing
            self._functions[key] = self._load(*key)
        return self._functions[key]

    def calls(self) -> bool:
        """Whether code that starts other kernels is called now: in a rehearsal once, at the end."""
        if self._here.is_rehearsing:
            raise _IsMissing  # perhaps, further on
        return not self.are_noted

    def rehearse(self, work: Callable[[], None]) -> None:
        """Run ``work``; before, where kernels are missing that it starts, compile them together.

        Then ``work`` has been broken off at the first of them, and run without starting any.
        """
        self._here.is_rehearsing = True
        try:
            work()
            return
        except _IsMissing:
            pass
        finally:
            self._here.is_rehearsing = False
        self._load_all(work)
        work()

    def _load_all(self, work: Callable[[], None]) -> None:
        """Have the kernels that ``work`` would start."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            noted: dict[tuple[str, str], Future[Any]] = {}
            self._here.pool = pool
            self._here.noted = noted
            try:
                work()
            except Exception:
                pass  # of numbers that no kernel wrote: what is wrong shows when it is run
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                self._here.noted = None
            for key, function in noted.items():
                self._functions[key] = function.result()
