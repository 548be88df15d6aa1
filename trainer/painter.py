"""A trained generator, opened from either kind of file, as a function of pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.backends.cpu import CpuBackend
from models.detectors import RgbImage
from models.face_generator import resolution_of
from models.faces import KEYPOINT_NAMES
from models.generator import BOTTOM, GeneratorArchitecture
from models.generator_weights import FORMAT, Provenance, load_generator, read_description
from models.geometry import Mask, from_pixels, to_pixels
from models.weights import WeightsError

Values = NDArray[np.float32]
Network = Callable[[list[Values]], Values]
"""image (B, 3, R, R) in [-1, 1], keypoints (B, 14), noise (B, noise planes, 4, 4) and, with a mask channel, mask (B, 1, R, R) ->
painted (B, 3, R, R)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Painter:
    """A generator and what its file says about it."""

    architecture: GeneratorArchitecture
    resolution: int
    """Pixels of the square crops; more than the architecture's where a refiner follows the generator."""
    provenance: Provenance
    network: Network

    def paint(self, given: list[RgbImage], masks: list[Mask], keypoints: Values, noise: Values) -> NDArray[np.uint8]:
        """Paint faces into crops whose faces are hidden.

        given, masks: each (R, R, 3) and (R, R), as `geometry.hide` gives them. keypoints: (B, 14) relative to the crop. noise:
        (B, noise planes, 4, 4). Returns the whole crops, (B, R, R, 3).
        """
        inputs = [np.ascontiguousarray(from_pixels(np.stack(given)).transpose(0, 3, 1, 2)), keypoints, noise]
        if self.architecture.has_mask:
            inputs.append(np.stack(masks)[:, None].astype(np.float32))
        return to_pixels(self.network(inputs).transpose(0, 2, 3, 1))

    def noise(self, numbers: list[int], seed: int, draw: int) -> Values:
        """Standard normal noise that depends on a face's number, the seed and the draw alone."""
        shape = (self.architecture.noise_planes, BOTTOM, BOTTOM)
        drawn = [np.random.default_rng((seed, 4, number, draw)).standard_normal(shape, np.float32) for number in numbers]
        return np.stack(drawn)

    def no_noise(self, count: int) -> Values:
        """Zeros, for the mean face."""
        return np.zeros((count, self.architecture.noise_planes, BOTTOM, BOTTOM), np.float32)


def open_painter(path: Path) -> Painter:
    """Open generator.safetensors of a run or an import, or an exported .onnx. Raises WeightsError where it cannot be used."""
    painter = _open_onnx(path) if path.suffix == ".onnx" else _open_safetensors(path)
    if painter.architecture.keypoints != len(KEYPOINT_NAMES):
        raise WeightsError(f"{path}: takes {painter.architecture.keypoints} keypoints, {len(KEYPOINT_NAMES)} are needed")
    return painter


def _open_safetensors(path: Path) -> Painter:
    generator, provenance = load_generator(path)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def network(inputs: list[Values]) -> Values:
        with torch.inference_mode():
            painted: Values = generator(*map(torch.from_numpy, inputs)).numpy()
        return painted

    a = generator.architecture
    return Painter(architecture=a, resolution=a.resolution, provenance=provenance, network=network)


def _open_onnx(path: Path) -> Painter:
    try:
        backend = CpuBackend(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # The runtime has an exception of its own, of no common kind, for every failure.
        raise WeightsError(f"{path}: damaged or not an ONNX file ({str(error).splitlines()[0]})") from error
    metadata = backend.metadata
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: not the weights of a generator (format is {metadata.get('format')!r}, {FORMAT!r} is needed)")
    architecture, provenance = read_description(path, metadata)

    def network(inputs: list[Values]) -> Values:
        painted: Values = backend.run(inputs)[0]
        return painted

    return Painter(architecture=architecture, resolution=resolution_of(metadata), provenance=provenance, network=network)
