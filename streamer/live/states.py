"""How a stream is, told from the pictures that come in and go out: what its viewers read, and the state that the status shows."""

from __future__ import annotations

from streamer.live.slating import SILENT_S, SlatePace, Trouble
from streamer.live.statistics import StreamStatistics
from streamer.live.status import StreamState

STARTING_S = 30.0
"""For the first picture to go out once the camera is there: networks are being loaded."""
RECOVERY_S = 6.0
"""Without slates, until a stream that was too slow is not any more: longer than viewers wait for one, so that a picture now and
then is no recovery, and a machine that just about keeps up does not go back and forth."""


def trouble_of(
    *, camera_for_s: float | None, has_failed: bool, figures: StreamStatistics, starting_s: float = STARTING_S
) -> Trouble:
    """Why there is no picture, if there is none, in a stream that is not given up.

    camera_for_s: since when the camera is there; None while it is not. has_failed: it was lost before.
    """
    if camera_for_s is None:
        return "no signal" if has_failed else "starting"
    if camera_for_s < (SILENT_S if figures.frames_out else starting_s):
        return "starting"
    return "too slow" if figures.frames_owed >= 2 else "no signal"


def next_state(
    state: StreamState, trouble: Trouble, *, has_camera: bool, figures: StreamStatistics, pace: SlatePace, now_s: float
) -> StreamState:
    """The state after this one. Pictures that are merely far apart, with slates between them, change nothing."""
    if not has_camera:
        return "no_signal" if trouble == "no signal" else state
    if not pace.lacks_picture(now_s):
        has_recovered = state != "too_slow" or pace.calm_for_s(now_s) >= RECOVERY_S
        return "running" if figures.frames_out > 0 and has_recovered else state
    if trouble == "too slow":
        return "too_slow"
    if trouble == "no signal" and pace.is_later_than_usual(now_s):
        return "no_signal"
    # The camera is slow, and it alone.
    return "running" if trouble == "no signal" and state == "too_slow" else state
