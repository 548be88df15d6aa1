"""Configuration files: the shipped ones load, wrong ones name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.discriminator import paper_discriminator
from models.generator import Generator, paper_architecture
from models.refiner import FACTOR, RefinedGenerator, Refiner, RefinerArchitecture
from trainer.config import ConfigError, TrainSettings, load_config, to_yaml
from trainer.keypoint_config import load_keypoint_config
from trainer.refiner_config import load_refiner_config

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("train-*.yaml"))
LOADERS = {"train-keypoints.yaml": load_keypoint_config, "train-refiner.yaml": load_refiner_config}


def test_configurations_ship() -> None:
    names = {"train-default.yaml", "train-fdf128.yaml", "train-keypoints.yaml", "train-refiner.yaml"}
    assert names <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_shipped_file_loads(path: Path) -> None:
    settings = LOADERS.get(path.name, load_config)(path)
    assert settings.run.terms != "unknown"


def test_the_papers_configuration_asks_for_the_papers_networks() -> None:
    settings = load_config(CONFIGS / "train-fdf128.yaml")
    assert settings.network.generator(128) == paper_architecture(256)
    assert settings.network.discriminator(128) == paper_discriminator(256)


def test_settings_survive_being_written(tmp_path: Path, small_settings: TrainSettings) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(small_settings), "utf-8")
    assert load_config(tmp_path / "config.yaml") == small_settings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("has_mask: true", "has_masks: true", r"has_masks.*\$\.network"),
        ("total_images: 600000", "total_images: none", r"\$\.run\.total_images"),
        ("kind: labels", "kind: lables", r"\$\.data\.kind"),
        ("learning_rate: 0.003", "learning_rate: 0", r"\$\.optimizer\.learning_rate"),
        ("resolution: 32", "resolution: 64", "twice the one before"),
        ("generator_widths: [128, 128, 96, 48, 24]", "generator_widths: [128, 128]", "widths are needed"),
        ("run:", "run: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (CONFIGS / "train-default.yaml").read_text("utf-8")
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_the_default_networks_are_small_enough_for_a_cpu() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    settings = load_config(CONFIGS / "train-default.yaml")
    shape = load_refiner_config(CONFIGS / "train-refiner.yaml").network
    coarse = settings.phases[-1].resolution
    size = FACTOR * coarse
    with torch.device("meta"):
        refiner = Refiner(RefinerArchitecture(width=shape.width, blocks=shape.blocks))
        network = RefinedGenerator(Generator(settings.network.generator(coarse)), refiner)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, size, size), torch.zeros(1, 14), torch.zeros(1, 32, 4, 4), torch.zeros(1, 1, size, size))
    assert counter.get_total_flops() <= 2.5e9
