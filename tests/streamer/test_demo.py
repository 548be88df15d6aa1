"""The clip of the demo: the same every time, with faces that are found, a cut and sound."""

from __future__ import annotations

import errno
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models.detectors import image_render, open_detector
from streamer.commands import demo
from streamer.commands.demo import ANONYMIZED, CLIP, check_folder
from streamer.demo import SAMPLE_RATE, make_contact_sheet, make_demo_clip
from streamer.demo_figures import load_figures
from streamer.demo_scenes import SCENES
from streamer.demo_sound import melody
from streamer.errors import ExitCode, OutputError
from tests.command import veil

SIZE = (640, 360)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "clip.mp4"
    make_demo_clip(path, size=SIZE, duration_s=2.0, rate=10)
    return path


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_clip_is_the_same_every_time(clip: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.mp4"
    make_demo_clip(again, size=SIZE, duration_s=2.0, rate=10)

    assert again.read_bytes() == clip.read_bytes()


def test_the_clip_has_the_asked_size_length_and_sound(clip: Path) -> None:
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.codec_context.name) == (*SIZE, "h264")
        assert (audio.codec_context.name, audio.channels, audio.rate) == ("aac", 2, SAMPLE_RATE)
        assert [round(frame.time, 3) for frame in container.decode(video=0)] == [number / 10 for number in range(20)]
        container.seek(0)
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert sound.shape[1] / SAMPLE_RATE == pytest.approx(2.0, abs=0.05)
    assert 0.02 < np.sqrt((sound**2).mean()) < 0.5


def test_the_hardest_change_is_the_cut_in_the_middle(clip: Path) -> None:
    shown = [picture.astype(np.int16) for picture in pictures(clip)]
    changes = [float(np.abs(after - before).mean()) for before, after in pairwise(shown)]

    assert int(np.argmax(changes)) == len(shown) // 2 - 1


def test_the_faces_are_faces_to_the_detector(clip: Path) -> None:
    """One close-up wider than a quarter of the picture, and in the second shot all that stand there."""
    detector = open_detector("centerface", "full")
    shown = pictures(clip)
    close = detector.detect(image_render(shown[9]), SIZE)
    standing = detector.detect(image_render(shown[13]), SIZE)

    widths = close.boxes[:, 2] - close.boxes[:, 0]
    assert widths.max() > SIZE[0] / 4
    assert (standing.scores > 0.5).sum() >= 2


def test_every_actor_has_a_portrait_and_it_is_cut_out() -> None:
    faces = {actor.face for scene in SCENES for actor in scene.actors}
    assert all((files("streamer") / "demo_faces" / face).is_file() for face in faces)

    for sizes in load_figures(sorted(faces)[:2]).values():
        alpha = sizes[0][..., 3]
        assert alpha[:30, :60].max() == 0
        assert alpha[290, alpha.shape[1] // 2] == 255
        assert [figure.shape[1] for figure in sizes] == sorted((figure.shape[1] for figure in sizes), reverse=True)


def test_somebody_enters_somebody_leaves_and_two_cross() -> None:
    """Where the actors are at the ends of a scene, and that some pair changes sides within the picture."""
    for scene in SCENES:
        starts, ends = ([actor.at(part, 0.0)[0] for actor in scene.actors] for part in (0.0, 1.0))
        assert any(not 0 < start < 1 for start in starts)
        assert any(not 0 < end < 1 for end in ends)
        pairs = [(i, j) for i in range(len(starts)) for j in range(i)]
        assert any((starts[i] - starts[j]) * (ends[i] - ends[j]) < 0 for i, j in pairs)


def test_the_sound_stays_within_its_range() -> None:
    sound = melody(3.0, 8000)

    assert sound.shape == (2, 24_000)
    assert np.abs(sound).max() <= 0.95
    assert not np.array_equal(sound[0], sound[1])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_contact_sheet_shows_both_clips_at_eight_moments(clip: Path, tmp_path: Path, suffix: str) -> None:
    sheet = tmp_path / f"sheet{suffix}"

    make_contact_sheet(clip, clip, sheet, tile_width_px=160)

    with Image.open(sheet) as image:
        width, height = image.size
        assert width > 4 * 160
        assert height > 4 * 90
        rows = np.asarray(image.convert("RGB")).astype(np.int16)
    band = rows.shape[0] // 4
    before, after, later = (rows[number * band + 28 : (number + 1) * band] for number in range(3))
    # Labels differ, and JPEG spreads a little of that.
    assert np.abs(before - after).mean() < 3
    assert np.abs(before - later).mean() > 10


@pytest.mark.parametrize("name", ["demo.mp4", "demo_anonymized.mp4", "contact-sheet.png"])
def test_a_file_that_no_demo_made_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"somebody's own")

    ended = veil("demo", "-o", tmp_path, cwd=tmp_path)

    assert ended.returncode == ExitCode.OUTPUT
    why = "is not of an earlier demo and would be replaced; name another folder with -o"
    assert ended.stderr == f"veil demo: {tmp_path / name}: {why}\n"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"somebody's own")]


def test_the_files_of_an_earlier_demo_are_replaced(clip: Path, tmp_path: Path) -> None:
    (tmp_path / CLIP).write_bytes(clip.read_bytes())
    (tmp_path / ANONYMIZED).write_bytes(b"")

    check_folder(tmp_path)


def test_a_clip_has_its_name_only_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half a clip")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(demo, "make_demo_clip", fail)

    with pytest.raises(OutputError, match="No space left on device"):
        demo.write_clip(tmp_path / CLIP)
    assert list(tmp_path.iterdir()) == []
