"""Face recognisers that training can differentiate: networks that learned to tell people apart, frozen.

chips (B, 3, S, S), eyes level and face centred -> network -> (B, D); nearer = more alike, two people about 1.1 to 1.2 apart
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from models.recognition import DlibRecognizer
from models.weights import WeightsError

FORMAT = "veil-recognizer"


class FaceRes(nn.Module):
    """A MobileNet (Howard et al. 2017) that learned from VGGFace2; without its heads for age and sex."""

    CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    """Of the thirteen pairs of a depthwise and a pointwise convolution."""
    HALVING = (2, 4, 6, 12)
    """Pairs, counted from 1, whose depthwise convolution halves the resolution; the first convolution halves it too."""
    MEAN_RGB = (123.68, 116.779, 103.939)
    """Of the pictures that it learned from, taken off before anything else."""

    def __init__(self) -> None:
        super().__init__()
        layers = [_SameConvolution(3, 32, 3, stride=2)]
        inputs = 32
        for number, outputs in enumerate(self.CHANNELS, 1):
            layers.append(_SameConvolution(inputs, inputs, 3, stride=2 if number in self.HALVING else 1, groups=inputs))
            layers.append(_SameConvolution(inputs, outputs, 1))
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: R G B in [-1, 1]; learned at 224 pixels. Returns (B, 1024), of length 1."""
        values: Tensor = self.layers(_centred(chips, self.MEAN_RGB).to(next(self.parameters()).dtype))
        return functional.normalize(values.float().mean((2, 3)))


class _SameConvolution(nn.Conv2d):
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


class DlibNetwork(nn.Module):
    """dlib's ResNet of 29 convolutions (King 2017)."""

    BLOCKS = (
        ("conv32_1", 32), ("conv32_2", 32), ("conv32_3", 32),
        ("conv64_down", 64), ("conv64_1", 64), ("conv64_2", 64), ("conv64_3", 64),
        ("conv128_down", 128), ("conv128_1", 128), ("conv128_2", 128),
        ("conv256_down", 256), ("conv256_1", 256), ("conv256_2", 256),
        ("conv256_down_out", 256),
    )  # fmt: skip
    """Name and channels of each residual block; those with "down" in their name halve the resolution."""
    MEAN_RGB = (122.782, 117.001, 104.298)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 7, 2)
        self.blocks = nn.ModuleDict()
        inputs = 32
        for name, outputs in self.BLOCKS:
            self.blocks[name] = _Residual(inputs, outputs, is_down="down" in name)
            inputs = outputs
        self.last = nn.Linear(256, 128, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: R G B in [-1, 1], of 150 pixels. Returns (B, 128), sqrt(2) times dlib's descriptor."""
        values = _centred(chips, self.MEAN_RGB) / 256
        values = functional.max_pool2d(functional.relu(self.first(values.to(self.first.weight.dtype))), 3, 2)
        for block in self.blocks.values():
            values = block(values)
        descriptors: Tensor = self.last(values.mean((2, 3))).float()
        return descriptors * 2**0.5


class _Residual(nn.Module):
    """Two convolutions beside a short cut; dlib's normalisation is folded into their weights."""

    def __init__(self, inputs: int, outputs: int, *, is_down: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2 if is_down else 1, padding=0 if is_down else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.is_down = is_down

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.conv2(functional.relu(self.conv1(values)))
        if self.is_down:
            # The short cut may be larger, and may have fewer channels: what is missing on either side is nought.
            values = functional.avg_pool2d(values, 2)
            rows, columns = (short - long for short, long in zip(values.shape[2:], result.shape[2:], strict=True))
            result = functional.pad(result, (0, columns, 0, rows))
            values = functional.pad(values, (0, 0, 0, 0, 0, result.shape[1] - values.shape[1]))
        return functional.relu(result + values)


def _centred(chips: Tensor, mean_rgb: tuple[float, float, float]) -> Tensor:
    """Chips in [-1, 1] as pixels without their mean."""
    return (chips.float() + 1) * 127.5 - torch.tensor(mean_rgb, device=chips.device)[:, None, None]


@dataclass(frozen=True, kw_only=True)
class RecognizerKind:
    """A row of RECOGNIZERS. chip_px: side of what it is shown. aligned: where a chip has these keypoints, in parts of its side."""

    network: Callable[[], nn.Module]
    chip_px: int
    aligned: Mapping[str, tuple[float, float]]


RECOGNIZERS: dict[str, RecognizerKind] = {
    # At 128 pixels it tells people apart less well, at 224 hardly better.
    "faceres": RecognizerKind(
        network=FaceRes, chip_px=160, aligned={"nose": (0.497, 0.614), "left_eye": (0.684, 0.396), "right_eye": (0.308, 0.401)}
    ),
    "dlib": RecognizerKind(network=DlibNetwork, chip_px=DlibRecognizer.CHIP_PX, aligned=DlibRecognizer.PLACES),
}


def load_recognizer(path: Path) -> tuple[str, nn.Module]:
    """A row of RECOGNIZERS and its network as `veil-train import-recognizer` wrote it, frozen. Raises WeightsError."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("network") not in RECOGNIZERS:
                raise WeightsError(f"{path}: not a recogniser that veil-train import-recognizer writes")
            network = RECOGNIZERS[metadata["network"]].network()
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: not a recogniser that veil-train import-recognizer writes ({reason})") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return metadata["network"], network.eval().requires_grad_(False)
