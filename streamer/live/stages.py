"""The two processes that a stream has to itself, its anonymizer and its sink: one of each, whatever ends it, in every session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from streamer.children import Child
from streamer.filters import needs_keypoints
from streamer.live.config import StreamSettings
from streamer.live.crew import Crew, Owner
from streamer.live.messages import LiveAnonymizerSetup, LiveSinkSetup, SessionEnded
from streamer.live.session import Session
from streamer.messages import Message

StageRole = Literal["live-anonymizer", "live-sink"]
ROLES: tuple[StageRole, ...] = ("live-anonymizer", "live-sink")


class Stages:
    """What is sent to one that is missing is dropped: whoever takes its place knows nothing of what was before.

    owner: hears the processes. hang_limit_s: of the anonymizer, None for that of the table.
    """

    def __init__(
        self, crew: Crew, name: str, settings: StreamSettings, owner: Owner, *, backend: str, hang_limit_s: float | None
    ) -> None:
        self._crew = crew
        self._settings = settings
        self._owner = owner
        self._hang_limit_s = hang_limit_s
        self._children: dict[StageRole, Child] = {}
        self._setups: dict[StageRole, Message] = {
            "live-anonymizer": LiveAnonymizerSetup(
                filter=settings.filter,
                look_ahead_s=settings.look_ahead_s,
                zones=settings.zones,
                backend=backend,
                max_age_s=settings.max_latency_ms / 1000,
            ),
            "live-sink": LiveSinkSetup(name=name, video=settings.video, max_fps=settings.max_fps),
        }
        self.needs_keypoints = needs_keypoints(settings.filter)

    def missing(self, wanted: Sequence[StageRole] = ROLES) -> list[StageRole]:
        """Those that can and must be started."""
        absent = [role for role in wanted if role not in self._children]
        return absent if absent and self._crew.is_able_to_start else []

    def lacks(self, role: StageRole) -> bool:
        return role not in self._children

    def start(self, role: StageRole) -> None:
        """Raises InternalError."""
        child = self._children[role] = self._crew.start(role, [self._setups[role]], self._owner)
        if role == "live-anonymizer" and self._hang_limit_s is not None:
            child.hang_limit_s = self._hang_limit_s

    def bury(self, child: Child) -> StageRole | None:
        """The role of one that has died, which is missing from now on; None for any other child."""
        role = next((role for role, one in self._children.items() if one is child), None)
        if role is not None:
            del self._children[role]
        return role

    def join(self, role: StageRole, session: Session) -> None:
        """Let a process take part in the session from now on, with the rings that are for it."""
        child = self._children.get(role)
        if child is None:
            return
        for ring in (session.raw, session.safe):
            if ring.name in child.row.rings:
                self._crew.hand_over(child, ring)
        self._crew.send(child, session.ready(self._settings.detector, needs_keypoints=self.needs_keypoints))
        if role == "live-anonymizer":
            for grant in session.safe_grants():
                self._crew.send(child, grant)

    def leave(self, session: Session) -> None:
        """The session is over: nobody keeps its pictures."""
        self.send("live-anonymizer", SessionEnded(session=session.number))

    def send(self, role: StageRole, message: Message) -> None:
        self._crew.send(self._children.get(role), message)

    def pass_on(self, role: StageRole, payload: bytes) -> None:
        self._crew.pass_on(self._children.get(role), payload)

    def dismiss(self, grace_s: float, roles: Sequence[StageRole] = ROLES) -> None:
        for role in roles:
            self._crew.dismiss(self._children.pop(role, None), grace_s)
