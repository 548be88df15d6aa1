"""The TensorRT engines that Veil needs, so that they can be built before the first video and not during it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.backends.engine_cache import Forms, TensorForm
from models.backends.tensorrt import BATCHES
from models.detectors import DetectorSize, Size, network_sizes
from models.face_generator import open_generator
from models.keypoints import CROP_PX
from models.weights import read_manifest


@dataclass(frozen=True, kw_only=True)
class WantedEngine:
    """A file of weights and the inputs that an engine for it takes."""

    weights: str
    forms: Forms

    def __str__(self) -> str:
        return described(self.weights, [form.shape for form in self.forms])


def wanted_engines(frame_sizes: Sequence[Size], size: DetectorSize) -> list[WantedEngine]:
    """For videos of these sizes: the detector at each of its working sizes, keypoints and generator in each batch.

    Raises WeightsError where weights are missing or damaged.
    """
    working = sorted({one for frame_size in frame_sizes for one in network_sizes(frame_size, size)})
    generator = open_generator()
    painting = [tuple(TensorForm(dtype="float32", shape=(batch, *shape)) for shape in generator.input_shapes) for batch in BATCHES]
    return [
        *(WantedEngine(weights="centerface.onnx", forms=_picture(1, height, width)) for width, height in working),
        *(WantedEngine(weights="keypoints.onnx", forms=_picture(batch, CROP_PX, CROP_PX)) for batch in BATCHES),
        *(WantedEngine(weights="generator.onnx", forms=forms) for forms in painting),
    ]


def described(weights: str, shapes: Sequence[Sequence[int]]) -> str:
    """As in centerface.onnx 1x352x640x3: the first input says all."""
    return f"{weights:<16} {'x'.join(map(str, shapes[0]))}"


def described_key(key: Mapping[str, Any]) -> str:
    """What a key of the cache stands for."""
    names = {digest: name for name, digest in read_manifest().items()}
    weights = names.get(key["network"], "other weights")
    platform = key["platform"]
    return f"{described(weights, [form['shape'] for form in key['forms']]):<34} {platform['gpu']}, TensorRT {platform['tensorrt']}"


def _picture(batch: int, height: int, width: int) -> Forms:
    return (TensorForm(dtype="uint8", shape=(batch, height, width, 3)),)
