"""Two processes that share each batch train as one process does with all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
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


def start_two(settings: TrainSettings, folder: Path) -> list[subprocess.Popen[str]]:
    """Two processes with the environment that torchrun gives them."""
    (folder / "config.yaml").write_text(to_yaml(settings), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from trainer.cli import main; main()", "fit", "config.yaml", "-o", "two"]
    shared = {
        "PYTHONPATH": str(CODE),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize("kind", ["wasserstein", "non-saturating"])
def test_two_processes_equal_one_with_the_joint_batch(tmp_path: Path, small_settings: TrainSettings, kind: str) -> None:
    logger.remove()
    # A large epsilon makes Adam a smooth function of the gradients, so that rounding stays as small as it is.
    settings = msgspec.structs.replace(
        small_settings,
        loss=LossSettings(kind="wasserstein" if kind == "wasserstein" else "non-saturating", penalty_every=2, reconstruction=1.0),
        optimizer=msgspec.structs.replace(small_settings.optimizer, epsilon=0.1),
        run=msgspec.structs.replace(small_settings.run, total_images=48),
    )
    alone = Run(settings, tmp_path / "one")
    alone.train()
    for process in start_two(settings, tmp_path):
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert len(list_checkpoints(tmp_path / "two" / "checkpoints")) == 1
    together = load_newest(tmp_path / "two" / "checkpoints")
    assert together["images_seen"] == 48
    for network in ("generator", "discriminator", "average"):
        for name, value in alone.networks.state()[network].items():
            assert torch.allclose(value, together[network][name], atol=2e-5), f"{network} {name}"


def test_a_signal_to_one_process_stops_both_with_one_checkpoint(tmp_path: Path, small_settings: TrainSettings) -> None:
    endless = msgspec.structs.replace(small_settings, run=msgspec.structs.replace(small_settings.run, total_images=10**9))
    processes = start_two(endless, tmp_path)
    assert processes[0].stderr is not None
    for line in processes[0].stderr:
        if " images, " in line:
            break
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=120)
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
