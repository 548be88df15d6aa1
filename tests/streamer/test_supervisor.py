"""The supervisor with real children."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from streamer.children import Child, Died, Received
from streamer.config import DetectorSettings
from streamer.errors import InternalError, UsageError
from streamer.forkserver import ForkServer
from streamer.live.messages import LiveDetectorSetup
from streamer.messages import DetectorSetup, Ready
from streamer.pipeline import ProcessRow, RestartLimit, row_of
from streamer.rings import RingMemory
from streamer.supervisor import MOST_AT_ONCE, StopRequest, Supervisor
from tests.streamer.faulty_workers import CHATTER
from tests.streamer.running import REPOSITORY, nothing_left_behind

SETUP = DetectorSetup(detector=DetectorSettings())
_DEADLINE_S = 60.0


def row(worker: str = "IdleWorker", **changes: object) -> ProcessRow:
    plain = replace(row_of("detector"), worker=f"tests.streamer.faulty_workers:{worker}")
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ring() -> Iterator[RingMemory]:
    memory = RingMemory("raw")
    yield memory
    memory.close()


@pytest.fixture
def stop() -> StopRequest:
    return StopRequest()


@pytest.fixture
def supervisor(ring: RingMemory, stop: StopRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Supervisor]:
    with (
        nothing_left_behind(monkeypatch, tmp_path),
        ForkServer() as fork_server,
        Supervisor(rings={"raw": ring}, stop=stop, fork_server=fork_server, log_level="CRITICAL") as running,
    ):
        yield running


def next_event(supervisor: Supervisor) -> Received | Died:
    deadline_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline_s:
        for event in supervisor.wait():
            return event
    raise AssertionError("nothing happened")


def ready(supervisor: Supervisor, worker: str = "IdleWorker", **changes: object) -> Child:
    child = supervisor.start(row(worker, **changes), [SETUP])
    event = next_event(supervisor)
    assert isinstance(event, Received)
    assert event.message == Ready()
    return child


def test_a_child_says_when_it_is_ready_and_leaves_when_told(supervisor: Supervisor) -> None:
    child = ready(supervisor)
    supervisor.shut_down(_DEADLINE_S)
    assert child.exit_code == 0
    assert supervisor.children("detector") == []


def test_nothing_about_the_job_is_in_the_arguments_or_the_environment(supervisor: Supervisor) -> None:
    child = ready(supervisor)
    process = psutil.Process(child.pid)
    assert not [argument for argument in process.cmdline() if "centerface" in argument]
    added = set(process.environ().items()) - set(os.environ.items())
    assert {value for name, value in added if name != "PYTEST_CURRENT_TEST"} == {"1"}


def test_libraries_start_no_threads_beside_the_processes(supervisor: Supervisor) -> None:
    child = ready(supervisor)
    names = {path.read_text().strip() for path in Path(f"/proc/{child.pid}/task").glob("*/comm")}
    assert len([name for name in names if not name.startswith("ZMQ")]) == 1


def test_a_child_that_does_not_leave_is_killed(supervisor: Supervisor) -> None:
    child = ready(supervisor, "StubbornWorker")
    supervisor.shut_down(0.5)
    assert child.exit_code == -signal.SIGKILL


def test_a_death_is_told_with_its_cause(supervisor: Supervisor) -> None:
    child = ready(supervisor)
    os.kill(child.pid, signal.SIGABRT)
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert str(died.error) == "the detector process was ended by SIGABRT"
    assert not died.is_final


def test_the_cpu_time_of_the_dead_is_counted(supervisor: Supervisor) -> None:
    child = ready(supervisor)
    spent_s = sum(psutil.Process(child.pid).cpu_times()[:2])
    os.kill(child.pid, signal.SIGKILL)
    next_event(supervisor)
    cpu_s = supervisor.cpu_s()
    assert cpu_s["detector"] >= spent_s
    assert cpu_s["supervisor"] > 0


def test_a_stopped_child_is_killed_when_its_time_is_up(supervisor: Supervisor) -> None:
    child = ready(supervisor, hang_limit_s=1.0)
    os.kill(child.pid, signal.SIGSTOP)
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert "gave no sign of life for" in str(died.error)


def test_an_idle_child_is_not_taken_for_hung(supervisor: Supervisor) -> None:
    child = ready(supervisor, hang_limit_s=2.0)
    other = supervisor.start(row(hang_limit_s=2.0), [SETUP])
    deadline_s = time.monotonic() + 4.0
    while time.monotonic() < deadline_s:
        assert not [event for event in supervisor.wait() if isinstance(event, Died)]
    assert child.hung_s is other.hung_s is None


def test_nobody_is_blamed_for_a_time_in_which_the_supervisor_was_stopped_too(supervisor: Supervisor) -> None:
    child = ready(supervisor, hang_limit_s=1.5)
    os.kill(child.pid, signal.SIGSTOP)
    silent_since_s = time.monotonic()
    select.select([child.pidfd], [], [], 3.0)  # Ctrl-Z stops the whole group: the supervisor does not look either
    os.kill(child.pid, signal.SIGCONT)
    while time.monotonic() < silent_since_s + 4.0:
        assert not [event for event in supervisor.wait() if isinstance(event, Died)]
    assert child.hung_s is None


def test_a_child_that_is_never_ready_is_killed_although_it_lives(supervisor: Supervisor) -> None:
    child = supervisor.start(row(start_limit_s=5.0), [])  # without its set-up it waits for ever
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert died.child is child
    assert child.is_connected
    assert "was not ready after 5 s" in str(died.error)


def test_the_last_words_of_a_child_become_the_error(supervisor: Supervisor) -> None:
    supervisor.start(row("MisconfiguredWorker"), [SETUP])
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert isinstance(died.error, UsageError)
    assert str(died.error) == "detector.name: nobody knows it"
    assert died.is_final


def test_a_worker_that_cannot_be_imported_is_an_internal_error(supervisor: Supervisor) -> None:
    supervisor.start(row("NoSuchWorker"), [SETUP])
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert isinstance(died.error, InternalError)
    assert "NoSuchWorker" in str(died.error)


def test_a_child_that_says_what_it_may_not_is_ended(supervisor: Supervisor) -> None:
    supervisor.start(row("TalkativeWorker"), [SETUP])
    died = next_event(supervisor)
    assert isinstance(died, Died)
    assert "broke the protocol" in str(died.error)
    assert died.is_final


def test_a_child_that_floods_keeps_nobody_from_their_turn(supervisor: Supervisor) -> None:
    quiet = ready(supervisor)
    flooding = supervisor.start(row("FloodingWorker"), [SETUP])
    while len(turn := list(supervisor.wait())) < MOST_AT_ONCE:
        pass
    late = supervisor.start(row(), [SETUP])
    while not late.is_ready:
        turn = list(supervisor.wait())
        assert len(turn) <= MOST_AT_ONCE
    os.kill(quiet.pid, signal.SIGKILL)
    while not any(isinstance(event, Died) and event.child is quiet for event in turn):
        turn = list(supervisor.wait())
    os.kill(flooding.pid, signal.SIGKILL)
    while not any(isinstance(event, Died) and event.child is flooding for event in turn):
        turn = list(supervisor.wait())
    assert flooding.hung_s is None, "the other one's death was told while it lived"
    assert supervisor.children("detector") == [late]


def test_what_a_child_said_is_told_before_its_death_however_much_it_is(supervisor: Supervisor) -> None:
    assert CHATTER > MOST_AT_ONCE
    child = supervisor.start(row("ChattyWorker"), [SETUP])
    told: list[Received | Died] = []
    while not child.is_connected:
        told += supervisor.wait()
    select.select([child.pidfd], [], [], _DEADLINE_S)
    threading.Event().wait(0.5)  # nothing tells when ZeroMQ's own thread has taken what the kernel holds
    while not told or not isinstance(told[-1], Died):
        told += supervisor.wait()
    assert len(told) - 1 == CHATTER


def test_restarts_have_a_limit(supervisor: Supervisor) -> None:
    limited = row(restart_limit=RestartLimit(restarts=2, within_s=60.0))
    for attempt in range(3):
        child = supervisor.start(limited, [SETUP])
        os.kill(child.pid, signal.SIGKILL)
        died = next_event(supervisor)
        assert isinstance(died, Died)
        if attempt < 2:
            supervisor.allow_restart(died)
        else:
            with pytest.raises(InternalError, match=r"died more than 2 times within 60 s; the last time: .*SIGKILL"):
                supervisor.allow_restart(died)


def test_deaths_far_apart_do_not_add_up(supervisor: Supervisor) -> None:
    limited = row(restart_limit=RestartLimit(restarts=1, within_s=0.0))
    for _ in range(3):
        child = supervisor.start(limited, [SETUP])
        os.kill(child.pid, signal.SIGKILL)
        died = next_event(supervisor)
        assert isinstance(died, Died)
        supervisor.allow_restart(died)


def test_a_child_that_takes_no_rings_is_killed(supervisor: Supervisor, ring: RingMemory) -> None:
    """It would take the ring of one session for that of another."""
    live = replace(row_of("live-detector"), worker="tests.streamer.faulty_workers:IdleWorker", hang_limit_s=_DEADLINE_S)
    child = supervisor.start(live, [LiveDetectorSetup(backend="cpu", needs_keypoints=True)])
    assert isinstance(next_event(supervisor), Received)
    for _ in range(10_000):
        supervisor.hand_over(child, ring)
        if select.select([child.pidfd], [], [], 0)[0]:
            break
    assert isinstance(next_event(supervisor), Died)
    assert child.exit_code == -signal.SIGKILL


def test_a_request_to_stop_wakes_the_supervisor(supervisor: Supervisor, stop: StopRequest) -> None:
    ready(supervisor)
    poller = select.poll()
    poller.register(stop.fileno(), select.POLLIN)
    assert not poller.poll(0)
    stop.request()
    assert poller.poll(0)
    list(supervisor.wait())
    supervisor.shut_down(_DEADLINE_S)


_ORPHAN_MAKER = """
import sys
from streamer.forkserver import ForkServer
from streamer.supervisor import StopRequest, Supervisor
from streamer.rings import RingMemory
from tests.streamer.test_supervisor import SETUP, row
with ForkServer() as server, Supervisor(rings={"raw": RingMemory("raw")}, stop=StopRequest(), fork_server=server) as supervisor:
    child = supervisor.start(row(), [SETUP])
    while not child.is_ready:
        list(supervisor.wait())
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def test_no_child_outlives_a_supervisor_that_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", _ORPHAN_MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert select.select([pidfd], [], [], _DEADLINE_S)[0], "the child lives on"
        os.close(pidfd)
