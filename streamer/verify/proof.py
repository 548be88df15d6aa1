"""What was found out about two files: the JSON report, and what a summary and a page are made of. No pixels."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from streamer.verify.footage import MediaComparison

SCHEMA = "veil-proof/1"

Verdict = Literal["clean", "exposed", "mismatch"]
"""clean: no more faces show than allowed. exposed: more do. mismatch: frames or their times differ, so that nothing is proven."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How closely the files are compared."""

    every: int = 1
    """Every how many frames one is examined."""
    max_exposed: float = 0.0
    """Share of the faces, counted in each frame, that may show."""
    threshold: float = 0.5
    """Score from which the detector's finds in the original count as faces."""
    recognizer: str = "auto"
    """A row of RECOGNIZERS, auto or none."""


class TrackFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One face of the original over time."""

    track: int
    first_s: float
    last_s: float
    widest_px: float
    faces: int
    """Examined frames that show it."""
    exposed: int
    worst_share: float
    """Of `worst_frame`, where it shows most; a frame that exposes it comes before any other."""
    worst_frame: int
    longest_exposed_run: int
    """Examined frames in succession."""
    flicker: float | None
    """Change from frame to frame, relative to the original's; None where too few frames follow each other."""
    reidentified: float | None
    """Share of pairs of anonymized and original pictures that the recogniser takes for one person; None = not measured."""
    blank: float | None
    """The same share where the face is blacked out instead: what is told by hair, pose and surroundings."""
    distance: float | None
    original_spread: float | None
    anonymized_spread: float | None


class FrameFigures(msgspec.Struct, frozen=True, kw_only=True):
    """An examined frame."""

    number: int
    time_s: float
    faces: int
    exposed: int
    worst_share: float


class ExposedFace(msgspec.Struct, frozen=True, kw_only=True):
    """A face that shows."""

    frame: int
    time_s: float
    track: int
    box: tuple[float, float, float, float]
    exposed_share: float
    unchanged_share: float
    correlation: float
    judged_by: str


class IdentityFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the recogniser says of all tracks together."""

    recognizer: str | None
    """None where nothing was measured; `reason` says why."""
    reason: str
    reidentified: float | None = None
    blank: float | None = None
    """The same rate where the faces are blacked out instead."""
    chance: float | None = None
    """The same rate against people who the face surely is not."""
    chance_pairs: int = 0
    original_spread: float | None = None
    """Mean distance between pictures of one track, mean of the tracks; how much one person varies to the recogniser."""
    anonymized_spread: float | None = None
    """The same of the anonymized faces: who stays one and the same person has no more than the original."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as it stands in the JSON report."""

    schema: str = SCHEMA
    verdict: Verdict
    reasons: list[str]
    """A sentence for each thing that keeps the verdict from being clean."""
    warnings: list[str]
    """A sentence for each thing without which the verdict proves less than it says, or nothing."""
    notes: list[str]
    original: dict[str, Any]
    anonymized: dict[str, Any]
    made_by_veil: bool
    """The anonymized file bears Veil's mark."""
    settings: Settings
    media: MediaComparison
    frames_examined: int
    faces: int
    """Of the original, counted in each examined frame."""
    exposed_faces: int
    exposed_share: float
    worst_share: float
    flicker: float | None
    """Median of the tracks."""
    identity: IdentityFigures
    tracks: list[TrackFigures]
    exposed: list[ExposedFace]
    frames: list[FrameFigures]
    versions: dict[str, str]
    weights: dict[str, str]


def encode_proof(proof: Proof) -> bytes:
    """The JSON report, indented, numbers rounded to what they mean."""
    return msgspec.json.format(msgspec.json.encode(_rounded(msgspec.to_builtins(proof))), indent=1) + b"\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
