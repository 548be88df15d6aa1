"""What the log shows, and what it must not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
from loguru import logger

from streamer.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    logger.remove()
    logger.configure(extra={})
    logger.add(sys.__stderr__)
    logging.getLogger("models").handlers.clear()


def test_a_line_names_its_process_and_fields_and_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("sink-5", "INFO")
    logger.bind(frames=3).info("finished")
    logger.debug("too small")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("INFO    sink-5: finished frames=3\n")


def test_a_field_is_not_taken_for_a_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("sink-5", "INFO")
    logger.bind(file="<red>{0}</red>").info("a {} of {}", "{b}", "<c>")
    assert "a {b} of <c> file=<red>{0}</red>" in capsys.readouterr().err


def test_a_traceback_shows_no_values_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("source-1", "INFO")
    address = "rtsp://user:" + "secret" + "@camera"
    try:
        raise ValueError(len(address))
    except ValueError:
        logger.exception("the process gives up")
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "secret@" not in shown


def test_what_the_networks_say_is_shown_like_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("detector-1", "WARNING")
    logging.getLogger("models.backends.fallback").warning("%s is {slow}", "<it>")
    logging.getLogger("models.backends.fallback").info("too small")
    assert capsys.readouterr().err.endswith("WARNING detector-1: <it> is {slow}\n")
