"""Weights on disk: what is written is read back, damage is one clear error, published files are imported, ONNX says what torch
says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.generator import Generator, GeneratorArchitecture, paper_architecture
from models.generator_weights import (
    PUBLISHED_TERMS,
    Provenance,
    load_generator,
    read_published,
    rename_published,
    save_generator,
)
from models.weights import WeightsError, read_manifest, read_weights
from tests.models.parity import FOLDER, needs_recordings, recorded

PROVENANCE = Provenance(training_data="eight faces", terms="none", images_seen=8)
MASKED = GeneratorArchitecture(resolution=16, widths=(16, 12, 8), epsilon=1e-6, has_mask=True)
PAPER = GeneratorArchitecture(resolution=16, widths=(16, 12, 8))


def version_1_names(network: Generator) -> dict[str, torch.Tensor]:
    """The weights of a faded-in 32 pixel network in the published layout of version 1, written out."""
    names = {
        "from_rgb.conv": "from_rgb_new.0",
        "to_rgb": "to_rgb_new",
        "encoder.32.first.conv": "new_down.0.model.0.0",
        "encoder.32.second.conv": "new_down.0.model.1.0",
        "encoder.16.first.conv": "core_blocks_down.0.0.model.0.0",
        "encoder.16.second.conv": "core_blocks_down.0.0.model.1.0",
        "encoder.8.first.conv": "core_blocks_down.1.1.model.0.0",
        "encoder.8.second.conv": "core_blocks_down.1.1.model.1.0",
        "encoder.4.first.conv": "core_blocks_down.2.1.0.0",
        "encoder.4.second.conv": "core_blocks_down.2.1.1.0",
        "decoder.4.merge.conv": "core_blocks_up.0.0.0.0",
        "decoder.4.first.conv": "core_blocks_up.0.0.1.model.0.0",
        "decoder.4.second.conv": "core_blocks_up.0.0.1.model.1.0",
        "decoder.8.merge.conv": "core_blocks_up.1.0.0",
        "decoder.8.first.conv": "core_blocks_up.1.1.model.0.0",
        "decoder.8.second.conv": "core_blocks_up.1.1.model.1.0",
        "decoder.16.merge.conv": "core_blocks_up.2.0.0",
        "decoder.16.first.conv": "core_blocks_up.2.1.model.0.0",
        "decoder.16.second.conv": "core_blocks_up.2.1.model.1.0",
        "decoder.32.merge.conv": "new_up.0.0",
        "decoder.32.first.conv": "new_up.1.model.0.0",
        "decoder.32.second.conv": "new_up.1.model.1.0",
    }
    result = {}
    for name, value in network.state_dict().items():
        owner, _, kind = name.rpartition(".")
        result[f"{names[owner]}.conv.weight" if kind == "weight" else f"{names[owner]}.bias"] = (
            value if kind == "weight" else value.reshape(1, -1, 1, 1)
        )
    return result


def version_2_names(network: Generator) -> dict[str, torch.Tensor]:
    """The weights of a network in the flat layout of version 2."""
    result = {}
    for name, value in network.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if owner.startswith(("encoder", "decoder")):
            side, size, layer, _ = owner.split(".")
            level = int(size).bit_length() - 3
            merge = f"skip_connection{level}.conv.layers.0" if level else "conv1x1.conv.0"
            order = {"merge": merge, "first": f"basic_block{level}.layers.0", "second": f"basic_block{level}.layers.3"}
            owner = f"{side}.{order[layer]}"
        elif owner == "from_rgb.conv":
            owner = "encoder.from_rgb.conv.0"
        result[f"{owner}.{kind}"] = value
    return result


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = Generator(MASKED, is_fading=True)
    save_generator(tmp_path / "g.safetensors", network, PROVENANCE)
    loaded, provenance = load_generator(tmp_path / "g.safetensors")
    assert provenance == PROVENANCE
    assert loaded.architecture == MASKED
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    assert not [path for path in tmp_path.iterdir() if path.name != "g.safetensors"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def replace_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def remove_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "damaged"),
        (flip_a_bit, "checksum"),
        (replace_with_noise, "damaged"),
        (remove_metadata, "not the weights of a generator"),
        (remove, "no such file"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(path, Generator(PAPER), PROVENANCE)
    damage(path)
    with pytest.raises(WeightsError, match=message) as error:
        load_generator(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_weights_that_do_not_fit_their_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(path, Generator(PAPER), PROVENANCE)
    content = path.read_bytes()
    path.write_bytes(content.replace(json.dumps("[16, 12, 8]")[1:-1].encode(), b"[16, 12, 9]"))
    with pytest.raises(WeightsError, match="do not fit"):
        load_generator(path)


@needs_recordings
def test_the_recorded_checkpoint_in_the_published_layout_is_imported(tmp_path: Path) -> None:
    network, provenance = read_published(FOLDER / "dp_v1_format_random_c32.ckpt")
    assert network.architecture == paper_architecture(32)
    assert provenance.terms == PUBLISHED_TERMS
    recording = {key.removeprefix("G/"): value for key, value in recorded("generator").items() if key.startswith("G/")}
    expected = rename_published(recording)
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name])
    save_generator(tmp_path / "g.safetensors", network, provenance)
    assert "non-commercial" in load_generator(tmp_path / "g.safetensors")[1].terms


@pytest.mark.parametrize("layout", [version_1_names, version_2_names])
def test_both_published_layouts_give_back_the_network(
    tmp_path: Path, layout: Callable[[Generator], dict[str, torch.Tensor]]
) -> None:
    network = Generator(paper_architecture(32, resolution=32))
    average = layout(network)
    wrapped = {"transition_step": 3, "transition_value": 1.0, "parameters": average} if layout is version_1_names else average
    torch.save({"running_average_generator": wrapped, "global_step": 123}, tmp_path / "step_123.ckpt")
    loaded, provenance = read_published(tmp_path / "step_123.ckpt")
    assert provenance.images_seen == 123
    assert loaded.architecture == network.architecture
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


class Malicious:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"running_average_generator": Malicious(tmp_path / "owned")}, path)
    with pytest.raises(WeightsError, match="more than weights"):
        read_published(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"step": 1},
        {"running_average_generator": {"parameters": {"core_blocks_up.0.x": torch.zeros(1)}}},
        {"running_average_generator": {"some.weight": torch.zeros(1)}},
        {"running_average_generator": {"some": 3}},
        [1, 2],
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="not a DeepPrivacy"):
        read_published(tmp_path / "other.ckpt")


def test_a_truncated_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    torch.save({"running_average_generator": version_2_names(Generator(PAPER))}, tmp_path / "t.ckpt")
    truncate(tmp_path / "t.ckpt")
    with pytest.raises(WeightsError, match="damaged"):
        read_published(tmp_path / "t.ckpt")


@pytest.mark.parametrize("name", sorted(read_manifest()))
def test_files_that_ship_tell_nothing_of_where_they_were_made(name: str) -> None:
    content = read_weights(name)
    assert b".py" not in content
    assert not re.search(rb"/(home|root|work|tmp|usr|Users)/", content)
