"""Built engines on disk: found again only by what they were built from, on what, and by which versions.

    EngineKey -> digest -> FOLDER/digest/engine.plan + engine.json, FOLDER/digest.lock

An engine is code that runs with the rights of whoever loads it. So the folder belongs to its user alone and is refused where it
does not, and nothing in it is unpickled.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PLAN, SIDECAR = "engine.plan", "engine.json"
_FORMAT = 1


class CacheError(Exception):
    """The folder cannot be used; the message is one line that says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class TensorForm:
    """Type and shape of an input, batch first."""

    dtype: str
    shape: tuple[int, ...]


Forms = tuple[TensorForm, ...]
"""The inputs of a network, in order."""


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """Everything that decides what an engine is; another value of any of it is another engine.

    network: SHA-256 of the exported network. forms: the only shapes that it takes. settings: of the build. platform: versions of
    the packages, name and compute capability of the GPU, version of its driver.
    """

    network: str
    forms: Forms
    settings: Mapping[str, Any]
    platform: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """As JSON gives it back."""
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return facts

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class CachedEngine:
    """plan: what the runtime loads; None where the engine was refused. refusal: why it is not to be used; None where it is."""

    plan: bytes | None
    refusal: str | None


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """An entry as a person wants to see it. plan_bytes: 0 of one that was refused. built_at: seconds since 1970."""

    digest: str
    key: Mapping[str, Any]
    plan_bytes: int
    refusal: str | None
    built_at: float


def default_folder() -> Path:
    """`veil/engines` in the user's folder for caches. Raises CacheError where the user has no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        caches = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    except RuntimeError as error:
        raise CacheError("there is no home folder for engines; set XDG_CACHE_HOME") from error
    return caches / "veil" / "engines"


class EngineCache:
    """The folder and what is done with it. Every method raises CacheError where the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: EngineKey) -> CachedEngine | None:
        """What was stored under the key; None where nothing was, or where it is not what was stored."""
        self._check(self._folder)
        place = self._folder / key.digest
        sidecar = _read_sidecar(place)
        if sidecar is None or sidecar["key"] != key.facts():
            return None
        if sidecar["refusal"] is not None:
            return CachedEngine(plan=None, refusal=str(sidecar["refusal"]))
        try:
            plan = (place / PLAN).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(plan).hexdigest() != sidecar["sha256"]:
            return None
        return CachedEngine(plan=plan, refusal=None)

    def store(self, key: EngineKey, plan: bytes) -> None:
        """Keep an engine that may be used; it is there as a whole or not at all."""
        self._write(key, plan, None)

    def store_refusal(self, key: EngineKey, reason: str) -> None:
        """Keep that the engine of this key must not be used, so that nobody builds it again."""
        self._write(key, b"", reason)

    @contextlib.contextmanager
    def lock(self, key: EngineKey) -> Iterator[None]:
        """Only one process at a time builds the engine of a key; the others wait here."""
        self._check(self._folder)
        with self._answering(), (self._folder / f"{key.digest}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def entries(self) -> list[CacheEntry]:
        """All that is stored, oldest first; what cannot be read is left out."""
        if not self._folder.exists():
            return []
        self._check(self._folder)
        found = []
        for place in self._folder.iterdir():
            sidecar = _read_sidecar(place)
            if sidecar is None or place.name.startswith("."):
                continue
            size = (place / PLAN).stat().st_size if (place / PLAN).exists() else 0
            found.append(
                CacheEntry(
                    digest=place.name,
                    key=sidecar["key"],
                    plan_bytes=size,
                    refusal=sidecar["refusal"],
                    built_at=float(sidecar["built_at"]),
                )
            )
        return sorted(found, key=lambda entry: entry.built_at)

    def clear(self) -> int:
        """Remove everything, also what a crash left behind; the number of engines and refusals."""
        count = len(self.entries())
        if self._folder.exists():
            with self._answering():
                for place in self._folder.iterdir():
                    if place.is_dir() and not place.is_symlink():
                        shutil.rmtree(place)
                    else:
                        place.unlink()
        return count

    def _write(self, key: EngineKey, plan: bytes, refusal: str | None) -> None:
        self._check(self._folder)
        place = self._folder / key.digest
        sidecar = {
            "format": _FORMAT,
            "key": key.facts(),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "refusal": refusal,
            "built_at": time.time(),
        }
        with self._answering():
            temporary = Path(tempfile.mkdtemp(dir=self._folder, prefix="."))
            try:
                if refusal is None:
                    _write_file(temporary / PLAN, plan)
                _write_file(temporary / SIDECAR, json.dumps(sidecar, indent=1).encode())
                # What lies there under this name was found to be damaged: a folder cannot replace one that is not empty.
                if place.exists():
                    shutil.rmtree(place)
                temporary.rename(place)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise

    def _check(self, folder: Path) -> None:
        """Make the folder if need be, and see that nobody else can write or read it."""
        with self._answering():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            raise CacheError(f"{folder}: must be a folder of your own that nobody else can enter (chmod 700), engines are code")

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"{self._folder}: cannot be used ({error.strerror or error})") from error


def _read_sidecar(place: Path) -> dict[str, Any] | None:
    """What is written beside an engine; None where nothing is, or nothing of this version."""
    try:
        sidecar = json.loads((place / SIDECAR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(sidecar, dict) and sidecar.get("format") == _FORMAT
    return sidecar if is_ours and {"key", "sha256", "refusal", "built_at"} <= sidecar.keys() else None


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
