"""What is trained when: a pure function of the number of real images seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

BATCHES_A_FADE_STEP = 4
"""Alpha changes with every so many batches (Karras' minibatch_repeats)."""


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training at one resolution: first the new layers are faded in, then all is stabilised."""

    resolution: Annotated[int, msgspec.Meta(ge=8)]
    fade_images: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Images over which the new resolution is faded in; 0 in the first phase, which has nothing to fade from."""
    stabilize_images: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Images after the fade; in the last phase training goes on to the end of the run whatever this says."""
    batch: Annotated[int, msgspec.Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a run stands: what the next batch is trained with.

    alpha: share of the newest resolution, 1 when it is faded in. images_into_phase: images since this resolution began.
    """

    resolution: int
    alpha: float
    batch: int
    images_into_phase: int


def check_phases(phases: Sequence[Phase]) -> None:
    """Raises ValueError unless the resolutions double from phase to phase and only the first has no fade."""
    if not phases:
        raise ValueError("phases: at least one is needed")
    for number, phase in enumerate(phases):
        if phase.resolution & (phase.resolution - 1):
            raise ValueError(f"phases[{number}].resolution must be a power of two, is {phase.resolution}")
        if number and phase.resolution != 2 * phases[number - 1].resolution:
            raise ValueError(f"phases[{number}].resolution must be twice the one before, is {phase.resolution}")
    if phases[0].fade_images:
        raise ValueError("phases[0].fade_images must be 0: there is nothing to fade from")


def stage_at(phases: Sequence[Phase], images_seen: int) -> Stage:
    """The stage of the batch that begins when `images_seen` real images have been seen."""
    start = 0
    for phase in phases[:-1]:
        length = phase.fade_images + phase.stabilize_images
        if images_seen < start + length:
            return _stage(phase, images_seen - start)
        start += length
    return _stage(phases[-1], images_seen - start)


def _stage(phase: Phase, images_into_phase: int) -> Stage:
    alpha = 1.0
    if images_into_phase < phase.fade_images:
        group = BATCHES_A_FADE_STEP * phase.batch
        alpha = images_into_phase // group * group / phase.fade_images
    return Stage(resolution=phase.resolution, alpha=alpha, batch=phase.batch, images_into_phase=images_into_phase)


def rate_at(share: float) -> float:
    """Learning rate as a part of the highest, after this share of the run."""
    return min(1.0, (share + 1e-4) / 0.01) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def crosses(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` images lies behind the images seen now that did not before."""
    return before // every != after // every
