"""The settings of the daemon: one frozen tree, defaults beside the fields, bounds in the types; configs/stream.yaml shows all."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from streamer.config import FilterSettings, Fraction, Settings, StreamDetectorSettings

Point = tuple[Fraction, Fraction]


class ZoneSettings(Settings, frozen=True, kw_only=True):
    """A part of the picture that is treated in its own way, whatever is detected there."""

    points: Annotated[tuple[Point, ...], msgspec.Meta(min_length=3)]
    """Corners as parts of the picture's width and height: [0, 0] is the top left, [1, 1] the bottom right."""
    do: Literal["cover", "ignore"] = "cover"
    """cover: always covered, plain. ignore: faces whose middle lies here are left as they are, for posters and screens."""
    schedule: tuple[str, ...] = ()
    """Local times at which it counts: 'mon-fri 08:00-18:00', 'sat,sun', '22:00-06:00' (into the next day); none means always."""


class OutputSettings(Settings, frozen=True, kw_only=True):
    """Where an anonymized stream goes."""

    to: str
    """rtsp://, rtsps://, rtmp://, rtmps:// or srt:// URL, a path that ends in .m3u8 for HLS, or a folder for recordings."""
    transport: Literal["tcp", "udp"] = "tcp"
    """RTSP only."""
    audio: Literal["copy", "drop"] = "copy"
    """Sound as it comes, or none: voices identify people too."""
    timeout_s: Annotated[float, msgspec.Meta(ge=1.0, le=120.0)] = 8.0
    """Longest that the receiver may take nothing; then the connection is given up and made anew."""
    container: Literal["mp4", "mkv"] = "mp4"
    """Recordings: the format of the files."""
    segment_s: Annotated[float, msgspec.Meta(ge=1.0, le=86400.0)] = 600.0
    """Recordings: seconds of a file; it ends at the keyframe after that. HLS: 2 s if it is longer."""
    keep_gigabytes: Annotated[float, msgspec.Meta(gt=0.0)] | None = 20.0
    """Recordings: the oldest are deleted when all of this folder's take more; null sets no limit."""
    keep_days: Annotated[float, msgspec.Meta(gt=0.0)] | None = 7.0
    """Recordings: older ones are deleted; null sets no limit."""


class LiveVideoSettings(Settings, frozen=True, kw_only=True):
    """How a stream is encoded, once for all of its outputs."""

    encoder: Literal["h264", "h264_nvenc"] = "h264"
    """H.264 is what every player and server takes; h264_nvenc is a GPU's."""
    quality: Annotated[int, msgspec.Meta(ge=0, le=51)] = 23
    """Constant quality, lower is better."""
    max_kilobits: Annotated[int, msgspec.Meta(ge=100, le=200000)] | None = None
    """Most kilobits a second, over a second or two, for `max_fps` or else 25 pictures; fewer get less. null sets no limit."""
    preset: str = "superfast"
    """The encoder's own preset."""
    keyframe_s: Annotated[float, msgspec.Meta(ge=0.2, le=20.0)] = 2.0
    """Longest time between keyframes: how long a new viewer waits for a picture."""


class StreamSettings(Settings, frozen=True, kw_only=True):
    """One camera and what becomes of it."""

    input: str
    """rtsp://, rtsps://, rtmp://, http(s):// (HLS, MJPEG), udp:// or srt:// URL, a webcam such as /dev/video0, or a file."""
    outputs: str | OutputSettings | tuple[str | OutputSettings, ...]
    """Where it goes, one or several: each a text as in `to`, or a group with more settings."""
    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,31}$")] | None = None
    """Small letters, digits, - and _; null is camera1 for the first of the file, and so on."""
    enabled: bool = True
    """false leaves it out."""
    transport: Literal["tcp", "udp"] = "tcp"
    """RTSP only: udp loses packets, and a damaged picture is covered whole."""
    loop: bool = False
    """Files only: start again at the end, for trying things out; a file is played in real time."""
    read_timeout_s: Annotated[float, msgspec.Meta(ge=0.5, le=120.0)] = 2.0
    """Longest silence of the camera before the connection is made anew."""
    audio: Literal["copy", "drop"] = "copy"
    """Sound as it comes, or none: voices identify people too."""
    filter: FilterSettings = FilterSettings()
    detector: StreamDetectorSettings = StreamDetectorSettings()
    look_ahead_s: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.3
    """Seconds that a face is covered before its first and after its last detection; the picture is so much later."""
    zones: tuple[ZoneSettings, ...] = ()
    """Parts of the picture that are treated in their own way, each a group that begins with a dash."""
    video: LiveVideoSettings = LiveVideoSettings()
    max_latency_ms: Annotated[int, msgspec.Meta(ge=200, le=60000)] = 1500
    """Oldest that a picture may be when it goes out, from its arrival here; older ones are dropped. More than the look-ahead."""
    max_fps: Annotated[float, msgspec.Meta(gt=0.0, le=240.0)] | None = None
    """Most frames a second that are used; null takes all that the machine can do."""
    slate: bool = True
    """Send a plain picture with the stream's name and what is wrong while there is no picture, so that viewers stay connected."""
    ring_mebibytes: Annotated[int, msgspec.Meta(ge=16, le=65536)] = 256
    """Most memory for decoded pictures in flight."""

    @property
    def targets(self) -> tuple[OutputSettings, ...]:
        """The outputs, each as a group of settings."""
        several = self.outputs if isinstance(self.outputs, tuple) else (self.outputs,)
        return tuple(one if isinstance(one, OutputSettings) else OutputSettings(to=one) for one in several)


class HttpSettings(Settings, frozen=True, kw_only=True):
    """The status page, the metrics, and what tells a load balancer that all is well."""

    address: str = "127.0.0.1:8700"
    """Host and port; beyond this machine (not 127.0.0.1, ::1 or localhost) a token is required."""
    enabled: bool = True
    """false: no page, no metrics, and nothing listens."""
    token: str | None = None
    """What a reader must present, as `Authorization: Bearer ...` or in the page's login; use ${secret:NAME}."""
    preview: bool = True
    """Show small pictures of the anonymized streams on the page."""


class ServeSettings(Settings, frozen=True, kw_only=True):
    """Everything that `veil serve` can be told."""

    streams: Annotated[tuple[StreamSettings, ...], msgspec.Meta(min_length=1)]
    """The cameras, each a group that begins with a dash; input and outputs are all that it needs."""
    detector_processes: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    """Processes that find faces, shared by all streams; null is one for each core."""
    backend: Literal["auto", "cpu", "openvino", "torch", "tensorrt"] = "auto"
    """What runs the networks; auto is TensorRT on a GPU, else the processor with what is fastest there; see veil doctor."""
    http: HttpSettings = HttpSettings()
    secrets_file: str | None = None
    """A file of NAME: VALUE lines that only its owner can read (mode 0600), for ${secret:NAME}; see the README."""
