"""The daemon: one loop that hears its children, keeps every stream going, and answers signals and the service manager.

settings -> streams, detectors, web server -> events of children -> what is due -> status, watchdog
"""

from __future__ import annotations

import itertools
import os
import time
from importlib.metadata import version
from pathlib import Path

from loguru import logger

from streamer.budget import cores
from streamer.errors import ExitCode, VeilError
from streamer.filters import needs_keypoints
from streamer.forkserver import ForkServer
from streamer.live.addresses import split_address
from streamer.live.attention import attention_line
from streamer.live.checks import check_machine, check_page, warnings_of
from streamer.live.config import ServeSettings, StreamSettings
from streamer.live.crew import Crew
from streamer.live.detectors import Detectors
from streamer.live.dispatch import LiveDispatcher
from streamer.live.flow import PictureFlow
from streamer.live.loading import Loaded, load_serve_settings
from streamer.live.messages import Preview, PreviewWanted, WebSetup
from streamer.live.resources import Memory, allow_descriptors, cpu_s
from streamer.live.secrets import Secrets
from streamer.live.shared import Shared, addresses_of
from streamer.live.signals import Signals
from streamer.live.status import ServeStatus
from streamer.live.stream import StreamRun
from streamer.live.web_server import WebServer
from streamer.messages import DetectedFrame, RawFrame
from streamer.redaction import redact
from streamer.sdnotify import ServiceManager
from streamer.supervisor import StopRequest, Supervisor

TURN_S = 0.05
"""The longest wait for something to happen, and so how late anything that is due can be."""
STATUS_EVERY_S = 1.0
STOP_GRACE_S = 8.0
"""For outputs to complete their files and take their leave."""
_SLOW_BACKENDS = ("torch", "tensorrt")
_SLOW_HANG_LIMIT_S = 90.0
"""Of processes that run networks on these, which take long to open."""


class _Wording:
    """Secrets into addresses, and out of texts."""

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets

    def resolve(self, text: str) -> str:
        return self.secrets.resolve(text)

    def redact(self, text: str) -> str:
        return redact(text)


def serve(loaded: Loaded, path: Path, *, fork_server: ForkServer, log_level: str = "INFO") -> ExitCode:
    """Run until SIGTERM or SIGINT. Raises UsageError, or OutputError for a port in use, before anything is started."""
    backend = check_machine(loaded)
    page_warnings = check_page(loaded)
    for warning in [*warnings_of(loaded), *page_warnings]:
        logger.warning("{}", warning)
    allow_descriptors()
    signals = Signals(StopRequest())
    manager = ServiceManager()
    with signals.heard(), Supervisor(rings={}, stop=signals.stop, fork_server=fork_server, log_level=log_level) as supervisor:
        daemon = Daemon(loaded, path, backend, supervisor, manager)
        try:
            while not signals.stop.is_requested:
                daemon.turn()
                if signals.reload:
                    signals.reload = False
                    daemon.reload()
        finally:
            manager.stopping()
            daemon.stop()
            supervisor.shut_down(STOP_GRACE_S)
            manager.flush()
    return ExitCode.DONE


class Daemon:
    """All streams of one file of settings."""

    def __init__(self, loaded: Loaded, path: Path, backend: str, supervisor: Supervisor, manager: ServiceManager) -> None:
        self._path = path
        self._settings = loaded.settings
        self._supervisor = supervisor
        self._manager = manager
        self._crew = Crew(supervisor)
        self._dispatcher = LiveDispatcher()
        self._wording = _Wording(loaded.secrets)
        self._sessions = itertools.count(1)
        self._version = version("veilstream")
        self._started = time.time()
        self._reloads = self._reloads_refused = 0
        self._reload_error: str | None = None
        self._is_ready = False
        self._told_status = ""
        self._status_at_s = self._watchdog_at_s = 0.0
        self._memory = Memory()
        self._streams: dict[str, StreamRun] = {}
        self._web: WebServer | None = None
        self._backend = backend
        self._detectors = self._open_detectors()
        for stream in self._settings.streams:
            self._add(stream)
        self._open_web()

    def turn(self) -> None:
        """Hear what has happened, do what is due."""
        for event in self._supervisor.wait(TURN_S):
            self._crew.handle(event)
        now_s = time.monotonic()
        self._detectors.tick(now_s)
        for stream in self._streams.values():
            stream.tick(now_s)
        self._give_up_old_frames(now_s)
        self._detectors.hand_out(now_s, [session for session, flow in self._flows.items() if flow.is_congested])
        if self._web is not None:
            self._web.tick(now_s)
        if now_s >= self._status_at_s:
            self._status_at_s = now_s + STATUS_EVERY_S
            self._tell(now_s)
        watchdog_s = self._manager.watchdog_s
        if watchdog_s is not None and now_s >= self._watchdog_at_s and self._is_alive(now_s):
            self._watchdog_at_s = now_s + watchdog_s
            self._manager.watchdog()
        self._manager.flush()

    def reload(self) -> None:
        """Read the file again and start only what has changed; a file that is wrong changes nothing."""
        self._manager.reloading()
        try:
            loaded = load_serve_settings(self._path)
            backend = check_machine(loaded)
        except VeilError as error:
            self._reload_error = redact(str(error))
            self._reloads_refused += 1
            logger.error("not reloaded, all goes on as before: {}", self._reload_error)
        else:
            self._reload_error = None
            self._apply(loaded, backend)
            self._reloads += 1
            logger.info("reloaded {}", self._path)
        self._status_at_s = 0.0
        if self._is_ready:
            self._manager.ready()

    def stop(self) -> None:
        """Tell everybody; outputs get time to complete what they write."""
        for stream in self._streams.values():
            stream.stop(STOP_GRACE_S)
        self._detectors.stop()
        if self._web is not None:
            self._web.stop()

    def status(self) -> ServeStatus:
        now_s = time.monotonic()
        spent_s = self._supervisor.cpu_s()
        for pid, role in self._crew.roles.items():
            spent_s[role] = spent_s.get(role, 0.0) + cpu_s(pid)
        streams = tuple(stream.status() for stream in self._streams.values())
        return ServeStatus(
            version=self._version,
            pid=os.getpid(),
            started=self._started,
            now=time.time(),
            is_ready=self._is_ready,
            is_healthy=not any(stream.is_given_up or stream.is_silent(now_s) for stream in self._streams.values()),
            config=str(self._path),
            reloads=self._reloads,
            reloads_refused=self._reloads_refused,
            reload_error=self._reload_error,
            backend=self._backend,
            detectors=self._detectors.processes,
            detector_restarts=self._detectors.restarts,
            cpu_s=spent_s,
            memory_bytes=self._memory.total_bytes,
            streams=streams,
            attention=attention_line(streams),
        )

    # Parts.

    @property
    def _hang_limit_s(self) -> float | None:
        """Of processes that run networks; None for that of the table."""
        return _SLOW_HANG_LIMIT_S if self._backend in _SLOW_BACKENDS else None

    def _open_detectors(self) -> Detectors:
        return Detectors(
            self._crew,
            self._dispatcher,
            processes=self._settings.detector_processes or cores(),
            backend=self._backend,
            needs_keypoints=any(stream.enabled and needs_keypoints(stream.filter) for stream in self._settings.streams),
            hang_limit_s=self._hang_limit_s,
            on_answer=self._on_answer,
            on_undetectable=self._on_undetectable,
        )

    def _open_web(self) -> None:
        http = self._settings.http
        if not http.enabled:
            return
        host, port = split_address(http.address)
        setup = WebSetup(host=host, port=port, token=_token(self._settings, self._wording), preview=http.preview)
        self._web = WebServer(self._crew, setup, self._on_preview_wanted)

    def _add(self, settings: StreamSettings) -> None:
        assert settings.name is not None
        if not settings.enabled:
            return
        shared = Shared(
            crew=self._crew,
            dispatcher=self._dispatcher,
            detectors=self._detectors,
            wording=self._wording,
            backend=self._backend,
            hang_limit_s=self._hang_limit_s,
            next_session=lambda: next(self._sessions),
            on_preview=self._on_preview,
        )
        self._streams[settings.name] = StreamRun(settings, shared)

    def _apply(self, loaded: Loaded, backend: str) -> None:
        old, new = self._settings, loaded.settings
        secrets_before, self._wording = self._wording, _Wording(loaded.secrets)
        is_new_crew = backend != self._backend or new.detector_processes != old.detector_processes
        self._settings, self._backend = new, backend
        wanted = {stream.name: stream for stream in new.streams if stream.enabled}
        for name, stream in list(self._streams.items()):
            same = wanted.get(name)
            is_same = same is not None and same == stream.settings and addresses_of(same, self._wording) == stream.addresses
            if not is_same or is_new_crew or stream.has_ended:
                stream.stop(STOP_GRACE_S)
                del self._streams[name]
        if is_new_crew:
            self._detectors.stop()
            self._detectors = self._open_detectors()
        for settings in new.streams:
            if settings.enabled and settings.name not in self._streams:
                self._add(settings)
        if new.http != old.http or _token(new, self._wording) != _token(old, secrets_before):
            if self._web is not None:
                self._web.stop()
                self._web = None
            self._open_web()

    # What children say that concerns more than one.

    @property
    def _flows(self) -> dict[int, PictureFlow]:
        """By the numbers of their sessions."""
        return {stream.flow.session.number: stream.flow for stream in self._streams.values() if stream.flow is not None}

    def _on_answer(self, answer: DetectedFrame, payload: bytes) -> None:
        flow = self._flows.get(answer.frame.stream)
        if flow is not None:
            flow.detected(answer, payload)

    def _on_undetectable(self, frame: RawFrame) -> None:
        flow = self._flows.get(frame.stream)
        if flow is not None:
            flow.cover_whole(frame)

    def _on_preview_wanted(self, message: PreviewWanted) -> None:
        stream = self._streams.get(message.name)
        if stream is not None:
            stream.want_preview(message)

    def _on_preview(self, preview: Preview) -> None:
        if self._web is not None:
            self._web.show_preview(preview)

    def _give_up_old_frames(self, now_s: float) -> None:
        """Frames that have waited too long are dropped, those that a detector has had for too long are covered whole."""
        flows = self._flows
        for frame in self._dispatcher.drop_older({session: now_s - flow.longest_wait_s for session, flow in flows.items()}):
            flows[frame.stream].drop(frame)
        for frame in self._dispatcher.expire({session: now_s - flow.longest_detection_s for session, flow in flows.items()}):
            flows[frame.stream].cover_whole(frame)

    # What the outside sees.

    def _is_alive(self, now_s: float) -> bool:
        """Frames go out, or slates: not a single one is only right where none can be expected."""
        should = [stream for stream in self._streams.values() if not (stream.is_given_up or stream.has_ended)]
        return not should or any(not stream.is_silent(now_s) for stream in should)

    def _what_is_ready(self) -> str:
        waits = [name for name, stream in self._streams.items() if not stream.has_sent]
        if waits:
            return f"of {', '.join(waits)} nothing can be expected now, every other stream has made a picture or a slate"
        return "every stream has made a picture or a slate for its outputs"

    def _tell(self, now_s: float) -> None:
        self._memory.measure((os.getpid(), *self._crew.roles))
        if not self._is_ready and all(stream.is_ready for stream in self._streams.values()):
            self._is_ready = True
            self._manager.ready()
            logger.info("ready: {}", self._what_is_ready())
        status = self.status()
        if self._web is not None:
            self._web.show(status)
        line = summary(status, self._web.trouble if self._web is not None else None)
        if line != self._told_status:
            self._told_status = line
            self._manager.status(line)


def summary(status: ServeStatus, page_trouble: str | None) -> str:
    """One line for the service manager. page_trouble: why the status page is away."""
    states = [stream.state for stream in status.streams]
    counted = {state: states.count(state) for state in dict.fromkeys(states)}
    parts = [f"{count} {state.replace('_', ' ')}" for state, count in counted.items()]
    attention = f"; {status.attention}" if status.attention is not None else ""
    refused = f"; reload refused: {status.reload_error}" if status.reload_error is not None else ""
    away = f"; status page away: {page_trouble}" if page_trouble is not None else ""
    return f"{len(states)} streams: {', '.join(parts)}{attention}{refused}{away}"


def _token(settings: ServeSettings, wording: _Wording) -> str | None:
    return wording.resolve(settings.http.token) if settings.http.token is not None else None
