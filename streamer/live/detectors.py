"""The detectors that all streams share: as many as there shall be, whatever ends one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from loguru import logger

from streamer.children import Child, Died
from streamer.errors import VeilError
from streamer.live.crew import Crew
from streamer.live.dispatch import LiveDispatcher, UnexpectedAnswerError
from streamer.live.keeping import KeptProcess
from streamer.live.messages import LiveDetectorSetup, SessionEnded, SessionReady
from streamer.messages import DetectedFrame, Message, RawFrame, Ready
from streamer.rings import RingMemory


class Detectors:
    """Keeper of the detectors.

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
        self._on_answer = on_answer
        self._on_undetectable = on_undetectable
        self._sessions: dict[int, tuple[SessionReady, RingMemory]] = {}
        self._kept = [KeptProcess(crew, "live-detector", self, hang_limit_s=hang_limit_s) for _ in range(processes)]
        self.processes = processes
        self.restarts = 0

    @property
    def _running(self) -> dict[str, KeptProcess]:
        """By the names of the processes."""
        return {kept.child.name: kept for kept in self._kept if kept.child is not None}

    def tick(self, now_s: float) -> None:
        """Start those that are due."""
        # Asked whether or not one is missing: it is how a fork server that has died is noticed before it is needed.
        if self._crew.is_able_to_start:
            for kept in self._kept:
                kept.tick(now_s)

    def begin(self, ready: SessionReady, raw: RingMemory) -> None:
        """A session whose frames they will be given."""
        self._sessions[ready.session] = (ready, raw)
        for kept in self._kept:
            self._crew.hand_over(kept.child, raw)
            self._crew.send(kept.child, ready)

    def end(self, session: int) -> None:
        """Before its ring is closed."""
        if self._sessions.pop(session, None) is not None:
            for kept in self._kept:
                self._crew.send(kept.child, SessionEnded(session=session))

    def hand_out(self, now_s: float, congested: Collection[int]) -> None:
        """Every frame for which there is an idle detector, but of the sessions that are congested."""
        running = self._running
        for name, frame in self._dispatcher.assign(now_s, congested):
            self._crew.send(running[name].child, frame)

    def stop(self) -> None:
        """Once no session is left that wants an answer."""
        for name in self._running:
            self._dispatcher.bury(name)
        for kept in self._kept:
            kept.stop(grace_s=0.0)

    def opening(self) -> list[Message]:
        return [self._setup, *(ready for ready, _ in self._sessions.values())]

    def started(self, child: Child) -> None:
        for _, raw in self._sessions.values():
            self._crew.hand_over(child, raw)

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case Ready():
                self._running[child.name].works()
                self._dispatcher.add_idle(child.name)
            case DetectedFrame():
                self._take(child, message, payload)
            case _:
                pass

    def ended(self, error: VeilError, died: Died | None) -> None:
        if died is None:
            logger.error("{}", error)
            return
        self.restarts += 1
        logger.bind(child=died.child.name).warning("{}; another one takes its place", error)
        lost = self._dispatcher.bury(died.child.name)
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
