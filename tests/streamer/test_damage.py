"""Which pictures are covered whole because something before them was damaged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from streamer.reading import Damage


def shown(damage: Damage, pts: int | None, *, is_key: bool = False, is_corrupt: bool = False) -> bool:
    picture: Any = SimpleNamespace(pts=pts, key_frame=is_key, is_corrupt=is_corrupt)
    return damage.touches(picture)


def packet(pts: int | None) -> Any:
    return SimpleNamespace(pts=pts)


def test_damage_spreads_until_a_keyframe_that_is_shown_later() -> None:
    damage = Damage()
    assert not shown(damage, 0, is_key=True)
    assert shown(damage, 2, is_corrupt=True)
    assert shown(damage, 1, is_key=True), "it was decoded earlier"
    assert shown(damage, 3)
    assert not shown(damage, 4, is_key=True)
    assert not shown(damage, 5)


def test_a_damaged_packet_damages_its_picture() -> None:
    damage = Damage()
    damage.mark(packet(2))
    assert [shown(damage, pts, is_key=pts in (0, 4)) for pts in range(6)] == [False, False, True, True, False, False]


def test_a_damaged_packet_without_a_time_damages_what_comes() -> None:
    damage = Damage()
    damage.mark(packet(None))
    assert shown(damage, 0)
    assert not shown(damage, 1, is_key=True)


def test_a_stream_whose_times_begin_anew_is_trusted_again() -> None:
    damage = Damage()
    assert shown(damage, 10**9, is_corrupt=True)
    assert [shown(damage, pts, is_key=pts % 25 == 0) for pts in range(75)] == [True] * 50 + [False] * 25


def test_what_is_remembered_of_a_bad_connection_is_bounded() -> None:
    damage = Damage()
    for pts in range(5000):
        damage.mark(packet(pts))
    assert shown(damage, 4999, is_key=True)
    assert len(damage._marked) < 1000
