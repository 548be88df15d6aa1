"""Goes through two files frame by frame and collects what the proof says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.detectors import FaceDetector, open_detector
from models.recognition import RecognizerError, open_recognizer
from models.weights import WeightsError, read_manifest
from streamer.budget import cores
from streamer.errors import InputError, InternalError, UsageError
from streamer.marks import bears_mark
from streamer.report import file_facts, versions
from streamer.verify.album import Album
from streamer.verify.exposure import Exposure, measure_exposure
from streamer.verify.flicker import FlickerMeter
from streamer.verify.footage import Footage, FramePair, MediaComparison
from streamer.verify.identity import IdentityMeter
from streamer.verify.proof import ExposedFace, FrameFigures, IdentityFigures, Proof, Settings, TrackFigures, Verdict
from streamer.verify.surroundings import encoding_noise
from streamer.verify.tracks import Track, TrackBook

LIKELY_KNOWN = 0.1
"""Rate of re-identification above that of a face blacked out, and above chance, from which a note says so."""

OnFrame = Callable[[FramePair, list[int]], None]
"""Called with each frame, examined or not, and the tracks of the faces in it; may raise to stop."""


class Examination:
    """One comparison. Raises UsageError for a recogniser that is asked for and cannot be had, InternalError without weights."""

    def __init__(self, settings: Settings, *, album: Album | None = None, detector: FaceDetector | None = None) -> None:
        """album: gets thumbnails of the anonymized pictures; None makes none. detector: None = CenterFace at its full size."""
        self._settings = settings
        self._album = album
        self._detector = detector or _open_detector(settings.threshold)
        self._identity, self._why_not = _open_identity(settings.recognizer)
        self._flicker = FlickerMeter()
        self._book = TrackBook()
        self._exposed: list[ExposedFace] = []
        self._frames: list[FrameFigures] = []

    def run(self, footage: Footage, on_frame: OnFrame) -> None:
        """Look at every frame that is due. Raises what reading raises."""
        is_cut = False
        for pair in footage.pairs():
            is_cut = is_cut or pair.is_cut
            tracks: list[Track] = []
            if pair.number % self._settings.every == 0:
                tracks = self._examine(pair, is_cut=is_cut)
                is_cut = False
            on_frame(pair, [track.id for track in tracks])

    def _examine(self, pair: FramePair, *, is_cut: bool) -> list[Track]:
        boxes = self._detector.detect(pair.original.render, pair.original.size).boxes
        tracks = self._book.take(pair.time_s, boxes, is_cut=is_cut)
        tolerance = encoding_noise(pair.original.luma, pair.anonymized.luma, boxes)
        if self._album is not None:
            self._album.take_frame(pair)
        looks: list[Exposure] = []
        for row, track in enumerate(tracks):
            exposure = measure_exposure(pair.original.luma, pair.anonymized.luma, boxes, row, tolerance)
            if exposure is not None:
                self._note(pair, track, boxes[row], exposure)
                looks.append(exposure)
        if self._identity is not None:
            self._identity.take(pair, [(track.id, box) for track, box in zip(tracks, boxes, strict=True)])
        self._frames.append(
            FrameFigures(
                number=pair.number,
                time_s=pair.time_s,
                faces=len(looks),
                exposed=sum(exposure.is_exposed for exposure in looks),
                worst_share=max((exposure.exposed_share for exposure in looks), default=0.0),
            )
        )
        return tracks

    def _note(self, pair: FramePair, track: Track, box: NDArray[np.float32], exposure: Exposure) -> None:
        """Take one look at a face into account."""
        track.add(pair.number, float(box[2] - box[0]), exposure)
        self._flicker.take(pair, track.id, box)
        if self._album is not None:
            self._album.take_face(pair, track.id, box, exposure)
        if exposure.is_exposed:
            x1, y1, x2, y2 = (float(edge) for edge in box)
            self._exposed.append(
                ExposedFace(
                    frame=pair.number,
                    time_s=pair.time_s,
                    track=track.id,
                    box=(x1, y1, x2, y2),
                    exposed_share=exposure.exposed_share,
                    unchanged_share=exposure.unchanged_share,
                    correlation=exposure.correlation,
                    judged_by=exposure.judged_by,
                )
            )

    def proof(self, original: Path, anonymized: Path, media: MediaComparison) -> Proof:
        """To be asked for when `run` has ended. Raises InputError where a file has become unreadable."""
        tracks = [self._figures(track) for track in self._book.tracks if track.worst is not None]
        faces = sum(track.faces for track in tracks)
        share = len(self._exposed) / faces if faces else 0.0
        identity = self._identity_figures()
        verdict, reasons = _judge(media, self._exposed, tracks, share, self._settings)
        is_marked = bears_mark(anonymized)
        return Proof(
            verdict=verdict,
            reasons=reasons,
            warnings=_warnings(faces, is_marked=is_marked),
            notes=[*_notes(media, self._settings), *_recognised(tracks, identity)],
            original=_facts(original),
            anonymized=_facts(anonymized),
            made_by_veil=is_marked,
            settings=self._settings,
            media=media,
            frames_examined=len(self._frames),
            faces=faces,
            exposed_faces=len(self._exposed),
            exposed_share=share,
            worst_share=max((track.worst_share for track in tracks), default=0.0),
            flicker=self._flicker.median_ratio(),
            identity=identity,
            tracks=tracks,
            exposed=self._exposed,
            frames=self._frames,
            versions=versions(),
            weights=read_manifest(),
        )

    def _figures(self, track: Track) -> TrackFigures:
        flicker = self._flicker.of_track(track.id)
        identity = self._identity.of_track(track.id) if self._identity is not None else None
        return TrackFigures(
            track=track.id,
            first_s=track.first_s,
            last_s=track.last_s,
            widest_px=track.widest_px,
            faces=track.faces,
            exposed=track.exposed,
            worst_share=track.worst.exposed_share if track.worst is not None else 0.0,
            worst_frame=track.worst_frame,
            longest_exposed_run=track.longest_exposed_run,
            flicker=flicker.ratio if flicker is not None else None,
            reidentified=identity.reidentified if identity is not None else None,
            blank=identity.blank if identity is not None else None,
            distance=identity.distance if identity is not None else None,
            original_spread=identity.original_spread if identity is not None else None,
            anonymized_spread=identity.anonymized_spread if identity is not None else None,
        )

    def _identity_figures(self) -> IdentityFigures:
        meter = self._identity
        if meter is None:
            return IdentityFigures(recognizer=None, reason=self._why_not)
        rates, chance = meter.rates(), meter.chance()
        if rates is None or chance is None:
            return IdentityFigures(recognizer=meter.recognizer.name, reason="no face is large enough for the recogniser")
        return IdentityFigures(
            recognizer=meter.recognizer.name,
            reason="",
            reidentified=rates[0],
            blank=rates[1],
            chance=chance.reidentified,
            chance_pairs=chance.pairs,
            original_spread=meter.mean_spread("original"),
            anonymized_spread=meter.mean_spread("anonymized"),
        )


def _open_detector(threshold: float) -> FaceDetector:
    try:
        return open_detector("centerface", "full", threshold, threads=cores())
    except WeightsError as error:
        raise InternalError(str(error)) from None


def _open_identity(name: str) -> tuple[IdentityMeter | None, str]:
    try:
        recognizer, reason = open_recognizer(name)
    except RecognizerError as error:
        raise UsageError(f"--recognizer: {error}") from None
    return (IdentityMeter(recognizer), "") if recognizer is not None else (None, reason)


def _judge(
    media: MediaComparison, exposed: list[ExposedFace], tracks: list[TrackFigures], share: float, settings: Settings
) -> tuple[Verdict, list[str]]:
    reasons: list[str] = []
    verdict: Verdict = "clean"
    if not media.frames_agree:
        verdict = "mismatch"
        reasons.append(f"The original has {media.original_frames} frames, the anonymized file {media.anonymized_frames}.")
    if not media.times_agree:
        verdict = "mismatch"
        reasons.append(f"Frames of the same number are up to {media.largest_time_difference_s:.3f} s apart in time.")
    if exposed and share > settings.max_exposed:
        verdict = "exposed"
        of = sum(track.faces for track in tracks)
        frames = len({face.frame for face in exposed})
        longest = max(track.longest_exposed_run for track in tracks)
        reasons.append(
            f"{len(exposed)} of {of} faces still show, in {frames} frames; the longest run is {longest}, the first is frame "
            f"{exposed[0].frame} ({exposed[0].time_s:.2f} s)."
        )
    return verdict, reasons


def _warnings(faces: int, *, is_marked: bool) -> list[str]:
    warnings = []
    if not is_marked:
        warnings.append(
            "The anonymized file does not bear Veil's mark: another program wrote it, or it is an original. Check that it is none, "
            "and that the original was named first."
        )
    if not faces:
        warnings.append("No face was found in the original, so that there was nothing to compare, and nothing is proven.")
    return warnings


def _notes(media: MediaComparison, settings: Settings) -> list[str]:
    notes = list(media.notes)
    if settings.every > 1:
        notes.append(f"Only one frame in {settings.every} was examined.")
    for number, sound in enumerate(media.sounds, start=1):
        if sound.verdict != "identical":
            notes.append(f"Sound track {number}: {sound.verdict}.")
    return notes


def _recognised(tracks: list[TrackFigures], identity: IdentityFigures) -> list[str]:
    """What a cover without detail can still tell; it changes no verdict, since recognisers err in both directions."""
    return [
        f"Track {track.track} is taken for the same person in {track.reidentified:.0%} of the pairs of pictures, and in "
        f"{track.blank:.0%} with the face blacked out: something of the face may be left."
        for track in tracks
        if track.reidentified is not None
        and track.blank is not None
        and track.reidentified > LIKELY_KNOWN + max(track.blank, identity.chance or 0.0)
    ]


def _facts(path: Path) -> dict[str, Any]:
    try:
        return file_facts(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more: {error.strerror}") from None
