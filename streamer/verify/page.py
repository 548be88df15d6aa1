"""The proof as one HTML page without scripts or anything from elsewhere; its pictures are of the second file only."""

from __future__ import annotations

import base64
from html import escape

from streamer.verify.album import Album, Thumbnail
from streamer.verify.exposure import LEAST_EXPOSED_SHARE
from streamer.verify.proof import FrameFigures, Proof
from streamer.verify.summary import COLUMNS, facts, headline, state, track_row, worst_first

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; padding: .6rem .9rem; border-radius: .4rem; color: #fff; background: #a3241b; }
h1.clean { background: #1d6b35; }
h1.unproven { background: #8a5a00; }
.warning { padding: .4rem .9rem; border-left: .3rem solid #8a5a00; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; vertical-align: middle; }
tr.exposed td { background: #a3241b22; }
code { overflow-wrap: anywhere; }
figure { display: inline-block; margin: .3rem; }
figcaption { font-size: .8rem; opacity: .75; }
svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
"""
_PLOT = (960, 200)
_MARGIN = (44, 12, 10, 26)
"""Left, top, right, bottom, for the labels of the plot."""
_MOST_DOTS = 4000
MOST_TRACKS = 200


def render_page(proof: Proof, album: Album) -> str:
    """The whole page; without pictures where the file may be an original: without Veil's mark, and no face was compared."""
    may_show = proof.made_by_veil or proof.faces > 0
    original, anonymized = (escape(str(file["path"])) for file in (proof.original, proof.anonymized))
    rows = [(escape(name), escape(value)) for name, value in facts(proof)]
    rows += [
        (name, f"<code>{escape(str(file['path']))}<br>SHA-256 {escape(str(file['sha256']))}</code>")
        for name, file in (("original", proof.original), ("anonymized", proof.anonymized))
    ]
    rows += [("note", escape(note)) for note in proof.notes]
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in proof.reasons)
    warnings = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in proof.warnings)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{anonymized}: {state(proof)}</title><style>{_STYLE}</style></head><body>",
        f'<h1 class="{state(proof)}">{escape(headline(proof))}</h1>',
        f"<p><code>{anonymized}</code> against <code>{original}</code></p>{reasons}{warnings}",
        "<table>" + "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows) + "</table>",
        "<h2>What shows, frame by frame</h2>",
        exposure_plot(proof.frames),
        "<h2>Faces</h2>",
        _track_table(proof, album),
        "<h2>The anonymized file</h2>",
        _frames(album, anonymized) if may_show else "<p>No picture of it is shown here: it may be an original.</p>",
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _frames(album: Album, anonymized: str) -> str:
    figures = "".join(_figure(thumbnail, f"frame {thumbnail.frame}, {thumbnail.time_s:.2f} s") for thumbnail in album.frames)
    return f"{figures}<p>Every picture on this page is of <code>{anonymized}</code>; whatever shows there, shows here.</p>"


def exposure_plot(frames: list[FrameFigures]) -> str:
    """SVG: the worst exposed share of a face over time, a dot for each examined frame with faces; long films show the worst."""
    left, top, right, bottom = _MARGIN
    width, height = _PLOT[0] - left - right, _PLOT[1] - top - bottom
    last_s = max((frame.time_s for frame in frames), default=0.0) or 1.0
    dots = _worst_of_each([frame for frame in frames if frame.faces])

    def y(share: float) -> float:
        return top + height * (1 - share)

    lines = "".join(
        f'<line x1="{left}" x2="{left + width}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="currentColor" '
        f'stroke-opacity="{opacity}"{dash}/><text x="{left - 6}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share, opacity, dash in (
            (0.0, 0.6, ""),
            (LEAST_EXPOSED_SHARE, 0.5, ' stroke-dasharray="5 4"'),
            (1.0, 0.2, ""),
        )
    )
    marks = "".join(
        f'<circle cx="{left + width * frame.time_s / last_s:.1f}" cy="{y(min(frame.worst_share, 1.0)):.1f}" '
        f'r="{3.5 if frame.exposed else 2}" fill="{"#d0352b" if frame.exposed else "#2f8f4e"}"/>'
        for frame in dots
    )
    times = "".join(
        f'<text x="{left + width * part:.1f}" y="{_PLOT[1] - 8}" text-anchor="{anchor}">{last_s * part:.1f} s</text>'
        for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    label = "Worst exposed share of a face in each examined frame"
    return f'<svg viewBox="0 0 {_PLOT[0]} {_PLOT[1]}" role="img" aria-label="{label}">{lines}{marks}{times}</svg>'


def _worst_of_each(frames: list[FrameFigures]) -> list[FrameFigures]:
    """At most so many frames as can be told apart; of neighbours the worst."""
    step = -(-len(frames) // _MOST_DOTS) or 1
    return [max(frames[start : start + step], key=lambda frame: frame.worst_share) for start in range(0, len(frames), step)]


def _track_table(proof: Proof, album: Album) -> str:
    if not proof.tracks:
        return "<p>No face was found in the original.</p>"
    tracks = worst_first(proof.tracks)
    head = "".join(f"<th>{column}</th>" for column in ("", *COLUMNS, "spread"))
    body = []
    for track in tracks[:MOST_TRACKS]:
        thumbnail = album.faces.get(track.track)
        picture = _figure(thumbnail, "") if thumbnail is not None else ""
        spread = "-"
        if track.anonymized_spread is not None and track.original_spread is not None:
            spread = f"{track.anonymized_spread:.2f} (original {track.original_spread:.2f})"
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in (*track_row(track), spread))
        body.append(f'<tr class="{"exposed" if track.exposed else "covered"}"><td>{picture}</td>{cells}</tr>')
    more = f"<p>And {len(tracks) - MOST_TRACKS} more tracks.</p>" if len(tracks) > MOST_TRACKS else ""
    legend = (
        "<p>Each picture shows the anonymized face where it shows most. Worst: share of the original's fine detail that is still "
        "in its place. Flicker: change from frame to frame, relative to the original's. Re-identified: pairs of anonymized and "
        "original pictures that a recogniser takes for one person; in brackets with the face blacked out, which is what hair and "
        "surroundings tell. Spread: distance between pictures of a track to the recogniser.</p>"
    )
    return f"{legend}<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"


def _figure(thumbnail: Thumbnail, caption: str) -> str:
    data = base64.b64encode(thumbnail.jpeg).decode()
    width, height = thumbnail.size
    image = f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="frame {thumbnail.frame}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
