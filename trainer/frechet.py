"""The Fréchet distance between two sets of pictures (Heusel et al. 2017), on features whose name is part of the figure.

crops -> features (N, D) -> frechet_distance
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import geometry
from models.detectors import RgbImage
from trainer.features import FeatureError, load_backbone
from trainer.task import to_values

Features = NDArray[np.float32]  # (pictures, D)


def frechet_distance(real: Features, fake: Features) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the means and covariances of two sets of features, (N, D) and (M, D).

    With C1 = A'A and C2 = B'B the trace of the root is the sum of the singular values of A B': no root of a nearly singular
    matrix is taken, and fewer pictures than features do no harm to the numerics. Few pictures do make the distance greater: it
    may be compared only between sets of the same size. Raises ValueError for fewer than two pictures.
    """
    roots, means = [], []
    for values in (real, fake):
        if len(values) < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 pictures, has {len(values)}")
        exact = torch.from_numpy(np.asarray(values, np.float64))
        means.append(exact.mean(0))
        centred = (exact - means[-1]) / (len(values) - 1) ** 0.5
        # More rows than columns: the triangular factor has the same covariance.
        roots.append(torch.linalg.qr(centred, mode="r").R if centred.shape[0] > centred.shape[1] else centred)
    spread = sum((root**2).sum() for root in roots)
    shared = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    distance = ((means[0] - means[1]) ** 2).sum() + spread - 2 * shared
    return max(0.0, float(distance))


class FeatureNetwork(Protocol):
    """Looks at pictures of any size."""

    @property
    def name(self) -> str:
        """As the figure is called."""
        ...

    def look_at(self, crops: Sequence[RgbImage]) -> Features:
        """Square pictures, each of its own size -> (B, D)."""
        ...


class LiteFeatures:
    """The pooled features of EfficientNet-Lite0, 1280 of them, on pictures at 160 pixels; not comparable with a published FID."""

    name = "FD-EfficientNet-Lite0"
    pixels = 160

    def __init__(self, weights: Path | None = None) -> None:
        """weights: None takes those of the installed package. Raises FeatureError."""
        self._network = load_backbone(weights)

    def look_at(self, crops: Sequence[RgbImage]) -> Features:
        with torch.inference_mode():
            values: Features = self._network.pooled(to_values(_batch(crops, self.pixels).float())).numpy()
        return values


class InceptionFeatures:
    """InceptionV3 from a TorchScript file of the user's, called as the published ones are: uint8 (B, 3, 299, 299) -> (B, D)."""

    name = "FID-InceptionV3"
    pixels = 299

    def __init__(self, path: Path) -> None:
        """Raises FeatureError where the file is no TorchScript, or its answer is no table of features."""
        self._path = path
        if not path.is_file():
            raise FeatureError(f"{path}: no such file")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._network = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, OSError, ValueError) as error:
            raise FeatureError(f"{path}: damaged, or not a TorchScript file ({str(error).splitlines()[0]})") from error
        names = [argument.name for argument in self._network.forward.schema.arguments]
        self._options = {"return_features": True} if "return_features" in names else {}
        self.look_at([np.zeros((self.pixels, self.pixels, 3), np.uint8)] * 2)

    def look_at(self, crops: Sequence[RgbImage]) -> Features:
        try:
            with torch.inference_mode():
                values = self._network(_batch(crops, self.pixels), **self._options)
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise FeatureError(f"{self._path}: cannot look at uint8 pictures of {self.pixels} pixels ({reason})") from error
        if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(crops):
            raise FeatureError(f"{self._path}: must answer with (pictures, features), does not")
        features: Features = values.float().numpy()
        return features


def _batch(crops: Sequence[RgbImage], pixels: int) -> Tensor:
    """(B, 3, pixels, pixels), uint8: areas averaged where a crop shrinks, bilinear where it grows."""
    resized = np.stack([geometry.resize(crop, pixels) for crop in crops])
    return torch.from_numpy(np.ascontiguousarray(resized.transpose(0, 3, 1, 2)))
