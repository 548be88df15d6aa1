"""The layers that both networks are made of.

Shapes: B batch, C channels, H and W pixels, K keypoints. Formulas follow Karras et al. 2018 (equalized learning rate, pixel norm)
as used by Hukkelås et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

LEAKY_SLOPE = 0.2

PAPER_EPSILON = 1e-8
"""Pixel norm's epsilon in the paper."""


class EqualizedConv2d(nn.Module):
    """Convolution whose weight is drawn from N(0, 1) and scaled by gain / sqrt(fan in) each time it is used.

    The gain is sqrt(2) for every convolution of the paper's networks, toRGB and fromRGB included.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int | None = None) -> None:
        """padding: zeros on each side; None keeps the size (kernel // 2)."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = math.sqrt(2.0 / (inputs * kernel * kernel))
        self.padding = kernel // 2 if padding is None else padding

    def scaled_weight(self) -> Tensor:
        """What the convolution multiplies with."""
        return self.weight if self.scale == 1.0 else self.weight * self.scale

    def forward(self, values: Tensor) -> Tensor:
        return functional.conv2d(values, self.scaled_weight(), self.bias, padding=self.padding)


class EqualizedLinear(nn.Module):
    """Fully connected layer with equalized learning rate, gain sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = math.sqrt(2.0 / inputs)

    def forward(self, values: Tensor) -> Tensor:
        return functional.linear(values, self.weight * self.scale, self.bias)


def fold_scales(network: nn.Module) -> None:
    """Multiply the scale of every equalized layer into its weight, in place: the same function with a multiplication less."""
    for module in network.modules():
        if isinstance(module, EqualizedConv2d | EqualizedLinear):
            with torch.no_grad():
                module.weight.mul_(module.scale)
            module.scale = 1.0


def pixel_norm(values: Tensor, epsilon: float) -> Tensor:
    """Divide each pixel's channels by their root mean square: x / sqrt(mean(x²) + epsilon); at least float32 inside.

    Written over the sum, not the mean: inference engines know this form as one normalization, and channels times epsilon is a
    constant that ONNX exporters do not take for zero and delete.
    """
    channels = values.shape[1]
    wide = values if values.dtype in (torch.float32, torch.float64) else values.float()
    norm = torch.sqrt((wide**2).sum(1, keepdim=True) + channels * epsilon)
    return (wide / norm * math.sqrt(channels)).to(values.dtype)


class _LeakyNorm(torch.autograd.Function):
    """Leaky ReLU and pixel norm in one, with a derivative by hand: half of the memory traffic of the steps one by one.

    With y = h r, r = 1 / sqrt(mean(h²) + epsilon): dL/dh = r (dL/dy - y mean(y dL/dy)). Sums are taken in float32 at least.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, epsilon: float) -> Tensor:
        channels = values.shape[1]
        leaky = functional.leaky_relu(values, LEAKY_SLOPE)
        wide = torch.promote_types(values.dtype, torch.float32)
        norm = torch.linalg.vector_norm(leaky, dim=1, keepdim=True, dtype=wide)
        inverse = (math.sqrt(channels) / torch.sqrt(norm**2 + channels * epsilon)).to(values.dtype)
        normed = leaky * inverse
        ctx.save_for_backward(normed, inverse)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        normed, inverse = ctx.saved_tensors
        wide = torch.promote_types(normed.dtype, torch.float32)
        along = (normed * slope).sum(1, keepdim=True, dtype=wide).div_(normed.shape[1]).to(normed.dtype)
        before = torch.addcmul(slope, normed, along, value=-1).mul_(inverse)
        return torch.ops.aten.leaky_relu_backward(before, normed, LEAKY_SLOPE, True), None


class GeneratorBlock(nn.Module):
    """Convolution, leaky ReLU, pixel norm, in this order."""

    def __init__(self, inputs: int, outputs: int, kernel: int, epsilon: float) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(inputs, outputs, kernel)
        self.epsilon = epsilon

    def forward(self, values: Tensor) -> Tensor:
        return self.activate(self.conv(values))

    def activate(self, values: Tensor) -> Tensor:
        """Leaky ReLU and pixel norm of what the convolution made."""
        if self.training and torch.is_grad_enabled():
            normed: Tensor = _LeakyNorm.apply(values, self.epsilon)  # type: ignore[no-untyped-call]
            return normed
        return pixel_norm(functional.leaky_relu(values, LEAKY_SLOPE), self.epsilon)


class DiscriminatorBlock(nn.Module):
    """Convolution and leaky ReLU, no norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int | None = None) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(inputs, outputs, kernel, padding=padding)

    def forward(self, values: Tensor) -> Tensor:
        return functional.leaky_relu(self.conv(values), LEAKY_SLOPE)


def halve(values: Tensor) -> Tensor:
    """Mean of each 2x2 pixels."""
    return functional.avg_pool2d(values, 2)


def double(values: Tensor) -> Tensor:
    """Each pixel becomes 2x2."""
    return functional.interpolate(values, scale_factor=2.0, mode="nearest")


def draw_keypoints(keypoints: Tensor, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """One plane a keypoint: zeros with a single one where the keypoint lies.

    keypoints: (B, 2 K), x0 y0 x1 y1 ... relative to the crop. A keypoint outside [0, 1), or one that is not a number, leaves its
    plane empty. Returns (B, K, size, size): the one is at row floor(y size), column floor(x size).
    """
    points = keypoints.reshape(keypoints.shape[0], -1, 2)
    steps = torch.arange(size, device=keypoints.device)
    cells = torch.floor(points * size)
    is_column = (cells[:, :, 0, None] == steps)[:, :, None, :]
    is_row = (cells[:, :, 1, None] == steps)[:, :, :, None]
    return (is_column & is_row).to(dtype)


def check_resolution(resolution: int, widths: Sequence[int]) -> None:
    """Raises ValueError unless there is one positive width for each of 4, 8, ... `resolution`."""
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"resolution must be a power of two from 8, is {resolution}")
    wanted = resolution.bit_length() - 2
    if len(widths) != wanted:
        raise ValueError(f"{wanted} widths are needed (for 4, 8, ... {resolution} pixels), {len(widths)} given")
    if min(widths) < 1:
        raise ValueError(f"widths must be positive, are {tuple(widths)}")
