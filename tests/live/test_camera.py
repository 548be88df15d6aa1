"""The camera of the live tests films in real time without a seam, and the viewer sees what it filmed."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import av
import pytest

from tests.live.camera import Camera, Change, SoundCodec, VideoCodec
from tests.live.conftest import RATE, SIZE
from tests.live.rtsp_control import RtspServer
from tests.live.viewer import Viewer
from tests.media import CORNERS, corner_colors, most_like


def test_times_run_on_over_the_seam_of_the_clip(rtsp_server: RtspServer, camera: Camera) -> None:
    with Viewer(rtsp_server.read_url("shared")) as viewer:
        frames = viewer.wait_for_frames(3 * RATE, latest=False)
    for before, after in itertools.pairwise(frames):
        assert after.pts_s - before.pts_s == pytest.approx(1 / RATE, abs=0.0005)
        assert after.media_s is not None
        assert before.media_s is not None
        assert after.media_s - before.media_s == pytest.approx(1 / RATE, abs=0.0015)
    sounds = [sound.pts_s for sound in viewer.sounds]
    assert sounds == sorted(set(sounds))
    assert viewer.sound_lag_s == pytest.approx(0, abs=0.005)


def test_the_latency_is_that_of_the_way_and_not_of_the_clock(rtsp_server: RtspServer, camera: Camera) -> None:
    """A frame cannot be seen before it was made, and its packets arrive before it is decoded."""
    with Viewer(rtsp_server.read_url("shared")) as viewer:
        frames = viewer.wait_for_frames(2 * RATE)
    assert len(viewer.latencies_s) == len(viewer.frames)
    assert min(viewer.latencies_s) > 0
    assert statistics.median(viewer.latencies_s) < 1
    lateness = [frame.arrival_s - frame.pts_s for frame in frames]
    assert statistics.pstdev(lateness) < 0.5


@pytest.mark.parametrize(("codec", "sound"), [("h264", "pcm_alaw"), ("hevc", "aac"), ("mjpeg", "pcm_alaw")])
def test_every_codec_arrives_with_its_time_and_sound(
    rtsp_server: RtspServer, short_clip: Path, codec: VideoCodec, sound: SoundCodec
) -> None:
    camera = Camera(short_clip, rtsp_server.publish_url(codec), number=3, codec=codec, sound=sound, rate=15, gop_s=0.5)
    with camera, Viewer(rtsp_server.read_url(codec)) as viewer:
        viewer.wait_for(lambda seen: len(seen.frames) > 15 and len(seen.beeps) > 0)
    assert [(opening.codec, opening.sound) for opening in viewer.openings] == [(codec, sound)]
    assert {frame.camera for frame in viewer.frames} == {3}
    assert viewer.is_on_grid(15)
    assert viewer.sound_lag_s == pytest.approx(0, abs=0.005)


def test_a_copied_clip_goes_on_over_its_seam_with_its_own_sound(rtsp_server: RtspServer, short_clip: Path) -> None:
    with Camera(short_clip, rtsp_server.publish_url("copy"), is_copy=True) as camera:
        with Viewer(rtsp_server.read_url("copy"), thumbnail_px=SIZE[0], thumbnail_every=RATE) as viewer:
            viewer.wait_for_frames(3 * RATE)
        assert camera.losses == []
        rtsp_server.drop_publisher("copy")
        camera.wait_for(lambda filming: filming.publications == 2)
        with Viewer(rtsp_server.read_url("copy")) as again:
            again.wait_for_frames(RATE)
    times = [frame.pts_s for frame in viewer.frames]
    assert times == sorted(set(times))
    assert viewer.longest_gap_s < 2.5 / RATE
    picture = viewer.frames[0].picture
    assert picture is not None
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert all(most_like(color) == corner for corner, color in corner_colors(picture).items())
    assert viewer.frames[1].picture is None
    assert len(viewer.sounds) > 3 * RATE
    assert set(CORNERS) == set(corner_colors(picture))


def test_the_size_changes_in_the_same_connection(rtsp_server: RtspServer, short_clip: Path) -> None:
    with Camera(short_clip, rtsp_server.publish_url("size")) as camera, Viewer(rtsp_server.read_url("size")) as viewer:
        viewer.wait_for_frames(3)
        camera.change(Change(size=(640, 360), is_same_connection=True))
        viewer.wait_for(lambda seen: seen.frames[-1].size == (640, 360) and seen.frames[-1].camera is not None)
        assert not viewer.endings
        assert camera.publications == 1
        assert viewer.longest_gap_s < 2


@pytest.mark.parametrize("change", [Change(size=(640, 360)), Change(codec="mjpeg"), Change(rate=10)], ids=["size", "codec", "rate"])
def test_a_change_can_be_announced_anew(rtsp_server: RtspServer, short_clip: Path, change: Change) -> None:
    with Camera(short_clip, rtsp_server.publish_url("change")) as camera, Viewer(rtsp_server.read_url("change")) as viewer:
        viewer.wait_for_frames(3)
        camera.change(change)
        viewer.wait_for(lambda seen: len(seen.openings) > 1)
        frames = viewer.wait_for_frames(6)
        assert camera.publications == 2
    assert frames[-1].size == (change.size or SIZE)
    assert viewer.openings[-1].codec == (change.codec or "h264")
    gap_s = statistics.median(after.pts_s - before.pts_s for before, after in itertools.pairwise(frames))
    assert gap_s == pytest.approx(1 / (change.rate or RATE), abs=0.002)
    media = [frame.media_s for frame in viewer.frames if frame.media_s is not None]
    assert media == sorted(set(media)), "the footage goes on where it was"


def test_another_rate_and_size_than_the_clip_s_keep_its_speed(rtsp_server: RtspServer, short_clip: Path) -> None:
    slow = Camera(short_clip, rtsp_server.publish_url("slow"), rate=10, size=(160, 96), has_clock=False)
    with slow, Viewer(rtsp_server.read_url("slow")) as viewer:
        frames = viewer.wait_for_frames(15)
    assert {frame.size for frame in frames} == {(160, 96)}
    assert viewer.is_on_grid(10)
    assert viewer.latencies_s == []
    took_s = frames[-1].arrival_s - frames[0].arrival_s
    assert took_s > 1.0


def test_a_killed_and_a_paused_camera_end_the_view(rtsp_server: RtspServer, short_clip: Path) -> None:
    with Camera(short_clip, rtsp_server.publish_url("gone")) as camera:
        with Viewer(rtsp_server.read_url("gone"), timeout_s=0.5, returns=False) as viewer:
            viewer.wait_for_frames(1)
            camera.pause()
            viewer.wait_for(lambda seen: len(seen.endings) == 1)
            assert viewer.endings[0].reason == "ExitError"
            with pytest.raises(TimeoutError, match="1 openings"):
                viewer.wait_for_frames(1000, deadline_s=20)
        camera.resume()
        with Viewer(rtsp_server.read_url("gone"), returns=False) as viewer:
            viewer.wait_for_frames(1)
            camera.kill()
            viewer.wait_for(lambda seen: len(seen.endings) == 1)
        assert viewer.endings[0].reason == "end"
    rtsp_server.wait_for("gone", is_live=False)


def test_a_camera_that_cannot_publish_says_why(short_clip: Path) -> None:
    with RtspServer() as server:
        server.refuse()
        with pytest.raises(TimeoutError, match="ConnectionRefusedError"):
            Camera(short_clip, server.publish_url("a"), start_s=2.0).__enter__()


def test_the_viewer_reads_files_and_playlists(short_clip: Path, tmp_path: Path) -> None:
    with av.open(str(short_clip)) as source, av.open(str(tmp_path / "list.m3u8"), "w", format="hls") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    for path in (short_clip, tmp_path / "list.m3u8"):
        with Viewer(path, returns=False) as viewer:
            viewer.wait_for(lambda seen: len(seen.endings) == 1)
        assert viewer.endings[0].reason == "end"
        assert len(viewer.frames) == RATE
