"""The systemd unit and its drop-ins, as systemd's own checker sees them; nothing is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.streamer.running import REPOSITORY

UNIT = REPOSITORY / "systemd" / "veil.service"
DROP_INS = sorted((REPOSITORY / "systemd" / "drop-ins").glob("*.conf"))
SYSTEM_UNITS = Path("/usr/lib/systemd/system")
PROGRAMS = ("/opt/veil/bin/veil", "/bin/kill")

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(), reason="systemd-analyze is missing: apt install systemd"
)


class Machine:
    """A folder that systemd-analyze takes for a machine with Veil installed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(SYSTEM_UNITS, root / "usr/lib/systemd/system", symlinks=True)
        for program in PROGRAMS:
            place = root / program[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("#!/bin/sh\n")
            place.chmod(0o755)
        self.units = root / "etc/systemd/system"
        self.units.mkdir(parents=True)
        self.install(UNIT.read_text())

    def install(self, unit: str, drop_ins: Sequence[Path] = ()) -> None:
        (self.units / "veil.service").write_text(unit)
        place = self.units / "veil.service.d"
        place.mkdir(exist_ok=True)
        for drop_in in drop_ins:
            shutil.copy(drop_in, place)

    def verify(self) -> str:
        """What `systemd-analyze verify` complains about: it ends well in spite of unknown keys, and only prints them."""
        done = self._analyze("--man=no", "verify", "veil.service")
        return done.stderr + done.stdout + ("" if done.returncode == 0 else f"exit code {done.returncode}\n")

    def exposure(self) -> float:
        """From 0 (nothing) to 10."""
        done = self._analyze("security", "--offline=true", "--no-pager", "veil.service")
        return float(done.stdout.partition("Overall exposure level for veil.service:")[2].split()[0])

    def is_exposed_at_most(self, exposure: float) -> bool:
        threshold = f"--threshold={exposure * 10:.0f}"
        return self._analyze("security", "--offline=true", "--no-pager", threshold, "veil.service").returncode == 0

    def _analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", f"--root={self.root}", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_systemd_has_nothing_to_say_against_the_unit(machine: Machine) -> None:
    assert machine.verify() == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("WatchdogSec=", "WatchdogSeconds="),
        ("KillMode=mixed", "KillMode=gentle"),
        ("@system-service", "@everything"),
        ("/opt/", "/opd/"),
    ],
)
def test_a_slip_in_the_unit_is_found(right: str, wrong: str, machine: Machine) -> None:
    text = UNIT.read_text()
    assert right in text
    machine.install(text.replace(right, wrong))
    assert machine.verify() != ""


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_has_nothing_to_say_against_a_drop_in(drop_in: Path, machine: Machine) -> None:
    machine.install(UNIT.read_text(), [drop_in])
    assert machine.verify() == ""


def test_the_drop_ins_go_together(machine: Machine) -> None:
    machine.install(UNIT.read_text(), DROP_INS)
    assert machine.verify() == ""


def test_the_unit_exposes_little(machine: Machine) -> None:
    assert machine.is_exposed_at_most(1.5)
    assert machine.exposure() <= 1.5
    machine.install("[Service]\nExecStart=/opt/veil/bin/veil serve /etc/veil/stream.yaml\n")
    assert not machine.is_exposed_at_most(9)


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_opens_no_more_than_it_must(drop_in: Path, machine: Machine) -> None:
    machine.install(UNIT.read_text(), [drop_in])
    assert machine.exposure() <= 1.5


def test_the_unit_does_not_wait_for_the_network_to_be_online() -> None:
    orders = [line for line in UNIT.read_text().splitlines() if line.startswith(("After=", "Wants=", "Requires="))]
    assert orders
    assert not any("network-online" in line for line in orders)


def test_pictures_of_faces_are_kept_from_the_disk() -> None:
    lines = UNIT.read_text().splitlines()
    assert "LimitCORE=1" in lines  # at 0, a collector of cores would still be given one
    assert "MemorySwapMax=0" in lines
    assert "TMPDIR=/run/veil" in next(line for line in lines if line.startswith("Environment="))
