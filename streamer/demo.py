"""Makes the clip of the demo: people who do not exist walk about a painted place, with sound; and shows two clips side by side.

demo_faces -> figures -> scenes -> pictures + melody -> clip;  clip, anonymized clip -> contact sheet
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from streamer.demo_figures import draw_figure, load_figures
from streamer.demo_scenes import SCENES, Scene, paint_backdrop
from streamer.demo_sound import melody
from streamer.errors import InputError, OutputError
from streamer.opening import open_input

Picture = NDArray[np.uint8]  # (height, width, 3): R G B

SAMPLE_RATE = 48_000
MADE_BY_DEMO = "Made by veil demo: nobody in it exists"
"""The clip's comment, by which it is known again."""

_SHEET_COLUMNS = 4
_SHEET_GAP_PX = 6
_SHEET_LABEL_PX = 28


def make_demo_clip(path: Path, *, size: tuple[int, int] = (1280, 720), duration_s: float = 12.0, rate: int = 25) -> None:
    """Write an MP4 (H.264, AAC stereo) of SCENES, each as long as the others, with a hard cut between them.

    size: width and height, even. The same arguments make the same pictures, on every machine.
    """
    frames = round(duration_s * rate)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = MADE_BY_DEMO
        video = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast", "threads": "2"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, rate)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for number, picture in enumerate(_pictures(size, frames, rate)):
            frame = VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(melody(duration_s, SAMPLE_RATE), format="fltp", layout="stereo")
        sound.rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def is_demo_clip(path: Path) -> bool:
    """Whether `make_demo_clip` made this file; False where it is no clip at all."""
    try:
        with open_input(path) as container:
            return container.metadata.get("comment") == MADE_BY_DEMO
    except InputError:
        return False


def _pictures(size: tuple[int, int], frames: int, rate: int) -> Iterator[Picture]:
    figures = load_figures({actor.face for scene in SCENES for actor in scene.actors})
    each = -(-frames // len(SCENES))
    for index, scene in enumerate(SCENES):
        backdrop = paint_backdrop(scene.backdrop, size)
        count = min(each, frames - index * each)
        for number in range(count):
            yield _compose(scene, backdrop, figures, size, part=number / each, time_s=number / rate)


def _compose(
    scene: Scene, backdrop: Picture, figures: dict[str, list[Picture]], size: tuple[int, int], *, part: float, time_s: float
) -> Picture:
    """One picture; the camera drifts slowly over the backdrop, which is wider than the picture."""
    width, height = size
    left = (backdrop.shape[1] - width) * part
    shift = np.array([[1, 0, -left], [0, 1, 0]], np.float64)
    picture: Picture = cv2.warpAffine(backdrop, shift, size, flags=cv2.INTER_LINEAR).astype(np.uint8)
    # The larger a face, the nearer.
    places = sorted(((actor.at(part, time_s), actor.face) for actor in scene.actors), key=lambda place: place[0][2])
    for (x, y, face_width), face in places:
        draw_figure(picture, figures[face], center=(x * width, y * height), width_px=face_width * width)
    return picture


def make_contact_sheet(before: Path, after: Path, sheet: Path, *, moments: int = 8, tile_width_px: int = 400) -> None:
    """Pictures of both clips at the same moments, one above the other, as a PNG or JPEG.

    Raises InputError where a clip has no pictures.
    """
    pairs = list(zip(_tiles(before, moments, tile_width_px), _tiles(after, moments, tile_width_px), strict=True))
    tile_height_px = pairs[0][0].shape[0]
    bands = []
    for start in range(0, moments, _SHEET_COLUMNS):
        for row, label in enumerate(("before", "after")):
            band = np.full((_SHEET_LABEL_PX + tile_height_px, _SHEET_COLUMNS * (tile_width_px + _SHEET_GAP_PX), 3), 24, np.uint8)
            cv2.putText(band, label, (_SHEET_GAP_PX, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230, 230, 230), 1, cv2.LINE_AA)
            for column, pair in enumerate(pairs[start : start + _SHEET_COLUMNS]):
                left = column * (tile_width_px + _SHEET_GAP_PX)
                band[_SHEET_LABEL_PX:, left : left + tile_width_px] = pair[row]
            bands.append(band)
    picture = cv2.cvtColor(np.vstack(bands), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(sheet), picture, [cv2.IMWRITE_JPEG_QUALITY, 85] if sheet.suffix == ".jpg" else []):
        raise OutputError(f"{sheet}: cannot be written")


def _tiles(clip: Path, moments: int, width_px: int) -> Sequence[Picture]:
    """Pictures from the middles of equal parts of the clip."""
    with av.open(str(clip)) as container:
        count = sum(1 for _ in container.decode(video=0))
    if not count:
        raise InputError(f"{clip}: has no pictures")
    wanted = {int((moment + 0.5) * count / moments) for moment in range(moments)}
    tiles: list[Picture] = []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                height_px = round(frame.height * width_px / frame.width)
                picture = frame.to_ndarray(format="rgb24")
                tiles.append(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return tiles
