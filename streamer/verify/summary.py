"""What a person reads at the end: the verdict, a few lines, a table of the tracks."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from streamer.progress import count_of
from streamer.verify.proof import Proof, TrackFigures, Verdict

HEADLINES: dict[Verdict, str] = {
    "clean": "CLEAN: no face of the original shows",
    "exposed": "EXPOSED: faces of the original show",
    "mismatch": "MISMATCH: the files do not belong together frame by frame, so nothing is proven",
}
_STYLES = {"clean": "bold green", "unproven": "bold yellow", "exposed": "bold red", "mismatch": "bold red"}
MOST_ROWS = 20
COLUMNS = ("track", "seconds", "width", "faces", "exposed", "worst", "longest run", "flicker", "re-identified")


def state(proof: Proof) -> str:
    """The verdict, or unproven where it is clean because there was no face to look at."""
    return "unproven" if proof.verdict == "clean" and not proof.faces else proof.verdict


def headline(proof: Proof) -> str:
    """The verdict in words; where some faces may show, it says so."""
    if proof.verdict == "clean" and proof.exposed_faces:
        return f"CLEAN: {proof.exposed_faces} of {proof.faces} faces show, no more than allowed"
    if state(proof) == "unproven":
        return "NOTHING PROVEN: no face was found in the original"
    return HEADLINES[proof.verdict]


def facts(proof: Proof) -> list[tuple[str, str]]:
    """Name and value of everything that is not about a single track."""
    media = proof.media
    rows = [
        ("frames", _pair(media.original_frames, media.anonymized_frames) + f", {proof.frames_examined} examined"),
        ("times", "the same" if media.times_agree else f"up to {media.largest_time_difference_s:.3f} s apart"),
    ]
    rows += [("sound", f"track {number}: {sound.verdict}") for number, sound in enumerate(media.sounds, start=1)]
    rows += [
        ("faces", f"{proof.faces} in {count_of(len(proof.tracks), 'track')}"),
        ("exposed", f"{proof.exposed_faces} ({proof.exposed_share:.2%}), worst share of a face {proof.worst_share:.0%}"),
    ]
    if proof.flicker is not None:
        rows.append(("flicker", f"{proof.flicker:.2f} of the original's (median of the tracks)"))
    identity = proof.identity
    if identity.reidentified is not None and identity.chance is not None:
        blank = "" if identity.blank is None else f" with the face blacked out {identity.blank:.1%},"
        said = f"{identity.reidentified:.1%} ({identity.recognizer});{blank} of other people {identity.chance:.1%}"
        rows.append(("re-identified", said))
        if identity.anonymized_spread is not None and identity.original_spread is not None:
            said = f"pictures of a track are {identity.anonymized_spread:.2f} apart, originals {identity.original_spread:.2f}"
            rows.append(("one person", said))
    else:
        rows.append(("re-identified", f"not measured: {identity.reason}"))
    return rows


def track_row(track: TrackFigures) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    return (
        str(track.track),
        f"{track.first_s:.1f} - {track.last_s:.1f}",
        f"{track.widest_px:.0f} px",
        str(track.faces),
        str(track.exposed),
        f"{track.worst_share:.0%} (frame {track.worst_frame})",
        str(track.longest_exposed_run),
        "-" if track.flicker is None else f"{track.flicker:.2f}",
        "-" if track.reidentified is None or track.blank is None else f"{track.reidentified:.0%} ({track.blank:.0%})",
    )


def worst_first(tracks: list[TrackFigures]) -> list[TrackFigures]:
    return sorted(tracks, key=lambda track: (-track.exposed, -track.worst_share, track.track))


def show_summary(proof: Proof, console: Console) -> None:
    """Print it; colours and lines only in a terminal."""
    console.print(headline(proof), style=_STYLES[state(proof)] if console.is_terminal else "")
    for reason in proof.reasons:
        console.print(f"  {reason}")
    for warning in proof.warnings:
        console.print(f"  warning        {warning}", style="yellow" if console.is_terminal else "")
    for name, value in facts(proof):
        console.print(f"  {name:<14} {value}")
    for note in proof.notes:
        console.print(f"  note           {note}")
    tracks = worst_first(proof.tracks)
    if not tracks:
        return
    if console.is_terminal:
        table = Table(*COLUMNS)
        for track in tracks[:MOST_ROWS]:
            table.add_row(*track_row(track), style="red" if track.exposed else "")
        console.print(table)
    else:
        for track in tracks[:MOST_ROWS]:
            cells = zip(COLUMNS[1:], track_row(track)[1:], strict=True)
            console.print(f"  track {track.track:<8} " + ", ".join(f"{name} {cell}" for name, cell in cells))
    if len(tracks) > MOST_ROWS:
        console.print(f"  and {len(tracks) - MOST_ROWS} more tracks; --report has all")


def _pair(original: int, anonymized: int) -> str:
    return f"{original} in both" if original == anonymized else f"{original} in the original, {anonymized} in the anonymized file"
