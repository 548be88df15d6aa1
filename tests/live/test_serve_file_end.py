"""`veil serve` with a file that is played once."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.live.daemon import Daemon
from tests.live.people import film_people

pytestmark = pytest.mark.slow

SECONDS = 12.0
"""Long enough for the networks to be loaded meanwhile."""


def test_a_file_without_loop_is_recorded_once_and_again_after_a_reload(tmp_path: Path) -> None:
    clip = film_people(tmp_path / "people.mp4", seconds=SECONDS)
    recordings = tmp_path / "recordings"
    stream = {
        "name": "film",
        "input": str(clip),
        "outputs": f"{recordings}/",
        "filter": {"name": "blackout"},
        "max_latency_ms": 5000,
    }
    with Daemon(tmp_path, [stream]) as daemon:
        film = daemon.wait_for_stream("film", lambda film: film.state == "ended")
        assert (film.reconnects, film.attention, film.outputs[0].state) == (0, None, "ended")
        status = daemon.wait_for(lambda status: status.is_ready and not list(recordings.glob(".*.part")))
        assert status.is_healthy
        assert daemon.get("/healthz") == (200, "ok\n")
        (recording,) = recordings.iterdir()
        with av.open(str(recording)) as container:
            shown = [frame.time for frame in container.decode(video=0)]
        assert shown[-1] - shown[0] < SECONDS, "once"
        assert len(shown) >= film.frames_out > 0
        assert daemon.status() is not None
        daemon.reload()
        daemon.wait_for_stream("film", lambda film: film.state != "ended")
        daemon.wait_for_stream("film", lambda film: film.outputs[0].packets > 0)
        assert daemon.stop() == 0
    assert len(list(recordings.iterdir())) == 2
