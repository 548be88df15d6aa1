"""The status of a daemon as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamer.escaping import printable
from streamer.live.status import OutputState, OutputStatus, ServeStatus, StreamState, StreamStatus

_STREAM_STATES: Mapping[StreamState, tuple[str, str]] = {
    "starting": ("starting", "cyan"),
    "running": ("running", "green"),
    "no_signal": ("no signal", "yellow"),
    "too_slow": ("too slow", "yellow"),
    "failed": ("given up", "red"),
    "ended": ("ended", "dim"),
    "stopped": ("stopped", "dim"),
}
_OUTPUT_STATES: Mapping[OutputState, tuple[str, str]] = {
    "connecting": ("connecting", "cyan"),
    "connected": ("connected", "green"),
    "retrying": ("retrying", "yellow"),
    "failed": ("given up", "red"),
    "ended": ("ended", "dim"),
}
_MOST_ERRORS = 3


def render(status: ServeStatus) -> RenderableType:
    """All of it: the daemon in a few lines, the streams in a table, outputs and errors below."""
    return Group(*_daemon(status), Text(), _streams(status), *_details(status))


def duration(seconds: float) -> str:
    """The two largest units of a time."""
    left = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, length in units:
        if left >= length:
            parts.append(f"{left // length} {name}")
        elif parts:
            break
        left %= length
    return " ".join(parts[:2]) or "0 s"


def _daemon(status: ServeStatus) -> Iterable[Text]:
    if not status.is_ready:
        verdict = ("starting", "bold cyan")
    else:
        said = ", ".join(part for part in ("healthy" if status.is_healthy else "NOT healthy", status.attention) if part)
        style = "bold red" if not status.is_healthy else "bold green" if status.attention is None else "bold yellow"
        verdict = (said, style)
    cpu_s, up_s = sum(status.cpu_s.values()), status.now - status.started
    yield Text.assemble(
        "Veil ", printable(status.version), ", process ", str(status.pid), ", up for ", duration(up_s), ": ", verdict
    )
    restarts = f" ({status.detector_restarts} restarted)" if status.detector_restarts else ""
    yield Text(
        f"{status.detectors} {'detector' if status.detectors == 1 else 'detectors'}{restarts} on {printable(status.backend)}, "
        f"{cpu_s / max(up_s, 1.0):.2f} cores on average, "
        f"{status.memory_bytes / 2**20:.0f} MiB"
    )
    refused = f" ({status.reloads_refused} refused)" if status.reloads_refused else ""
    yield Text(f"settings {printable(status.config)}, reloads {status.reloads}{refused}")
    if status.reload_error is not None:
        yield Text(f"the newest reload was refused: {printable(status.reload_error)}", style="yellow")


def _streams(status: ServeStatus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stream", overflow="fold")
    for heading in ("state", "for", "picture"):
        table.add_column(heading, no_wrap=True)
    for heading in ("in/s", "out/s", "median", "p99", "faces"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stream in status.streams:
        table.add_row(*_row(stream, status.now))
    return table


def _row(stream: StreamStatus, now: float) -> Iterable[Text]:
    said, style = ("silent", "yellow") if stream.is_silent and stream.state != "failed" else _STREAM_STATES[stream.state]
    cells = (
        f"{stream.width}x{stream.height}" if stream.width is not None else "-",
        f"{stream.fps_in:.1f}",
        f"{stream.fps_out:.1f}",
        _milliseconds(stream.latency_ms),
        _milliseconds(stream.latency_p99_ms),
        str(stream.faces),
    )
    yield Text(stream.name, style="bold")
    yield Text(said, style=style)
    yield Text(duration(now - stream.since))
    yield from (Text(cell) for cell in cells)


def _details(status: ServeStatus) -> Iterable[Text]:
    """What does not fit a row."""
    for stream in status.streams:
        yield Text()
        yield Text.assemble((stream.name, "bold"), f"  {printable(stream.input)}  {printable(stream.filter)}")
        yield from (_output(output) for output in stream.outputs)
        for what, counts in (
            ("dropped", stream.dropped),
            ("covered whole", stream.covered_whole),
            ("fallbacks", stream.fallbacks),
            ("reconnects", {"camera": stream.reconnects}),
            ("restarts", stream.restarts),
        ):
            if said := ", ".join(f"{printable(reason)} {count}" for reason, count in sorted(counts.items()) if count):
                yield Text(f"  {what}: {said}")
        for event in stream.errors[:_MOST_ERRORS]:
            yield Text(f"  {datetime.fromtimestamp(event.at):%Y-%m-%d %H:%M:%S}  {printable(event.text)}", style="dim")


def _output(output: OutputStatus) -> Text:
    line = Text.assemble("  -> ", _OUTPUT_STATES[output.state], f"  {output.kind}  {printable(output.to)}")
    line.append(f"  {output.packets} packets")
    line.append(f", {output.dropped} dropped" if output.dropped else "")
    line.append(f", {output.reconnects} reconnects" if output.reconnects else "")
    if output.last_error is not None:
        line.append(f": {printable(output.last_error)}", style="yellow")
    return line


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
