"""Painted faces over time: people who cross, leave and come back, and cuts. Detector, keypoints, tracker and painter together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.detectors import CenterFaceDetector, RgbImage, image_render
from models.face_generator import open_generator
from models.keypoints import DetectorWithKeypoints, NetworkKeypoints
from streamer.config import FilterSettings, TrackerSettings
from streamer.filters import FILTERS
from streamer.gan import GanFilter
from streamer.hiding import Hider, KnownFaces
from streamer.pictures import ColorTags, PictureLayout, Plane, rgb_to_region
from streamer.raw_pictures import YuvPicture
from streamer.tracker import TrackedFrame, Tracker
from tests.streamer.portraits import portrait

SIZE = (480, 272)
RATE = 25
PORTRAIT_PX = 120
DETECTOR_SIZE = 416
LAYOUT = PictureLayout(width=SIZE[0], height=SIZE[1], pixel_format="yuv444p", color=ColorTags(range=2, matrix=1))
GENERATOR = open_generator()
Box = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A portrait and where its upper left corner is in each frame; None while it is not there."""

    portrait: int
    way: Callable[[int], tuple[float, float] | None]


@dataclass(frozen=True, kw_only=True)
class Played:
    """A frame: what was in it, what the tracker said, and what came out."""

    faces: list[Box | None]
    """Of each actor, where at least half of the face is in the frame."""
    tracked: TrackedFrame
    raw: tuple[Plane, ...]
    safe: tuple[Plane, ...]

    def track_at(self, actor: int) -> int:
        """The track whose box covers the face of an actor best."""
        face = self.faces[actor]
        assert face is not None
        centre = (face[:2] + face[2:]) / 2
        boxes = self.tracked.boxes
        distances = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - centre).T)
        return int(self.tracked.tracks[distances.argmin()])


def picture(actors: Sequence[Actor], number: int, *, shade: int) -> tuple[RgbImage, list[Box | None]]:
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    scene = np.stack([shade + columns // 8, 120 - rows // 8, 100 + rows // 6], axis=2).astype(np.uint8)
    faces: list[Box | None] = []
    for actor in actors:
        corner = actor.way(number)
        if corner is None:
            faces.append(None)
            continue
        image, box = portrait(actor.portrait, PORTRAIT_PX, DETECTOR_SIZE)
        shift = np.hstack([np.eye(2), np.array(corner)[:, None]])
        cv2.warpAffine(image, shift, SIZE, dst=scene, borderMode=cv2.BORDER_TRANSPARENT)
        face = box + np.tile(corner, 2)
        seen = np.clip(face, 0, np.tile(SIZE, 2))
        faces.append(face if np.prod(seen[2:] - seen[:2]) >= 0.5 * np.prod(face[2:] - face[:2]) else None)
    return scene, faces


def play(actors: Sequence[Actor], frames: int, monkeypatch: pytest.MonkeyPatch, *, cuts: Sequence[int] = ()) -> list[Played]:
    monkeypatch.setitem(FILTERS, "gan", lambda settings, backend: GanFilter(GENERATOR, identity_seed=7))
    detector = DetectorWithKeypoints(detector=CenterFaceDetector(size=DETECTOR_SIZE), estimator=NetworkKeypoints())
    tracker, hider = Tracker(TrackerSettings(), SIZE), Hider(FilterSettings(name="gan"), LAYOUT)
    shown: dict[int, tuple[RgbImage, list[Box | None]]] = {}
    played: list[Played] = []

    def leave(tracked: Sequence[TrackedFrame]) -> None:
        for one in tracked:
            image, faces = shown.pop(one.number)
            raw = rgb_to_region(image, LAYOUT)
            safe = LAYOUT.planes(np.zeros(LAYOUT.nbytes, np.uint8))
            known = KnownFaces(
                time_s=one.number / RATE,
                tracks=one.tracks,
                best_scores=one.best_scores,
                keypoints=one.keypoints,
                keypoint_scores=one.keypoint_scores,
            )
            hider.hide(raw, safe, one.boxes, known)
            played.append(Played(faces=faces, tracked=one, raw=raw, safe=safe))

    for number in range(frames):
        shot = sum(number >= cut for cut in cuts)
        shown[number] = picture(actors, number, shade=70 + 50 * shot)
        faces = detector.detect(image_render(shown[number][0]), SIZE)
        leave(tracker.push(number, number / RATE, faces, is_cut=number == 0 or number in cuts))
    leave(tracker.flush())
    return played


def assert_nothing_shows(played: Sequence[Played]) -> None:
    """Every face lies in a box, and its inner part came out otherwise than it went in."""
    for frame in played:
        for face in frame.faces:
            if face is None:
                continue
            centre = (face[:2] + face[2:]) / 2
            inside = [(box[:2] <= centre).all() and (box[2:] >= centre).all() for box in frame.tracked.boxes]
            assert any(inside), f"frame {frame.tracked.number}"
            (x1, y1), (x2, y2) = np.clip(face.reshape(2, 2), 0, SIZE).astype(int)
            before, after = (planes[0][y1:y2, x1:x2].astype(float) for planes in (frame.raw, frame.safe))
            fine = [cv2.Laplacian(each, cv2.CV_64F, ksize=3).ravel() for each in (before, after)]
            assert np.corrcoef(*fine)[0, 1] < 0.6, f"frame {frame.tracked.number}"


def test_people_who_cross_keep_their_new_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    actors = (
        Actor(portrait=0, way=lambda number: (20 + 4.6 * number, 20)),
        Actor(portrait=5, way=lambda number: (340 - 4.6 * number, 130)),
    )
    played = play(actors, 70, monkeypatch)
    assert_nothing_shows(played)
    for actor in (0, 1):
        assert played[5].track_at(actor) == played[-5].track_at(actor)
    assert played[5].track_at(0) != played[5].track_at(1)


def test_who_leaves_and_comes_back_is_somebody_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers people: that is what makes a face in the output say nothing about who was there before."""

    def way(number: int) -> tuple[float, float] | None:
        if number < 35:
            return 180 - 9.0 * number, 60
        return None if number < 60 else (-130 + 9.0 * (number - 60), 60)

    played = play((Actor(portrait=3, way=way),), 95, monkeypatch)
    assert_nothing_shows(played)
    assert played[2].track_at(0) != played[-2].track_at(0)


def test_a_cut_ends_what_was_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame of a shot is painted as if there had been none before it."""
    actors = (
        Actor(portrait=0, way=lambda number: (120 + 0.5 * number, 60) if number < 20 else None),
        Actor(portrait=5, way=lambda number: (130, 62) if number >= 20 else None),
    )
    played = play(actors, 40, monkeypatch, cuts=[20])
    assert_nothing_shows(played)
    first = played[20]
    assert set(played[19].tracked.tracks.tolist()).isdisjoint(first.tracked.tracks.tolist())
    alone = LAYOUT.planes(np.zeros(LAYOUT.nbytes, np.uint8))
    fresh = Hider(FilterSettings(name="gan"), LAYOUT)
    known = KnownFaces(
        time_s=None,
        tracks=first.tracked.tracks,
        best_scores=first.tracked.best_scores,
        keypoints=first.tracked.keypoints,
        keypoint_scores=first.tracked.keypoint_scores,
    )
    fresh.hide(first.raw, alone, first.tracked.boxes, known)
    for got, expected in zip(first.safe, alone, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_person_stays_the_same_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is painted over one person changes less over a second than what is painted over two."""
    actors = (
        Actor(portrait=2, way=lambda number: (60 + 0.8 * number, 70)),
        Actor(portrait=8, way=lambda number: (300 - 0.8 * number, 70)),
    )
    played = play(actors, 40, monkeypatch)

    def face(frame: Played, actor: int) -> NDArray[np.float64]:
        box = frame.faces[actor]
        assert box is not None
        x1, y1, x2, y2 = box.astype(int)
        rgb = YuvPicture(planes=frame.safe, layout=LAYOUT).rgb((x1, y1, x2, y2))
        return cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)

    early, late = played[8], played[33]
    same = [np.abs(face(early, actor) - face(late, actor)).mean() for actor in (0, 1)]
    other = np.abs(face(late, 0) - face(late, 1)).mean()
    assert max(same) < 0.7 * other
