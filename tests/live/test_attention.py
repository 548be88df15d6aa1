"""Which streams a person should look at."""

from __future__ import annotations

import pytest

from streamer.live.attention import attention_line, attention_of
from streamer.live.daemon import summary
from streamer.live.status import OutputStatus, StreamState
from tests.live.fake_stream import StreamBench
from tests.live.statuses import output_status, serve_status, stream_status

GOOD = output_status()
FIRST_TRY = output_status(state="connecting")
SECOND_TRY = output_status(state="connecting", reconnects=1)
AWAY = output_status(state="retrying", reconnects=1)


@pytest.mark.parametrize(
    ("state", "outputs", "is_silent", "attention"),
    [
        ("running", (GOOD,), False, None),
        ("starting", (FIRST_TRY,), False, None),
        ("stopped", (GOOD,), False, None),
        ("no_signal", (GOOD,), False, "no signal"),
        ("too_slow", (GOOD,), False, "too slow"),
        ("failed", (GOOD,), True, "given up"),
        ("running", (GOOD,), True, "silent"),
        ("running", (AWAY,), False, "its output is not connected"),
        ("running", (GOOD, SECOND_TRY), False, "1 of 2 outputs not connected"),
        ("no_signal", (AWAY,), False, "no signal, its output is not connected"),
    ],
)
def test_a_stream_needs_attention_for_its_state_and_its_outputs(
    state: StreamState, outputs: tuple[OutputStatus, ...], is_silent: bool, attention: str | None
) -> None:
    assert attention_of(state, outputs, is_silent=is_silent) == attention


def test_the_service_manager_is_told_how_many_streams_need_attention() -> None:
    well, slow = stream_status(), stream_status("yard", state="too_slow")
    assert attention_line((well,)) is None
    assert summary(serve_status(well, slow), None) == "2 streams: 1 running, 1 too slow; 1 of 2 streams needs attention"
    assert summary(serve_status(well), None) == "1 streams: 1 running"


def test_an_output_whose_process_dies_needs_attention_until_it_is_connected() -> None:
    bench = StreamBench()
    (output,) = bench.stream.status().outputs
    assert output.state == "connecting", "nothing has failed yet"
    bench.stream.tick(0.0)
    assert bench.stream.status().attention is None
    bench.supervisor.die(bench.child("publisher"))
    assert bench.stream.status().attention == "its output is not connected"
    bench.stream.stop(0.0)
