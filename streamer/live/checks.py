"""Whether this machine can do what a file asks for: networks, files, protocols; and what its owner should know.

Loaded -> check_machine -> warnings_of
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from streamer.checking import check_backend, check_detector, check_weights
from streamer.errors import OutputError, UsageError
from streamer.filters import check_filter
from streamer.live.addresses import has_literal_password, input_kind, output_kind, scheme_of, split_address
from streamer.live.config import StreamSettings
from streamer.live.loading import Address, Loaded
from streamer.live.secrets import references_in
from streamer.live.web.listening import AbsentAddressError, check_address
from streamer.redaction import SHORTEST_SECRET

X264_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")


def check_machine(loaded: Loaded) -> str:
    """The backend that will be used. Starts nothing.

    Raises UsageError with one line: file, key, what is wrong; InternalError where weights are damaged.
    A camera that does not answer is no error: it is looked for again and again.
    """
    with_file = loaded.name_key
    try:
        backend = check_backend(loaded.settings.backend)
    except UsageError as error:
        raise UsageError(with_file(str(error))) from None
    for number, stream in enumerate(loaded.settings.streams):
        if stream.enabled:
            _check_stream(stream, partial(_key_of_stream, with_file, number))
    for address in loaded.inputs:
        if input_kind(address.url) == "file":
            _check_file(address, with_file(address.key))
    _check_protocols(loaded)
    check_weights()
    return backend


def check_page(loaded: Loaded) -> list[str]:
    """For who is about to serve the status page; only tried, as it listens in a process of its own. Returns warnings.

    Raises OutputError where the port is in use, UsageError where this user may not have it. An address that this machine does not
    have is no error, as the network may come later than the cameras are wanted.
    """
    try:
        _try_page(loaded)
    except AbsentAddressError as error:
        return [str(error)]
    except (OutputError, UsageError) as error:
        raise type(error)(loaded.name_key(str(error))) from None
    return []


def warnings_of_page(loaded: Loaded) -> list[str]:
    """For who is not about to serve it: the daemon may be doing that."""
    try:
        _try_page(loaded)
    except OutputError as error:
        return [f"{error} (unless it is the daemon of this very file that runs)"]
    except UsageError as error:
        return [str(error)]
    return []


def _try_page(loaded: Loaded) -> None:
    http = loaded.settings.http
    if http.enabled:
        check_address(*split_address(http.address))


def warnings_of(loaded: Loaded) -> list[str]:
    """What works and may yet not be meant so, a line each."""
    return [
        *_warnings_of_secrets(loaded),
        *_warnings_of_privacy(loaded),
        *_warnings_of_outages(loaded),
        *_warnings_of_places(loaded),
    ]


def _key_of_stream(with_file: Callable[[str], str], number: int, key: str) -> str:
    return with_file(f"streams[{number}].{key}")


def _check_stream(stream: StreamSettings, name_key: Callable[[str], str]) -> None:
    try:
        check_filter(stream.filter)
        check_detector(stream.detector)
    except UsageError as error:
        raise UsageError(name_key(str(error))) from None
    if stream.video.encoder == "h264" and stream.video.preset not in X264_PRESETS:
        raise UsageError(f"{name_key('video.preset')} must be one of {', '.join(X264_PRESETS)}, is {stream.video.preset}")
    if stream.video.encoder != "h264":
        # Only here, because all encoders are tried.
        from streamer.encoders import available_encoders

        objection = available_encoders()[stream.video.encoder]
        if objection:
            raise UsageError(f"{name_key('video.encoder')}: {stream.video.encoder} cannot be used here: {objection}")


def _check_file(address: Address, name: str) -> None:
    try:
        mode = os.stat(address.url).st_mode
    except OSError as error:
        raise UsageError(f"{name}: {address.text} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise UsageError(f"{name}: {address.text} is not a file")
    if not os.access(address.url, os.R_OK):
        raise UsageError(f"{name}: {address.text} cannot be read (Permission denied)")


def _check_protocols(loaded: Loaded) -> None:
    asked = [address for address in (*loaded.inputs, *loaded.outputs) if scheme_of(address.url) == "srt"]
    if not asked:
        return
    # Only here, because FFmpeg takes a while to load.
    from streamer.protocols import knows_protocol

    if not knows_protocol("srt"):
        raise UsageError(
            f"{loaded.name_key(asked[0].key)} asks for srt://, which is not part of the FFmpeg in the installed PyAV; "
            "build PyAV against an FFmpeg with libsrt, or use rtsp://"
        )


def _warnings_of_secrets(loaded: Loaded) -> Iterator[str]:
    for address in (*loaded.inputs, *loaded.outputs):
        if has_literal_password(address.text):
            yield f"{address.key}: the password stands in the file itself; ${{secret:NAME}} keeps it out of there"
    token = loaded.settings.http.token
    if token is not None and not references_in(token):
        yield "http.token: the token stands in the file itself; ${secret:NAME} keeps it out of there"
    for name in sorted(loaded.secrets.too_short):
        yield f"the secret {name} has less than {SHORTEST_SECRET} characters, too few to be kept out of logs outside of URLs"


def _warnings_of_privacy(loaded: Loaded) -> Iterator[str]:
    speaking = [
        str(stream.name)
        for stream in _enabled(loaded)
        if stream.audio == "copy" and any(target.audio == "copy" for target in stream.targets)
    ]
    if speaking:
        yield f"{', '.join(speaking)}: sound is copied as it is, and voices identify people; audio: drop leaves it out"
    showing = [str(stream.name) for stream in _enabled(loaded) if any(zone.do == "ignore" for zone in stream.zones)]
    if showing:
        yield f"{', '.join(showing)}: a zone with do: ignore shows whoever stands there"


def _warnings_of_outages(loaded: Loaded) -> Iterator[str]:
    silent = [str(stream.name) for stream in _enabled(loaded) if not stream.slate]
    if silent:
        yield f"{', '.join(silent)}: without slate, viewers are disconnected while the camera is away"
    for address in loaded.inputs:
        if input_kind(address.url) == "webcam" and not os.path.exists(address.url):
            yield f"{address.key}: {address.text} is not there; it is used as soon as it is"


def _warnings_of_places(loaded: Loaded) -> Iterator[str]:
    for address in loaded.outputs:
        folder = output_folder(address.url)
        objection = objection_to_folder(folder) if folder is not None else None
        if objection:
            yield f"{address.key}: {objection}"


def output_folder(address: str) -> Path | None:
    """The folder that an output writes files into; None where it writes none."""
    match output_kind(address):
        case "recording":
            return Path(address)
        case "hls":
            return Path(address).parent
    return None


def objection_to_folder(folder: Path) -> str | None:
    """Why nothing can be written there; None where it can, also where the folder has yet to be made. Writes nothing."""
    there = _nearest(folder)
    if not there.is_dir():
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} cannot be written by this user"
    return None


def objection_to_writing(folder: Path) -> str | None:
    """The same, tried with a temporary file there or in the nearest folder that exists."""
    if objection := objection_to_folder(folder):
        return objection
    there = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there, prefix=".veil-check-"):
            return None
    except OSError as error:
        return f"{there} cannot be written ({error.strerror})"


def _nearest(folder: Path) -> Path:
    """The folder itself, or what exists of its path."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))


def _enabled(loaded: Loaded) -> list[StreamSettings]:
    return [stream for stream in loaded.settings.streams if stream.enabled]
