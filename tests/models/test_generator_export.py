"""Export: ONNX says what torch says, with a refiner and without, at any batch size, and what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models.backends.torch_networks import read_network
from models.face_generator import resolution_of
from models.generator import Generator, GeneratorArchitecture, paper_architecture
from models.generator_export import export_onnx
from models.generator_weights import Provenance
from models.refiner import RefinedGenerator, Refiner, RefinerArchitecture

PROVENANCE = Provenance(training_data="eight faces", terms="none", images_seen=8)
MASKED = GeneratorArchitecture(resolution=16, widths=(16, 12, 8), epsilon=1e-6, has_mask=True)
REFINER = RefinerArchitecture(width=6, blocks=2)


class Exported(NamedTuple):
    """A network in torch, and the same as an ONNX file in ONNX Runtime."""

    network: Generator | RefinedGenerator
    path: Path
    session: onnxruntime.InferenceSession

    @property
    def generator(self) -> Generator:
        return self.network if isinstance(self.network, Generator) else self.network.generator

    @property
    def resolution(self) -> int:
        return 16 if isinstance(self.network, Generator) else 32


def trained(refiner: Refiner) -> Refiner:
    """With other last weights than zeros, as after training."""
    nn.init.normal_(refiner.leave.weight)
    return refiner


@pytest.fixture(
    scope="module",
    params=[(MASKED, None), (MASKED, REFINER), (paper_architecture(32, resolution=16), None)],
    ids=["masked", "refined", "paper"],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(0)
    generator = Generator(request.param[0]).eval()
    refiner = None if request.param[1] is None else trained(Refiner(request.param[1])).eval()
    network = generator if refiner is None else RefinedGenerator(generator, refiner).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("export") / "g.onnx"
    export_onnx(path, generator, PROVENANCE, refiner)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    return Exported(network, path, onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))


def some_inputs(exported: Exported, batch: int) -> dict[str, torch.Tensor]:
    random, side = torch.Generator().manual_seed(batch), exported.resolution
    values = {
        "image": torch.rand((batch, 3, side, side), generator=random) * 2 - 1,
        "keypoints": torch.rand((batch, 14), generator=random) * 1.4 - 0.2,
        "noise": torch.randn((batch, 32, 4, 4), generator=random),
    }
    if exported.generator.architecture.has_mask:
        values["mask"] = (torch.rand((batch, 1, side, side), generator=random) > 0.5).float()
    return values


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_onnx_paints_what_torch_paints_at_any_batch_size(exported: Exported, batch: int) -> None:
    values = some_inputs(exported, batch)
    with torch.no_grad():
        expected = exported.network(*values.values())
    (painted,) = exported.session.run(None, {name: value.numpy() for name, value in values.items()})
    assert painted.shape[-1] == exported.resolution
    assert np.abs(painted - expected.numpy()).max() < 1e-4


def test_a_refined_generator_can_be_read_into_torch_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator, refiner = Generator(MASKED).eval(), trained(Refiner(REFINER)).eval()
    for name, value in (*generator.named_parameters(), *refiner.named_parameters()):
        if name.endswith("bias"):
            nn.init.normal_(value)  # equal weights, such as zeros, would be one in the file
    export_onnx(tmp_path / "g.onnx", generator, PROVENANCE, refiner)

    again = read_network((tmp_path / "g.onnx").read_bytes())

    network = RefinedGenerator(generator, refiner).eval()
    values = some_inputs(Exported(network, tmp_path, None), 2).values()  # type: ignore[arg-type]
    with torch.no_grad():
        assert (again.module(*values) - network(*values)).abs().max() < 1e-4


def test_onnx_of_all_zeros_is_finite(exported: Exported) -> None:
    """Zeros everywhere reach every pixel norm as zeros while the biases are zero, as they are in a new network."""
    zeros = {node.name: np.zeros([1, *node.shape[1:]], np.float32) for node in exported.session.get_inputs()}
    assert np.isfinite(exported.session.run(None, zeros)[0]).all()


def test_the_onnx_file_says_what_it_is(exported: Exported) -> None:
    described = exported.session.get_modelmeta().custom_metadata_map
    fields = json.loads(described["architecture"])
    assert GeneratorArchitecture(**{**fields, "widths": tuple(fields["widths"])}) == exported.generator.architecture
    assert json.loads(described["provenance"])["terms"] == "none"
    assert resolution_of(described) == exported.resolution
    assert json.loads(described.get("refiner", "null")) == ({"width": 6, "blocks": 2} if exported.resolution == 32 else None)
