"""Cuts are found; motion, zoom, flashes and fades are not taken for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import streamer
from streamer.cuts import CutDetector

FACES = sorted((Path(streamer.__file__).parent / "demo_faces").glob("*.jpg"))
CLIPS = sorted(clip for root in Path(__file__).parents[2:4] for clip in (root / "shared" / "data" / "clips").glob("*.*"))
Luma = NDArray[np.uint8]


@pytest.fixture(scope="module")
def wall() -> Luma:
    """(2048, 2048): sixteen faces, four by four."""
    images = []
    for path in FACES:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        images.append(image)
    return np.vstack([np.hstack(images[i : i + 4]) for i in range(0, 16, 4)]).astype(np.uint8)


def view(wall: Luma, x: float, y: float, width: float) -> Luma:
    """What a camera of 640 x 360 sees of the wall."""
    scale = 640 / width
    return np.asarray(cv2.warpAffine(wall, np.array([[scale, 0, -x * scale], [0, scale, -y * scale]]), (640, 360)), np.uint8)


def cuts(frames: Iterable[NDArray[np.unsignedinteger]]) -> list[int]:
    detector = CutDetector()
    return [number for number, luma in enumerate(frames) if detector.is_cut(luma)]


def shots(wall: Luma) -> list[Luma]:
    return [view(wall, 40, 60, 500), view(wall, 900, 700, 1100), view(wall, 200, 1500, 700), view(wall, 1300, 300, 640)]


def test_a_cut_is_found_at_its_very_frame(wall: Luma) -> None:
    assert cuts(shot for shot in shots(wall) for _ in range(5)) == [5, 10, 15]


def test_a_cut_is_found_in_ten_bits(wall: Luma) -> None:
    assert cuts(shot.astype(np.uint16) * 4 for shot in shots(wall) for _ in range(3)) == [3, 6, 9]


def test_cuts_between_portraits_of_the_same_framing_are_found() -> None:
    portraits = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in FACES]
    frames = [portrait.astype(np.uint8) for portrait in portraits if portrait is not None for _ in range(3)]
    assert cuts(frames) == list(range(3, len(frames), 3))


def test_a_cut_between_two_moving_shots_is_found(wall: Luma) -> None:
    first = [view(wall, 30 * i, 100, 640) for i in range(8)]
    second = [view(wall, 1300 - 30 * i, 1400, 640) for i in range(8)]
    assert cuts([*first, *second]) == [8]


def test_cuts_three_frames_apart_are_all_found(wall: Luma) -> None:
    assert cuts(shot for shot in shots(wall) for _ in range(3)) == [3, 6, 9]


def test_the_first_frame_and_still_pictures_are_no_cuts(wall: Luma) -> None:
    assert cuts([view(wall, 0, 0, 640)] * 10) == []


@pytest.mark.parametrize("step_px", [5, 20, 50])
def test_a_pan_is_no_cut(wall: Luma, step_px: int) -> None:
    assert cuts(view(wall, x, 400, 640) for x in range(0, 1400, step_px)) == []


@pytest.mark.parametrize("factor", [1.02, 1.08])
def test_a_zoom_is_no_cut(wall: Luma, factor: float) -> None:
    widths = 2000 / factor ** np.arange(18)
    assert cuts(view(wall, 1024 - w / 2, 1024 - w * 9 / 32, w) for w in widths) == []


def test_someone_walking_through_the_picture_is_no_cut(wall: Luma) -> None:
    background = view(wall, 0, 1024, 1100)
    person = view(wall, 1030, 30, 480)[:, :240]
    frames = []
    for x in range(0, 400, 25):
        frame = background.copy()
        frame[:, x : x + 240] = person
        frames.append(frame)
    assert cuts(frames) == []


@pytest.mark.parametrize(
    "flash", [lambda y: y * 2.0, lambda y: y * 4.0 + 20, lambda y: y + 100.0, lambda y: y * 0.0 + 255, lambda y: y * 0.3]
)
def test_a_flash_is_no_cut(wall: Luma, flash: object) -> None:
    assert callable(flash)
    still = view(wall, 300, 600, 900)
    bright = np.clip(flash(still.astype(np.float32)), 0, 255).astype(np.uint8)
    assert cuts([still, still, bright, still, still, bright, bright, still]) == []


def test_a_fade_through_black_is_a_cut_only_where_another_shot_comes_out_of_it(wall: Luma) -> None:
    before, after = shots(wall)[:2]
    levels = [1, 0.7, 0.4, 0.2, 0.05, 0, 0]
    out = [(before * level).astype(np.uint8) for level in levels]
    same = cuts([*out, *[(before * level).astype(np.uint8) for level in levels[::-1]]])
    other = cuts([*out, *[(after * level).astype(np.uint8) for level in levels[::-1]]])
    assert same == []
    assert len(other) == 1
    assert 9 <= other[0] <= 11


def test_noise_is_no_cut(wall: Luma) -> None:
    still = view(wall, 300, 600, 900).astype(np.float32)
    rng = np.random.default_rng(0)
    assert cuts(np.clip(still + rng.normal(0, 40, still.shape), 0, 255).astype(np.uint8) for _ in range(6)) == []


@pytest.mark.parametrize("size", [(16, 16), (2, 2), (64, 3000), (33, 17)])
def test_pictures_of_any_size_can_be_compared(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert cuts([rng.integers(0, 255, size, np.uint8)] * 3) == []


@pytest.mark.skipif(not CLIPS, reason="needs the clips")
def test_clips_of_one_shot_have_no_cut_and_their_joints_are_found() -> None:
    previous: list[Luma] = []
    for path in CLIPS:
        with av.open(str(path)) as container:
            frames = []
            for frame in container.decode(video=0):
                frames.append(
                    cv2.resize(frame.to_ndarray(format="gray"), (640, 360), interpolation=cv2.INTER_AREA).astype(np.uint8)
                )
                if len(frames) == 40:
                    break
        assert cuts([*previous, *frames]) == ([len(previous)] if previous else []), path.name
        previous = frames[-8:]
