"""Two processes that share each batch train as one process does with all of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from loguru import logger

from trainer.checkpoint import list_checkpoints, load_newest
from trainer.config import LossSettings, TrainSettings, to_yaml
from trainer.loop import Run
from trainer.parallel import ParallelError, World

CODE = Path(__file__).parents[2]


DEADLINE_S = 240
"""For processes of a few seconds: far more than a busy machine needs."""


@contextlib.contextmanager
def two_processes(settings: TrainSettings, folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes with the environment that torchrun gives them; none is left over afterwards."""
    (folder / "config.yaml").write_text(to_yaml(settings), "utf-8")
    command = [sys.executable, "-c", "from trainer.cli import main; main()", "fit", "config.yaml", "-o", "two"]
    with socket.socket() as reserved, contextlib.ExitStack() as started:
        # Bound but not listening until the end: nobody else is given this port, and the first process may still take it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        shared = {
            "PYTHONPATH": str(CODE),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(reserved.getsockname()[1]),
            "OMP_NUM_THREADS": "1",
        }
        processes = []
        for rank in range(2):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
            started.callback(process.wait)
            started.callback(process.kill)
            processes.append(process)
        yield processes


KINDS = {
    "wasserstein": LossSettings(penalty_every=2, reconstruction=1.0),
    "non-saturating": LossSettings(
        kind="non-saturating", penalty_every=2, reconstruction=1.0, adaptive_target=0.05, adaptive_images=20.0
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_that_compute_in_parts_equal_one_with_the_joint_batch(
    tmp_path: Path, small_settings: TrainSettings, kind: str
) -> None:
    logger.remove()
    # A large epsilon makes Adam a smooth function of the gradients, so that rounding stays as small as it is.
    settings = msgspec.structs.replace(
        small_settings,
        loss=KINDS[kind],
        optimizer=msgspec.structs.replace(small_settings.optimizer, epsilon=0.1),
        run=msgspec.structs.replace(small_settings.run, total_images=64),
    )
    alone = Run(settings, tmp_path / "one")
    alone.train()
    assert alone.probability is None or alone.probability.value > 0
    in_parts = msgspec.structs.replace(settings, optimizer=msgspec.structs.replace(settings.optimizer, accumulate=2))
    with two_processes(in_parts, tmp_path) as processes:
        for process in processes:
            _, errors = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, errors
    assert len(list_checkpoints(tmp_path / "two" / "checkpoints")) == 1
    together = load_newest(tmp_path / "two" / "checkpoints")
    assert together["images_seen"] == 64
    if alone.probability is not None:
        assert together["adaptive"]["value"] == alone.probability.value
    for network in ("generator", "discriminator", "average"):
        for name, value in alone.networks.state()[network].items():
            assert torch.allclose(value, together[network][name], atol=2e-5), f"{network} {name}"


def test_a_signal_to_one_process_stops_both_with_one_checkpoint(tmp_path: Path, small_settings: TrainSettings) -> None:
    endless = msgspec.structs.replace(small_settings, run=msgspec.structs.replace(small_settings.run, total_images=10**9))
    with two_processes(endless, tmp_path) as processes:
        assert processes[0].stderr is not None
        for line in processes[0].stderr:
            if " images, " in line:
                break
        processes[1].send_signal(signal.SIGTERM)
        for process in processes:
            process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 130
    assert len(list_checkpoints(tmp_path / "two" / "checkpoints")) == 1


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path, small_settings: TrainSettings) -> None:
    with pytest.raises(ParallelError, match="batch of 8 cannot be shared evenly by 3"):
        Run(small_settings, tmp_path, world=World(rank=0, size=3))


def test_the_parts_of_all_processes_are_the_whole_batch() -> None:
    worlds = [World(rank=rank, size=4) for rank in range(4)]
    positions = [list(world.positions(40, 8)) for world in worlds]
    assert sorted(position for part in positions for position in part) == list(range(40, 48))
    noise = torch.arange(8)
    for world, part in zip(worlds, positions, strict=True):
        assert (world.part(noise) + 40).tolist() == part
