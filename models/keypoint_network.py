"""A small network that finds seven keypoints on the crop that the generator gets, and says how far each can be trusted.

crop, RGB bytes -> contrast evened out -> convolutions to 4x4 -> one hidden layer -> x, y, confidence of each keypoint
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.faces import KEYPOINT_NAMES

_LEAST_CONTRAST = 8.0


@dataclass(frozen=True, kw_only=True)
class KeypointArchitecture:
    """The network's shape. widths: channels at 32, 16, 8 and 4 pixels. hidden: values of the hidden layer."""

    widths: tuple[int, int, int, int] = (32, 40, 56, 64)
    hidden: int = 64


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a logit of each keypoint is worth on faces that were not trained on: found by trainer/keypoint_calibration.py.

    logits, confidences: for each of KEYPOINT_NAMES the corners of a line, as many for all; logits rise, confidences do not fall.
    Between corners the line is straight, beyond the outermost it is level. Raises ValueError if they break this.
    """

    logits: tuple[tuple[float, ...], ...]
    confidences: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        logits, confidences = np.array(self.logits, np.float64), np.array(self.confidences, np.float64)
        if logits.shape != confidences.shape or logits.ndim != 2 or len(logits) != len(KEYPOINT_NAMES) or not logits.size:
            raise ValueError(f"a calibration has corners for each of {len(KEYPOINT_NAMES)} keypoints, as many for all")
        is_finite = np.isfinite(logits).all() and np.isfinite(confidences).all()
        if not is_finite or (np.diff(logits) <= 0).any() or (np.diff(confidences) < 0).any():
            raise ValueError("the logits of a calibration must rise, and its confidences must not fall")
        if confidences.min() < 0 or confidences.max() > 1:
            raise ValueError("the confidences of a calibration lie between 0 and 1")


class ConvolutionUnit(nn.Module):
    """3x3 convolution, batch norm, ReLU; after `fold` the convolution alone holds the norm."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x_BCHW)))

    def fold(self) -> None:
        """Move the norm into the convolution; for inference."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class ResidualUnit(nn.Module):
    """Two convolution units and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvolutionUnit(channels, channels)
        self.second = ConvolutionUnit(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = x_BCHW + self.second(self.first(x_BCHW))
        return y_BCHW


class KeypointNetwork(nn.Module):
    """forward: crops, uint8 (B, 64, 64, 3), R G B -> (B, 7, 3): x, y relative to the crop (0 to 1, may lie outside) and the
    logit of the confidence, in the order of KEYPOINT_NAMES.

    calibration: what the logits are worth, for ConfidentKeypoints; None: they count as they are.
    """

    def __init__(self, architecture: KeypointArchitecture | None = None) -> None:
        super().__init__()
        self.architecture = architecture or KeypointArchitecture()
        self.calibration: Calibration | None = None
        at_32, at_16, at_8, at_4 = self.architecture.widths
        self.trunk = nn.Sequential(
            ConvolutionUnit(3, at_32 // 2, stride=2),
            ConvolutionUnit(at_32 // 2, at_32),
            ConvolutionUnit(at_32, at_16, stride=2),
            ResidualUnit(at_16),
            ConvolutionUnit(at_16, at_8, stride=2),
            ResidualUnit(at_8),
            ConvolutionUnit(at_8, at_4, stride=2),
        )
        self.hidden = nn.Linear(at_4 * 4 * 4, self.architecture.hidden)
        self.answer = nn.Linear(self.architecture.hidden, len(KEYPOINT_NAMES) * 3)

    def forward(self, crops_BHWC: Tensor) -> Tensor:
        evened_BCHW = _evened(crops_BHWC.permute(0, 3, 1, 2).float())
        x_BCHW = self.trunk(evened_BCHW.to(self.hidden.weight.dtype))
        hidden_BF = torch.relu(self.hidden(x_BCHW.flatten(1)))
        answer_BKA = self.answer(hidden_BF).float().unflatten(1, (len(KEYPOINT_NAMES), 3))
        # The middle of the crop is the origin of what is learned.
        return torch.cat((answer_BKA[:, :, :2] + 0.5, answer_BKA[:, :, 2:]), 2)


class ConfidentKeypoints(nn.Module):
    """The network as it is exported: (B, 7, 3) with confidences from 0 to 1 in place of logits."""

    def __init__(self, network: KeypointNetwork) -> None:
        super().__init__()
        self.network = network
        self.confidence: nn.Module = nn.Sigmoid() if network.calibration is None else _Calibrated(network.calibration)

    def forward(self, crops_BHWC: Tensor) -> Tensor:
        answer_BKA = self.network(crops_BHWC)
        return torch.cat((answer_BKA[:, :, :2], self.confidence(answer_BKA[:, :, 2:])), 2)


class _Calibrated(nn.Module):
    """Logits (B, 7, 1) to confidences (B, 7, 1). least: (7, 1), starts and ends: (7, corners - 1), slopes: (7, corners - 1, 1)."""

    least: Tensor
    starts: Tensor
    ends: Tensor
    slopes: Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        logits_KC = torch.tensor(calibration.logits, dtype=torch.float64)
        confidences_KC = torch.tensor(calibration.confidences, dtype=torch.float64)
        widths_KC = logits_KC.diff(dim=1)
        self.register_buffer("least", confidences_KC[:, :1].float())
        self.register_buffer("starts", logits_KC[:, :-1].float())
        self.register_buffer("ends", logits_KC[:, 1:].float())
        self.register_buffer("slopes", (confidences_KC.diff(dim=1) / widths_KC).float().unsqueeze(2))

    def forward(self, logits_BK1: Tensor) -> Tensor:
        # How far the logit has come along each piece of the line.
        along_BKC = torch.relu(logits_BK1 - self.starts) - torch.relu(logits_BK1 - self.ends)
        slopes_KC1 = self.slopes.to(along_BKC.dtype)
        # A product of matrices, because OpenVINO 2026.4 takes a product and its sum for something else and answers with `least`.
        return self.least + (along_BKC.unsqueeze(2) @ slopes_KC1).squeeze(3)


def _evened(values_BCHW: Tensor) -> Tensor:
    """Zero mean and unit contrast for each crop, so that dim and faint ones look like the others."""
    centred = values_BCHW - values_BCHW.mean((1, 2, 3), keepdim=True)
    contrast = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / (contrast + _LEAST_CONTRAST)
