"""The settings of a training run of the refiner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from trainer.config import AugmentSettings, Count, DataSettings, Fraction, NotNegative, Positive, Settings, read_settings
from trainer.single_run import SingleRunSettings


class RefinerNetworkSettings(Settings, frozen=True, kw_only=True):
    """The shapes of both networks."""

    width: Count = 32
    """Channels of the refiner."""
    blocks: Count = 4
    """Residual blocks of the refiner."""
    discriminator_width: Count = 24
    """Channels of the discriminator's first layer."""


class RefinerLossSettings(Settings, frozen=True, kw_only=True):
    """What the refiner is trained for."""

    painted: Fraction = 0.5
    """Share of each batch that the generator paints; the rest are real faces made coarse, whose detail is known."""
    blur_max: NotNegative = 2.0
    """Real faces are blurred by up to this sigma, in refined pixels, before they are made coarse: painted ones are soft too."""
    noise_max: NotNegative = 0.03
    """Real faces get up to so much noise after they are made coarse, as a standard deviation of values in [-1, 1]."""
    reconstruction: NotNegative = 4.0
    """Weight of the distance to the real face, real faces alone."""
    perceptual: NotNegative = 1.0
    """Weight of the relative distance of the frozen network's features to those of the real face, real faces alone."""
    consistency: NotNegative = 4.0
    """Weight of the distance to the painted face, painted faces alone."""
    consistency_pixels: Count = 32
    """The resolution at which refined and painted face are compared."""
    adversarial: NotNegative = 0.1
    """Weight of the discriminator's score."""


class RefinerRunSettings(SingleRunSettings, frozen=True, kw_only=True):
    """How the run behaves."""

    batch: Annotated[int, msgspec.Meta(ge=2)] = 16
    discriminator_learning_rate: Positive = 0.0004
    """As learning_rate, which is the refiner's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if there is one."""
    samples_every_images: Count = 5000


class RefinerTrainSettings(Settings, frozen=True, kw_only=True):
    """Everything about a training run."""

    data: DataSettings
    generator: str
    """generator.safetensors whose faces are refined; it stays as it is."""
    run: RefinerRunSettings
    augment: AugmentSettings = AugmentSettings()
    network: RefinerNetworkSettings = RefinerNetworkSettings()
    loss: RefinerLossSettings = RefinerLossSettings()

    def __post_init__(self) -> None:
        if not 0 < self.painted_images < self.run.batch:
            raise ValueError(
                f"loss.painted: {self.loss.painted} of a batch of {self.run.batch} leaves no painted face or no real one"
            )

    @property
    def painted_images(self) -> int:
        """Of each batch."""
        return round(self.loss.painted * self.run.batch)


def load_refiner_config(path: Path) -> RefinerTrainSettings:
    """Read a YAML file. Raises ConfigError with file and key where it cannot be used."""
    return read_settings(path, RefinerTrainSettings)
