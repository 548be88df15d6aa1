"""Works through a planned batch: one file after the other, each with its progress, its report and its outcome.

BatchPlan -> run_video_job / run_image_jobs -> outputs, reports -> Outcome -> exit code
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from streamer.batch import BatchPlan, Failure, PlannedImage, PlannedVideo
from streamer.checking import check_backend, check_detector, check_weights
from streamer.config import AnonymizeSettings
from streamer.errors import ExitCode, Interrupted, OutputError, VeilError
from streamer.filters import check_filter
from streamer.forkserver import ForkServer
from streamer.image_job import ImageJob, run_image_jobs
from streamer.job import VideoJob, run_video_job
from streamer.job_record import JobResult
from streamer.messages import FrameReport, ImageDone
from streamer.progress import ProgressView, clock, count_of
from streamer.report import ReportWriter
from streamer.supervisor import StopRequest


@dataclass(kw_only=True)
class Outcome:
    """How a batch went."""

    done: list[Path] = field(default_factory=list)
    """The outputs."""
    damaged: list[Path] = field(default_factory=list)
    """Those whose inputs were truncated or damaged."""
    failures: list[Failure] = field(default_factory=list)
    is_any_done_before: bool = False
    is_interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        if self.is_interrupted:
            return ExitCode.INTERRUPTED
        codes = {failure.error.exit_code for failure in self.failures}
        if not codes:
            return ExitCode.DAMAGED if self.damaged else ExitCode.DONE
        return codes.pop() if len(codes) == 1 and not self.done and not self.is_any_done_before else ExitCode.PARTLY_FAILED


def check_settings(settings: AnonymizeSettings) -> None:
    """What the types alone cannot say, before any work.

    Raises UsageError, and InternalError where weights are missing or damaged.
    """
    check_filter(settings.filter)
    check_backend(settings.backend)
    check_detector(settings.detector)
    check_weights()


def anonymize(
    plan: BatchPlan,
    settings: AnonymizeSettings,
    *,
    view: ProgressView,
    stop: StopRequest,
    fork_server: ForkServer,
    log_level: str = "WARNING",
) -> Outcome:
    """Do all that is planned; a file that fails does not stop the others. `stop` ends the batch with the file at work undone."""
    run = _BatchRun(plan, settings, view, stop, fork_server, log_level)
    try:
        run.images()
        for video in plan.videos:
            run.video(video)
    except Interrupted:
        run.outcome.is_interrupted = True
    return run.outcome


class _BatchRun:
    """What every file of a batch shares."""

    def __init__(
        self,
        plan: BatchPlan,
        settings: AnonymizeSettings,
        view: ProgressView,
        stop: StopRequest,
        fork_server: ForkServer,
        log_level: str,
    ) -> None:
        self._plan, self._settings, self._view = plan, settings, view
        self._stop, self._fork_server, self._log_level = stop, fork_server, log_level
        self.outcome = Outcome(failures=list(plan.failures), is_any_done_before=bool(plan.skipped))

    def video(self, video: PlannedVideo) -> None:
        """Raises Interrupted; every other end is in the outcome."""
        if self._stop.is_requested:
            raise Interrupted
        for warning in video.plan.warnings:
            logger.warning("{}: {}", video.source, warning)
        self._view.start_file(str(video.source), video.info.frames_estimated)
        try:
            result = self._make(video)
        except Interrupted:
            self._view.end_file(None)
            raise
        except VeilError as error:
            self._fail(video.source, error)
            return
        except OSError as error:
            self._fail(video.source, OutputError(f"{video.source}: {error}"))
            return
        self.outcome.done.append(video.output)
        if result.is_damaged:
            self.outcome.damaged.append(video.source)
        self._view.end_file(line_of_video(video, result))

    def _make(self, video: PlannedVideo) -> JobResult:
        """The output and, if it is wanted, the report."""
        _make_folder(video.output.parent)
        job = VideoJob(source=video.source, output=video.output, plan=video.plan)
        if not self._settings.report:
            return self._run(job, self._view.frame)
        with contextlib.closing(ReportWriter(video.output, self._settings)) as report:

            def on_frame(frame: FrameReport) -> None:
                self._view.frame(frame)
                report.frame(frame)

            result = self._run(job, on_frame)
            report.finish(source=video.source, output=video.output, facts=facts_of_video(video, result))
        return result

    def _run(self, job: VideoJob, on_frame: Callable[[FrameReport], None]) -> JobResult:
        return run_video_job(
            job, self._settings, on_frame=on_frame, stop=self._stop, fork_server=self._fork_server, log_level=self._log_level
        )

    def images(self) -> None:
        """All photos, several at a time. Raises Interrupted; every other end is in the outcome."""
        open_images: dict[str, PlannedImage] = {}
        for image in self._plan.images:
            try:
                _make_folder(image.output.parent)
                open_images[str(image.source)] = image
            except OutputError as error:
                self._fail(image.source, error)

        def on_done(done: ImageDone) -> None:
            self._finish_image(open_images.pop(done.source), done)

        jobs = [ImageJob(source=image.source, output=image.output) for image in open_images.values()]
        try:
            run_image_jobs(
                jobs,
                self._settings,
                on_done=on_done,
                stop=self._stop,
                fork_server=self._fork_server,
                log_level=self._log_level,
            )
        except Interrupted:
            raise
        except VeilError as error:
            for image in open_images.values():
                self._fail(image.source, error)

    def _finish_image(self, image: PlannedImage, done: ImageDone) -> None:
        self._view.start_file(str(image.source), 1)
        if done.error is not None:
            self._fail(image.source, VeilError(done.error, ExitCode(done.exit_code)))
            return
        frame = FrameReport(stream=0, number=0, pts=0, time_s=0.0, raw_slot=0, covers=done.covers, covered_whole=None)
        self._view.frame(frame)
        try:
            if self._settings.report:
                with contextlib.closing(ReportWriter(image.output, self._settings)) as report:
                    report.frame(frame)
                    report.finish(source=image.source, output=image.output, facts=_facts_of_image(done))
        except OutputError as error:
            self._fail(image.source, error)
            return
        except OSError as error:
            self._fail(image.source, OutputError(f"{image.source}: {error}"))
            return
        self.outcome.done.append(image.output)
        self._view.end_file(f"{image.output}: {count_of(len(done.covers), 'face')}")

    def _fail(self, source: Path, error: VeilError) -> None:
        self.outcome.failures.append(Failure(source=str(source), error=error))
        # The error of a single file is said by the command.
        self._view.end_file(None if self._plan.is_single else f"failed: {error}")


def line_of_video(video: PlannedVideo, result: JobResult) -> str:
    """How a video went, in one line."""
    facts = [
        f"{result.frames} frames",
        f"{result.frames / max(result.wall_s, 1e-3):.1f} fps",
        count_of(result.tracks, "face"),
        clock(result.wall_s),
    ]
    if result.covered_whole:
        facts.append(f"{count_of(result.covered_whole, 'frame')} covered whole")
    facts += sorted({f"{one.network} on {one.replaced_by}, {one.backend} failed" for one in result.replaced_backends})
    if result.is_damaged:
        facts.append("input damaged: what could be decoded was written")
    return f"{video.output}: {', '.join(facts)}"


def facts_of_video(video: PlannedVideo, result: JobResult) -> dict[str, Any]:
    """What the report says at its end."""
    layout = video.info.layout
    return {
        "kind": "video",
        "picture": {"width": layout.width, "height": layout.height, "pixel_format": layout.pixel_format},
        "encoder": {"name": video.plan.encoder, "options": video.plan.options, "container": video.plan.container},
        "dropped": video.plan.dropped,
        "notes": [note for note in result.notes if note not in video.plan.dropped],
        "is_damaged": result.is_damaged,
        "backends": [
            {
                "network": one.network,
                "failed": one.backend,
                "replaced_by": one.replaced_by,
                "reason": one.reason,
                "processes": count,
            }
            for one, count in result.replaced_backends.items()
        ],
        "counts": {
            "frames": result.frames,
            "covered_faces": result.covered_faces,
            "tracks": result.tracks,
            "covered_whole": result.covered_whole,
            "covers_by_reason": result.covers_by_reason,
            "fallbacks": result.fallbacks,
            "restarts": result.restarts,
        },
        "timings": {"wall_s": round(result.wall_s, 3), "cpu_s": {role: round(spent, 3) for role, spent in result.cpu_s.items()}},
    }


def _facts_of_image(done: ImageDone) -> dict[str, Any]:
    reasons = Counter(cover.reason for cover in done.covers)
    fallbacks = Counter(cover.fallback for cover in done.covers if cover.fallback is not None)
    counts = {
        "frames": 1,
        "covered_faces": len(done.covers),
        "covers_by_reason": dict(reasons),
        "fallbacks": dict(fallbacks),
    }
    return {"kind": "image", "notes": done.notes, "counts": counts}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder cannot be made ({error.strerror})") from None
