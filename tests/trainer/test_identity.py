"""What the recogniser of training is shown, and what a face costs that it recognises."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import cast

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import geometry
from models.faces import KEYPOINT_NAMES
from tests.trainer.published_recognizers import published
from trainer import identity
from trainer.config import LossSettings, TrainSettings
from trainer.identity import WOBBLE, Attacker, chip_grid, is_alignable
from trainer.import_recognizer import arrays_of, dlib_layers, faceres_layers
from trainer.loop import Run
from trainer.losses import identity_loss
from trainer.recognizers import FORMAT, RECOGNIZERS, load_recognizer
from trainer.task import Task

KIND = RECOGNIZERS["faceres"]
ALIGNED, CHIP_PX = KIND.aligned, KIND.chip_px


def keypoints_at(place: dict[str, tuple[float, float]]) -> Tensor:
    """One face, (1, 14); what is not named is absent."""
    absent = (geometry.ABSENT, geometry.ABSENT)
    return torch.tensor([[value for name in KEYPOINT_NAMES for value in place.get(name, absent)]])


def turned(x: float, y: float) -> tuple[float, float]:
    """A chip's places in a picture: half as large, turned by a quarter (right is down), moved."""
    return 0.8 - 0.5 * y, 0.2 + 0.5 * x


def test_a_chip_shows_eyes_and_nose_where_they_belong_however_the_face_lies() -> None:
    keypoints = keypoints_at({name: turned(*place) for name, place in ALIGNED.items()})
    grid = (chip_grid(keypoints, KIND)[0] + 1) / 2
    for row, column in ((0, 0), (40, 110), (CHIP_PX - 1, CHIP_PX - 1)):
        centre = ((column + 0.5) / CHIP_PX, (row + 0.5) / CHIP_PX)
        assert grid[row, column].tolist() == pytest.approx(turned(*centre), abs=1e-5)


def test_a_wobble_moves_the_chip_by_its_own_measures() -> None:
    keypoints = keypoints_at({name: turned(*place) for name, place in ALIGNED.items()})
    straight = chip_grid(keypoints, KIND, torch.zeros(1, WOBBLE))
    assert torch.allclose(straight, chip_grid(keypoints, KIND), atol=1e-6)
    shifted = chip_grid(keypoints, KIND, torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]]))
    # A chip's right is the picture's down; the grid counts from -1 to 1.
    assert (shifted - straight)[0, 3, 7].tolist() == pytest.approx([0.0, 2 * 0.5 * identity.SHIFT], abs=1e-6)
    half = chip_grid(keypoints, KIND, torch.tensor([[0.5, 0, 0, 0, 0, 0, 0]]))
    assert torch.allclose(half - straight, (shifted - straight) / 8, atol=1e-6)
    larger = chip_grid(keypoints, KIND, torch.tensor([[0, 0, 1.0, 0, 0, 0, 0]]))
    side = (straight[0, 0, -1] - straight[0, 0, 0]).norm()
    assert float((larger[0, 0, -1] - larger[0, 0, 0]).norm() / side) == pytest.approx(math.exp(identity.SIZE), abs=1e-5)


def test_eyes_in_one_place_give_a_chip_of_bounded_size() -> None:
    keypoints = keypoints_at(dict.fromkeys(ALIGNED, (0.5, 0.5)))
    grid = chip_grid(keypoints, KIND)
    assert torch.isfinite(grid).all()
    edge = float((grid[0, 0, -1] - grid[0, 0, 0]).norm()) / 2 * CHIP_PX / (CHIP_PX - 1)
    assert 0.0 <= edge <= identity.LARGEST_SIDE


def test_a_face_without_an_eye_cannot_be_aligned() -> None:
    whole = {name: turned(*place) for name, place in ALIGNED.items()}
    keypoints = torch.cat((keypoints_at(whole), keypoints_at({**whole, "left_eye": (geometry.ABSENT, 0.3)})))
    assert is_alignable(keypoints).tolist() == [True, False]


def test_a_softened_picture_is_blurred_by_1_2_1() -> None:
    image = torch.zeros(1, 3, 5, 5)
    image[:, :, 2, 2] = 16
    soft = identity._softened(image.expand(3, -1, -1, -1), torch.tensor([0.0, 0.5, 1.0]))
    assert soft[2, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert soft[1, 0, 2].tolist() == [0, 1, 10, 1, 0]
    assert torch.equal(soft[0], image[0])


def test_half_of_the_looks_see_no_colour() -> None:
    image = torch.tensor([0.5, -0.5, 0.25])[:, None, None].expand(4, 3, 2, 2)
    looks = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [0.0, 0.0], [0.9, 1.0]])
    seen = identity._relit(image, looks)[:, :, 1, 1]
    grey = 0.299 * 0.5 - 0.587 * 0.5 + 0.114 * 0.25
    assert torch.equal(seen[0], image[0, :, 1, 1])
    assert seen[1].tolist() == pytest.approx([(0.5 + grey) / 2, (grey - 0.5) / 2, (0.25 + grey) / 2])
    assert seen[2].tolist() == pytest.approx([grey] * 3)
    assert seen[3].tolist() == pytest.approx([(grey + 1) * math.exp(identity.BRIGHTNESS) - 1] * 3)


class Told:
    """An attacker that says what it was told to say, in order."""

    name = "told"

    def __init__(self, *descriptors: list[list[float]]) -> None:
        self._left = [torch.tensor(each) for each in descriptors]

    def embed(self, images: Tensor, keypoints: Tensor, wobble: Tensor | None = None) -> Tensor:
        assert len(images) == len(keypoints) == len(self._left[0])
        return self._left.pop(0)


def pair_of(keypoints: Tensor) -> Task:
    """A task of one picture and its repetition, in which only keypoints matter."""
    images = torch.zeros(len(keypoints), 3, 8, 8)
    return Task(real=images, condition=images, hidden=images[:, :1], keypoints=keypoints, alpha=1.0, has_mask=True)


X, Y, DIAGONAL = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
"""Descriptors: their squared distances are 2 from X to Y, 0.8 from X and 0.4 from Y to DIAGONAL."""


def identity_settings(**values: object) -> LossSettings:
    return msgspec.convert({"kind": "non-saturating", "identity_weights": ["none"], **values}, LossSettings)


def test_a_face_costs_the_square_of_what_the_original_is_too_near() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.3, diversity_identity=5.0, diversity_identity_target=1.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(4, 1))
    # Originals X and Y; with the first noise the first face is its original's, the second lies between both, nearer to its own;
    # with the second noise each face is the other one's.
    attacker = cast(Attacker, Told([X, Y], [X, DIAGONAL, Y, X]))
    loss, values = identity_loss(settings, [attacker], task, task.real, None)
    missing = [(0.3 + 2.0 - 0.0) ** 2, (0.3 + 0.8 - 0.4) ** 2, 0.0, 0.0]
    too_alike = [0.0, (1.0 - 0.8) ** 2]
    assert float(loss) == pytest.approx(10 * sum(missing) / 4 + 5 * sum(too_alike) / 2, rel=1e-5)
    assert float(values["own_told"]) == pytest.approx((0 + 0.4 + 2 + 2) / 4)
    assert float(values["others_told"]) == pytest.approx((2 + 0.8 + 0 + 0) / 4)
    assert float(values["spread_told"]) == pytest.approx((2 + 0.8) / 2)


def test_the_mean_over_all_attackers_counts() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(2, 1))
    sees, blind = Told([X, Y], [X, Y]), Told([X, Y], [Y, X])
    sees.name = "other"
    loss, values = identity_loss(settings, cast(list[Attacker], [sees, blind]), task, task.real, None)
    assert float(loss) == pytest.approx(10 * (2.0**2 + 0) / 2)
    assert (float(values["own_other"]), float(values["own_told"])) == (0.0, 2.0)


def test_what_resembles_nobody_gains_nothing_by_it() -> None:
    settings = identity_settings(identity=1.0, identity_margin=0.0)
    task = pair_of(keypoints_at(ALIGNED).repeat(2, 1))
    losses = []
    for face in ([0.0, 0.0, 1.0], [0.6, 0.0, 0.8]):
        attacker = cast(Attacker, Told([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [face, face]))
        losses.append(float(identity_loss(settings, [attacker], task, task.real, None)[0]))
    assert losses == [0.0, 0.0]


def test_both_faces_of_a_pair_are_looked_at_as_the_original_is() -> None:
    class Noting(Told):
        def embed(self, images: Tensor, keypoints: Tensor, wobble: Tensor | None = None) -> Tensor:
            assert wobble is not None
            looks.append(wobble)
            return super().embed(images, keypoints, wobble)

    looks: list[Tensor] = []
    wobble = torch.rand((4, WOBBLE))
    task = pair_of(keypoints_at(ALIGNED).repeat(4, 1))
    attacker = cast(Attacker, Noting([X, Y], [X, Y, Y, X]))
    identity_loss(identity_settings(identity=1.0, diversity_identity=1.0), [attacker], task, task.real, wobble)
    assert torch.equal(looks[0], wobble[:2])
    assert torch.equal(looks[1], wobble[:2].repeat(2, 1))


def test_faces_that_cannot_be_aligned_count_for_nothing() -> None:
    settings = identity_settings(identity=10.0, identity_margin=0.0)
    keypoints = torch.cat((keypoints_at(ALIGNED), keypoints_at({}), keypoints_at(ALIGNED)))
    attacker = cast(Attacker, Told([X, Y, Y], [X, X, X]))
    loss, values = identity_loss(settings, [attacker], pair_of(keypoints), torch.zeros(3, 3, 8, 8), None)
    assert float(values["own_told"]) == pytest.approx((0 + 2) / 2)
    assert float(values["others_told"]) == pytest.approx((2 + 0) / 2)
    assert float(loss) == pytest.approx(10 * (2**2 + 0) / 2)
    # One face alone has nobody to be compared with.
    lonely = cast(Attacker, Told([X], [X]))
    assert float(identity_loss(settings, [lonely], pair_of(keypoints_at(ALIGNED)), torch.zeros(1, 3, 8, 8), None)[0]) == 0.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Files of recognisers that have learned nothing."""
    folder = tmp_path_factory.mktemp("recognizers")
    for name, layers in (("faceres", faceres_layers), ("dlib", dlib_layers)):
        manifest, content, _ = published(name)
        save_file(layers(arrays_of(manifest, content)), folder / name, {"format": FORMAT, "network": name})
    return str(folder / "faceres"), str(folder / "dlib")


@pytest.mark.parametrize(("number", "length"), [(0, 1024), (1, 128)])
def test_the_gradient_leads_away_from_the_original(weights: tuple[str, ...], number: int, length: int) -> None:
    attacker = Attacker(*load_recognizer(Path(weights[number])))
    random = torch.Generator().manual_seed(3)
    real = torch.rand((1, 3, 32, 32), generator=random) * 2 - 1
    keypoints = keypoints_at(ALIGNED)
    original = attacker.embed(real, keypoints)
    assert original.shape == (1, length)
    fake = (real + 0.05 * torch.randn(real.shape, generator=random)).requires_grad_()
    before = (attacker.embed(fake, keypoints) - original).norm()
    (slope,) = torch.autograd.grad(before, fake)
    after = (attacker.embed(fake + 0.05 * slope.sign(), keypoints) - original).norm()
    assert float(after.detach()) > 1.01 * float(before.detach()) > 0


def test_a_run_takes_recognisers_and_logs_what_they_say(
    tmp_path: Path, small_settings: TrainSettings, weights: tuple[str, ...]
) -> None:
    loss = msgspec.structs.replace(
        small_settings.loss, identity=1.0, diversity_identity=1.0, identity_weights=weights, diversity=0.0
    )
    limits = msgspec.structs.replace(small_settings.run, total_images=8, log_every_images=8)
    settings = msgspec.structs.replace(small_settings, loss=loss, run=limits)
    Run(settings, tmp_path).train()
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(line[f"{what}_{name}"] > 0 for what in ("own", "others", "spread") for name in ("faceres", "dlib"))


def test_identity_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\.identity_weights: see veil-train import-recognizer"):
        LossSettings(identity=1.0)
