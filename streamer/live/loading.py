"""From a YAML file to the settings of a daemon: the types and bounds, then everything that several keys say together.

file -> values -> ServeSettings -> names -> secrets -> rules -> Loaded

What depends on this machine, such as weights and backends, is checked by `checks.py`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from streamer.config import convert_settings, name_in_file
from streamer.errors import UsageError
from streamer.live.addresses import AddressError, input_kind, is_loopback, output_kind, same_place, split_address
from streamer.live.config import Point, ServeSettings, StreamSettings, ZoneSettings
from streamer.live.schedules import ScheduleError, parse_span
from streamer.live.secrets import Secrets
from streamer.redaction import redact, register, register_url
from streamer.yaml_files import read_yaml

LATENCY_BESIDE_LOOK_AHEAD_MS = 200
"""Least that a picture needs besides waiting for the look-ahead."""
_SMALLEST_ZONE = 1e-6
"""Part of the picture's area."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """An `input` or a `to` of an enabled stream."""

    key: str
    """Where it stands, such as `streams[0].outputs[1].to`."""
    text: str
    """As in the file, with its references to secrets."""
    url: str = field(repr=False)
    """With its secrets: never to be shown."""
    stream: StreamSettings


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A file whose parts fit together."""

    settings: ServeSettings
    """Every stream has a name; URLs and tokens still hold their references to secrets."""
    secrets: Secrets
    inputs: tuple[Address, ...]
    outputs: tuple[Address, ...]
    """Those of the enabled streams."""
    name_key: Callable[[str], str]
    """Puts the path of the file before a key."""


def load_serve_settings(path: Path) -> Loaded:
    """Raises UsageError with one line: file, key, what is wrong. All secrets are known to the log's redaction afterwards."""
    name_key = name_in_file(path)
    values = read_yaml(path)
    settings = named(convert_settings({} if values is None else values, ServeSettings, name_key=name_key))
    secrets = Secrets(settings.secrets_file, name_key=name_key)
    inputs: list[Address] = []
    outputs: list[Address] = []
    for number, stream in enumerate(settings.streams):
        if not stream.enabled:
            continue
        for addresses, texts in ((inputs, [(f"streams[{number}].input", stream.input)]), (outputs, _outputs_of(stream, number))):
            addresses += [Address(key=key, text=text, url=secrets.resolve(text, key), stream=stream) for key, text in texts]
    loaded = Loaded(settings=settings, secrets=secrets, inputs=tuple(inputs), outputs=tuple(outputs), name_key=name_key)
    for address in (*inputs, *outputs):
        register_url(address.url)
    if settings.http.token is not None:
        register(secrets.resolve(settings.http.token, "http.token"))
    for rule in RULES:
        objection = next(rule(loaded), None)
        if objection is not None:
            raise UsageError(f"{name_key(objection[0])} {redact(objection[1])}")
    return loaded


def named(settings: ServeSettings) -> ServeSettings:
    """The settings with a name for every stream: camera1 for the first of the file, and so on."""
    streams = tuple(
        stream if stream.name is not None else msgspec.structs.replace(stream, name=f"camera{number}")
        for number, stream in enumerate(settings.streams, 1)
    )
    return msgspec.structs.replace(settings, streams=streams)


def _outputs_of(stream: StreamSettings, number: int) -> list[tuple[str, str]]:
    """Key and text of each."""
    several = stream.outputs if isinstance(stream.outputs, tuple) else (stream.outputs,)
    found = []
    for index, one in enumerate(several):
        key = f"streams[{number}].outputs" + (f"[{index}]" if isinstance(stream.outputs, tuple) else "")
        found.append((key, one) if isinstance(one, str) else (f"{key}.to", one.to))
    return found


Objection = tuple[str, str]
"""A key, and the rest of the sentence."""


def _streams_are_there(loaded: Loaded) -> Iterator[Objection]:
    if not any(stream.enabled for stream in loaded.settings.streams):
        yield "streams", "has no stream that is enabled"


def _names_differ(loaded: Loaded) -> Iterator[Objection]:
    first: dict[str | None, int] = {}
    for number, stream in enumerate(loaded.settings.streams):
        if stream.name is not None and stream.name.endswith("\n"):  # which the pattern of names lets pass
            yield f"streams[{number}].name", "ends with a line break"
        if stream.name in first:
            yield f"streams[{number}].name", f"must differ from that of streams[{first[stream.name]}], is {stream.name} too"
        first[stream.name] = number


def _addresses_are_possible(loaded: Loaded) -> Iterator[Objection]:
    for addresses, kind_of in ((loaded.inputs, input_kind), (loaded.outputs, output_kind)):
        for address in addresses:
            try:
                kind_of(address.url)
            except AddressError as error:
                yield address.key, str(error)


def _outputs_are_there(loaded: Loaded) -> Iterator[Objection]:
    for number, stream in enumerate(loaded.settings.streams):
        if stream.enabled and stream.outputs == ():
            yield f"streams[{number}].outputs", "names no output"


def _outputs_differ(loaded: Loaded) -> Iterator[Objection]:
    first: dict[str, str] = {}
    for address in loaded.outputs:
        place = same_place(address.url)
        if place in first:
            yield address.key, f"is the same as {first[place]}: {address.text}"
        first[place] = address.key


def _outputs_are_no_inputs(loaded: Loaded) -> Iterator[Objection]:
    places = {same_place(address.url): address.key for address in loaded.inputs}
    for address in loaded.outputs:
        place = same_place(address.url)
        if place in places:
            yield address.key, f"is the same as {places[place]}, whose pictures are not anonymized: {address.text}"


def _recordings_are_apart(loaded: Loaded) -> Iterator[Objection]:
    folders = [
        (address, os.path.join(same_place(address.url), ""))
        for address in loaded.outputs
        if output_kind(address.url) == "recording"
    ]
    for (one, outer), (other, inner) in itertools.permutations(folders, 2):
        if inner.startswith(outer):
            yield other.key, f"lies inside the folder of {one.key}: {other.text}"
    for address in loaded.inputs:
        folder = next((folder for _, folder in folders if same_place(address.url).startswith(folder)), None)
        if folder is not None and input_kind(address.url) == "file":
            yield address.key, f"lies in the folder of recordings {folder}, which is not for originals"


def _options_fit(loaded: Loaded) -> Iterator[Objection]:
    """What is only for one kind of input or output."""
    kinds = {address.key: input_kind(address.url) for address in loaded.inputs}
    for address in loaded.inputs:
        kind, place = kinds[address.key], address.key.rpartition(".")[0]
        if address.stream.loop and kind != "file":
            yield f"{place}.loop", "is only for files"
        if address.stream.transport != "tcp" and kind != "rtsp":
            yield f"{place}.transport", "is only for rtsp://"
    targets = [target for stream in loaded.settings.streams if stream.enabled for target in stream.targets]
    for address, target in zip(loaded.outputs, targets, strict=True):
        if target.transport != "tcp" and output_kind(address.url) != "rtsp":
            yield f"{address.key.removesuffix('.to')}.transport", "is only for rtsp://"


def _latency_holds_the_look_ahead(loaded: Loaded) -> Iterator[Objection]:
    for number, stream in enumerate(loaded.settings.streams):
        least = round(stream.look_ahead_s * 1000) + LATENCY_BESIDE_LOOK_AHEAD_MS
        if stream.max_latency_ms < least:
            yield (
                f"streams[{number}].max_latency_ms",
                f"must be at least {least}, {LATENCY_BESIDE_LOOK_AHEAD_MS} more than look_ahead_s ({stream.look_ahead_s:g} s), "
                f"is {stream.max_latency_ms}",
            )


def _zones_have_an_area(loaded: Loaded) -> Iterator[Objection]:
    for key, zone in _zones(loaded):
        if _area(zone.points) < _SMALLEST_ZONE:
            yield f"{key}.points", "must enclose an area; these corners lie on one line"


def _schedules_are_readable(loaded: Loaded) -> Iterator[Objection]:
    for key, zone in _zones(loaded):
        for text in zone.schedule:
            try:
                parse_span(text)
            except ScheduleError as error:
                yield f"{key}.schedule", str(error)


def _page_is_protected(loaded: Loaded) -> Iterator[Objection]:
    http = loaded.settings.http
    if not http.enabled:
        return
    try:
        host, _ = split_address(http.address)
    except AddressError as error:
        yield "http.address", f"{error}, is {http.address}"
        return
    token = loaded.secrets.resolve(http.token, "http.token") if http.token is not None else ""
    if not is_loopback(host) and not token:
        yield "http.token", f"is needed where http.address ({http.address}) can be reached from other machines"
    if http.token is not None and len(token) < 12:
        yield "http.token", "must have at least 12 characters, so that nobody can guess it"


RULES: tuple[Callable[[Loaded], Iterator[Objection]], ...] = (
    _streams_are_there,
    _names_differ,
    _outputs_are_there,
    _addresses_are_possible,
    _outputs_differ,
    _outputs_are_no_inputs,
    _recordings_are_apart,
    _options_fit,
    _latency_holds_the_look_ahead,
    _zones_have_an_area,
    _schedules_are_readable,
    _page_is_protected,
)
"""Each may count on those before it."""


def _zones(loaded: Loaded) -> Iterator[tuple[str, ZoneSettings]]:
    for number, stream in enumerate(loaded.settings.streams):
        for index, zone in enumerate(stream.zones):
            yield f"streams[{number}].zones[{index}]", zone


def _area(points: tuple[Point, ...]) -> float:
    """Of a polygon whose sides may cross: that of its convex hull, so that a bow tie counts."""
    ordered = sorted(set(points))
    hull: list[Point] = []
    for row in (ordered, ordered[::-1]):
        chain: list[Point] = []
        for point in row:
            while len(chain) >= 2 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        hull += chain[:-1]
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(hull, hull[1:] + hull[:1], strict=True))) / 2


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
