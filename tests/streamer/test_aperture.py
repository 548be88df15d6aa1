"""What a container crops away from its pictures is as if it were not there."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.aperture import Aperture, aperture_of
from streamer.probe import probe
from tests.media import Clip, copy_clip, decoded_pictures, write_clip

SIZE = (96, 64)
_SPARE = b"\xec\x01\0\0\0\0\0\0\x02\0\0"
"""What FFmpeg leaves empty in the description of each track."""


def crop(path: Path, *, left: int, bottom: int) -> Path:
    """Write into the description of a Matroska file's pictures what is not to be shown."""
    content = path.read_bytes()
    pictures = re.search(rb"\xe0([\x80-\xff])\xb0", content)
    assert pictures is not None
    assert _SPARE in content[pictures.end() :]
    elements = b"\x54\xcc\x82" + left.to_bytes(2, "big") + b"\x54\xaa\x83" + bottom.to_bytes(3, "big")
    size = bytes((pictures[1][0] + len(elements),))
    rest = content[pictures.start() + 2 :].replace(_SPARE, b"", 1)
    path.write_bytes(content[: pictures.start()] + b"\xe0" + size + elements + rest)
    return path


def framed(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray[Any, Any]:
    """Grey, with a red edge where it is cropped: 16 columns at the left and 8 rows at the bottom."""
    rgb = np.full((height, width, 3), 128, np.uint8)
    rgb[:, :16] = rgb[-8:] = (255, 0, 0)
    return rgb


def clip(codec: str, **changes: Any) -> Clip:
    settings: dict[str, Any] = {"codec": codec, "width": SIZE[0], "height": SIZE[1], "pictures": [framed()] * 10}
    return Clip(**settings | changes)


def redness(path: Path) -> int:
    return max(int(rgb[..., 0].astype(int).max() - rgb[..., 1].min()) for rgb in decoded_pictures(path))


@pytest.mark.parametrize("target", ["mkv", "mp4"])
@pytest.mark.parametrize("source", ["mkv", "mp4"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_only_what_is_shown_is_kept(tmp_path: Path, codec: str, source: str, target: str) -> None:
    times: dict[str, Any] = {"time_base": Fraction(1, 1000), "pts": range(0, 400, 40)} if codec == "libvpx-vp9" else {}
    path = crop(write_clip(tmp_path / "in.mkv", clip(codec, **times)), left=16, bottom=8)
    if source == "mp4":
        path = _as_mp4(path)
    copy = copy_clip(path, tmp_path / f"out.{target}")
    assert decoded_pictures(copy.path)[0].shape == (56, 80, 3)
    assert redness(copy.path) < 60 < redness(path)
    assert copy.reader.notes == ["Of the stored picture of 96x64 only the 80x56 that players show are kept."]
    assert b"clap" not in copy.path.read_bytes()
    assert probe(copy.path).shown == Aperture(left=0, top=0, width=80, height=56)


def _as_mp4(path: Path) -> Path:
    """As FFmpeg copies it, with a `clap` box."""
    with av.open(str(path)) as source, av.open(str(path.with_suffix(".mp4")), "w") as output:
        copy = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux():
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    assert b"clap" in path.with_suffix(".mp4").read_bytes()
    return path.with_suffix(".mp4")


@pytest.mark.parametrize(("codec", "stored"), [("ffv1", "gray"), ("ffv1", "yuv444p10le"), ("ffv1", "bgr0"), ("libx264", "yuv420p")])
def test_every_format_is_cropped_and_set_upright(tmp_path: Path, codec: str, stored: str) -> None:
    path = crop(write_clip(tmp_path / "in.mkv", clip(codec, pixel_format=stored, turn=(90, False, False))), left=16, bottom=8)
    copy = copy_clip(path, tmp_path / "out.mkv")
    assert decoded_pictures(copy.path)[0].shape == (80, 56, 3)
    assert redness(copy.path) < 60


def test_an_odd_edge_is_rounded_inwards(tmp_path: Path) -> None:
    path = crop(write_clip(tmp_path / "in.mkv", clip("libx264")), left=15, bottom=7)
    assert probe(path).shown == Aperture(left=16, top=0, width=80, height=57)
    copy = copy_clip(path, tmp_path / "out.mkv")
    assert decoded_pictures(copy.path)[0].shape == (58, 80, 3)


def test_interlaced_pictures_keep_their_fields_apart() -> None:
    planes = [np.arange(64)[:, None].repeat(96, 1), np.arange(32)[:, None].repeat(48, 1)]
    luma, chroma = Aperture(left=2, top=4, width=10, height=9).cut(planes, "yuv420p")
    assert (luma.shape, chroma.shape) == ((9, 10), (5, 5))
    assert (luma[0, 0], chroma[0, 0]) == (4, 2)


def test_without_a_word_all_is_shown(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts"):
        with av.open(str(write_clip(tmp_path / name))) as container:
            assert aperture_of(container.streams.video[0], (64, 48)) == Aperture(left=0, top=0, width=64, height=48)
