"""What goes wrong for a user: one clear line and a documented exit code.

command line -> plan -> probe -> processes -> output
     2            2       3          1          5

original, anonymized -> examination -> proof
     2, 3                   1           5, 7
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of every command; the README documents them."""

    DONE = 0
    INTERNAL = 1
    """A process of Veil failed, or a bug; nothing is left under the final name."""
    USAGE = 2
    """Wrong arguments or configuration, outputs that exist or collide; nothing was started."""
    INPUT = 3
    """No input could be read: missing, unreadable, not media, refused."""
    PARTLY_FAILED = 4
    """Some files of a batch are done, others failed."""
    OUTPUT = 5
    """The output could not be written: folder not writable, disk full, encoder not available."""
    DAMAGED = 6
    """All is done, but a video was truncated or damaged; what could be decoded was written."""
    NOT_PROVEN = 7
    """A verification found faces that still show, or files that do not belong together frame by frame."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM."""


class VeilError(Exception):
    """An error that is the user's to mend; the message is one line: what it concerns, what is wrong, what to do."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class InputError(VeilError):
    """An input cannot be used; the message begins with its path."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.INPUT)


class OutputError(VeilError):
    """An output cannot be written; the message begins with its path."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.OUTPUT)


class UsageError(VeilError):
    """Arguments or settings make no sense; the message names the option or the key."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


class InternalError(VeilError):
    """A process of Veil failed; the message says which one and how it ended."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.INTERNAL)


class Interrupted(VeilError):  # noqa: N818 - it is not a fault
    """The user asked to stop."""

    def __init__(self, message: str = "interrupted") -> None:
        super().__init__(message, ExitCode.INTERRUPTED)
