"""What the tests of the whole command share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer import redaction
from streamer.demo import make_demo_clip
from tests.command import RATE, SECONDS, SIZE


def pytest_configure() -> None:
    """Hear Ctrl-C also where the tests run in the background of a shell, which lets nobody there hear it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
