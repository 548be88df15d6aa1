"""Which file becomes which, and what is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from streamer.batch import BatchPlan, kinds_of, plan_batch
from streamer.config import AnonymizeSettings, VideoSettings
from streamer.errors import ExitCode, OutputError, UsageError
from streamer.images import SOFTWARE
from streamer.probe import MADE_BY_VEIL


def make_video(path: Path, *, comment: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        container.metadata.update({"comment": comment} if comment else {})
        stream = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    return path


def make_image(path: Path, *, software: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if software:
        exif[305] = software
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; paths in the tests are as a user would type them."""
    monkeypatch.chdir(tmp_path)
    return Path()


def plan(
    *inputs: str, output: str | None = None, overwrite: bool = False, container: str = "same", report: bool = False
) -> BatchPlan:
    video = VideoSettings(container=container)  # type: ignore[arg-type]
    return plan_batch(inputs, output, AnonymizeSettings(overwrite=overwrite, video=video, report=report))


def outputs(batch: BatchPlan) -> dict[str, str]:
    """Source -> output."""
    return {str(item.source): str(item.output) for item in (*batch.videos, *batch.images)}


def test_a_file_is_written_beside_itself(here: Path) -> None:
    make_video(here / "my.clip.mp4")
    make_image(here / "photo.JPG")

    assert outputs(plan("my.clip.mp4", "photo.JPG")) == {
        "my.clip.mp4": "my.clip_anonymized.mp4",
        "photo.JPG": "photo_anonymized.JPG",
    }


def test_a_folder_is_mirrored_beside_itself(here: Path) -> None:
    make_video(here / "trip" / "day 1" / "clip.mkv")
    make_image(here / "trip" / "photo.png")
    (here / "trip" / "notes.txt").write_text("no media")
    make_image(here / "trip" / ".hidden.png")
    make_image(here / "trip" / ".cache" / "photo.png")

    expected = {"trip/day 1/clip.mkv": "trip_anonymized/day 1/clip.mkv", "trip/photo.png": "trip_anonymized/photo.png"}
    assert outputs(plan("trip")) == expected
    assert outputs(plan("trip/")) == expected


def test_the_working_directory_is_a_folder_like_any_other(here: Path) -> None:
    make_image(here / "photo.png")

    (output,) = outputs(plan(".")).values()

    assert Path(output) == here.resolve().with_name(f"{here.resolve().name}_anonymized") / "photo.png"


def test_an_output_names_a_file_for_one_file_and_a_folder_otherwise(here: Path) -> None:
    make_video(here / "a.mp4")
    make_image(here / "b.png")
    (here / "there.d").mkdir()

    assert outputs(plan("a.mp4", output="x/y.mkv")) == {"a.mp4": "x/y.mkv"}
    assert outputs(plan("a.mp4", output="safe")) == {"a.mp4": "safe/a.mp4"}
    assert outputs(plan("a.mp4", output="safe.d/")) == {"a.mp4": "safe.d/a.mp4"}
    assert outputs(plan("a.mp4", output="there.d")) == {"a.mp4": "there.d/a.mp4"}
    assert outputs(plan("a.mp4", "b.png", output="safe")) == {"a.mp4": "safe/a.mp4", "b.png": "safe/b.png"}


def test_a_folder_with_an_output_is_mirrored_into_it_and_several_side_by_side(here: Path) -> None:
    make_image(here / "one" / "sub" / "p.png")
    make_image(here / "two" / "sub" / "p.png")

    assert outputs(plan("one", output="safe")) == {"one/sub/p.png": "safe/sub/p.png"}
    assert outputs(plan("one", "two", output="safe")) == {
        "one/sub/p.png": "safe/one/sub/p.png",
        "two/sub/p.png": "safe/two/sub/p.png",
    }


def test_a_pattern_that_no_shell_expanded_is_expanded(here: Path) -> None:
    make_image(here / "a" / "1.png")
    make_image(here / "a" / "b" / "2.png")
    make_image(here / "a" / "b" / "3.jpg")
    make_image(here / "odd[1].png")

    assert set(outputs(plan("a/**/*.png"))) == {"a/1.png", "a/b/2.png"}
    assert set(outputs(plan("a/**"))) == {"a/1.png", "a/b/2.png", "a/b/3.jpg"}
    assert set(outputs(plan("odd[1].png"))) == {"odd[1].png"}


def test_a_file_that_is_named_twice_is_done_once(here: Path) -> None:
    make_image(here / "a.png")

    assert list(outputs(plan("a.png", "./a.png", "*.png"))) == ["a.png"]


def test_the_container_gives_the_suffix(here: Path) -> None:
    make_video(here / "old.avi")
    make_video(here / "new.mp4")

    assert outputs(plan("old.avi")) == {"old.avi": "old_anonymized.mkv"}
    assert outputs(plan("new.mp4", container="mkv")) == {"new.mp4": "new_anonymized.mkv"}


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["one/a.png", "two/a.png"], "safe", "one/a.png and two/a.png would both be written to safe/a.png"),
        (["old.avi", "old.mkv"], None, "old.avi and old.mkv would both be written to old_anonymized.mkv"),
        (["old.avi"], "old.avi", "old.avi: videos are written as"),
        (["old.mkv"], "old.mkv", "old.mkv: its output old.mkv would replace an input"),
        (["one"], "one", "one/a.png: its output one/a.png would replace an input"),
        (["old.mkv", "one/a.png"], ".", "old.mkv: its output old.mkv would replace an input"),
        (["one/a.png"], "safe.mp4", "safe.mp4: a picture cannot be written as .mp4"),
        (
            ["one/a.png"],
            "safe.bmp",
            "safe.bmp: a picture cannot be written as .bmp, only as .jpe, .jpeg, .jpg, .png, .tif, .tiff, .webp",
        ),
        (["one/a.png", "two/a.png"], "old.mkv", "old.mkv is a file; several inputs need a folder"),
        (["old.mkv"], "safe.xyz", "safe.xyz: videos are written as .mp4, .mov, .mkv or .webm, not as .xyz"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused_as_a_whole(here: Path, inputs: list[str], output: str | None, message: str) -> None:
    make_image(here / "one" / "a.png")
    make_image(here / "two" / "a.png")
    make_video(here / "old.avi")
    make_video(here / "old.mkv")
    before = sorted(here.rglob("*"))

    try:
        batch = plan(*inputs, output=output, overwrite=True)
        (error,) = [failure.error for failure in batch.failures]
    except UsageError as refused:
        error = refused

    assert str(error).startswith(message)
    assert error.exit_code == ExitCode.USAGE
    assert sorted(here.rglob("*")) == before


def test_an_input_behind_a_link_is_not_replaced_either(here: Path) -> None:
    make_image(here / "real" / "a.png")
    os.symlink("real", here / "link")

    with pytest.raises(UsageError, match="would replace an input"):
        plan("real/a.png", output="link/a.png", overwrite=True)


def test_an_existing_output_is_refused_for_one_file_and_skipped_in_a_batch(here: Path) -> None:
    make_image(here / "trip" / "a.png")
    make_image(here / "trip" / "b.png")
    make_image(here / "trip_anonymized" / "a.png", software=SOFTWARE)
    make_image(here / "trip" / "b_anonymized.png")

    with pytest.raises(UsageError, match=r"trip/b_anonymized.png exists; --overwrite replaces it"):
        plan("trip/b.png")
    batch = plan("trip")
    assert outputs(batch) == {"trip/b.png": "trip_anonymized/b.png"}
    assert {str(skipped.source): skipped.reason for skipped in batch.skipped} == {
        "trip/a.png": "its output exists: trip_anonymized/a.png",
        "trip/b_anonymized.png": "was made by Veil (its mark, or _anonymized at the end of its name)",
    }
    assert outputs(plan("trip/b.png", overwrite=True)) == {"trip/b.png": "trip/b_anonymized.png"}


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG", "photo.webp", "photo.tiff", "clip.mp4", "clip.mkv", "clip.mov"])
def test_an_existing_output_without_the_mark_fails_whatever_it_is(here: Path, name: str) -> None:
    make = make_video if name.startswith("clip") else make_image
    source, output = make(here / "trip" / name), here / "safe" / name
    output.parent.mkdir()
    make_image(here / "trip" / "other.png")
    message = f"safe/{name} exists and was not made by Veil; --overwrite replaces it, or choose another folder with -o"

    for content in (source.read_bytes(), b"", b"no media"):
        output.write_bytes(content)
        batch = plan("trip", output="safe")

        assert batch.skipped == []
        assert outputs(batch) == {"trip/other.png": "safe/other.png"}
        (failure,) = batch.failures
        assert (failure.source, str(failure.error), failure.error.exit_code) == (f"trip/{name}", message, ExitCode.USAGE)
    assert outputs(plan("trip", output="safe", overwrite=True)) == {
        f"trip/{name}": f"safe/{name}",
        "trip/other.png": "safe/other.png",
    }


@pytest.mark.parametrize("name", ["photo.png", "photo.JPG", "photo.webp", "photo.tiff", "clip.mp4", "clip.mkv", "clip.mov"])
def test_an_existing_output_with_the_mark_was_done_before(here: Path, name: str) -> None:
    if name.startswith("clip"):
        make_video(here / "trip" / name)
        make_video(here / "safe" / name, comment=MADE_BY_VEIL)
    else:
        make_image(here / "trip" / name)
        make_image(here / "safe" / name, software=SOFTWARE)

    batch = plan("trip", output="safe")

    assert [(str(skipped.source), skipped.reason) for skipped in batch.skipped] == [
        (f"trip/{name}", f"its output exists: safe/{name}")
    ]
    assert (outputs(batch), batch.failures) == ({}, [])


def test_an_existing_report_is_not_replaced_unasked(here: Path) -> None:
    make_image(here / "a.png")
    (here / "safe").mkdir()
    (here / "safe" / "a.png.report.json").touch()

    assert outputs(plan("a.png", output="safe")) == {"a.png": "safe/a.png"}
    assert outputs(plan("a.png", output="safe", report=True, overwrite=True)) == {"a.png": "safe/a.png"}
    (failure,) = plan("a.png", output="safe", report=True).failures
    assert str(failure.error) == "safe/a.png.report.json exists; --overwrite replaces it, -o writes elsewhere"
    assert failure.error.exit_code == ExitCode.USAGE


def test_outputs_are_never_taken_as_inputs(here: Path) -> None:
    make_image(here / "all" / "new.png")
    make_image(here / "all" / "renamed.jpg", software=SOFTWARE)
    make_video(here / "all" / "renamed.mp4", comment=MADE_BY_VEIL)
    make_image(here / "all" / "x_anonymized.png")
    make_image(here / "all" / "sub_anonymized" / "y.png")
    make_image(here / "all" / "safe" / "z.png")

    assert set(outputs(plan("all", output="all/safe"))) == {"all/new.png"}
    for name in ("renamed.jpg", "renamed.mp4", "x_anonymized.png"):
        with pytest.raises(UsageError, match=f"all/{name}: was made by Veil .*, and is not anonymized again"):
            plan(f"all/{name}")


def test_what_fails_alone_does_not_stop_the_others(here: Path) -> None:
    make_video(here / "good.mp4")
    (here / "text.mp4").write_text("this is no video")
    (here / "empty.mp4").touch()
    (here / "bare").mkdir()

    batch = plan("good.mp4", "text.mp4", "empty.mp4", "missing.mp4", "bare", "*.webm")

    assert list(outputs(batch)) == ["good.mp4"]
    assert {failure.source for failure in batch.failures} == {"text.mp4", "empty.mp4", "missing.mp4", "bare", "*.webm"}
    for failure in batch.failures:
        assert str(failure.error).startswith(f"{failure.source}: ")
        assert "\n" not in str(failure.error)
        assert failure.error.exit_code == ExitCode.INPUT


def test_a_folder_tells_what_it_holds_beside_photos_and_videos(here: Path) -> None:
    make_image(here / "trip" / "a.png")
    (here / "trip" / "sub").mkdir()
    for name in ("a.HEIC", "sub/b.heic", "sub/c.avif", "plain", ".hidden.heic"):
        (here / "trip" / name).touch()

    batch = plan("trip")

    assert list(outputs(batch)) == ["trip/a.png"]
    assert {str(path) for path in batch.passed_over} == {"trip/a.HEIC", "trip/sub/b.heic", "trip/sub/c.avif", "trip/plain"}
    assert kinds_of(batch.passed_over) == "2 .heic, 1 .avif, 1 without suffix"
    (failure,) = plan("trip/sub").failures
    assert str(failure.error).endswith("no picture and no video in this folder that Veil reads (but 1 .avif, 1 .heic)")


def test_a_still_picture_that_is_no_photo_is_not_made_a_video(here: Path) -> None:
    make_image(here / "a.bmp")
    make_image(here / "a.jpg").rename(here / "plain")

    batch = plan("a.bmp", "plain")

    assert outputs(batch) == {}
    assert [failure.error.exit_code for failure in batch.failures] == [ExitCode.INPUT] * 2


@pytest.mark.parametrize("suffix", [".mp4", ".png"])
def test_a_name_that_cannot_be_used_fails_alone(here: Path, suffix: str) -> None:
    make = make_video if suffix == ".mp4" else make_image
    good, odd, long = f"good{suffix}", os.fsdecode(b"odd\xff") + suffix, "x" * 251 + suffix
    for name in (good, odd, long):
        make(here / good).rename(here / name)
    make(here / good)

    batch = plan(good, odd, long)

    assert outputs(batch) == {good: f"good_anonymized{suffix}"}
    assert [(str(failure.error), failure.error.exit_code) for failure in batch.failures] == [
        (f"{odd}: its name is not UTF-8; rename it", ExitCode.INPUT),
        (f"{'x' * 251}_anonymized{suffix}: the name is too long; choose another one with -o", ExitCode.OUTPUT),
    ]
    assert set(outputs(plan(good, long, output="safe"))) == {good, long}
    assert set(outputs(plan(good, long, output="safe", report=True))) == {good}
    (failure,) = plan(good, output=os.fsdecode(b"\xff/")).failures
    assert failure.error.exit_code == ExitCode.OUTPUT


def test_a_place_that_cannot_hold_files_is_an_error_of_the_output(here: Path) -> None:
    make_image(here / "a.png")
    (here / "file").touch()

    for place in ("file/safe/b.png", "/proc/safe/b.png"):
        with pytest.raises(OutputError, match="the folder for the outputs cannot be written") as caught:
            plan("a.png", output=place)
        assert caught.value.exit_code == ExitCode.OUTPUT


def test_planning_writes_nothing(here: Path) -> None:
    make_image(here / "a.png")

    plan("a.png", output="new/deep/b.png")

    assert [path.name for path in here.rglob("*")] == ["a.png"]


def test_the_estimate_of_a_batch_counts_frames_and_photos(here: Path) -> None:
    make_image(here / "a.png")
    make_video(here / "a.mp4")

    assert plan("a.png", "a.mp4").frames_estimated == 4
