"""Logging of the parent and of every child: to stderr, without local variables, without credentials, never a pixel."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

from loguru import logger

from streamer.escaping import printable
from streamer.redaction import redact

if TYPE_CHECKING:
    from loguru import Record


def configure_logging(process: str, level: str) -> None:
    """Send the log of this process to stderr. First call of every child, which starts with loguru's defaults.

    process: its name, in each line. level: the least level to show, one of loguru's names.
    `diagnose` stays off: it prints local variables, and with them paths, addresses and passwords, into tracebacks.
    Every line passes `redact`, whatever part of it a credential stands in; so does the traceback of what nobody catches.
    """
    stream = sys.stderr

    def show(text: str) -> None:
        stream.write(printable(redact(text), keep="\n\t"))
        stream.flush()

    logger.remove()
    logger.configure(extra={"process": process})
    logger.add(show, level=level, format=_format, diagnose=False, backtrace=False, enqueue=False)
    package = logging.getLogger("models")
    package.handlers = [_ToLoguru()]
    package.setLevel(logging.DEBUG)
    sys.excepthook = _show_uncaught
    threading.excepthook = _show_uncaught_in_thread


def _show_uncaught(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
    """As Python does by itself, without credentials."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, place))))


def _show_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_type is not SystemExit:
        _show_uncaught(what.exc_type, what.exc_value, what.exc_traceback)


class _ToLoguru(logging.Handler):
    """What the package `models` says, which knows nothing of loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.log(record.levelname, "{}", record.getMessage())


def _format(record: Record) -> str:
    fields = "".join(f" {key}={{extra[{key}]}}" for key in record["extra"] if key != "process")
    return "{time:HH:mm:ss.SSS} {level: <7} {extra[process]}: {message}" + fields + "\n{exception}"
