"""HLS: what lies in the folder can be played at any time, old segments go, and a restart goes on where the last run ended."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest

from streamer.errors import OutputError
from streamer.live.config import OutputSettings
from streamer.live.messages import CLOCK, PublisherSetup, SoundOpened
from streamer.workers.publisher import PublisherWorker
from tests.live.encoded import LAYOUT, acknowledged, encoded, mixed, notes, number_of, read_numbers, sounding
from tests.workers import answers

SILENCE = SoundOpened(audio=b"", codec="")


def publisher(playlist: Path) -> PublisherWorker:
    worker = PublisherWorker({})
    assert answers(worker, PublisherSetup(name="door", output=OutputSettings(to=str(playlist), segment_s=1.0))) == []
    return worker


def segments_of(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text().splitlines() if line and not line.startswith("#")]


def read_segments(playlist: Path) -> list[int]:
    """The numbers of all pictures of the segments that the playlist names, in its order."""
    return [number for name in segments_of(playlist) for number, _ in read_numbers(str(playlist.parent / name))]


def test_a_playlist_is_played_while_it_grows_and_ends_cleanly(tmp_path: Path) -> None:
    playlist = tmp_path / "hls" / "door.m3u8"
    opened, pictures = encoded(range(120), first_pts=3 * CLOCK)
    sound_opened, sound = sounding("aac", 48000, 4.8, first_s=3.0)
    worker = publisher(playlist)
    stream = mixed(pictures, sound, delay_s=0.5)
    given = answers(worker, opened, sound_opened, *stream)
    assert notes(given) == []
    assert acknowledged(given)[0] == len(stream)
    assert "#EXT-X-ENDLIST" not in playlist.read_text()
    growing = read_segments(playlist)
    assert growing == list(range(len(growing)))
    assert len(growing) >= 90
    with av.open(str(playlist.parent / segments_of(playlist)[0])) as segment:
        assert len(segment.streams.audio) == 1
        assert next(segment.decode(audio=0)).sample_rate == 48000
    worker.close()
    assert playlist.read_text().rstrip().endswith("#EXT-X-ENDLIST")
    assert read_segments(playlist) == list(range(120))
    assert [number for number, _ in read_numbers(str(playlist), format="hls")] == list(range(120))


def test_old_segments_are_deleted(tmp_path: Path) -> None:
    playlist = tmp_path / "door.m3u8"
    opened, pictures = encoded(range(25 * 30))
    worker = publisher(playlist)
    answers(worker, opened, SILENCE, *pictures)
    worker.close()
    assert len(segments_of(playlist)) == 6
    assert len(list(tmp_path.glob("*.ts"))) <= 9
    seen = read_segments(playlist)
    assert seen == list(range(seen[0], 25 * 30))


def test_every_segment_can_be_begun_with(tmp_path: Path) -> None:
    playlist = tmp_path / "door.m3u8"
    opened, pictures = encoded(range(100))
    worker = publisher(playlist)
    answers(worker, opened, SILENCE, *pictures)
    worker.close()
    for name in segments_of(playlist):
        with av.open(str(tmp_path / name)) as segment:
            first = next(segment.decode(video=0))
            assert first.key_frame
            assert number_of(first.to_ndarray(format="gray")) % 10 == 0


def test_a_restart_goes_on_and_leaves_nothing_behind(tmp_path: Path) -> None:
    playlist = tmp_path / "100%d sure.m3u8"
    opened, pictures = encoded(range(160))
    worker = publisher(playlist)
    answers(worker, opened, SILENCE, *pictures[:80])
    worker.close()
    before = re.search(r"MEDIA-SEQUENCE:(\d+)", playlist.read_text())
    (tmp_path / "100%d sure-999.ts").write_bytes(b"left by a crash")
    (tmp_path / "other-1.ts").write_bytes(b"not ours")
    again = publisher(playlist)
    answers(again, opened, SILENCE, *pictures[80:])
    assert "#EXT-X-ENDLIST" not in playlist.read_text()
    again.close()
    text = playlist.read_text()
    after = re.search(r"MEDIA-SEQUENCE:(\d+)", text)
    assert before is not None
    assert after is not None
    assert int(after[1]) >= int(before[1])
    assert "#EXT-X-DISCONTINUITY" in text
    assert text.count("#EXT-X-ENDLIST") == 1
    seen = read_segments(playlist)
    assert seen == list(range(seen[0], 160))
    assert seen[0] < 80
    assert not (tmp_path / "100%d sure-999.ts").exists()
    assert (tmp_path / "other-1.ts").exists()
    assert len(set(segments_of(playlist))) == len(segments_of(playlist))


def test_pictures_of_another_size_go_on_in_the_same_playlist(tmp_path: Path) -> None:
    playlist = tmp_path / "door.m3u8"
    opened, pictures = encoded(range(50))
    larger, later = encoded(range(50, 100), layout=LAYOUT.__class__(width=320, height=192, pixel_format="yuv420p"))
    worker = publisher(playlist)
    answers(worker, opened, SILENCE, *pictures, larger, *later)
    assert "#EXT-X-ENDLIST" not in playlist.read_text()
    worker.close()
    assert read_segments(playlist) == list(range(100))
    assert re.search(r"#EXT-X-DISCONTINUITY\n#EXTINF:[0-9.]+,\ndoor-2\.ts", playlist.read_text())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    opened, pictures = encoded(range(2))
    worker = publisher(tmp_path / "file" / "door.m3u8")
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / "file"))):
        answers(worker, opened, SILENCE, *pictures)
