"""What the NVIDIA driver says of the first GPU, asked without CUDA: that could not be used after a fork, and costs memory."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_LONGEST_TEXT = 128
LEAST_CAPABILITY = (7, 5)
"""Major and minor of the oldest GPUs that TensorRT still supports."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """name: as the driver has it. capability: major.minor of its architecture. driver: its version."""

    name: str
    capability: str
    driver: str


class NoGpuError(Exception):
    """There is no GPU that can be used; one line."""


def first_gpu() -> Gpu:
    """Raises NoGpuError where there is no driver, or none that answers, or no GPU."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise NoGpuError("no NVIDIA driver") from None
    _call(library, "nvmlInit_v2")
    try:
        device = ctypes.c_void_p()
        _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(0), ctypes.byref(device))
        major, minor = ctypes.c_int(), ctypes.c_int()
        _call(library, "nvmlDeviceGetCudaComputeCapability", device, ctypes.byref(major), ctypes.byref(minor))
        return Gpu(
            name=_text(library, "nvmlDeviceGetName", device),
            capability=f"{major.value}.{minor.value}",
            driver=_text(library, "nvmlSystemGetDriverVersion"),
        )
    finally:
        library.nvmlShutdown()


def gpu_obstacle() -> str | None:
    """Why TensorRT can use no GPU; None where it can."""
    try:
        gpu = first_gpu()
    except NoGpuError as error:
        return str(error)
    if tuple(map(int, gpu.capability.split("."))) < LEAST_CAPABILITY:
        return f"{gpu.name} has compute capability {gpu.capability}, TensorRT needs {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]}"
    return None


def _text(library: ctypes.CDLL, function: str, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_LONGEST_TEXT)
    _call(library, function, *arguments, buffer, ctypes.c_uint(_LONGEST_TEXT))
    return buffer.value.decode(errors="replace")


def _call(library: ctypes.CDLL, function: str, *arguments: Any) -> None:
    """Raises NoGpuError unless the driver's function succeeds."""
    try:
        code = getattr(library, function)(*arguments)
    except AttributeError:
        raise NoGpuError(f"the NVIDIA driver has no {function}; it is too old") from None
    if code != 0:
        raise NoGpuError(f"no GPU answers ({function} gives {code})")
