"""Logging of the parent and of every child: to stderr, without local variables, never a pixel."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record


def configure_logging(process: str, level: str) -> None:
    """Send the log of this process to stderr. First call of every child, which starts with loguru's defaults.

    process: its name, in each line. level: the least level to show, one of loguru's names.
    `diagnose` stays off: it prints local variables, and with them paths, addresses and passwords, into tracebacks.
    """
    logger.remove()
    logger.configure(extra={"process": process})
    logger.add(sys.stderr, level=level, format=_format, diagnose=False, backtrace=False, enqueue=False)
    package = logging.getLogger("models")
    package.handlers = [_ToLoguru()]
    package.setLevel(logging.DEBUG)


class _ToLoguru(logging.Handler):
    """What the package `models` says, which knows nothing of loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.log(record.levelname, "{}", record.getMessage())


def _format(record: Record) -> str:
    fields = "".join(f" {key}={{extra[{key}]}}" for key in record["extra"] if key != "process")
    return "{time:HH:mm:ss.SSS} {level: <7} {extra[process]}: {message}" + fields + "\n{exception}"
