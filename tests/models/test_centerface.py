"""The network in torch and the file that ships are the same function."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from models.backends import open_backend
from models.centerface import HIDDEN_CHANNELS, CenterFace, InvertedResidual, PictureInput, without_silent_channels
from models.weights import read_weights

WEIGHTS = "centerface.onnx"


def shipped_network() -> CenterFace:
    """The network in torch with the weights of the shipped file, whose tensors keep the names of the state."""
    tensors = {value.name: numpy_helper.to_array(value) for value in onnx.load_from_string(read_weights(WEIGHTS)).graph.initializer}
    state = {name.removeprefix("network."): torch.tensor(value) for name, value in tensors.items() if name.startswith("network.")}
    network = CenterFace([len(value) for name, value in state.items() if name.endswith("depthwise.weight")])
    network.load_state_dict(state)
    return network.eval()


def pictures(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).integers(0, 256, (2, height // 8, width // 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(each, (width, height)) for each in noise]).astype(np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (192, 96)])
def test_torch_and_the_shipped_file_agree(size: tuple[int, int]) -> None:
    batch = pictures(*size)
    with torch.no_grad():
        expected = PictureInput(shipped_network())(torch.from_numpy(batch)).numpy()
    (maps,) = open_backend("cpu", WEIGHTS).run([batch])
    assert maps.shape == expected.shape == (2, 15, size[0] // 4, size[1] // 4)
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    assert expected.std() > 0.1


def test_the_published_width_of_every_block_is_known() -> None:
    network = CenterFace()
    assert tuple(block.depthwise.out_channels for block in network.blocks()) == HIDDEN_CHANNELS


def silence(block: InvertedResidual, channels: list[int]) -> None:
    assert block.expand is not None
    with torch.no_grad():
        block.expand.weight[channels] *= 1e-9


def test_removing_silent_channels_changes_no_output() -> None:
    torch.manual_seed(0)
    network = CenterFace().eval()
    silenced = list(network.blocks())[3]
    silence(silenced, list(range(5, 22)))
    smaller = without_silent_channels(network)
    assert list(smaller.blocks())[3].depthwise.out_channels == HIDDEN_CHANNELS[3] - 16
    picture = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before, after = network(picture), smaller(picture)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(after[inner], before[inner], atol=2e-3, rtol=2e-3)


def test_a_network_without_silent_channels_stays_as_it_is() -> None:
    torch.manual_seed(0)
    network = CenterFace()
    smaller = without_silent_channels(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, smaller.state_dict()[name])
