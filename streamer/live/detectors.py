"""The detectors that all streams share: as many as there shall be, whatever ends one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from loguru import logger

from streamer.errors import InternalError
from streamer.live.backoff import Backoff
from streamer.live.crew import Crew
from streamer.live.dispatch import LiveDispatcher, UnexpectedAnswerError
from streamer.live.messages import LiveDetectorSetup, SessionEnded, SessionReady
from streamer.messages import DetectedFrame, Message, RawFrame, Ready
from streamer.rings import RingMemory
from streamer.supervisor import Child, Died


class Detectors:
    """Owner of the detectors.

    on_answer: hears every answer that is still wanted, with the message as it came. on_undetectable: hears of frames that detectors
    die with. needs_keypoints: whether any stream wants them. hang_limit_s: of each, None for that of the table.
    """

    def __init__(
        self,
        crew: Crew,
        dispatcher: LiveDispatcher,
        *,
        processes: int,
        backend: str,
        needs_keypoints: bool,
        hang_limit_s: float | None,
        on_answer: Callable[[DetectedFrame, bytes], None],
        on_undetectable: Callable[[RawFrame], None],
    ) -> None:
        self._crew = crew
        self._dispatcher = dispatcher
        self._setup = LiveDetectorSetup(backend=backend, needs_keypoints=needs_keypoints)
        self._hang_limit_s = hang_limit_s
        self._on_answer = on_answer
        self._on_undetectable = on_undetectable
        self._sessions: dict[int, tuple[SessionReady, RingMemory]] = {}
        self._children: dict[str, Child] = {}
        self._starts_at_s = [0.0] * processes
        """When each of those that are missing is to be started."""
        self._backoff = Backoff()
        self._started_s: dict[str, float] = {}
        self.processes = processes
        self.restarts = 0

    def tick(self, now_s: float) -> None:
        """Start those that are due."""
        if not self._crew.is_able_to_start:
            return
        due = [at_s for at_s in self._starts_at_s if at_s <= now_s]
        self._starts_at_s = [at_s for at_s in self._starts_at_s if at_s > now_s]
        for _ in due:
            self._start(now_s)

    def begin(self, ready: SessionReady, raw: RingMemory) -> None:
        """A session whose frames they will be given."""
        self._sessions[ready.session] = (ready, raw)
        for child in self._children.values():
            self._crew.hand_over(child, raw)
            self._crew.send(child, ready)

    def end(self, session: int) -> None:
        """Before its ring is closed."""
        if self._sessions.pop(session, None) is not None:
            for child in self._children.values():
                self._crew.send(child, SessionEnded(session=session))

    def hand_out(self, now_s: float, congested: Collection[int]) -> None:
        """Every frame for which there is an idle detector, but of the sessions that are congested."""
        for name, frame in self._dispatcher.assign(now_s, congested):
            self._crew.send(self._children[name], frame)

    def stop(self) -> None:
        """Once no session is left that wants an answer."""
        for child in self._children.values():
            self._crew.dismiss(child, 0.0)
            self._dispatcher.bury(child.name)
        self._children.clear()
        self._starts_at_s.clear()

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Ready():
                self._dispatcher.add_idle(child.name)
            case DetectedFrame():
                self._take(child, message, payload)
            case _:
                pass

    def died(self, died: Died) -> None:
        name = died.child.name
        if self._children.pop(name, None) is None:
            return
        now_s = time.monotonic()
        self.restarts += 1
        self._starts_at_s.append(now_s + self._backoff.wait_s(now_s - self._started_s.pop(name)))
        logger.bind(child=name).warning("{}; another one takes its place", died.error)
        lost = self._dispatcher.bury(name)
        if lost is not None:
            logger.warning("a frame ends every detector that gets it, and is covered whole")
            self._on_undetectable(lost)

    def _take(self, child: Child, answer: DetectedFrame, payload: bytes) -> None:
        try:
            is_wanted = self._dispatcher.finish(child.name, answer.frame, is_known=answer.faces is not None)
        except UnexpectedAnswerError as error:
            # What it was given goes to another one, or nobody would ever hear of that frame again.
            logger.error("the detector broke the protocol: {}", error)
            child.kill()
            return
        if is_wanted:
            self._on_answer(answer, payload)

    def _start(self, now_s: float) -> None:
        try:
            opening = [self._setup, *(ready for ready, _ in self._sessions.values())]
            child = self._crew.start("live-detector", opening, self)
        except InternalError as error:
            logger.error("{}", error)
            self._starts_at_s.append(now_s + self._backoff.wait_s(0.0))
            return
        self._children[child.name] = child
        self._started_s[child.name] = now_s
        if self._hang_limit_s is not None:
            child.hang_limit_s = self._hang_limit_s
        for _, raw in self._sessions.values():
            self._crew.hand_over(child, raw)
