"""What happens to a job when its processes are killed, hang, lie or are told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.errors import InternalError, Interrupted, VeilError
from streamer.messages import FrameReport
from streamer.supervisor import StopRequest
from tests.streamer.faulty_workers import FAULTY_FRAME, MARKER
from tests.streamer.running import FRAMES, Finished, child, nothing_left_behind, run, table_with, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("undisturbed")
        with nothing_left_behind(monkeypatch, folder):
            return run(clip, folder / "out.mp4", table=table_with(), processes=1)


def signal_at_frame(role: str, number: int, which: signal.Signals) -> Callable[[FrameReport], None]:
    """A callback that sends a signal to a process of the role when the given frame is done."""

    def on_frame(report: FrameReport) -> None:
        if report.number == number:
            child(role).send_signal(which)

    return on_frame


def test_the_number_of_detectors_does_not_show_in_the_output(
    clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), processes=3)
    assert finished.digest == undisturbed.digest
    assert [report.number for report in finished.reports] == list(range(FRAMES))
    assert [report.covers for report in finished.reports] == [report.covers for report in undisturbed.reports]


def test_a_killed_detector_is_restarted_and_the_output_is_the_same(
    clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=signal_at_frame("detector", 10, signal.SIGKILL))
    assert finished.result.restarts == {"detector": 1}
    assert finished.digest == undisturbed.digest


@pytest.mark.parametrize("processes", [1, 2])
def test_a_frame_in_the_hands_of_a_killed_detector_goes_to_another(
    processes: int, clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARKER, str(tmp_path / "marker"))
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(detector="DiesOnceDetectorWorker"), processes=processes)
    assert finished.result.restarts == {"detector": 1}
    assert finished.result.covered_whole == 0
    assert finished.digest == undisturbed.digest


def test_a_hung_detector_is_noticed_and_replaced(
    clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARKER, str(tmp_path / "marker"))
    with nothing_left_behind(monkeypatch, tmp_path):
        table = table_with(detector="HangsOnceDetectorWorker", hang_limits_s={"detector": 3.0})
        finished = run(clip, tmp_path / "out.mp4", table=table)
    assert finished.result.restarts == {"detector": 1}
    assert finished.digest == undisturbed.digest


def test_a_frame_that_kills_every_detector_is_covered_whole(
    clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(detector="PoisonedDetectorWorker"))
    assert finished.result.restarts == {"detector": 3}
    assert finished.result.frames == FRAMES
    whole = [(report.number, report.covered_whole) for report in finished.reports if report.covered_whole is not None]
    assert whole == [(FAULTY_FRAME, "undetectable")]


def test_detectors_that_fail_on_every_frame_end_the_job_at_the_restart_limit(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        nothing_left_behind(monkeypatch, tmp_path),
        pytest.raises(InternalError, match=r"more than 5 times within 60 s.*no frame can be worked on"),
    ):
        run(clip, tmp_path / "out.mp4", table=table_with(detector="RaisingDetectorWorker"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["source", "anonymizer", "sink"])
def test_the_death_of_a_process_that_holds_state_ends_the_job(
    role: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(InternalError, match=f"{role} process was ended by SIGKILL"):
        run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=signal_at_frame(role, 10, signal.SIGKILL))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["source", "anonymizer", "sink"])
def test_a_hung_process_that_holds_state_ends_the_job(
    role: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_with(hang_limits_s={role: 3.0})
    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(InternalError, match=f"{role} process gave no sign of life"):
        run(clip, tmp_path / "out.mp4", table=table, on_frame=signal_at_frame(role, 10, signal.SIGSTOP))
    assert list(tmp_path.iterdir()) == []


def test_a_stop_request_ends_the_job_and_leaves_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()

    def on_frame(report: FrameReport) -> None:
        if report.number == 10:
            stop.request()

    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(Interrupted):
        run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=on_frame, stop=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_children_leave_the_signals_of_the_terminal_to_the_supervisor(
    which: signal.Signals, clip: Path, undisturbed: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_frame(report: FrameReport) -> None:
        if report.number == 10:
            for role in ("source", "detector", "anonymizer", "sink"):
                child(role).send_signal(which)

    with nothing_left_behind(monkeypatch, tmp_path):
        finished = run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=on_frame)
    assert finished.result.restarts == {}
    assert finished.digest == undisturbed.digest


@pytest.mark.parametrize(
    "anonymizer", ["WrongGenerationAnonymizerWorker", "WrongNumberAnonymizerWorker", "UnfinishedAnonymizerWorker"]
)
def test_the_sink_encodes_no_slot_that_does_not_hold_the_promised_frame(
    anonymizer: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(VeilError, match=f"sink: SlotMismatch.*frame {FAULTY_FRAME}:"):
        run(clip, tmp_path / "out.mp4", table=table_with(anonymizer=anonymizer))
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_answers_for_another_frame_ends_the_job(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nothing_left_behind(monkeypatch, tmp_path), pytest.raises(InternalError, match=f"answers job {FAULTY_FRAME + 1} but"):
        run(clip, tmp_path / "out.mp4", table=table_with(detector="ForgetfulDetectorWorker"))
    assert list(tmp_path.iterdir()) == []


def test_the_sink_has_no_descriptor_of_the_raw_ring(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rings: dict[str, set[tuple[str, str]]] = {}

    def on_frame(report: FrameReport) -> None:
        if report.number == 10:
            for role in ("source", "detector", "anonymizer", "sink"):
                folder = Path(f"/proc/{child(role).pid}")
                rings[role] = {
                    (
                        target.split()[0].removeprefix("/memfd:veil-"),
                        "write" if is_writable(folder / "fdinfo" / fd.name) else "read",
                    )
                    for fd in (folder / "fd").iterdir()
                    if (target := str(fd.readlink())).startswith("/memfd:veil-")
                }

    with nothing_left_behind(monkeypatch, tmp_path):
        run(clip, tmp_path / "out.mp4", table=table_with(), on_frame=on_frame)
    beats = ("heartbeats", "write")
    assert rings == {
        "source": {beats, ("raw", "write")},
        "detector": {beats, ("raw", "read")},
        "anonymizer": {beats, ("raw", "read"), ("safe", "write")},
        "sink": {beats, ("safe", "read")},
    }


def is_writable(fdinfo: Path) -> bool:
    flags = next(line for line in fdinfo.read_text().splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & 0o3)
