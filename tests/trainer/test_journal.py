"""What a run says of itself: JSON lines, plain messages with the time left, TensorBoard."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import torch
from loguru import logger
from tensorboardX.proto.event_pb2 import Event

from trainer.config import TrainSettings
from trainer.journal import Journal, Progress
from trainer.loop import Run
from trainer.schedule import Stage

STAGE = Stage(resolution=8, alpha=1.0, batch=4, images_into_phase=0)


def progress(images_seen: int) -> Progress:
    return Progress(images_seen=images_seen, total_images=1000, seconds=9.0, steps_skipped=1, unreadable=2)


def events(folder: Path) -> list[Event]:
    """Every event in every file of a TensorBoard folder; each is preceded by its length and a checksum, and followed by another."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_a_line_holds_means_speed_and_the_time_left(tmp_path: Path) -> None:
    lines: list[str] = []
    logger.remove()
    logger.add(lambda line: lines.append(str(line)), format="{message}")
    journal = Journal(tmp_path)
    for value in (1.0, 2.0):
        journal.add({"loss": torch.tensor(value)}, images=100, seconds=10.0)
    journal.add({"penalty": torch.tensor(4.0)}, images=0, seconds=0.0)
    journal.write(progress(200), STAGE)
    journal.close()
    logger.remove()
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"images_seen": 200, "images_per_s": 10.0, "loss": 1.5, "penalty": 4.0, "unreadable": 2}.items() <= line.items()
    assert lines == ["200 images, 8 px, alpha 1.00, 10.0 images/s, 0:01:20 left, {'loss': 1.5, 'penalty': 4.0}\n"]
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_is_given_scalars_and_pictures(tmp_path: Path) -> None:
    logger.remove()
    journal = Journal(tmp_path, with_tensorboard=True)
    journal.add({"loss": torch.tensor(0.5)}, images=100, seconds=10.0)
    journal.write(progress(200), STAGE)
    journal.show("samples", np.full((6, 9, 3), 200, np.uint8), 200)
    journal.close()
    values = {value.tag: (event.step, value) for event in events(tmp_path / "tensorboard") for value in event.summary.value}
    assert values["loss"][0] == values["samples"][0] == 200
    assert values["loss"][1].simple_value == 0.5
    assert values["images_per_s"][1].simple_value == 10.0
    assert (values["samples"][1].image.height, values["samples"][1].image.width) == (6, 9)


def test_a_run_fills_tensorboard_and_a_resumed_one_takes_back_what_it_will_say_again(
    tmp_path: Path, small_settings: TrainSettings
) -> None:
    logger.remove()
    run = msgspec.structs.replace(
        small_settings.run, tensorboard=True, total_images=40, log_every_images=8, samples_every_images=16
    )
    settings = msgspec.structs.replace(small_settings, run=run)
    Run(settings, tmp_path).train(lambda run: run.stop() if run.images_seen >= 24 else None)
    Run(settings, tmp_path, resume=True).train()
    found = events(tmp_path / "tensorboard")
    losses = [event.step for event in found for value in event.summary.value if value.tag == "loss_generator"]
    pictures = [event.step for event in found for value in event.summary.value if value.tag == "samples"]
    assert losses == [8, 16, 24, 32, 40]
    assert pictures == [16, 32]
    assert [event.step for event in found if event.session_log.status == 1] == [25]
