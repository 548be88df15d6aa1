"""What this machine has and whether Veil works on it: each finding is tried, not guessed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from models.backends import BACKENDS, choose_backend, open_network, usable_backends
from models.detectors import DETECTORS, open_detector
from models.weights import PRETRAINED, WeightsError, read_manifest, read_weights
from streamer.encoders import available_encoders
from streamer.protocols import knows_protocol
from streamer.report import versions

Verdict = Literal["ok", "missing", "broken"]
"""missing: Veil works without it. broken: it does not."""

_NEEDED_ENCODERS = ("h264",)
_PROTOCOLS = ("file", "rtsp", "rtmp", "http", "rtp", "tcp", "udp", "tls", "srt", "rist")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report."""

    topic: str
    name: str
    verdict: Verdict
    fact: str


def examine() -> list[Finding]:
    """All findings, in the order of CHECKS."""
    return [finding for check in CHECKS for finding in check()]


def _machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0))
    total, available = _memory_mebibytes()
    return [
        _ok("machine", "system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        _ok("machine", "processor", f"{_processor()}, {cores} of {os.cpu_count()} cores may be used"),
        _ok("machine", "memory", f"{total} MiB, {available} MiB of them free"),
    ]


def _gpus() -> list[Finding]:
    """NVIDIA GPUs as their driver names them; nothing is loaded onto them."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return [Finding(topic="machine", name="GPU", verdict="missing", fact=f"nvidia-smi does not answer ({error})")]
        if answer.returncode == 0 and answer.stdout.strip():
            return [_ok("machine", "GPU", line.strip()) for line in answer.stdout.splitlines() if line.strip()]
    if Path("/proc/driver/nvidia/version").exists():
        return [_ok("machine", "GPU", Path("/proc/driver/nvidia/version").read_text().splitlines()[0])]
    return [Finding(topic="machine", name="GPU", verdict="missing", fact="no NVIDIA driver; everything runs on the processor")]


def _versions() -> list[Finding]:
    return [_ok("versions", name, number) for name, number in versions().items()]


def _encoders() -> list[Finding]:
    findings = []
    for name, objection in available_encoders().items():
        verdict: Verdict = "ok" if not objection else "broken" if name in _NEEDED_ENCODERS else "missing"
        findings.append(Finding(topic="encoders", name=name, verdict=verdict, fact=objection or "opens"))
    return findings


def _protocols() -> list[Finding]:
    found = {name for name in _PROTOCOLS if knows_protocol(name)}
    return [
        Finding(
            topic="protocols",
            name=name,
            verdict="ok" if name in found else "missing",
            fact="known to FFmpeg" if name in found else "not part of this FFmpeg",
        )
        for name in _PROTOCOLS
    ]


def _webcams() -> list[Finding]:
    """V4L2 devices that this user may read; most webcams have a second one, which sends no pictures."""
    found = sorted(Path("/dev").glob("video*"))
    if not found:
        return [Finding(topic="cameras", name="webcams", verdict="missing", fact="no /dev/video*")]
    return [_webcam(device) for device in found]


def _webcam(device: Path) -> Finding:
    label = Path("/sys/class/video4linux", device.name, "name")
    name = label.read_text(errors="replace").strip() if label.exists() else "unnamed"
    if not os.access(device, os.R_OK | os.W_OK):
        fact = f"{name}; this user may not use it (join the group video)"
        return Finding(topic="cameras", name=device.name, verdict="missing", fact=fact)
    return _ok("cameras", device.name, name)


def examine_weights(folder: Path = PRETRAINED) -> list[Finding]:
    """Whether each file of the manifest is what the manifest says."""
    try:
        manifest = read_manifest(folder)
    except WeightsError as error:
        return [Finding(topic="weights", name=folder.name, verdict="broken", fact=str(error))]
    findings = []
    for name, digest in manifest.items():
        try:
            size = len(read_weights(name, folder))
            findings.append(_ok("weights", name, f"SHA-256 {digest} verified, {size} bytes"))
        except WeightsError as error:
            findings.append(Finding(topic="weights", name=name, verdict="broken", fact=str(error)))
    return findings


def _detectors() -> list[Finding]:
    findings = []
    for name in DETECTORS:
        try:
            open_detector(name)
            findings.append(_ok("detectors", name, "opens"))
        except (WeightsError, RuntimeError) as error:
            findings.append(Finding(topic="detectors", name=name, verdict="broken", fact=str(error)))
    return findings


def examine_backends() -> list[Finding]:
    """Each is opened and its answer compared with that of the processor."""
    findings = []
    for name, obstacle in usable_backends().items():
        if obstacle is not None:
            findings.append(Finding(topic="backends", name=name, verdict="missing", fact=obstacle))
            continue
        try:
            findings.append(_ok("backends", name, f"{BACKENDS[name].summary}; {_try_backend(name)}"))
        except Exception as error:  # whatever a runtime of others raises
            verdict: Verdict = "broken" if name == "cpu" else "missing"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            findings.append(Finding(topic="backends", name=name, verdict=verdict, fact=f"does not work ({reason})"))
    generator, others = choose_backend("auto", "bfloat16"), choose_backend("auto")
    chosen = others if others == generator else f"{others}, for the generator {generator}"
    return [*findings, _ok("backends", "auto", f"is {chosen}")]


def _try_backend(name: str) -> str:
    """What runs the keypoint network, and how far it is from the processor. Raises whatever its runtime raises."""
    network = read_weights("keypoints.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    backend = open_network(name, network)
    difference = np.abs(backend.run([crops])[0] - open_network("cpu", network).run([crops])[0]).max()
    return f"{', '.join(backend.providers)}, differs from cpu by {difference:.0e}" if name != "cpu" else "opens"


def _sharing() -> list[Finding]:
    """What the processes need to pass pictures and messages to each other."""
    findings = []
    try:
        descriptor = os.memfd_create("veil-doctor", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, 1 << 20)
        os.close(descriptor)
        findings.append(_ok("sharing", "memory", "anonymous shared memory can be made"))
    except OSError as error:
        findings.append(Finding(topic="sharing", name="memory", verdict="broken", fact=f"no shared memory ({error})"))
    try:
        with tempfile.TemporaryDirectory(prefix="veil-doctor-") as folder:
            findings.append(_ok("sharing", "sockets", f"{Path(folder).parent} can be written"))
    except OSError as error:
        findings.append(Finding(topic="sharing", name="sockets", verdict="broken", fact=f"no temporary folder ({error})"))
    return findings


CHECKS: tuple[Callable[[], Sequence[Finding]], ...] = (
    _machine,
    _gpus,
    _versions,
    _encoders,
    _protocols,
    _webcams,
    examine_weights,
    _detectors,
    examine_backends,
    _sharing,
)
"""Each gives the findings of one topic."""


def _ok(topic: str, name: str, fact: str) -> Finding:
    return Finding(topic=topic, name=name, verdict="ok", fact=fact)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_mebibytes() -> tuple[int, int]:
    """In all, and available."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_PHYS_PAGES") * page >> 20, os.sysconf("SC_AVPHYS_PAGES") * page >> 20
