"""The supervisor's part in one camera: a process for each connection, made anew for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamer.children import Child, Died
from streamer.errors import VeilError
from streamer.live.config import StreamSettings
from streamer.live.crew import Crew
from streamer.live.keeping import KeptProcess
from streamer.live.messages import CameraLost, CameraOpened, CameraSetup, SessionReady
from streamer.live.output import Wording
from streamer.messages import Message, SlotFree
from streamer.rings import RingMemory

_LONGEST_BETWEEN_S = 0.25
_JITTER_S = 0.05
"""Pictures come so unevenly, and yet a thorough look is within the look-ahead of each."""
_SILENCE_BEYOND_S = 1.0
AT_ONCE = "the picture changed"
"""How the reason of a loss begins after which there is nothing to wait for."""


class CameraRun:
    """Keeper of the camera's process.

    on_message: hears what it says but that it is lost; on_lost: why, and whether it died; on_end: that a file has been played.
    """

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
        on_end: Callable[[], None],
    ) -> None:
        self._crew = crew
        self._settings = settings
        self._wording = wording
        self._origin_s = origin_s
        self._next_session = next_session
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_end = on_end
        # A camera's own time limit comes first; this one is for a process that does not even keep that.
        hang_limit_s = settings.read_timeout_s + _SILENCE_BEYOND_S
        self._process = KeptProcess(crew, "camera", self, hang_limit_s=hang_limit_s)
        self._session = 0

    def tick(self, now_s: float) -> None:
        self._process.tick(now_s)

    def begin(self, ready: SessionReady, raw: RingMemory, grants: Sequence[SlotFree]) -> None:
        """Its pictures are wanted, and go here."""
        self._crew.hand_over(self._process.child, raw)
        self._crew.send(self._process.child, ready)
        for grant in grants:
            self._crew.send(self._process.child, grant)

    def grant(self, slot: SlotFree | None) -> None:
        if slot is not None:
            self._crew.send(self._process.child, slot)

    def lose(self, reason: str) -> None:
        """Give the connection up; the next one is made when it is time."""
        self._process.restart(at_once=reason.startswith(AT_ONCE))
        self._on_lost(reason, None)

    def stop(self) -> None:
        """Until the next tick."""
        self._process.dismiss()

    def received(self, child: Child, message: Message, payload: bytes) -> None:
        match message:
            case CameraLost(session=session, reason=reason):
                if session == self._session and message.is_end and self._process.has_worked:
                    self._on_end()
                elif session == self._session:
                    self.lose(self._wording.redact(reason))
            case CameraOpened(session=session):
                if session == self._session:
                    self._process.works()
                    self._on_message(child, message, payload)
            case _:
                self._on_message(child, message, payload)

    def ended(self, error: VeilError, died: Died | None) -> None:
        self._on_lost(self._wording.redact(str(error)), died)

    def opening(self) -> list[Message]:
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
        return [setup]

    def started(self, child: Child) -> None:
        """It says itself what it finds."""
