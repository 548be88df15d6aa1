"""What the doctor says is tried on this very machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models import weights
from models.backends import BACKENDS, InferenceBackend
from streamer import doctor
from streamer.cli import main
from streamer.doctor import examine
from streamer.encoders import ENCODERS
from streamer.errors import ExitCode


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_every_topic_is_examined() -> None:
    findings = examine()

    assert {finding.topic for finding in findings} == {
        "machine",
        "versions",
        "encoders",
        "protocols",
        "cameras",
        "weights",
        "detectors",
        "backends",
        "sharing",
    }
    assert {finding.name for finding in findings if finding.topic == "encoders"} == set(ENCODERS)
    named = {finding.name: finding for finding in findings}
    assert named["h264"].verdict == "ok"
    assert named["file"].verdict == "ok"
    assert named["rtsp"].verdict == "ok"


def test_a_machine_that_works_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == ExitCode.DONE

    shown = capsys.readouterr().out
    assert "Veil works on this machine." in shown
    assert "verified" in shown


def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == ExitCode.DONE

    facts = json.loads(capsys.readouterr().out)
    assert facts["is_working"] is True
    assert all(finding.keys() == {"topic", "name", "verdict", "fact"} for finding in facts["findings"])


@pytest.mark.parametrize("kind", ["damaged", "missing", "no manifest"])
def test_weights_that_cannot_be_used_are_found(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "pretrained"
    shutil.copytree(weights.PRETRAINED, folder)
    if kind == "damaged":
        with (folder / "centerface.onnx").open("r+b") as file:
            file.seek(1000)
            file.write(b"\0\1\2\3")
    else:
        (folder / ("centerface.onnx" if kind == "missing" else weights.MANIFEST)).unlink()

    (finding,) = [finding for finding in doctor.examine_weights(folder) if finding.verdict == "broken"]

    assert str(folder) in finding.fact
    assert "install the package again" in finding.fact


def broken(network: bytes, *, threads: int, precision: str) -> InferenceBackend:
    raise RuntimeError("no such device\nat length")


@pytest.mark.parametrize(("name", "verdict"), [("cpu", "broken"), ("openvino", "missing")])
def test_only_the_processor_is_needed_of_the_backends(name: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = BACKENDS[name]._replace(factory=f"{__name__}:broken", packages=())
    monkeypatch.setitem(BACKENDS, name, row)
    found = {finding.name: finding for finding in doctor.examine_backends()}
    assert (found[name].verdict, found[name].fact) == (verdict, "does not work (no such device)")


def test_a_backend_that_is_not_installed_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "openvino", BACKENDS["openvino"]._replace(packages=("no_such_package",)))
    found = {finding.name: finding for finding in doctor.examine_backends()}
    assert found.keys() == {*BACKENDS, "auto"}
    assert found["openvino"].verdict == "missing"
    assert found["openvino"].fact == "no_such_package not installed (pip install 'veilstream[openvino]')"
    assert found["auto"].fact in ("is cpu", "is tensorrt")
