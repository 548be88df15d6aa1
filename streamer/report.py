"""The report beside an output: what was covered in each frame and why, from what, by what, with which result. No pixels.

It is written while the frames pass, one a line, so that a long video needs no more memory than a short one.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import av
import cv2
import msgspec
import numpy as np

from models.weights import read_manifest
from streamer.config import AnonymizeSettings
from streamer.errors import OutputError
from streamer.messages import FrameReport
from streamer.temporary import TemporaryOutput

SCHEMA = "veil-report/1"


def report_path(output: Path) -> Path:
    """Where the report about an output lies."""
    return output.with_name(f"{output.name}.report.json")


def versions() -> dict[str, str]:
    """Of everything that takes part in what comes out."""
    return {
        "veil": version("veilstream"),
        "python": platform.python_version(),
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "onnxruntime": version("onnxruntime"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        **_versions_of_backends(),
    }


def _versions_of_backends() -> dict[str, str]:
    """Of the packages beside ONNX Runtime that may run the networks, where they are installed."""
    found = {}
    for name in ("openvino", "tensorrt", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def file_facts(path: Path) -> dict[str, Any]:
    """Path as the user gave it, size in bytes and SHA-256. Raises OSError."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


class ReportWriter:
    """Writes the report about one output; it has its name only when it is complete. `close` is for every end.

    Raises OutputError where the report cannot be written.
    """

    def __init__(self, output: Path, settings: AnonymizeSettings) -> None:
        self._temporary = TemporaryOutput(report_path(output))
        self._file: BinaryIO = self._temporary.path.open("wb")
        self._may_replace = settings.overwrite
        self._has_frames = False
        head = {"schema": SCHEMA, "settings": settings, "versions": versions(), "weights": read_manifest()}
        self._write(b"{\n" + _members(head) + b',\n"frames": [')

    def frame(self, report: FrameReport) -> None:
        """Add a frame; they come in order."""
        faces = [
            {
                "track": cover.track,
                "box": [round(edge, 1) for edge in cover.box],
                "reason": cover.reason,
                "score": round(cover.score, 3),
                **({} if cover.fallback is None else {"fallback": cover.fallback}),
            }
            for cover in report.covers
        ]
        facts = {
            "number": report.number,
            "pts": report.pts,
            "time_s": round(report.time_s, 6),
            "covered_whole": report.covered_whole,
            "faces": faces,
        }
        self._write((b",\n" if self._has_frames else b"\n") + msgspec.json.encode(facts))
        self._has_frames = True

    def finish(self, *, source: Path, output: Path, facts: Mapping[str, Any]) -> None:
        """Add both files and what is known at the end, and give the report its name."""
        try:
            tail = {"input": file_facts(source), "output": file_facts(output), **facts}
        except OSError as error:
            raise OutputError(f"{self._temporary.final}: cannot be completed: {error}") from None
        self._write(b"\n],\n" + _members(tail) + b"\n}\n")
        self._flush()
        self._temporary.commit(overwrite=self._may_replace)

    def close(self) -> None:
        """Remove what is there, unless it is finished."""
        # What cannot be flushed any more is thrown away all the same.
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.discard()

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise OutputError(f"{self._temporary.final}: cannot be written: {error.strerror}") from None

    def _flush(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(f"{self._temporary.final}: cannot be written: {error.strerror}") from None


def _members(values: Mapping[str, Any]) -> bytes:
    """The members of a JSON object without its braces, one a line."""
    return b",\n".join(msgspec.json.encode(key) + b": " + msgspec.json.encode(value) for key, value in values.items())
