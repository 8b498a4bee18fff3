"""How much of a device's memory is in use, asked of the driver's own library, by any process."""

import ctypes
import threading
import time


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class DeviceMemory:
    """Bytes in use on a device, by NVML; OSError where it cannot be asked.

    Found by its address on the bus: NVML counts devices otherwise than CUDA does.
    """

    def __init__(self, bus_id):
        self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self._handle = ctypes.c_void_p()
        self._check(self._nvml.nvmlInit_v2())
        found = self._nvml.nvmlDeviceGetHandleByPciBusId_v2
        self._check(found(bus_id.encode(), ctypes.byref(self._handle)))

    def used(self):
        memory = _Memory()
        self._check(self._nvml.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)))
        return memory.used

    @staticmethod
    def _check(code):
        if code:
            message = f"NVML answered with error {code}"
            raise OSError(message)


class Peak:
    """``with Peak(used) as peak``: `peak.bytes` is the most that ``used()`` was meanwhile."""

    def __init__(self, used, every=0.005):
        self._used, self._every = used, every
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self):
        self.bytes = self._used()
        self._watcher.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._watcher.join()
        self.bytes = max(self.bytes, self._used())

    def _watch(self):
        while not self._ended.is_set():
            self.bytes = max(self.bytes, self._used())
            time.sleep(self._every)
