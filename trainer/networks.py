"""The networks of a run and their optimisers: made, grown, saved and restored."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.discriminator import Discriminator
from models.generator import Generator
from models.generator_weights import Provenance, load_generator
from trainer.config import NetworkSettings, OptimizerSettings, TrainSettings
from trainer.features import FeatureDiscriminator, load_backbone
from trainer.identity import Attacker
from trainer.precision import DTYPES
from trainer.recognizers import load_recognizer


class ArchitectureError(ValueError):
    """A checkpoint holds other networks than the configuration asks for."""


class Networks:
    """Generator, its running average, and discriminator at the resolution that is trained now."""

    def __init__(self, settings: TrainSettings, resolution: int, device: torch.device, *, is_fading: bool = False) -> None:
        self._settings = settings
        self._device = device
        with _seeded(settings.run.seed, resolution):
            self._adopt(
                Generator(settings.network.generator(resolution), is_fading=is_fading),
                Discriminator(settings.network.discriminator(resolution), is_fading=is_fading),
            )
        self.average = _frozen_copy(self.generator)
        self._make_optimizers()
        self.features: FeatureDiscriminator | None = None
        self.features_optimizer: torch.optim.Adam | None = None
        if settings.loss.looks_at_features:
            self.features = _make_features(settings, device)
        if self.features is not None and settings.loss.features > 0:
            self.features_optimizer = adam(self.features, settings.optimizer)
        self.attackers = _make_attackers(settings, device)

    @property
    def resolution(self) -> int:
        resolution: int = self.generator.architecture.resolution
        return resolution

    def _adopt(self, generator: Generator, discriminator: Discriminator) -> None:
        self.generator = _placed(generator, self._device)
        self.discriminator = _placed(discriminator, self._device)

    def _make_optimizers(self) -> None:
        self.generator_optimizer = adam(self.generator, self._settings.optimizer)
        self.discriminator_optimizer = adam(self.discriminator, self._settings.optimizer)

    def grow(self) -> None:
        """Double the resolution: new layers are drawn by the run's seed, and copied into the running average."""
        network = self._settings.network
        optimizers = (self.generator_optimizer, self.discriminator_optimizer)
        moments = [_moments_by_name(each, of) for each, of in zip((self.generator, self.discriminator), optimizers, strict=True)]
        with _seeded(self._settings.run.seed, 2 * self.resolution):
            average = self.average.grown(network.generator(2 * self.resolution))
            generator = self.generator.grown(network.generator(2 * self.resolution))
            discriminator = self.discriminator.grown(network.discriminator(2 * self.resolution))
        old = self.average.state_dict().keys()
        fresh = {name: value for name, value in generator.state_dict().items() if _is_new(name, old)}
        average.load_state_dict(fresh, strict=False)
        self._adopt(generator, discriminator)
        self.average = _placed(average, self._device).eval().requires_grad_(False)
        self._make_optimizers()
        if not self._settings.optimizer.reset_at_growth:
            _restore_moments(self.generator, self.generator_optimizer, moments[0])
            _restore_moments(self.discriminator, self.discriminator_optimizer, moments[1])

    @torch.no_grad()
    def update_average(self, batch: int, images_seen: int) -> None:
        """Move the running average towards the generator: by half in `average_half_life_images`, sooner while the run is young."""
        half_life = self._settings.optimizer.average_half_life_images
        if self._settings.optimizer.average_ramp is not None:
            half_life = min(half_life, max(self._settings.optimizer.average_ramp * images_seen, 1e-3))
        keep = 0.5 ** (batch / half_life)
        for average, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(value, 1.0 - keep)

    def begin_from(self, path: Path) -> Provenance:
        """Take the weights of a generator of this very architecture; returns where they come from.

        Raises WeightsError where the file cannot be used, ArchitectureError where it holds another generator.
        """
        generator, provenance = load_generator(path)
        found, wanted = asdict(generator.architecture), asdict(self.generator.architecture)
        if found != wanted:
            difference = _differences({"generator": found}, {"generator": wanted})
            raise ArchitectureError(f"{path}: cannot begin the run (run.initial_weights): {difference}")
        self.generator.load_state_dict(generator.state_dict())
        self.average.load_state_dict(generator.state_dict())
        return provenance

    def state(self) -> dict[str, Any]:
        """Everything that `restored` needs."""
        state = {
            "architectures": _architectures(self._settings.network, self.resolution),
            "resolution": self.resolution,
            "is_fading": self.generator.to_rgb_old is not None,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }
        if self.features is not None and self.features_optimizer is not None:
            state |= {"features": self.features.state_dict(), "features_optimizer": self.features_optimizer.state_dict()}
        return state

    @classmethod
    def restored(cls, settings: TrainSettings, device: torch.device, state: dict[str, Any]) -> Networks:
        """The networks as `state` holds them. Raises ArchitectureError where the configuration asks for others."""
        resolution: int = state["resolution"]
        wanted = _architectures(settings.network, resolution)
        if state["architectures"] != wanted:
            raise ArchitectureError(
                f"the checkpoint holds another architecture: {_differences(state['architectures'], wanted)}; "
                "continue it with its own configuration (config.yaml in the folder of the run), or begin another run"
            )
        networks = cls(settings, resolution, device, is_fading=state["is_fading"])
        networks.generator.load_state_dict(state["generator"])
        networks.average.load_state_dict(state["average"])
        networks.discriminator.load_state_dict(state["discriminator"])
        networks.generator_optimizer.load_state_dict(state["generator_optimizer"])
        networks.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        # A second discriminator may begin or end in the middle of a run.
        if networks.features is not None and networks.features_optimizer is not None and "features" in state:
            networks.features.load_state_dict(state["features"])
            networks.features_optimizer.load_state_dict(state["features_optimizer"])
        # The settings of the configuration win over those of the checkpoint; the moments stay.
        for optimizer in (networks.generator_optimizer, networks.discriminator_optimizer, networks.features_optimizer):
            if optimizer is None:
                continue
            for group in optimizer.param_groups:
                group["lr"] = settings.optimizer.learning_rate
        return networks


Network = TypeVar("Network", Generator, Discriminator)


def _placed(network: Network, device: torch.device) -> Network:
    """On the device, with channels last: the layout in which convolutions run fastest, on CPUs too."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _make_features(settings: TrainSettings, device: torch.device) -> FeatureDiscriminator:
    path = settings.loss.feature_weights
    backbone = load_backbone(None if path is None else Path(path)).to(device)
    if settings.run.precision != "float32":
        backbone.to(DTYPES[settings.run.precision])  # Frozen: casting it anew for every call would gain nothing.
    with _seeded(settings.run.seed, 0):
        return FeatureDiscriminator(backbone, settings.network.keypoints, settings.loss.feature_pixels).to(device)


def _make_attackers(settings: TrainSettings, device: torch.device) -> tuple[Attacker, ...]:
    """None at all where no term of the loss recognises. Raises WeightsError."""
    if not settings.loss.recognizes:
        return ()
    attackers = []
    for path in settings.loss.identity_weights:
        name, network = load_recognizer(Path(path))
        attackers.append(Attacker(name, network.to(device, DTYPES[settings.run.precision])))
    return tuple(attackers)


def adam(network: nn.Module, settings: OptimizerSettings) -> torch.optim.Adam:
    """Adam as configured, over all of the network."""
    betas = (settings.beta_1, settings.beta_2)
    return torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=betas, eps=settings.epsilon)


def _architectures(settings: NetworkSettings, resolution: int) -> dict[str, Any]:
    return {"generator": asdict(settings.generator(resolution)), "discriminator": asdict(settings.discriminator(resolution))}


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Every value that differs: what a file holds, and what the configuration asks for."""
    parts = []
    for network in wanted:
        for key, value in wanted[network].items():
            there = found.get(network, {}).get(key, "nothing")
            if there != value:
                parts.append(f"its {network} has {key} {there}, the configuration asks for {value}")
    return ", ".join(parts)


def _frozen_copy(network: Generator) -> Generator:
    return copy.deepcopy(network).eval().requires_grad_(False)


def _is_new(name: str, old: Any) -> bool:
    """Whether growth made this weight: it did not exist, or its name now belongs to a new layer."""
    return "_old." not in name and (name not in old or name.startswith(("from_rgb.", "to_rgb.")))


def _moments_by_name(network: nn.Module, optimizer: torch.optim.Adam) -> dict[str, dict[str, Tensor]]:
    return {name: optimizer.state[value] for name, value in network.named_parameters() if value in optimizer.state}


def _restore_moments(network: nn.Module, optimizer: torch.optim.Adam, moments: dict[str, dict[str, Tensor]]) -> None:
    for name, value in network.named_parameters():
        if name in moments and not name.startswith(("from_rgb", "to_rgb")):
            optimizer.state[value] = moments[name]


class _seeded:  # noqa: N801 - used like a function
    """Within, torch's random numbers depend on these numbers alone; afterwards they go on as if nothing had been drawn."""

    def __init__(self, *numbers: int) -> None:
        self._seed = seed_of(*numbers)

    def __enter__(self) -> None:
        self._before = torch.get_rng_state()
        torch.manual_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self._before)


def seed_of(*numbers: int) -> int:
    """One seed for a few numbers, different for different ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def random_source(*numbers: int) -> torch.Generator:
    """A source of random numbers on the CPU that depends on these numbers alone."""
    return torch.Generator().manual_seed(seed_of(*numbers))
