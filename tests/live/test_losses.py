"""Whatever is slow, hangs or is lost before and at the detectors, no face shows in what goes out, small ones that pass included."""

from __future__ import annotations

import pytest

from streamer.demo import make_demo_clip
from tests.live import scene
from tests.live.simulation import Film, Simulation, film_of

RATE = 15
SEEDS = range(230, 275)
"""Of the ways to lose frames that these draw, four showed a face while any quick look was believed."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    clip = tmp_path_factory.mktemp("losses") / "people.mp4"
    make_demo_clip(clip, size=scene.SIZE, duration_s=4.0, rate=RATE)
    return film_of(clip, RATE)


def test_the_footage_has_faces_that_a_quick_look_misses(film: Film) -> None:
    missed = [len(found["thorough"].unpack()) - len(found["quick"].unpack()) for found in film.found]
    assert sum(count > 0 for count in missed) > len(missed) // 4


def test_no_face_shows_however_frames_are_lost(film: Film) -> None:
    frames_out, reasons = 0, set()
    for seed in SEEDS:
        simulation = Simulation(film, seed)
        simulation.run(24.0)
        assert simulation.showing == [], f"seed {seed}"
        frames_out += simulation.frames_out
        reasons |= set(simulation.dropped)
    assert frames_out > 100 * len(SEEDS), "frames went out"
    assert reasons == {"no_slot", "overload", "unconfirmed"}, "and were lost"
