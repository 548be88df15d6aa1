"""Photos from their files to anonymized copies: handed to processes one at a time, each of which does all that a photo needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from streamer.budget import detector_processes
from streamer.channel import encode
from streamer.children import Child, Died, Received
from streamer.config import AnonymizeSettings
from streamer.dispatch import CreditDispatcher
from streamer.errors import InternalError, Interrupted, OutputError, VeilError
from streamer.forkserver import ForkServer
from streamer.messages import ImageDone, ImageSetup, ImageTask, Message, Ready
from streamer.pipeline import IMAGE_PIPELINE, ProcessRow
from streamer.supervisor import StopRequest, Supervisor
from streamer.temporary import TemporaryOutput

_GRACE_S = 3.0
"""Time for children to leave when they are told to."""


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """A photo to anonymize."""

    source: Path
    output: Path
    """The final name."""


def run_image_jobs(
    jobs: Sequence[ImageJob],
    settings: AnonymizeSettings,
    *,
    on_done: Callable[[ImageDone], None],
    stop: StopRequest,
    fork_server: ForkServer,
    table: Sequence[ProcessRow] = IMAGE_PIPELINE,
    log_level: str = "WARNING",
) -> None:
    """Anonymize photos; on_done is called once for each, in the order in which they are finished, done or not.

    An image that fails, or that ends its process three times, fails alone. Raises InternalError where the processes themselves
    cannot work, UsageError where the settings make no sense, and Interrupted when `stop` was requested; what is done by then stays.
    """
    if not jobs:
        return
    with Supervisor(rings={}, stop=stop, fork_server=fork_server, log_level=log_level) as supervisor:
        run = _ImageRun(jobs, settings, table, supervisor, on_done)
        try:
            run.start()
            while not run.is_finished:
                if stop.is_requested:
                    raise Interrupted
                for event in supervisor.wait():
                    run.handle(event)
            supervisor.shut_down(_GRACE_S)
        finally:
            run.discard()


class _ImageRun:
    """The supervisor's part: hands out photos, gives the finished ones their names."""

    def __init__(
        self,
        jobs: Sequence[ImageJob],
        settings: AnonymizeSettings,
        table: Sequence[ProcessRow],
        supervisor: Supervisor,
        on_done: Callable[[ImageDone], None],
    ) -> None:
        self._jobs = jobs
        self._settings = settings
        self._table = table
        self._supervisor = supervisor
        self._on_done = on_done
        self._dispatcher = CreditDispatcher()
        self._temporaries: dict[int, TemporaryOutput] = {}
        self._next = 0

    @property
    def is_finished(self) -> bool:
        return self._next == len(self._jobs) and self._dispatcher.is_empty

    def start(self) -> None:
        for row in self._table:
            for _ in range(min(detector_processes(self._settings.detector), len(self._jobs))):
                self._start(row)

    def handle(self, event: Received | Died) -> None:
        match event:
            case Received(child=child, message=message):
                self._act(child, message)
            case Died():
                self._bury(event)
        while self._dispatcher.wanted > 0 and self._next < len(self._jobs):
            self._submit(self._next)
            self._next += 1
        for name, payload in self._dispatcher.assign():
            self._supervisor.send_to(name, payload)

    def discard(self) -> None:
        """Remove what is unfinished."""
        for temporary in self._temporaries.values():
            temporary.discard()

    def _start(self, row: ProcessRow) -> None:
        self._supervisor.start(row, [ImageSetup(settings=self._settings)])

    def _act(self, child: Child, message: Message) -> None:
        match message:
            case Ready():
                self._dispatcher.add_idle(child.name)
            case ImageDone():
                self._dispatcher.finish(child.name, message.number)
                self._finish(message)
            case _:
                pass

    def _submit(self, number: int) -> None:
        job = self._jobs[number]
        try:
            temporary = TemporaryOutput(job.output)
        except OutputError as error:
            self._on_done(_failed(number, job, error))
            return
        self._temporaries[number] = temporary
        task = ImageTask(number=number, source=str(job.source), temporary=str(temporary.path), output=str(job.output))
        self._dispatcher.submit(number, encode(task))

    def _finish(self, done: ImageDone) -> None:
        """Give the file its name, or remove it."""
        temporary = self._temporaries.pop(done.number)
        try:
            if done.error is None:
                temporary.commit(overwrite=self._settings.overwrite)
        except OutputError as error:
            done = msgspec.structs.replace(done, error=str(error), exit_code=error.exit_code)
        finally:
            temporary.discard()
        self._on_done(done)

    def _bury(self, died: Died) -> None:
        """Put another process in the place of the dead one; an image that has ended three is given up."""
        self._supervisor.allow_restart(died)
        given_up = self._dispatcher.bury(died.child.name)
        if given_up is not None:
            job = self._jobs[given_up.number]
            error = InternalError(f"{job.source}: ends every process that works on it, the last time: {died.error}")
            self._finish(_failed(given_up.number, job, error))
        self._start(died.child.row)


def _failed(number: int, job: ImageJob, error: VeilError) -> ImageDone:
    return ImageDone(
        number=number,
        source=str(job.source),
        output=str(job.output),
        covers=[],
        notes=[],
        error=str(error),
        exit_code=error.exit_code,
    )
