"""Faces over time: tracks, flicker, identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import RgbImage, image_render
from models.faces import Boxes
from streamer.verify.exposure import Exposure
from streamer.verify.flicker import LEAST_PAIRS, FlickerMeter
from streamer.verify.footage import FramePair, Picture
from streamer.verify.identity import SAMPLE_EVERY_S, IdentityMeter
from streamer.verify.tracks import MEMORY_S, Track, TrackBook
from tests.streamer.portraits import Cover, another_face, blackout, box_in, covered, frame, heavy_blur, nothing


def boxes(*corners: tuple[float, float], side: float = 40) -> Boxes:
    return np.array([(x, y, x + side, y + side) for x, y in corners], np.float32).reshape(len(corners), 4)


def ids(tracks: Sequence[Track]) -> list[int]:
    return [track.id for track in tracks]


def exposure(share: float) -> Exposure:
    return Exposure(exposed_share=share, unchanged_share=share, correlation=share, judged_by="detail", is_exposed=share > 0.3)


def test_faces_keep_their_tracks_while_they_move() -> None:
    book = TrackBook()
    found = [
        ids(book.take(number / 25, boxes((10 + 3 * number, 20), (200 - 3 * number, 20)), is_cut=False)) for number in range(10)
    ]
    assert found == [[1, 2]] * 10


def test_a_face_keeps_its_track_over_a_gap_and_loses_it_at_a_cut_and_after_long() -> None:
    book = TrackBook()
    here = boxes((50, 50))
    assert ids(book.take(0.0, here, is_cut=False)) == [1]
    for step in range(1, 5):
        assert book.take(0.1 * step, boxes(), is_cut=False) == []
    assert ids(book.take(0.5, here, is_cut=False)) == [1]
    assert ids(book.take(0.6, here, is_cut=True)) == [2]
    for step in range(1, 5):
        book.take(0.6 + step * MEMORY_S / 3, boxes(), is_cut=False)
    assert ids(book.take(0.6 + 2 * MEMORY_S, here, is_cut=False)) == [3]


def test_frames_far_apart_still_share_tracks() -> None:
    book = TrackBook()
    assert [ids(book.take(4.0 * turn, boxes((50, 50)), is_cut=False)) for turn in range(4)] == [[1]] * 4


def test_a_track_counts_what_shows_and_its_longest_run() -> None:
    book = TrackBook()
    (track,) = book.take(0.0, boxes((50, 50)), is_cut=False)
    for number, share in enumerate([0.0, 0.5, 0.1, 0.4, 0.9, 0.6, 0.0, 0.5]):
        track.add(number, 40.0, exposure(share))
    assert (track.faces, track.exposed, track.longest_exposed_run) == (8, 5, 3)
    assert track.worst is not None
    assert (track.worst.exposed_share, track.worst_frame) == (0.9, 4)


def test_a_small_part_that_surely_shows_is_worse_than_a_large_one_that_may() -> None:
    (track,) = TrackBook().take(0.0, boxes((50, 50)), is_cut=False)
    for number, (share, is_exposed) in enumerate([(0.3, False), (0.15, True), (0.2, False)]):
        track.add(number, 40.0, replace(exposure(share), is_exposed=is_exposed))
    assert track.worst_frame == 1


def picture(rgb: RgbImage) -> Picture:
    return Picture(luma=np.ascontiguousarray(rgb[:, :, 1]), render=image_render(rgb))


def pair(number: int, cover: Cover, *, time_s: float | None = None) -> FramePair:
    return FramePair(
        number=number,
        time_s=number / 25 if time_s is None else time_s,
        is_cut=False,
        original=picture(frame(number)),
        anonymized=picture(covered(number, cover)),
    )


def noisy(number: int, cover: Cover) -> FramePair:
    """The original flickers a little as footage does; a cover hides that too."""
    noise = np.random.default_rng(number).normal(0, 3, frame(0).shape)
    before = (frame(number) + noise).clip(0, 255).astype(np.uint8)
    after = before.copy()
    cover(after, box_in(number))
    return FramePair(number=number, time_s=number / 25, is_cut=False, original=picture(before), anonymized=picture(after))


def flickering(number: int) -> Cover:
    def cover(rgb: RgbImage, box: NDArray[np.float32]) -> None:
        blackout(rgb, box)
        x1, y1, x2, y2 = box.astype(int)
        rgb[y1:y2, x1:x2] = 120 if number % 2 else 20

    return cover


def test_a_cover_that_stands_still_does_not_flicker_and_one_that_blinks_does() -> None:
    steady, blinking, same = FlickerMeter(), FlickerMeter(), FlickerMeter()
    for number in range(LEAST_PAIRS + 1):
        steady.take(noisy(number, blackout), 1, box_in(number))
        blinking.take(noisy(number, flickering(number)), 1, box_in(number))
        same.take(noisy(number, nothing), 1, box_in(number))

    ratios = [meter.median_ratio() for meter in (steady, blinking, same)]

    assert None not in ratios
    assert ratios[0] == 0.0
    assert ratios[1] is not None
    assert ratios[1] > 5
    assert ratios[2] == pytest.approx(1.0)


def test_the_portrait_that_moves_is_aligned_before_it_is_compared() -> None:
    meter = FlickerMeter()
    for number in range(LEAST_PAIRS + 1):
        meter.take(pair(number, nothing), 1, box_in(number))
    flicker = meter.of_track(1)
    assert flicker is not None
    assert flicker.original < 0.01


def test_frames_that_do_not_follow_each_other_are_not_compared() -> None:
    meter = FlickerMeter()
    for number in range(0, 4 * LEAST_PAIRS, 2):
        meter.take(pair(number, blackout), 1, box_in(number))
    assert meter.of_track(1) is None
    assert meter.median_ratio() is None


class MeanColours:
    """Knows people by the colours in the middle of their boxes; satisfies Recognizer."""

    name = "mean colours"
    same_person = 8.0

    def __init__(self) -> None:
        self.asked = 0

    def embed(
        self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        self.asked += len(pictures)
        rows = []
        for rgb, box in zip(pictures, boxes, strict=True):
            x1, y1, x2, y2 = box.astype(int)
            rows.append(rgb[y1 + 10 : y2 - 10, x1 + 10 : x2 - 10].mean((0, 1)))
        return np.array(rows, np.float32)


def test_a_person_who_was_not_hidden_is_recognised_and_one_who_was_is_not() -> None:
    rates = []
    for cover in (nothing, another_face):
        meter = IdentityMeter(MeanColours())
        for number in range(3):
            meter.take(pair(number, cover, time_s=number * SAMPLE_EVERY_S), [(1, box_in(number))])
        identity, chance = meter.of_track(1), meter.chance()
        assert identity is not None
        assert chance is not None
        assert identity.samples == 3
        assert chance.pairs >= 3
        assert meter.rates() == (identity.reidentified, identity.blank)
        rates.append((identity.reidentified, identity.blank, chance.reidentified))
    assert rates[0] == (1.0, 0.0, 0.0)
    assert rates[1][:2] == (0.0, 0.0)


def test_a_track_that_is_seen_once_counts_once() -> None:
    meter = IdentityMeter(MeanColours())
    for number in range(3):
        meter.take(pair(number, another_face, time_s=number * SAMPLE_EVERY_S), [(1, box_in(number))])
    meter.take(pair(3, nothing, time_s=3 * SAMPLE_EVERY_S), [(2, box_in(3))])
    assert meter.rates() == (0.25, 0.0)


def test_what_hair_and_surroundings_tell_is_measured_apart() -> None:
    class Surroundings(MeanColours):
        """Knows people by what is around them."""

        def embed(
            self, pictures: Sequence[RgbImage], originals: Sequence[RgbImage], boxes: Sequence[NDArray[np.float32]]
        ) -> NDArray[np.float32]:
            return np.array([rgb[:20].mean((0, 1)) for rgb in pictures], np.float32)

    meter = IdentityMeter(Surroundings())
    meter.take(pair(0, blackout), [(1, box_in(0))])
    assert meter.rates() == (1.0, 1.0)


def test_the_spread_tells_whether_somebody_stays_the_same_person() -> None:
    meter = IdentityMeter(MeanColours())
    for number in range(4):
        cover = heavy_blur if number % 2 else blackout
        meter.take(pair(number, cover, time_s=number * SAMPLE_EVERY_S), [(1, box_in(number))])
    identity = meter.of_track(1)
    assert identity is not None
    assert identity.original_spread is not None
    assert identity.anonymized_spread is not None
    assert identity.anonymized_spread > 10 * identity.original_spread


def test_the_recogniser_is_asked_now_and_then_and_not_for_small_faces() -> None:
    recognizer = MeanColours()
    meter = IdentityMeter(recognizer)
    for number in range(10):
        meter.take(pair(0, nothing, time_s=number * SAMPLE_EVERY_S / 4), [(1, box_in(0)), (2, boxes((5, 5), side=20)[0])])
    assert recognizer.asked == 3 * 3
    assert meter.of_track(2) is None


def test_chance_counts_those_who_are_in_the_same_frame(tmp_path: Path) -> None:
    meter = IdentityMeter(MeanColours())
    other = boxes((150, 90), side=60)[0]
    meter.take(pair(0, another_face), [(1, box_in(0)), (2, other)])
    with_company = meter.chance()
    alone = IdentityMeter(MeanColours())
    alone.take(pair(0, another_face), [(1, box_in(0))])
    alone.take(pair(1, another_face), [(2, other)])
    assert with_company is not None
    without = alone.chance()
    assert without is not None
    assert with_company.pairs == without.pairs + 2
