"""Two files side by side: the pictures of both, frame by frame, and whether frames, times and sound agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import cv2
import msgspec
import numpy as np

from models.detectors import Render, RgbImage, Size, image_render
from streamer.cuts import CutDetector
from streamer.errors import InputError
from streamer.images import read_image
from streamer.opening import check_readable
from streamer.pictures import PIXEL_FORMATS, Plane, picture_render
from streamer.probe import IMAGE_SUFFIXES
from streamer.raw_pictures import eight_bits
from streamer.reading import DecodedFrame, VideoReader
from streamer.verify.detail import Luma

LARGEST_TIME_DIFFERENCE_S = 0.0025
"""Matroska rounds the times of both files to milliseconds."""

SoundVerdict = Literal["identical", "re-encoded", "differs", "missing", "added"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One upright picture; valid until the next pair is asked for."""

    luma: Luma
    render: Render

    @property
    def size(self) -> Size:
        return self.luma.shape[1], self.luma.shape[0]

    def rgb(self) -> RgbImage:
        """The whole picture, 8 bits."""
        return self.render((0, 0, *self.size), self.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePair:
    """The same frame of both files."""

    number: int
    """From 0."""
    time_s: float
    """Seconds from the first frame of the original."""
    is_cut: bool
    """The original begins a new shot here."""
    original: Picture
    anonymized: Picture


class SoundComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One sound track of both files; a codec is empty where there is no such track."""

    original_codec: str
    anonymized_codec: str
    original_packets: int
    anonymized_packets: int
    verdict: SoundVerdict


class MediaComparison(msgspec.Struct, frozen=True, kw_only=True):
    """What the two files have in common beside their pictures."""

    kind: Literal["video", "image"]
    width: int
    height: int
    original_frames: int
    anonymized_frames: int
    largest_time_difference_s: float
    """Between frames of the same number, both counted from their first frame."""
    sounds: list[SoundComparison]
    notes: list[str]
    """What is damaged in either file."""

    @property
    def frames_agree(self) -> bool:
        return self.original_frames == self.anonymized_frames

    @property
    def times_agree(self) -> bool:
        return self.largest_time_difference_s <= LARGEST_TIME_DIFFERENCE_S


class Footage(Protocol):
    """Two files that can be compared picture by picture."""

    @property
    def frames_estimated(self) -> int | None: ...

    def pairs(self) -> Iterator[FramePair]:
        """Every frame that both files have, in order; to be iterated once. Raises InputError as reading does."""
        ...

    def media(self) -> MediaComparison:
        """Complete when `pairs` has ended."""
        ...


def open_footage(original: Path, anonymized: Path) -> Footage:
    """Raises InputError where a file cannot be read, one is a photo and one a video, or their sizes differ."""
    for path in (original, anonymized):
        check_readable(path)
    if original.samefile(anonymized):
        raise InputError(f"{anonymized}: is the original itself; name the anonymized file second")
    are_images = [path.suffix.lower() in IMAGE_SUFFIXES for path in (original, anonymized)]
    if are_images[0] != are_images[1]:
        photo, video = (original, anonymized) if are_images[0] else (anonymized, original)
        raise InputError(f"{photo}: is a photo, but {video} is not; give two photos or two videos")
    return PhotoFootage(original, anonymized) if are_images[0] else VideoFootage(original, anonymized)


def _check_sizes(original: Path, size: Size, anonymized: Path, other: Size) -> None:
    if size != other:
        raise InputError(
            f"{anonymized}: its pictures are {other[0]}x{other[1]}, those of {original} are {size[0]}x{size[1]}; "
            "only files of the same size can be compared"
        )


class PhotoFootage:
    """A photo and its anonymized copy: one pair; satisfies Footage."""

    frames_estimated: int | None = 1

    def __init__(self, original: Path, anonymized: Path) -> None:
        self._pictures = [_photo(path) for path in (original, anonymized)]
        _check_sizes(original, self._pictures[0].size, anonymized, self._pictures[1].size)

    def pairs(self) -> Iterator[FramePair]:
        original, anonymized = self._pictures
        yield FramePair(number=0, time_s=0.0, is_cut=False, original=original, anonymized=anonymized)

    def media(self) -> MediaComparison:
        width, height = self._pictures[0].size
        return MediaComparison(
            kind="image",
            width=width,
            height=height,
            original_frames=1,
            anonymized_frames=1,
            largest_time_difference_s=0.0,
            sounds=[],
            notes=[],
        )


def _photo(path: Path) -> Picture:
    shown = eight_bits(read_image(path).rgb)
    return Picture(luma=cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False), render=image_render(shown))


@dataclass
class _Sound:
    """What a sound track holds, as far as it must be known to compare it."""

    codec: str
    packets: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


class _Video:
    """One of the two videos."""

    def __init__(self, path: Path) -> None:
        self.reader = VideoReader(path)
        self.frames = 0
        self.sounds = [_Sound(track.codec) for track in self.reader.info.audio if track.codec]
        layout = self.reader.info.layout
        self._planes = layout.planes(np.zeros(layout.nbytes, np.uint8))
        self._render = picture_render(self._planes, layout)

    @property
    def size(self) -> Size:
        return self.reader.info.layout.width, self.reader.info.layout.height

    @property
    def notes(self) -> list[str]:
        return self.reader.notes if self.reader.is_damaged else []

    def pictures(self) -> Iterator[tuple[float, Picture]]:
        """The time and the picture of every frame; the planes are those of the frame yielded last."""
        for item in self.reader:
            if isinstance(item, DecodedFrame):
                item.write_into(self._planes)
                self.frames += 1
                yield item.time_s, Picture(luma=self._luma(), render=self._render)
            else:
                sound = self.sounds[item.track]
                sound.packets += 1
                sound.digest.update(item.data)

    @property
    def luma_plane(self) -> Plane:
        return self._planes[0]

    def _luma(self) -> Luma:
        excess = PIXEL_FORMATS[self.reader.info.layout.pixel_format].bits - 8
        return (self._planes[0] >> excess).astype(np.uint8) if excess else self._planes[0].astype(np.uint8, copy=False)


class VideoFootage:
    """A video and its anonymized copy; satisfies Footage."""

    def __init__(self, original: Path, anonymized: Path) -> None:
        self._original, self._anonymized = _Video(original), _Video(anonymized)
        _check_sizes(original, self._original.size, anonymized, self._anonymized.size)
        self._largest_time_difference_s = 0.0

    @property
    def frames_estimated(self) -> int | None:
        return self._original.reader.info.frames_estimated

    def pairs(self) -> Iterator[FramePair]:
        cuts = CutDetector()
        originals, copies = self._original.pictures(), self._anonymized.pictures()
        for number, (time_s, original) in enumerate(originals):
            copy = next(copies, None)
            if copy is None:
                break
            self._largest_time_difference_s = max(self._largest_time_difference_s, abs(copy[0] - time_s))
            is_cut = cuts.is_cut(self._original.luma_plane)
            yield FramePair(number=number, time_s=time_s, is_cut=is_cut, original=original, anonymized=copy[1])
        # What only one of them has is counted, and its sound is read to the end.
        for rest in (originals, copies):
            for _ in rest:
                pass

    def media(self) -> MediaComparison:
        width, height = self._original.size
        return MediaComparison(
            kind="video",
            width=width,
            height=height,
            original_frames=self._original.frames,
            anonymized_frames=self._anonymized.frames,
            largest_time_difference_s=self._largest_time_difference_s,
            sounds=_compare_sounds(self._original.sounds, self._anonymized.sounds),
            notes=[
                f"{name}: {note}"
                for name, video in (("original", self._original), ("anonymized", self._anonymized))
                for note in video.notes
            ],
        )


def _compare_sounds(originals: list[_Sound], copies: list[_Sound]) -> list[SoundComparison]:
    nothing = _Sound("")
    compared = []
    for index in range(max(len(originals), len(copies))):
        original = originals[index] if index < len(originals) else nothing
        copy = copies[index] if index < len(copies) else nothing
        compared.append(
            SoundComparison(
                original_codec=original.codec,
                anonymized_codec=copy.codec,
                original_packets=original.packets,
                anonymized_packets=copy.packets,
                verdict=_sound_verdict(original, copy),
            )
        )
    return compared


def _sound_verdict(original: _Sound, copy: _Sound) -> SoundVerdict:
    if not copy.codec:
        return "missing"
    if not original.codec:
        return "added"
    if original.codec != copy.codec:
        return "re-encoded"
    # Containers cut uncompressed sound into packets of their own size, so the packets' number proves nothing.
    return "identical" if original.digest.digest() == copy.digest.digest() else "differs"
