"""The layers against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from models import layers


def test_an_equalized_convolution_scales_its_weight_by_gain_over_fan_in() -> None:
    convolution = layers.EqualizedConv2d(5, 3, 3)
    values = torch.randn(2, 5, 8, 8)
    expected = functional.conv2d(values * math.sqrt(2 / 45), convolution.weight, convolution.bias, padding=1)
    assert torch.allclose(convolution(values), expected, atol=1e-6)


def test_folded_scales_leave_the_function_as_it_was() -> None:
    network = torch.nn.Sequential(layers.EqualizedConv2d(5, 4, 3), torch.nn.Flatten(), layers.EqualizedLinear(4 * 16, 2))
    values = torch.randn(3, 5, 4, 4)
    before = network(values)
    layers.fold_scales(network)
    assert torch.allclose(network(values), before, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pixel_norm_gives_every_pixel_unit_mean_square(dtype: torch.dtype) -> None:
    values = (torch.randn(2, 12, 4, 4) * 50).to(dtype)
    normed = layers.pixel_norm(values, 1e-8)
    assert normed.dtype == dtype
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
    assert torch.allclose(normed.float().square().mean(1), torch.ones(2, 4, 4), atol=tolerance)


def test_pixel_norm_of_zeros_is_zero() -> None:
    assert not layers.pixel_norm(torch.zeros(1, 8, 2, 2), 1e-8).any()


def test_a_block_in_training_equals_its_formula_and_its_derivative() -> None:
    block = layers.GeneratorBlock(5, 6, 3, 1e-6).double()
    values = torch.randn(2, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    trained = block(values)
    slopes = torch.autograd.grad((trained * weights).sum(), (values, *block.parameters()))
    plain = layers.pixel_norm(functional.leaky_relu(block.conv(values), layers.LEAKY_SLOPE), 1e-6)
    expected = torch.autograd.grad((plain * weights).sum(), (values, *block.parameters()))
    assert torch.allclose(trained, plain, atol=1e-12)
    for slope, wanted in zip(slopes, expected, strict=True):
        assert torch.allclose(slope, wanted, atol=1e-10)


def test_a_block_in_training_keeps_half_precision_and_survives_zeros() -> None:
    block = layers.GeneratorBlock(4, 8, 3, 1e-6)
    values = torch.zeros(1, 4, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        trained = block(values)
    assert trained.dtype == torch.bfloat16
    trained.float().sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_a_keypoint_is_one_pixel_of_its_plane_at_every_size() -> None:
    points = torch.tensor([[0.0, 0.999, 0.5, 0.25]])
    for size in (4, 8, 64):
        planes = layers.draw_keypoints(points, size)
        assert planes.nonzero().tolist() == [[0, 0, math.floor(0.999 * size), 0], [0, 1, size // 4, size // 2]]


@pytest.mark.parametrize(
    "point", [(1.0, 0.5), (0.5, 1.0), (-0.01, 0.5), (0.5, -1.0), (math.nan, 0.5), (math.inf, 0.5), (1e30, 0.1)]
)
def test_a_keypoint_outside_leaves_its_plane_empty(point: tuple[float, float]) -> None:
    assert not layers.draw_keypoints(torch.tensor([point]), 8).any()


@pytest.mark.parametrize(
    ("resolution", "widths", "message"),
    [(48, (8, 8), "power of two"), (4, (8,), "power of two"), (16, (8, 8), "3 widths"), (8, (8, 0), "positive")],
)
def test_widths_that_do_not_fit_are_refused(resolution: int, widths: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layers.check_resolution(resolution, widths)
