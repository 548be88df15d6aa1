"""The anonymizer of a live stream alone: whatever reaches it in whatever order, no face leaves it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.faces import Faces, no_faces
from streamer.config import FilterSettings
from streamer.live.config import ZoneSettings
from streamer.live.messages import FrameDropped, LiveAnonymizerSetup, SessionEnded, SessionReady
from streamer.messages import AnonymizedFrame, DetectedFrame, FacesRecord, FrameReport, Message, RawFrame, SlotFree, UndetectedFrame
from streamer.rings import SlotState
from streamer.workers.live_anonymizer import LiveAnonymizerWorker
from tests.live.frames import SESSION, box_zone, ready
from tests.live.rings import BRIGHT, READY, SLOTS, Postbox, SessionRings, frame
from tests.workers import answers

SETUP = LiveAnonymizerSetup(filter=FilterSettings(name="blackout"), look_ahead_s=0.08, zones=(), backend="cpu", max_age_s=60.0)
NOTHING = FacesRecord.pack(no_faces())


class Bench:
    """An anonymizer with the rings of its session."""

    def __init__(self, *zones: ZoneSettings, **changes: Any) -> None:
        self.postbox = Postbox({"raw": "read", "safe": "write"})
        self.worker = LiveAnonymizerWorker(self.postbox.inboxes)
        self.rings: list[SessionRings] = []
        answers(self.worker, msgspec.structs.replace(SETUP, zones=zones, **changes))
        self.pictures: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
        """Luma of what goes out, by session and number."""
        self.reports: list[FrameReport] = []

    def begin(self, told: SessionReady = READY) -> SessionRings:
        self.rings.append(SessionRings())
        self.postbox.hand_over(self.rings[-1])
        assert answers(self.worker, told) == []
        return self.rings[-1]

    def say(self, *messages: Message) -> None:
        for answer in answers(self.worker, *messages):
            if isinstance(answer, AnonymizedFrame):
                planes = self.rings[-1].safe_picture(answer)
                assert (answer.stream, answer.number) not in self.pictures
                self.pictures[answer.stream, answer.number] = planes[0]
            else:
                assert isinstance(answer, FrameReport)
                self.reports.append(answer)

    def see(self, raw: RawFrame) -> DetectedFrame:
        """Film a frame, and what a detector says of it."""
        box = self.rings[-1].film(raw)
        faces = Faces(boxes=np.array([box], np.float32), scores=np.ones(1, np.float32))
        return DetectedFrame(frame=raw, faces=FacesRecord.pack(faces))

    def grant(self, slots: int = SLOTS, **changes: Any) -> None:
        for slot in range(slots):
            self.say(SlotFree(**{"stream": SESSION, "slot": slot, "generation": 1, **changes}))

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.pictures]

    def close(self) -> None:
        self.postbox.close()
        for memory in self.rings:
            memory.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    running = Bench()
    yield running
    running.close()


def is_flat(luma: np.ndarray[Any, Any]) -> bool:
    return len(np.unique(luma)) == 1


def test_frames_go_out_in_order_after_the_look_ahead_and_free_their_raw_slots(bench: Bench) -> None:
    bench.begin()
    bench.grant()
    for number in (1, 0, 3, 2, 4):
        bench.say(bench.see(frame(number)))
    assert bench.numbers == [0, 1, 2], "frames 3 and 4 wait for those after them"
    assert all(luma.max() < BRIGHT for luma in bench.pictures.values())
    assert not any(is_flat(luma) for luma in bench.pictures.values())
    assert [(report.number, report.raw_slot, report.dropped) for report in bench.reports] == [(n, n, None) for n in range(3)]


def test_without_a_session_nothing_leads_to_anything(bench: Bench) -> None:
    bench.say(UndetectedFrame(frame=frame(0)), FrameDropped(session=SESSION, number=0), SessionEnded(session=SESSION))
    bench.grant()
    assert bench.pictures == {}


def test_what_comes_of_an_old_session_leads_to_nothing(bench: Bench) -> None:
    bench.begin()
    bench.grant()
    old = [bench.see(frame(number)) for number in range(6)]
    bench.say(*old[:2])
    bench.begin(ready(session=SESSION + 1, raw_slots=SLOTS, safe_slots=SLOTS))
    bench.say(*old[2:], UndetectedFrame(frame=frame(0)), FrameDropped(session=SESSION, number=0))
    bench.grant()
    bench.say(SessionEnded(session=SESSION))
    new = [bench.see(frame(number, stream=SESSION + 1)) for number in range(6)]
    bench.say(*new)
    assert bench.pictures == {}, "slots of the old session's ring were used"
    bench.grant(stream=SESSION + 1)
    assert list(bench.pictures) == [(SESSION + 1, number) for number in range(4)]
    bench.say(SessionEnded(session=SESSION + 1), *[bench.see(frame(number, stream=SESSION + 1)) for number in range(6, 8)])
    assert len(bench.pictures) == 4


@pytest.mark.parametrize("kind", ["corrupt", "undetectable", "unanswered"])
def test_a_frame_of_which_nothing_is_known_is_covered_whole(bench: Bench, kind: str) -> None:
    bench.begin()
    bench.grant()
    seen = [bench.see(frame(number, is_corrupt=kind == "corrupt" and number == 1)) for number in range(5)]
    if kind == "undetectable":
        bench.say(seen[0], UndetectedFrame(frame=seen[1].frame), *seen[2:])
    elif kind == "unanswered":
        bench.say(seen[0], DetectedFrame(frame=seen[1].frame, faces=None), *seen[2:])
    else:
        bench.say(*seen)
    assert [is_flat(bench.pictures[SESSION, number]) for number in range(3)] == [False, True, False]
    expected = "corrupt" if kind == "corrupt" else "undetectable"
    assert [report.covered_whole for report in bench.reports] == [None, expected, None]


def test_a_dropped_frame_is_not_waited_for(bench: Bench) -> None:
    bench.begin()
    bench.grant()
    bench.say(*[bench.see(frame(number)) for number in (0, 2, 3, 4)])
    assert bench.numbers == []
    bench.say(FrameDropped(session=SESSION, number=1))
    assert bench.numbers == [0, 2]
    assert [report.number for report in bench.reports] == [0, 2]


def test_one_that_takes_another_ones_place_begins_with_the_frame_it_is_told(bench: Bench) -> None:
    bench.begin(ready(raw_slots=SLOTS, safe_slots=SLOTS, first_number=3))
    bench.grant()
    bench.say(*[bench.see(frame(number, is_cut=number == 3)) for number in (1, 3, 4, 5, 6)])
    bench.say(FrameDropped(session=SESSION, number=2), UndetectedFrame(frame=frame(0)))
    assert bench.numbers == [3, 4]
    assert bench.worker._session is not None
    assert bench.worker._session.stream._early == {}, "it would remember for ever what comes too late"


def test_frames_that_have_become_too_old_are_dropped_and_their_slots_freed() -> None:
    bench = Bench(max_age_s=5.0)
    bench.begin()
    now_s = time.monotonic()
    captured_s = [now_s - 10, now_s - 10, now_s, now_s, now_s]
    bench.say(*[bench.see(frame(number, captured_s=at_s)) for number, at_s in enumerate(captured_s)])
    assert bench.numbers == [], "there is no slot"
    assert [(report.number, report.dropped) for report in bench.reports] == [(0, "late"), (1, "late")]
    bench.grant(1)
    assert bench.numbers == [2]
    bench.close()


@pytest.mark.parametrize("lost", ["behind a cut", "behind a gap", "unanswered", "dropped", "before a gap"])
def test_a_picture_with_only_a_quick_look_goes_out_only_between_two_thorough_ones(bench: Bench, lost: str) -> None:
    bench.begin()
    bench.grant()
    changes: list[dict[str, Any]] = [{"effort": "quick" if number in (1, 3) else "thorough"} for number in range(7)]
    late = {"behind a gap": 4, "before a gap": 3}.get(lost, 7)
    for number in range(late, 7):
        changes[number]["time_s"] = 2 + number / 25
    changes[4]["is_cut"] = lost == "behind a cut"
    seen: list[Message] = [bench.see(frame(number, **change)) for number, change in enumerate(changes)]
    for number in (4, 5):
        if lost == "unanswered":
            seen[number] = UndetectedFrame(frame=frame(number))
        if lost == "dropped":
            seen[number] = FrameDropped(session=SESSION, number=number)
    bench.say(*seen)
    assert 1 in bench.numbers, "it is between two"
    assert 3 not in bench.numbers
    assert [report.number for report in bench.reports if report.dropped == "unconfirmed"] == [3]
    assert bench.worker._session is not None
    assert bench.worker._session.stream._unconfirmed == set()


def test_what_is_known_of_looks_does_not_grow_with_the_stream(bench: Bench) -> None:
    bench.begin()
    for number in range(200):
        bench.grant(1, generation=number + 1)
        bench.say(bench.see(frame(number)))
    assert bench.worker._session is not None
    known = bench.worker._session.stream._looks
    assert known is not None
    assert len(known._looks) <= 4


def test_a_raw_picture_that_is_no_longer_there_is_covered_whole(bench: Bench) -> None:
    rings = bench.begin()
    bench.grant()
    seen = [bench.see(frame(number)) for number in range(5)]
    rings.film(frame(7, slot=1, generation=2))
    bench.say(*seen)
    assert [is_flat(bench.pictures[SESSION, number]) for number in range(3)] == [False, True, False]
    assert [report.covered_whole for report in bench.reports] == [None, "undetectable", None]


def test_a_raw_picture_that_is_overwritten_while_it_is_copied_is_covered_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise boxes of one frame would cover another one."""
    rings = bench.begin()
    bench.grant()
    assert bench.worker._session is not None
    hider = bench.worker._session.stream.hider
    hide = hider.hide

    def overwritten(*arguments: Any) -> Any:
        rings.film(frame(4, slot=0, generation=2))
        return hide(*arguments)

    seen = [bench.see(frame(number)) for number in range(4)]
    monkeypatch.setattr(hider, "hide", overwritten)
    bench.say(*seen[:3])
    assert list(bench.pictures) == [(SESSION, 0)]
    assert is_flat(bench.pictures[SESSION, 0])
    monkeypatch.undo()
    bench.say(seen[3])
    assert not is_flat(bench.pictures[SESSION, 1])


def test_zones_are_covered_and_faces_in_others_left() -> None:
    always, poster = box_zone(0.5, 0.5, 1, 1), box_zone(0, 0, 0.3, 0.4, do="ignore")
    bench = Bench(always, poster)
    bench.begin()
    bench.grant()
    bench.say(*[bench.see(frame(number)) for number in range(6)])
    first = bench.pictures[SESSION, 0]
    assert first[6:14, 6:14].min() > BRIGHT, "the poster is covered"
    assert all(is_flat(luma[24:, 32:]) for luma in bench.pictures.values())
    assert not is_flat(first[:20, 32:])
    assert bench.pictures[SESSION, 1].max() < BRIGHT
    bench.close()


HOW = st.sampled_from(["seen", "seen", "seen", "unanswered", "undetected", "dropped", "twice", "overwritten", "corrupt"])


@settings(max_examples=60, deadline=None)
@given(hows=st.lists(HOW, min_size=1, max_size=SLOTS), data=st.data())
def test_whatever_comes_in_whatever_order_no_face_goes_out(hows: list[str], data: st.DataObject) -> None:
    with closing(Bench()) as bench:
        rings = bench.begin()
        messages: list[Message] = [SlotFree(stream=SESSION, slot=slot, generation=1) for slot in range(SLOTS)]
        for number, how in enumerate(hows):
            seen = bench.see(frame(number, is_corrupt=how == "corrupt"))
            if how == "overwritten":
                rings.film(frame(number + 1, slot=number, generation=2))
            match how:
                case "unanswered":
                    messages.append(DetectedFrame(frame=seen.frame, faces=None))
                case "undetected":
                    messages.append(UndetectedFrame(frame=seen.frame))
                case "dropped":
                    messages.append(FrameDropped(session=SESSION, number=number))
                case "twice":
                    messages += [UndetectedFrame(frame=seen.frame), seen]
                case _:
                    messages.append(seen)
        bench.say(*data.draw(st.permutations(messages)))
        assert bench.numbers == sorted(bench.numbers)
        assert set(bench.numbers) <= {number for number, how in enumerate(hows) if how != "dropped"}
        assert [number for _, number in bench.pictures] == [report.number for report in bench.reports]
        for (_, number), luma in bench.pictures.items():
            assert luma.max() < BRIGHT, "a face shows"
            assert is_flat(luma) or hows[number] in ("seen", "twice")


def test_a_safe_slot_says_what_it_holds_only_once_it_is_safe(bench: Bench) -> None:
    rings = bench.begin()
    bench.grant(2)
    bench.say(*[bench.see(frame(number)) for number in range(6)])
    headers = rings.reader("safe", SlotState.SAFE)._slots.headers
    assert [header.tolist() for header in headers[:3]] == [[SESSION, 0, 1, 3], [SESSION, 1, 1, 3], [0, 0, 0, 0]]
