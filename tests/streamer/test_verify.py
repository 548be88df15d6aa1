"""`veil verify` finds what shows, says where, and can be trusted with a batch."""

from __future__ import annotations

import base64
import io
import os
import re
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from models import recognition
from models.recognition import RecognizerError
from streamer.errors import ExitCode
from streamer.probe import MADE_BY_VEIL
from streamer.verify.album import Album
from streamer.verify.examination import Examination
from streamer.verify.footage import open_footage
from streamer.verify.page import render_page
from streamer.verify.proof import Proof, Settings
from streamer.verify.summary import MOST_ROWS, show_summary
from tests.command import TIMEOUT_S, VEIL
from tests.media import Clip, Sound, decoded_pictures, write_clip
from tests.streamer.portraits import (
    FRAMES,
    Cover,
    another_face,
    blackout,
    covered,
    frame,
    half_a_face_aside,
    heavy_blur,
    knowing_detector,
    nothing,
    verify,
    write_footage,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_footage(tmp_path_factory.mktemp("original") / "clip.mp4", [nothing] * FRAMES)


def prove(original: Path, anonymized: Path, *, album: Album | None = None, count: int = FRAMES, **settings: Any) -> Proof:
    """With a detector that knows where the face is."""
    chosen = Settings(recognizer="none", **settings)
    examination = Examination(chosen, album=album, detector=knowing_detector(count))
    footage = open_footage(original, anonymized)
    examination.run(footage, lambda pair, tracks: None)
    return examination.proof(original, anonymized, footage.media())


def test_a_copy_exposes_every_face_and_has_an_exit_code_of_its_own(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, report = tmp_path / "copy.mp4", tmp_path / "proof.json"
    copy.write_bytes(original.read_bytes())

    assert verify(original, copy, "--report", report, "--recognizer", "none") == ExitCode.NOT_PROVEN

    proof = msgspec.json.decode(report.read_bytes(), type=Proof)
    assert (proof.verdict, proof.faces, proof.exposed_faces, proof.worst_share) == ("exposed", FRAMES, FRAMES, 1.0)
    assert [track.longest_exposed_run for track in proof.tracks] == [FRAMES]
    shown = capsys.readouterr().out
    assert shown.startswith("EXPOSED: faces of the original show\n  7 of 7 faces still show, in 7 frames")
    assert "\x1b" not in shown


def test_a_covered_face_is_proven_gone(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anonymized = write_footage(tmp_path / "safe.mp4", [heavy_blur] * FRAMES, crf=28)
    page = tmp_path / "proof.html"

    assert verify(original, anonymized, "--page", page, "--recognizer", "none") == ExitCode.DONE

    shown = capsys.readouterr().out
    assert shown.startswith("CLEAN: no face of the original shows\n")
    assert "not measured: switched off" in shown
    assert "  warning        The anonymized file does not bear Veil's mark" in shown
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proof.html", "safe.mp4"]


@pytest.mark.parametrize("cover", [blackout, heavy_blur, another_face])
def test_whatever_hides_the_face_the_proof_is_clean(original: Path, tmp_path: Path, cover: Cover) -> None:
    proof = prove(original, write_footage(tmp_path / "safe.mp4", [cover] * FRAMES, crf=23))

    assert (proof.verdict, proof.faces, proof.exposed_faces, proof.reasons) == ("clean", FRAMES, 0, [])
    assert len(proof.tracks) == 1


def test_one_uncovered_frame_in_the_middle_is_named(original: Path, tmp_path: Path) -> None:
    covers: list[Cover] = [heavy_blur] * FRAMES
    covers[4] = nothing

    proof = prove(original, write_footage(tmp_path / "gap.mp4", covers))

    assert proof.verdict == "exposed"
    assert [(face.frame, face.track) for face in proof.exposed] == [(4, 1)]
    assert [frame.number for frame in proof.frames if frame.exposed] == [4]
    assert (proof.tracks[0].exposed, proof.tracks[0].worst_frame, proof.tracks[0].longest_exposed_run) == (1, 4, 1)
    assert "the first is frame 4 (0.16 s)" in proof.reasons[0]


def test_a_share_that_may_show_is_accepted_and_told(original: Path, tmp_path: Path) -> None:
    covers: list[Cover] = [nothing, *[blackout] * (FRAMES - 1)]
    anonymized = write_footage(tmp_path / "gap.mp4", covers)

    assert prove(original, anonymized, max_exposed=0.2).verdict == "clean"
    assert prove(original, anonymized, max_exposed=0.2).exposed_faces == 1
    assert prove(original, anonymized, max_exposed=0.1).verdict == "exposed"


def test_covers_beside_the_face_are_found_in_every_frame(original: Path, tmp_path: Path) -> None:
    proof = prove(original, write_footage(tmp_path / "shifted.mp4", [half_a_face_aside] * FRAMES))

    assert [face.frame for face in proof.exposed] == list(range(FRAMES))


def test_one_frame_in_three_is_examined(original: Path, tmp_path: Path) -> None:
    proof = prove(original, write_footage(tmp_path / "safe.mp4", [blackout] * FRAMES), every=3)

    assert [frame.number for frame in proof.frames] == [0, 3, 6]
    assert proof.media.original_frames == FRAMES
    assert "Only one frame in 3 was examined." in proof.notes


def test_a_missing_frame_fails_whatever_else_is_well(original: Path, tmp_path: Path) -> None:
    proof = prove(original, write_footage(tmp_path / "short.mp4", [blackout] * (FRAMES - 1)))

    assert proof.verdict == "mismatch"
    assert proof.reasons == [f"The original has {FRAMES} frames, the anonymized file {FRAMES - 1}."]
    assert proof.exposed_faces == 0


def test_frames_at_other_times_fail(original: Path, tmp_path: Path) -> None:
    proof = prove(original, write_footage(tmp_path / "slow.mp4", [blackout] * FRAMES, every=2))

    assert proof.verdict == "mismatch"
    assert proof.reasons == ["Frames of the same number are up to 0.240 s apart in time."]


def test_sound_is_compared_packet_by_packet(tmp_path: Path) -> None:
    loud, silent = tmp_path / "loud.mp4", tmp_path / "silent.mp4"
    write_clip(loud, Clip(sounds=[Sound(), Sound(codec="aac")]))
    write_clip(silent, Clip(sounds=[Sound()]))
    footage = open_footage(loud, silent)

    assert len(list(footage.pairs())) == 10

    assert [sound.verdict for sound in footage.media().sounds] == ["identical", "missing"]
    other = write_clip(tmp_path / "other.mp4", Clip(sounds=[Sound(codec="mp3"), Sound(rate=44100)]))
    footage = open_footage(loud, other)
    assert list(footage.pairs())
    assert [sound.verdict for sound in footage.media().sounds] == ["re-encoded", "differs"]


def jpegs(page: str) -> list[NDArray[np.uint8]]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1] for data in found]


def test_the_page_shows_the_anonymized_pictures_and_no_pixel_of_the_original(original: Path, tmp_path: Path) -> None:
    safe = write_footage(tmp_path / "safe.mp4", [blackout] * FRAMES)
    album = Album()

    page = render_page(prove(original, safe, album=album), album)

    pictures = jpegs(page)
    assert len(pictures) == FRAMES + 1
    wholes = [picture for picture in pictures if picture.shape[:2] == (180, 240)]
    assert len(wholes) == FRAMES
    for shown, after, before in zip(wholes, decoded_pictures(safe), decoded_pictures(original), strict=True):
        assert np.abs(shown.astype(int) - after).mean() < 4
        assert np.abs(shown.astype(int) - before).mean() > 8
    (face,) = [picture for picture in pictures if picture.shape[:2] != (180, 240)]
    height, width = face.shape[:2]
    assert face[height // 3 : -height // 3, width // 3 : -width // 3].max() < 24


def test_no_page_shows_what_may_be_an_original(tmp_path: Path) -> None:
    clip = Clip(pts=range(0, 1024, 512))
    first, unmarked = (write_clip(tmp_path / name, clip) for name in ("first.mp4", "unmarked.mp4"))
    marked = write_clip(tmp_path / "marked.mp4", replace(clip, metadata={"comment": MADE_BY_VEIL}))
    pages = {}
    for second in (unmarked, marked):
        assert verify(first, second, "--page", second.with_suffix(".html"), "--recognizer", "none") == ExitCode.DONE
        pages[second] = second.with_suffix(".html").read_text()

    assert jpegs(pages[unmarked]) == []
    assert "No picture of it is shown here: it may be an original." in pages[unmarked]
    assert len(jpegs(pages[marked])) == 2
    assert "bear Veil&#x27;s mark" in pages[unmarked]
    assert "bear Veil" not in pages[marked]
    assert all('<h1 class="unproven">NOTHING PROVEN: ' in page for page in pages.values())
    assert all("nothing is proven.</p>" in page for page in pages.values())


def test_report_and_page_are_for_their_owner(original: Path, tmp_path: Path) -> None:
    made = tmp_path / "proof.json", tmp_path / "proof.html"
    made[1].touch(0o644)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(original.read_bytes())

    before = os.umask(0o022)
    try:
        verify(original, copy, "--report", made[0], "--page", made[1], "--overwrite", "--recognizer", "none")
    finally:
        os.umask(before)

    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600, 0o600]


def test_the_page_needs_nothing_from_elsewhere_and_escapes_names(original: Path, tmp_path: Path) -> None:
    safe = write_footage(tmp_path / "<b>safe&.mp4", [blackout] * FRAMES)
    album = Album()

    page = render_page(prove(original, safe, album=album), album)

    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;safe&amp;.mp4" in page
    assert not re.findall(r"(?:https?:)?//\w", re.sub(r'src="data:[^"]+"', "", page))
    assert len(re.findall(r"<circle", page)) == FRAMES


def test_an_exposed_frame_is_red_in_the_plot(original: Path, tmp_path: Path) -> None:
    covers: list[Cover] = [blackout] * FRAMES
    covers[2] = nothing
    album = Album()

    page = render_page(prove(original, write_footage(tmp_path / "gap.mp4", covers), album=album), album)

    assert page.count('fill="#d0352b"') == 1
    assert '<tr class="exposed">' in page
    assert album.faces[1].frame == 2


def test_a_terminal_gets_a_table_and_a_pipe_gets_lines(original: Path, tmp_path: Path) -> None:
    proof = prove(original, write_footage(tmp_path / "safe.mp4", [blackout] * FRAMES))
    many = msgspec.structs.replace(proof, tracks=[msgspec.structs.replace(proof.tracks[0], track=n) for n in range(MOST_ROWS + 2)])
    shown = {}
    for is_terminal in (True, False):
        text = io.StringIO()
        show_summary(many, Console(file=text, force_terminal=is_terminal, width=140, highlight=False, markup=False, soft_wrap=True))
        shown[is_terminal] = text.getvalue()

    assert "┃" in shown[True]
    assert "┃" not in shown[False]
    assert "\x1b" in shown[True]
    assert shown[False].count("  track ") == MOST_ROWS
    assert "\x1b" not in shown[False]
    assert all("and 2 more tracks; --report has all" in text for text in shown.values())


def test_photos_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after, copy = (tmp_path / name for name in ("before.png", "after.jpg", "copy.jpg"))
    Image.fromarray(frame(0)).save(before)
    Image.fromarray(covered(0, blackout)).save(after, quality=90)
    Image.fromarray(frame(0)).save(copy, quality=80)

    assert verify(before, after, "--recognizer", "none") == ExitCode.DONE
    assert "faces          1 in 1 track\n" in capsys.readouterr().out
    assert verify(before, copy, "--recognizer", "none") == ExitCode.NOT_PROVEN


def test_without_a_face_there_was_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (write_clip(tmp_path / name, Clip(pts=range(0, 1024, 512))) for name in ("one.mp4", "two.mp4"))

    assert verify(one, two) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("NOTHING PROVEN: no face was found in the original\n")
    assert "  warning        No face was found in the original, so that there was nothing to compare" in shown


def test_without_a_recogniser_it_is_said_how_to_get_one(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> recognition.Recognizer:
        raise RecognizerError(f"the recogniser dlib is not installed; {recognition.WHAT_TO_INSTALL}")

    monkeypatch.setitem(recognition.RECOGNIZERS, "dlib", missing)
    examination = Examination(Settings(), detector=knowing_detector())
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(original.read_bytes())
    footage = open_footage(original, copy)
    examination.run(footage, lambda pair, tracks: None)

    identity = examination.proof(original, copy, footage.media()).identity

    assert identity.recognizer is None
    assert "veilstream[recognize]" in identity.reason
    assert verify(original, copy, "--recognizer", "dlib") == ExitCode.USAGE


def test_damage_is_told_and_has_the_exit_code_of_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_clip(tmp_path / "whole.mkv", Clip(pts=range(0, 75 * 512, 512)))
    for name in ("one.mkv", "two.mkv"):
        (tmp_path / name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    assert verify(tmp_path / "one.mkv", tmp_path / "two.mkv") == ExitCode.DAMAGED
    assert "note           original: The file" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_proof_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_footage(tmp_path / name, [nothing] * 28)
    command = [*VEIL, "verify", "one.mp4", "two.mp4", "--report", "proof.json", "--recognizer", "none"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "1/28 frames" in process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(TIMEOUT_S) == ExitCode.INTERRUPTED, rest

    assert rest.endswith("veil verify: interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]
