"""The generator as it is served: exported weights on an inference backend, pictures in, pictures out, no torch.

geometry.hide -> FaceGenerator.paint -> geometry.paste
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends import InferenceBackend, Precision, open_backend
from models.geometry import from_pixels, to_pixels
from models.weights import WeightsError

DEFAULT_WEIGHTS = "generator.onnx"
PRECISION: Precision = "bfloat16"
"""Nobody sees the difference in what is painted."""
FORMAT = "veil-generator-1"
"""The format that `generator_export.export_onnx` writes."""


class FaceGenerator:
    """Paints faces into crops whose faces are hidden.

    resolution: pixels of the square crops. keypoints: number of keypoints. noise_planes: planes of the noise at 4x4.
    expansion: growth of the crops beyond the face box on each side, for `geometry.expand_to_square`. terms: what the weights may
    be used for.
    """

    def __init__(self, backend: InferenceBackend, name: str) -> None:
        """name: of the weights, for messages. Raises WeightsError where the network is no exported generator."""
        described = backend.metadata
        if described.get("format") != FORMAT:
            raise WeightsError(f"{name}: not an exported generator (format is {described.get('format')!r}, {FORMAT!r} is needed)")
        try:
            architecture: dict[str, Any] = json.loads(described["architecture"])
            provenance: dict[str, Any] = json.loads(described["provenance"])
            self.resolution = resolution_of(described)
            self.keypoints = int(architecture["keypoints"])
            self.noise_planes = int(architecture["noise_planes"])
            self._has_mask = bool(architecture["has_mask"])
            self.expansion = float(provenance["expansion"])
            self.terms = str(provenance["terms"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{name}: its description cannot be read ({error})") from error
        self._backend = backend

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Of what the network is given, without the batch, in order: image, keypoints, noise and, if it has one, mask."""
        side = self.resolution
        shapes: list[tuple[int, ...]] = [(3, side, side), (2 * self.keypoints,), (self.noise_planes, 4, 4)]
        return [*shapes, (1, side, side)] if self._has_mask else shapes

    def paint(
        self,
        pictures: NDArray[np.uint8],
        masks: NDArray[np.bool_],
        keypoints: NDArray[np.float32],
        noise: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Paint a face into each crop; the same arguments give the same pixels, whatever the masks hide.

        pictures: (B, R, R, 3), RGB. masks: (B, R, R), True where the face is hidden. keypoints: (B, 2 K), x0 y0 x1 y1 ...
        relative to the crop, outside [0, 1) where absent. noise: (B, noise planes, 4, 4), standard normal; None = zeros, the mean
        face. Returns (B, R, R, 3): equal to `pictures` outside the masks if the network has a mask channel, a whole new crop if
        not (the paper's).
        """
        if noise is None:
            noise = np.zeros((len(pictures), self.noise_planes, 4, 4), np.float32)
        hidden = masks[:, None].astype(np.float32)
        values = np.ascontiguousarray(from_pixels(pictures).transpose(0, 3, 1, 2))
        # Without a mask channel a hidden pixel is painted 128, as in the paper.
        values = np.where(masks[:, None], np.float32(0.0 if self._has_mask else 128 / 127.5 - 1), values)
        inputs = [values, self._middles(keypoints), noise.astype(np.float32)] + [hidden] * self._has_mask
        (painted,) = self._backend.run(inputs)
        pixels = to_pixels(painted.transpose(0, 2, 3, 1))
        return np.where(masks[..., None], pixels, pictures) if self._has_mask else pixels

    def _middles(self, keypoints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each keypoint moved to the middle of its pixel, all that the network sees of it: few bits, which any arithmetic keeps."""
        pixels = np.float32(self.resolution)
        middles: NDArray[np.float32] = (np.floor(keypoints.astype(np.float32) * pixels) + np.float32(0.5)) / pixels
        return middles


def resolution_of(metadata: Mapping[str, str]) -> int:
    """Pixels of the crops that an exported generator takes, by its metadata: a refiner doubles them.

    Raises KeyError, TypeError or ValueError where it does not say.
    """
    resolution = int(json.loads(metadata["architecture"])["resolution"])
    return 2 * resolution if "refiner" in metadata else resolution


def open_generator(backend: str = "cpu", weights: str = DEFAULT_WEIGHTS, *, threads: int = 1) -> FaceGenerator:
    """Open the generator `models/pretrained/<weights>`. Raises ValueError for an unknown backend, BackendError for one that
    is not usable, and WeightsError for weights that are missing, damaged or no generator.
    """
    return FaceGenerator(open_backend(backend, weights, threads=threads, precision=PRECISION), weights)
