"""The supervisor's part in one camera: a process for each connection, made anew for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from streamer.errors import InternalError
from streamer.live.backoff import Backoff
from streamer.live.config import StreamSettings
from streamer.live.crew import Crew
from streamer.live.messages import CameraLost, CameraOpened, CameraSetup, SessionReady
from streamer.live.output import Wording
from streamer.messages import Message, SlotFree
from streamer.rings import RingMemory
from streamer.supervisor import Child, Died

_LONGEST_BETWEEN_S = 0.25
_JITTER_S = 0.05
"""Pictures come so unevenly, and yet a thorough look is within the look-ahead of each."""
_SILENCE_BEYOND_S = 1.0
"""A camera's own time limit comes first; this is for a process that does not even keep that."""
AT_ONCE = "the picture changed"
"""How the reason of a loss begins after which there is nothing to wait for."""


class CameraRun:
    """Owner of the camera's process. on_message: hears what it says but that it is lost; on_lost: why, and whether it died."""

    def __init__(
        self,
        crew: Crew,
        settings: StreamSettings,
        wording: Wording,
        *,
        origin_s: float,
        next_session: Callable[[], int],
        on_message: Callable[[Child, Message, bytes], None],
        on_lost: Callable[[str, Died | None], None],
    ) -> None:
        self._crew = crew
        self._settings = settings
        self._wording = wording
        self._origin_s = origin_s
        self._next_session = next_session
        self._on_message = on_message
        self._on_lost = on_lost
        self._backoff = Backoff()
        self._child: Child | None = None
        self._retry_at_s = 0.0
        self._opened_s: float | None = None
        self._session = 0

    def tick(self, now_s: float) -> None:
        if self._child is None and now_s >= self._retry_at_s and self._crew.is_able_to_start:
            self._connect(now_s)

    def begin(self, ready: SessionReady, raw: RingMemory, grants: Sequence[SlotFree]) -> None:
        """Its pictures are wanted, and go here."""
        self._crew.hand_over(self._child, raw)
        self._crew.send(self._child, ready)
        for grant in grants:
            self._crew.send(self._child, grant)

    def grant(self, slot: SlotFree | None) -> None:
        if slot is not None:
            self._crew.send(self._child, slot)

    def lose(self, reason: str) -> None:
        """Give the connection up; the next one is made when it is time."""
        self._lose(reason, None)

    def stop(self) -> None:
        """For good."""
        self._crew.dismiss(self._child, 0.0)
        self._child = None

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        if child is not self._child:
            return
        match message:
            case CameraLost(session=session, reason=reason):
                if session == self._session:
                    self._lose(self._wording.redact(reason), None)
            case CameraOpened(session=session):
                if session == self._session:
                    self._opened_s = time.monotonic()
                    self._on_message(child, message, payload)
            case _:
                self._on_message(child, message, payload)

    def died(self, died: Died) -> None:
        if died.child is self._child:
            self._child = None
            self._lose(self._wording.redact(str(died.error)), died)

    def _lose(self, reason: str, died: Died | None) -> None:
        now_s = time.monotonic()
        worked_s = now_s - self._opened_s if self._opened_s is not None else 0.0
        self.stop()
        self._opened_s = None
        self._retry_at_s = now_s + (0.0 if reason.startswith(AT_ONCE) else self._backoff.wait_s(worked_s))
        self._on_lost(reason, died)

    def _connect(self, now_s: float) -> None:
        settings = self._settings
        self._session = self._next_session()
        setup = CameraSetup(
            session=self._session,
            url=self._wording.resolve(settings.input),
            transport=settings.transport,
            loop=settings.loop,
            read_timeout_s=settings.read_timeout_s,
            audio=settings.audio,
            max_fps=settings.max_fps,
            origin_s=self._origin_s,
            # What a thorough look finds is covered back to the look before it.
            thorough_every_s=max(min(_LONGEST_BETWEEN_S, settings.look_ahead_s - _JITTER_S), 0.0),
        )
        try:
            self._child = self._crew.start("camera", [setup], self)
        except InternalError as error:
            self._retry_at_s = now_s + self._backoff.wait_s(0.0)
            self._on_lost(str(error), None)
            return
        self._child.hang_limit_s = settings.read_timeout_s + _SILENCE_BEYOND_S
