"""A camera over UDP whose packets get lost: the pictures that they damage are covered whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.neighbours import Neighbours
from tests.live.people import film_people

pytestmark = pytest.mark.slow


def test_what_lost_packets_damage_is_covered_whole(tmp_path: Path) -> None:
    clip = film_people(tmp_path / "people.mp4")
    with Neighbours(tmp_path, clip, transport="udp") as pair:
        before = pair.status("door").covered_whole.get("corrupt", 0)
        with pair.trouble(is_cut_off=None):
            pair.server.lose("door", 15)
            pair.daemon.wait_for_stream("door", lambda door: door.covered_whole.get("corrupt", 0) > before + 2)
            pair.server.heal("door")
