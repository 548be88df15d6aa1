"""What the tests of the whole command share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer import redaction
from streamer.demo import make_demo_clip
from tests.command import RATE, SECONDS, SIZE


@pytest.fixture(scope="session")
def face_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short clip with faces and sound; to be copied, not changed."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, size=SIZE, duration_s=SECONDS, rate=RATE)
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The working directory of the command."""
    return tmp_path


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    """What is hidden stays hidden as long as a process lives, which for tests would be those that follow."""
    yield
    redaction._spellings.clear()
    redaction._literals = None
