"""What the driver says of a GPU is passed on, and what it does not say is one line."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from models.backends import AUTO, BACKENDS, choose_backend, obstacle_to
from models.backends.nvidia import Gpu, NoGpuError, first_gpu, gpu_obstacle


class FakeDriver:
    """The driver's library with one GPU; `failing` answers with an error, `missing` is not there."""

    def __init__(self, failing: str = "", missing: str = "", capability: tuple[int, int] = (8, 9)) -> None:
        self.failing, self.missing, self.capability = failing, missing, capability
        self.is_open = 0

    def __getattr__(self, name: str) -> Any:
        if name == self.missing:
            raise AttributeError(name)
        return lambda *arguments: 999 if name == self.failing else self.answer(name, arguments)

    def answer(self, name: str, arguments: tuple[Any, ...]) -> int:
        match name:
            case "nvmlInit_v2":
                self.is_open += 1
            case "nvmlShutdown":
                self.is_open -= 1
            case "nvmlDeviceGetCudaComputeCapability":
                arguments[1]._obj.value, arguments[2]._obj.value = self.capability
            case "nvmlDeviceGetName":
                arguments[1].value = b"NVIDIA L4"
            case "nvmlSystemGetDriverVersion":
                arguments[0].value = b"580.65.06"
        return 0


def install(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> FakeDriver:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return driver


def test_the_first_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = install(monkeypatch, FakeDriver())
    assert first_gpu() == Gpu(name="NVIDIA L4", capability="8.9", driver="580.65.06")
    assert gpu_obstacle() is None
    assert driver.is_open == 0


@pytest.mark.parametrize("failing", ["nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetName"])
def test_a_driver_that_does_not_answer_is_one_line(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = install(monkeypatch, FakeDriver(failing=failing))
    with pytest.raises(NoGpuError, match=rf"no GPU answers \({failing} gives 999\)"):
        first_gpu()
    assert driver.is_open == 0


def test_an_old_driver_and_an_old_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver(missing="nvmlDeviceGetCudaComputeCapability"))
    assert gpu_obstacle() == "the NVIDIA driver has no nvmlDeviceGetCudaComputeCapability; it is too old"
    install(monkeypatch, FakeDriver(capability=(6, 1)))
    assert gpu_obstacle() == "NVIDIA L4 has compute capability 6.1, TensorRT needs 7.5"


def test_no_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpu_obstacle() == "no NVIDIA driver"


def test_auto_takes_tensorrt_where_gpu_and_packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeDriver())
    monkeypatch.setitem(BACKENDS, "tensorrt", BACKENDS["tensorrt"]._replace(packages=()))
    assert obstacle_to("tensorrt") is None
    assert [choose_backend("auto", precision) for precision in AUTO] == ["tensorrt", "tensorrt"]
    install(monkeypatch, FakeDriver(failing="nvmlInit_v2"))
    assert choose_backend("auto") == "cpu"
