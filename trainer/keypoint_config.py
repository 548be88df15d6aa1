"""The settings of a training run of the keypoint network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from trainer.config import Count, DataSettings, Fraction, NotNegative, Positive, Settings, read_settings
from trainer.single_run import SingleRunSettings

Ratio = Annotated[float, msgspec.Meta(ge=1.0, le=4.0)]


class KeypointAugmentSettings(Settings, frozen=True, kw_only=True):
    """How crops are varied; the ranges hold what serving cuts around the boxes of a detector."""

    flip: Fraction = 0.5
    """Probability of a mirrored picture."""
    crop_min: Ratio = 1.15
    """Smallest side of the crop, in longer sides of the face box."""
    crop_mode: Ratio = 1.45
    """Most frequent side."""
    crop_max: Ratio = 1.95
    """Largest side."""
    shift: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.08
    """The crop's centre moves by up to this part of its side."""
    rotate_deg: Annotated[float, msgspec.Meta(ge=0.0, le=180.0)] = 40.0
    """Largest rotation in the picture plane, degrees."""
    black_border: Fraction = 0.3
    """Probability that what lies outside the picture is black rather than its reflection."""
    cut: Fraction = 0.1
    """Probability that a side of the crop is black, as at the border of a frame."""
    occlude: Fraction = 0.25
    """Probability of something in front of the face."""
    color: Fraction = 0.5
    """Probability of changed brightness, contrast, saturation and white balance."""
    gray: Fraction = 0.1
    """Probability of a picture without colour."""
    degrade: Fraction = 0.4
    """Probability of a picture that is low in resolution, blurred, noisy or strongly compressed."""

    def __post_init__(self) -> None:
        if not self.crop_min < self.crop_max or not self.crop_min <= self.crop_mode <= self.crop_max:
            raise ValueError("augment.crop_min, crop_mode and crop_max must rise")


class KeypointNetworkSettings(Settings, frozen=True, kw_only=True):
    """The network's shape."""

    widths: tuple[Count, Count, Count, Count] = (32, 40, 56, 64)
    """Channels at 32, 16, 8 and 4 pixels."""
    hidden: Count = 64
    """Values of the hidden layer."""


class KeypointRunSettings(SingleRunSettings, frozen=True, kw_only=True):
    """How the run behaves."""

    batch: Count = 64
    weight_decay: NotNegative = 0.01
    average_half_life_images: Positive = 10000.0
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 1
    log_every_images: Count = 10000
    validate_every_images: Count = 50000


class KeypointTrainSettings(Settings, frozen=True, kw_only=True):
    """Everything about a training run."""

    data: DataSettings
    run: KeypointRunSettings
    network: KeypointNetworkSettings = KeypointNetworkSettings()
    augment: KeypointAugmentSettings = KeypointAugmentSettings()
    expansion: NotNegative = 0.225
    """Growth of the square around the face box on each side in validation, and in serving: that of the generator."""

    def __post_init__(self) -> None:
        if self.data.kind != "labels":
            raise ValueError("data.kind must be labels: only labels.csv says how sure a keypoint is")


def load_keypoint_config(path: Path) -> KeypointTrainSettings:
    """Read a YAML file. Raises ConfigError with file and key where it cannot be used."""
    return read_settings(path, KeypointTrainSettings)
