"""The schedule is a function of the images seen and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import load_config
from trainer.schedule import Phase, check_phases, stage_at

CONFIGS = Path(__file__).parents[2] / "configs"

PHASES = (
    Phase(resolution=8, stabilize_images=100, batch=4),
    Phase(resolution=16, fade_images=64, stabilize_images=36, batch=4),
    Phase(resolution=32, fade_images=64, batch=2),
)


@pytest.mark.parametrize(
    ("images", "resolution", "alpha", "batch"),
    [
        (0, 8, 1.0, 256),
        (1_199_999, 8, 1.0, 256),
        (1_200_000, 16, 0.0, 256),
        (1_200_000 + 1024, 16, 1024 / 1.2e6, 256),
        (2_400_000, 16, 1.0, 256),
        (3_600_000, 32, 0.0, 128),
        (4_800_000, 32, 1.0, 128),
        (6_000_000, 64, 0.0, 72),
        (7_200_000, 64, 1.0, 72),
        (8_400_000, 128, 0.0, 48),
        (9_000_100, 128, 0.5, 48),
        (9_600_000, 128, 1.0, 48),
        (40_000_000, 128, 1.0, 48),
    ],
)
def test_the_papers_configuration_follows_its_schedule(images: int, resolution: int, alpha: float, batch: int) -> None:
    stage = stage_at(load_config(CONFIGS / "train-fdf128.yaml").phases, images)
    assert (stage.resolution, stage.batch) == (resolution, batch)
    assert stage.alpha == pytest.approx(alpha, abs=1e-9)


def test_alpha_changes_with_every_fourth_batch() -> None:
    alphas = [stage_at(PHASES, 100 + 4 * batch).alpha for batch in range(17)]
    assert alphas == [0.0] * 4 + [0.25] * 4 + [0.5] * 4 + [0.75] * 4 + [1.0]


@given(st.integers(0, 1000), st.integers(0, 100))
def test_resolution_never_shrinks_and_alpha_never_falls_within_one(images: int, later: int) -> None:
    before, after = stage_at(PHASES, images), stage_at(PHASES, images + later)
    assert after.resolution >= before.resolution
    assert 0.0 <= before.alpha <= 1.0
    if after.resolution == before.resolution:
        assert after.alpha >= before.alpha


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((), "at least one"),
        ((Phase(resolution=12, batch=1),), "power of two"),
        ((Phase(resolution=8, batch=1), Phase(resolution=32, batch=1)), "twice"),
        ((Phase(resolution=8, fade_images=1, batch=1),), "nothing to fade"),
    ],
)
def test_phases_that_make_no_sense_are_refused(phases: tuple[Phase, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_phases(phases)
