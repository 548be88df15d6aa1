"""One connection to a camera as the supervisor accounts for it: its rings, who holds which slot, how carefully to look."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from models.detectors import has_small_faces
from streamer.budget import RingPlan, plan_live_rings
from streamer.config import StreamDetectorSettings
from streamer.live.config import StreamSettings
from streamer.live.messages import CameraOpened, SessionReady
from streamer.messages import AnonymizedFrame, DetectedFrame, FacesRecord, RawFrame, SlotFree
from streamer.rings import RingMemory, SlotMismatchError, SlotTable

_MOST_TO_HIDE = 3
"""Frames whose look-ahead is over that may wait for the anonymizer; with more, no further ones are looked at."""
_TRANSIT_S = 0.05
_GAP_S = 0.5
"""After such a time without pictures, what was seen before tells nothing of small faces now."""
REMEMBERED_LOOKS = 8
"""As in `streamer.effort`: two seconds of them."""
_ENOUGH_LOOKS = 4
"""Thorough looks since a cut or a gap, a second of them, before other frames are looked at quickly."""
_STALE_S = 0.6
"""Nor are they where the newest look that is known is so old, as the detectors are behind."""


class _Look(NamedTuple):
    """What a thorough look found."""

    time_s: float
    has_small: bool


def plan_session(opened: CameraOpened, settings: StreamSettings, *, detectors: int) -> RingPlan | None:
    """The rings for a camera; None where the memory that is allowed does not hold the least. detectors: how many there are."""
    numerator, denominator = opened.average_rate
    return plan_live_rings(
        opened.layout,
        numerator / denominator if denominator else 0.0,
        look_ahead_s=settings.look_ahead_s,
        detectors=detectors,
        ring_mebibytes=settings.ring_mebibytes,
    )


class Session:
    """From the camera's first picture until it is lost.

    Methods that take what a process says raise SlotMismatchError where it cannot be.
    """

    def __init__(self, opened: CameraOpened, plan: RingPlan) -> None:
        """Raises OSError where no memory or descriptor can be had."""
        self.number = opened.session
        self.opened = opened
        self._plan = plan
        with contextlib.ExitStack() as undo:
            self.raw = RingMemory("raw")
            undo.callback(self.raw.close)
            self.safe = RingMemory("safe")
            undo.callback(self.safe.close)
            self.raw.resize(opened.layout, plan.raw_slots)
            self.safe.resize(opened.layout, plan.safe_slots)
            undo.pop_all()
        self._raw_slots, self._safe_slots = SlotTable(plan.raw_slots), SlotTable(plan.safe_slots)
        self._frames: dict[int, RawFrame] = {}  # those whose raw slots are in use
        self._written: set[int] = set()  # these slots
        self._captured_s: dict[int, float] = {}  # of those that wait to be encoded, and of those in `_frames`
        self._encoding: dict[int, int] = {}  # safe slots that the sink holds -> frame
        self._at_anonymizer: set[int] = set()
        self._looks: deque[_Look] = deque(maxlen=REMEMBERED_LOOKS)
        self._is_fresh = False
        self._last_thorough = 0
        self._begin = 0  # the first frame of the shot, or behind a gap
        self._newest_s = 0.0
        self.next_number = 0

    def ready(self, detector: StreamDetectorSettings, *, needs_keypoints: bool) -> SessionReady:
        """The message for a process that is told now."""
        return SessionReady(
            session=self.number,
            layout=self.opened.layout,
            sample_aspect_ratio=self.opened.sample_aspect_ratio,
            raw_slots=self._plan.raw_slots,
            safe_slots=self._plan.safe_slots,
            window_frames=self._plan.window_frames,
            first_number=self.next_number,
            detector=detector,
            needs_keypoints=needs_keypoints,
        )

    @property
    def in_flight(self) -> int:
        """Frames between source and sink."""
        return len(self._captured_s)

    def is_older(self, number: int, captured_before_s: float) -> bool:
        """Whether a picture that is under way arrived before that time."""
        return self._captured_s.get(number, captured_before_s) < captured_before_s

    def raw_grants(self) -> Iterator[SlotFree]:
        """Every slot of the raw ring, for the camera at its start."""
        for slot, generation in self._raw_slots.initial():
            yield SlotFree(stream=self.number, slot=slot, generation=generation)

    def safe_grants(self) -> Iterator[SlotFree]:
        """Every slot of the safe ring that the sink does not hold, for an anonymizer at its start."""
        for slot, _ in self._safe_slots.initial():
            if slot not in self._encoding:
                yield SlotFree(stream=self.number, slot=slot, generation=self._safe_slots.release(slot))

    def take(self, frame: RawFrame) -> RawFrame:
        """A picture of the camera; the same with how carefully it has to be looked at."""
        self._raw_slots.check(frame)
        if frame.slot in self._written:
            raise SlotMismatchError(f"frame {frame.number} came in slot {frame.slot}, which is in use")
        if frame.number != self.next_number:
            raise SlotMismatchError(f"frame {frame.number} came instead of frame {self.next_number}")
        self.next_number += 1
        if self._is_fresh:
            frame = msgspec.structs.replace(frame, effort="thorough", is_cut=True)
            self._is_fresh = False
        elif frame.effort == "quick" and frame.number - self._last_thorough >= self._plan.window_frames:
            # Later than that, the tracker has let go of the frames before it.
            frame = msgspec.structs.replace(frame, effort="thorough")
        self._notice_begin(frame)
        if frame.effort == "quick" and not self._is_quick_enough(frame):
            frame = msgspec.structs.replace(frame, effort="careful")
        if frame.effort == "thorough":
            self._last_thorough = frame.number
        self._frames[frame.number] = frame
        self._written.add(frame.slot)
        self._captured_s[frame.number] = frame.captured_s
        return frame

    def _is_quick_enough(self, frame: RawFrame) -> bool:
        """Whether there is nothing to be expected that a quick look misses."""
        looks = self._looks
        if len(looks) < _ENOUGH_LOOKS or any(look.has_small for look in looks):
            return False
        return frame.time_s - max(look.time_s for look in looks) <= _STALE_S

    def _notice_begin(self, frame: RawFrame) -> None:
        if frame.is_cut or frame.time_s - self._newest_s > _GAP_S:
            self._looks.clear()
            self._begin = frame.number
        self._newest_s = frame.time_s

    def knows(self, frame: RawFrame) -> bool:
        """Whether its slot is still in use."""
        return frame.number in self._frames

    def answered(self, answer: DetectedFrame) -> None:
        """A frame goes to the anonymizer; what a thorough look shows is heeded in the frames after it."""
        self._at_anonymizer.add(answer.frame.number)
        if answer.frame.effort == "thorough" and answer.frame.number >= self._begin:
            self._looks.append(_Look(answer.frame.time_s, self._has_small(answer.faces)))

    def is_congested(self, look_ahead_s: float) -> bool:
        """Whether the anonymizer has more frames than it can hide at once: those behind which it has the look-ahead, too."""
        # By the same times as the tracker's: those of arrival lie further apart where pictures come in heaps, and a session that
        # waits for what the tracker does not give would wait for ever.
        times_s = [self._frames[number].time_s for number in self._at_anonymizer if number in self._frames]
        newest_s = max(times_s, default=0.0)
        return sum(newest_s - time_s > look_ahead_s + _TRANSIT_S for time_s in times_s) >= _MOST_TO_HIDE

    def _has_small(self, faces: FacesRecord | None) -> bool:
        layout = self.opened.layout
        return faces is None or has_small_faces(faces.unpack().boxes, (layout.width, layout.height))

    def release_raw(self, number: int) -> SlotFree | None:
        """A frame needs its slot no more; the grant for the camera. None for one that is not known, as after a loss."""
        frame = self._frames.pop(number, None)
        self._at_anonymizer.discard(number)
        if frame is None:
            return None
        self._written.remove(frame.slot)
        return SlotFree(stream=self.number, slot=frame.slot, generation=self._raw_slots.release(frame.slot))

    def drop(self, number: int) -> SlotFree | None:
        """The same for a frame that leads to no picture."""
        slot = self.release_raw(number)
        self._captured_s.pop(number, None)
        return slot

    def lose_all(self) -> list[SlotFree]:
        """The anonymizer is gone with all that it knew: the grants for the camera, whose next frame begins anew.

        As many frames are lost as there are grants, but for those that the sink has already.
        """
        self._is_fresh = True
        waiting = set(self._encoding.values())
        grants = [self.release_raw(number) for number in list(self._frames)]
        self._captured_s = {number: at_s for number, at_s in self._captured_s.items() if number in waiting}
        return [grant for grant in grants if grant is not None]

    def announce(self, frame: AnonymizedFrame) -> None:
        """A safe picture is on its way to the sink."""
        self._safe_slots.check(frame)
        if frame.slot in self._encoding:
            raise SlotMismatchError(f"frame {frame.number} came in slot {frame.slot}, which is in use")
        self._encoding[frame.slot] = frame.number

    def written(self, number: int, slot: int) -> tuple[SlotFree, float | None]:
        """The sink is done with a frame: the grant for the anonymizer, and when the picture arrived."""
        if self._encoding.get(slot) != number:
            raise SlotMismatchError(f"frame {number} is written from slot {slot}, which does not hold it")
        del self._encoding[slot]
        grant = SlotFree(stream=self.number, slot=slot, generation=self._safe_slots.release(slot))
        return grant, self._captured_s.pop(number, None)

    def lose_encoding(self) -> list[SlotFree]:
        """The sink is gone with what it held: the grants for the anonymizer."""
        lost, self._encoding = self._encoding, {}
        for number in lost.values():
            self._captured_s.pop(number, None)
        return [SlotFree(stream=self.number, slot=slot, generation=self._safe_slots.release(slot)) for slot in lost]

    def close(self) -> None:
        """Give the memory back; processes that have mapped it keep it until they hear that the session is over."""
        self.raw.close()
        self.safe.close()
