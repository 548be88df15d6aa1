"""A face recogniser that training can differentiate: FaceRes, a MobileNet (Howard et al. 2017) that learned to tell people apart.

image -> 27 convolutions -> mean over places -> (B, 1024), of length 1; nearer = more alike
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from models.weights import WeightsError

FORMAT = "veil-faceres"

CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Of the thirteen pairs of a depthwise and a pointwise convolution."""
HALVING = (2, 4, 6, 12)
"""Pairs, counted from 1, whose depthwise convolution halves the resolution; the first convolution halves it too."""
MEAN_RGB = (123.68, 116.779, 103.939)
"""Of the pictures that it learned from, taken off before anything else."""


class _Convolution(nn.Conv2d):
    """Pads as TensorFlow's "same" does, and ends in ReLU6; batch norm is folded into its weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, values: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (values.shape[3], values.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return functional.relu6(super().forward(functional.pad(values, pads) if any(pads) else values))


class FaceRes(nn.Module):
    """The recogniser without its heads for age and sex."""

    def __init__(self) -> None:
        super().__init__()
        layers = [_Convolution(3, 32, 3, stride=2)]
        inputs = 32
        for number, outputs in enumerate(CHANNELS, 1):
            layers.append(_Convolution(inputs, inputs, 3, stride=2 if number in HALVING else 1, groups=inputs))
            layers.append(_Convolution(inputs, outputs, 1))
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: (B, 3, R, R), R G B in [-1, 1], eyes level and face centred; learned at R = 224. Returns (B, 1024)."""
        values = (chips.float() + 1) * 127.5 - torch.tensor(MEAN_RGB, device=chips.device)[:, None, None]
        values = self.layers(values.to(next(self.parameters()).dtype))
        return functional.normalize(values.float().mean((2, 3)))


def load_faceres(path: Path) -> FaceRes:
    """The network as `veil-train import-faceres` wrote it, frozen. Raises WeightsError."""
    network = FaceRes()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: not the recogniser that veil-train import-faceres writes ({reason})") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)
