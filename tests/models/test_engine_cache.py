"""An engine is found again only whole, only where everything it depends on is the same, and only in a folder of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.backends.engine_cache import PLAN, SIDECAR, CachedEngine, CacheError, EngineCache, EngineKey, TensorForm, default_folder
from models.weights import PRETRAINED

KEY = EngineKey(
    network="5e" * 32,
    forms=(TensorForm(dtype="uint8", shape=(1, 352, 640, 3)),),
    settings={"min_block_size": 1, "form": 1},
    platform={"tensorrt": "11.1.0", "torch": "2.14", "gpu": "NVIDIA L4", "capability": "8.9", "driver": "580.65"},
)
CHANGES: dict[str, dict[str, Any]] = {
    "weights": {"network": "5f" * 32},
    "batch": {"forms": (TensorForm(dtype="uint8", shape=(2, 352, 640, 3)),)},
    "type": {"forms": (TensorForm(dtype="float16", shape=(1, 352, 640, 3)),)},
    "settings": {"settings": {"min_block_size": 1, "form": 2}},
    **{name: {"platform": {**KEY.platform, name: "other"}} for name in KEY.platform},
}


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


def place_of(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engines" / KEY.digest


def test_what_was_stored_is_found_again(cache: EngineCache) -> None:
    assert cache.load(KEY) is None
    cache.store(KEY, b"plan")
    assert cache.load(KEY) == CachedEngine(plan=b"plan", refusal=None)
    cache.store(KEY, b"another plan")
    assert cache.load(KEY) == CachedEngine(plan=b"another plan", refusal=None)


def test_a_refusal_is_remembered_without_a_plan(cache: EngineCache) -> None:
    cache.store_refusal(KEY, "answers that are not finite")
    assert cache.load(KEY) == CachedEngine(plan=None, refusal="answers that are not finite")
    (entry,) = cache.entries()
    assert (entry.plan_bytes, entry.refusal) == (0, "answers that are not finite")


@pytest.mark.parametrize("change", CHANGES)
def test_another_value_of_anything_is_another_engine(cache: EngineCache, change: str) -> None:
    cache.store(KEY, b"plan")
    assert cache.load(replace(KEY, **CHANGES[change])) is None


def test_the_digest_does_not_depend_on_the_order_of_facts() -> None:
    turned = replace(KEY, platform=dict(reversed(KEY.platform.items())), settings=dict(reversed(KEY.settings.items())))
    assert turned.digest == KEY.digest


@pytest.mark.parametrize("damage", ["cut plan", "changed plan", "no plan", "cut sidecar", "other key", "other format", "list"])
def test_a_damaged_entry_is_none_and_can_be_stored_again(cache: EngineCache, tmp_path: Path, damage: str) -> None:
    cache.store(KEY, b"plan" * 100)
    plan, sidecar = place_of(tmp_path) / PLAN, place_of(tmp_path) / SIDECAR
    facts = json.loads(sidecar.read_text())
    match damage:
        case "cut plan":
            plan.write_bytes(plan.read_bytes()[:50])
        case "changed plan":
            plan.write_bytes(b"evil" * 100)
        case "no plan":
            plan.unlink()
        case "cut sidecar":
            sidecar.write_text(sidecar.read_text()[:50])
        case "other key":
            sidecar.write_text(json.dumps({**facts, "key": {**facts["key"], "network": "00" * 32}}))
        case "other format":
            sidecar.write_text(json.dumps({**facts, "format": 0}))
        case "list":
            sidecar.write_text("[]")
    assert cache.load(KEY) is None
    cache.store(KEY, b"plan")
    assert cache.load(KEY) == CachedEngine(plan=b"plan", refusal=None)


def test_the_folder_is_made_for_its_user_alone_and_holds_no_pickle(cache: EngineCache, tmp_path: Path) -> None:
    cache.store(KEY, b"plan")
    assert (tmp_path / "cache" / "engines").stat().st_mode & 0o777 == 0o700
    assert {path.name for path in place_of(tmp_path).iterdir()} == {PLAN, SIDECAR}
    json.loads((place_of(tmp_path) / SIDECAR).read_text())


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o740, 0o704])
def test_a_folder_that_others_can_enter_is_refused(cache: EngineCache, tmp_path: Path, mode: int) -> None:
    cache.store(KEY, b"plan")
    (tmp_path / "cache" / "engines").chmod(mode)
    for act in (lambda: cache.load(KEY), lambda: cache.store(KEY, b"plan"), cache.entries):
        with pytest.raises(CacheError, match=r"engines: must be a folder of your own .*chmod 700"):
            act()


def test_a_link_in_the_place_of_the_folder_is_refused(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache" / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="must be a folder of your own"):
        cache.load(KEY)


def test_a_file_in_the_place_of_the_folder_is_refused_in_one_line(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "engines").write_text("")
    with pytest.raises(CacheError, match="cannot be used") as caught:
        cache.load(KEY)
    assert "\n" not in str(caught.value)


def test_a_write_that_fails_leaves_nothing(cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, b"plan")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left on device"):
        cache.store(replace(KEY, network="00" * 32), b"plan")
    assert [path.name for path in (tmp_path / "cache" / "engines").iterdir()] == [KEY.digest]


def test_clear_removes_all_and_what_a_crash_left(cache: EngineCache, tmp_path: Path) -> None:
    assert cache.clear() == 0
    cache.store(KEY, b"plan")
    cache.store_refusal(replace(KEY, network="00" * 32), "wrong")
    (tmp_path / "cache" / "engines" / ".half").mkdir()
    assert len(cache.entries()) == 2
    assert cache.clear() == 2
    assert list((tmp_path / "cache" / "engines").iterdir()) == []


HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from models.backends.engine_cache import EngineCache, EngineKey, TensorForm
key = EngineKey(network=sys.argv[2], forms=(TensorForm(dtype="uint8", shape=(1,)),), settings={}, platform={})
with EngineCache(Path(sys.argv[1])).lock(key):
    print("locked", flush=True)
    sys.stdin.read()
    EngineCache(Path(sys.argv[1])).store(key, b"plan")
"""


def test_who_comes_second_waits_for_the_first_and_finds_its_engine(cache: EngineCache, tmp_path: Path) -> None:
    key = EngineKey(network="ab", forms=(TensorForm(dtype="uint8", shape=(1,)),), settings={}, platform={})
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path / "cache" / "engines"), "ab"]
    environment = {**os.environ, "PYTHONPATH": str(PRETRAINED.parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == b"locked\n"
        assert cache.load(key) is None
        with cache.lock(replace(key, network="cd")):
            pass  # that of another engine is free
        first.stdin.close()
        with cache.lock(key):
            assert cache.load(key) == CachedEngine(plan=b"plan", refusal=None)


def test_the_folder_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "veil" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "veil" / "engines"
