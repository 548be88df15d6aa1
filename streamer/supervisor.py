"""The parent's hold on its children: starts them, hears them, notices when one dies or hangs, and leaves none behind.

What the messages mean is not decided here but in `job.py`.
"""

from __future__ import annotations

import itertools
import os
import resource
import select
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType

import msgspec
import zmq
from loguru import logger

from streamer.channel import Decoder, Hub, encode
from streamer.children import Child, Died, Received
from streamer.deaths import Deaths, is_stopped, spent_s, watch
from streamer.errors import ExitCode, InternalError
from streamer.forkserver import ChildStart, ForkServer
from streamer.heartbeat import CELLS, HeartbeatPage
from streamer.messages import Failed, Hello, Message, Ready, Stop
from streamer.pipeline import EVERY_CHILD_WRITES, ProcessRow
from streamer.rings import RingMemory, RingOutbox

_LOOK_S = 0.25
"""How often heartbeats are looked at."""
_ASLEEP_S = 2.0
"""Not having looked for so long means that this process was stopped itself, most likely all of them: nobody is to blame."""
_STOPPED_LIMIT_S = 2.0
"""A live process that somebody has stopped (SIGSTOP) is not waited for longer, whatever its work may take."""
MOST_AT_ONCE = 512
"""Messages that are heard in one turn, of all children in turns, so that one that floods keeps nobody from what is due."""
_LAST_WORDS_S = 1.0
"""For so long a child that has ended counts as alive, where it may have said something that has not been heard."""


class StopRequest:
    """Asks a running job to end early; may be set from a signal handler."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_requested = False

    def request(self) -> None:
        self.is_requested = True
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        """Readable once the request was made."""
        return self._event

    def __del__(self) -> None:
        os.close(self._event)


class Supervisor:
    """Children, their sockets, their signs of life; a context manager that leaves no process, socket or directory behind.

    stop: wakes `wait` when it is requested. fork_server: starts the children; it may serve several supervisors, one after another.
    Start children only from the thread that stays to the end: they die with it.
    """

    def __init__(
        self, *, rings: Mapping[str, RingMemory], stop: StopRequest, fork_server: ForkServer, log_level: str = "WARNING"
    ) -> None:
        self._fork_server = fork_server
        self._rings = rings
        self._log_level = log_level
        self._children: dict[bytes, Child] = {}
        self._serials = itertools.count(1)
        self._cells = deque(range(CELLS))
        self._deaths: dict[str, Deaths] = {}
        self._heartbeats = HeartbeatPage()
        self._hub = Hub()
        self._poller = zmq.Poller()
        self._poller.register(self._hub.socket, zmq.POLLIN)
        self._ends = select.epoll()
        """Of children."""
        self._poller.register(self._ends.fileno(), zmq.POLLIN)
        self._stop = stop
        self._poller.register(stop.fileno(), zmq.POLLIN)
        self._looked_s = self._awake_since_s = time.monotonic()
        self._own_cpu_at_start_s = spent_s(resource.getrusage(resource.RUSAGE_SELF))
        self._children_cpu_s: dict[str, float] = {}

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._kill_all()
        self._ends.close()
        self._hub.close()
        self._heartbeats.close()

    @property
    def is_able_to_start(self) -> bool:
        """Whether a process can be had without waiting for it."""
        return self._fork_server.is_able

    def start(self, row: ProcessRow, opening: Sequence[Message]) -> Child:
        """Start a process of this row; it gets the opening messages first, the set-up leading. Raises InternalError."""
        if not self._cells:
            raise InternalError(f"no further process can be started: {CELLS} are running")
        name = f"{row.role}-{next(self._serials)}"
        cell = self._cells.popleft()
        self._heartbeats.reset(cell)
        outboxes: dict[str, RingOutbox] = {}
        try:
            if row.is_live:
                outboxes.update((ring, RingOutbox()) for ring in row.rings)
            pid = self._fork(row, name, cell, outboxes)
            pidfd = watch(pid)
        except (InternalError, OSError) as error:
            self._cells.append(cell)
            for outbox in outboxes.values():
                outbox.close()
            if isinstance(error, OSError):
                raise InternalError(f"no further process can be started: {error.strerror}") from None
            raise
        for outbox in outboxes.values():
            outbox.started()
        child = Child(
            row=row,
            name=name,
            pid=pid,
            pidfd=pidfd,
            cell=cell,
            decoder=Decoder((*row.writes, *EVERY_CHILD_WRITES)),
            started_s=time.monotonic(),
            hang_limit_s=row.hang_limit_s,
            backlog=[encode(message) for message in opening],
            outboxes=outboxes,
        )
        self._children[name.encode()] = child
        self._ends.register(child.pidfd, select.EPOLLIN)
        logger.bind(child=name, pid=pid).debug("started")
        return child

    def _fork(self, row: ProcessRow, name: str, cell: int, outboxes: Mapping[str, RingOutbox]) -> int:
        """The process id. Raises InternalError."""
        descriptors = {ring: outbox.inbox for ring, outbox in outboxes.items()}
        if not row.is_live:
            descriptors = {ring: self._rings[ring].descriptor(access) for ring, access in row.rings.items()}
        start = ChildStart(
            role=row.role,
            worker=row.worker,
            name=name,
            endpoint=self._hub.endpoint,
            parent=os.getpid(),
            heartbeat=self._heartbeats.descriptor,
            cell=cell,
            rings=descriptors,
            log_level=self._log_level,
        )
        return self._fork_server.fork_soon(start) if row.is_live else self._fork_server.fork(start)

    def hand_over(self, child: Child, ring: RingMemory) -> None:
        """Give it its end of a ring, before the message that speaks of it; the ring's name is that of the row."""
        try:
            child.outboxes[ring.name].hand_over(ring, child.row.rings[ring.name])
        except OSError:
            # It is dead, or takes nothing: then it would take each ring after this one for the one before.
            child.kill()

    def dismiss(self, child: Child, grace_s: float) -> None:
        """Tell it to leave, and kill it if it is still there after so long; its death is told like any other."""
        if child.is_connected and grace_s > 0:
            self._hub.send(child.name.encode(), encode(Stop()))
            child.leave_by_s = time.monotonic() + grace_s
        else:
            child.leave_by_s = 0.0
            child.kill()

    @property
    def roles(self) -> dict[int, str]:
        """Process id -> role of the living children."""
        return {child.pid: child.row.role for child in self._children.values()}

    def children(self, role: str) -> list[Child]:
        """The living processes of a role."""
        return [child for child in self._children.values() if child.row.role == role]

    def send_to(self, name: str, payload: bytes) -> None:
        """`send` by the name of the child."""
        self.send(self._children[name.encode()], payload)

    def send(self, child: Child, payload: bytes) -> None:
        """Send an encoded message; kept until the child is connected. A child that is dead will be noticed as such."""
        if child.is_connected:
            self._hub.send(child.name.encode(), payload)
        else:
            child.backlog.append(payload)

    def allow_restart(self, died: Died) -> None:
        """Count the death of a process that another one can replace. Raises the error to report where it ends the job."""
        row = died.child.row
        limit = row.restart_limit
        if limit is None or died.is_final:
            raise died.error
        if self._deaths.setdefault(row.role, Deaths(limit)).add():
            raise InternalError(
                f"the {row.role} processes died more than {limit.restarts} times within {limit.within_s:.0f} s; "
                f"the last time: {died.error}"
            )
        logger.bind(child=died.child.name).warning("{}; another one takes its place", died.error)

    def wait(self, timeout_s: float = _LOOK_S) -> Iterator[Received | Died]:
        """Sleep until something happens, for a moment at most, and tell what has happened; what children said comes first.

        Where they have said much, the rest is told the next time.
        """
        ready = {source for source, _ in self._poller.poll(round(timeout_s * 1000))}
        if self._stop.fileno() in ready:
            self._poller.unregister(self._stop.fileno())  # it stays readable
        is_all_heard = not (self._hub.socket in ready and (yield from self._receive()) == MOST_AT_ONCE)
        # Asked apart from the messages, so that no flood of them hides an end.
        ended = {pidfd for pidfd, _ in self._ends.poll(0)}
        for child in [child for child in self._children.values() if child.pidfd in ended]:
            now_s = time.monotonic()
            child.ended_s = child.ended_s or now_s
            if is_all_heard or now_s - child.ended_s > _LAST_WORDS_S:
                yield self._bury(child)
        self._look_at_heartbeats()

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by role of all children that have ended, and of this process since the start as `supervisor`."""
        own_s = spent_s(resource.getrusage(resource.RUSAGE_SELF)) - self._own_cpu_at_start_s
        return {**self._children_cpu_s, "supervisor": own_s}

    def shut_down(self, grace_s: float) -> None:
        """Say Stop to every child, give them this long to leave, then kill what is left."""
        for child in list(self._children.values()):
            if child.is_connected:
                self._hub.send(child.name.encode(), encode(Stop()))
            else:
                child.kill()
        deadline_s = time.monotonic() + grace_s
        while self._children and time.monotonic() < deadline_s:
            for _ in self.wait():
                pass
        self._kill_all()

    def _receive(self) -> Generator[Received, None, int]:
        """How many messages were taken."""
        taken = 0
        for identity, payload in itertools.islice(self._hub.receive_all(), MOST_AT_ONCE):
            taken += 1
            child = self._children.get(identity)
            if child is None:
                # Gone, or of a fork server that was given up before it could say whom it had started.
                self._hub.send(identity, encode(Stop()))
                continue
            if child.failure is not None:
                continue  # as good as gone: its job is with another one
            try:
                message = child.decoder.decode(payload)
            except msgspec.ValidationError as error:
                message = Failed(
                    error=f"the {child.row.role} process broke the protocol: {error}", exit_code=ExitCode.INTERNAL, is_final=True
                )
            match message:
                case Hello():
                    child.is_connected = True
                    for waiting in child.backlog:
                        self._hub.send(identity, waiting)
                    child.backlog.clear()
                case Failed():
                    child.failure = message
                    child.kill()
                case Ready():
                    child.is_ready = True
                    yield Received(child=child, message=message, payload=payload)
                case _:
                    yield Received(child=child, message=message, payload=payload)
        return taken

    def _look_at_heartbeats(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s > _ASLEEP_S:
            self._awake_since_s = now_s
        self._looked_s = now_s
        for child in self._children.values():
            if child.ended_s is not None:
                continue
            last_s = self._heartbeats.last_s(child.cell) if child.is_ready else child.started_s
            silent_s = now_s - max(last_s, self._awake_since_s)
            limit_s = child.hang_limit_s if child.is_ready else child.row.start_limit_s
            if child.row.is_live and _STOPPED_LIMIT_S < silent_s <= limit_s and is_stopped(child.pid):
                limit_s = _STOPPED_LIMIT_S
            if silent_s > limit_s and child.hung_s is None:
                child.hung_s = silent_s
                logger.bind(child=child.name, silent_s=round(silent_s, 1)).warning("hangs, is killed")
                child.kill()
            if child.leave_by_s is not None and now_s > child.leave_by_s:
                child.kill()

    def _bury(self, child: Child) -> Died:
        """Reap a child that has ended and forget it."""
        _, status, usage = os.wait4(child.pid, 0)
        child.exit_code = os.waitstatus_to_exitcode(status)
        self._children_cpu_s[child.row.role] = self._children_cpu_s.get(child.row.role, 0.0) + spent_s(usage)
        self._ends.unregister(child.pidfd)
        os.close(child.pidfd)
        for outbox in child.outboxes.values():
            outbox.close()
        self._cells.append(child.cell)
        del self._children[child.name.encode()]
        logger.bind(child=child.name, exit=child.exit_code).debug("ended")
        return child.death()

    def _kill_all(self) -> None:
        for child in self._children.values():
            child.kill()
        for child in list(self._children.values()):
            end = select.poll()
            end.register(child.pidfd, select.POLLIN)
            end.poll()
            self._bury(child)
