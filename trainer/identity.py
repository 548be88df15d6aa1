"""Faces as a recogniser sees them that attacks: aligned by their keypoints, and differentiable, so that training can evade it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import geometry
from models.faces import KEYPOINT_NAMES
from trainer.recognizers import RECOGNIZERS, RecognizerKind

LEAST_SIDE, LARGEST_SIDE = 0.4, 1.2
"""Bounds of a chip's side in sides of the picture: the eyes of a profile say little about the size of its face."""

WOBBLE = 7
"""Numbers in [-1, 1) that vary how one face is looked at: two for the shift, then size, turn, sharpness, colour and brightness."""

SHIFT, SIZE, TURN = 0.2, 0.35, 0.5
"""Largest shift in parts of the chip, change of its side (natural logarithm) and turn, radians; the cube of what is drawn counts,
so that a chip is seldom far off: attackers miss the eyes of one face in twenty."""

BRIGHTNESS = 0.3
"""Largest change of the brightness, natural logarithm."""

ALIGNING = ("nose", "left_eye", "right_eye")
_ROWS = [KEYPOINT_NAMES.index(name) for name in ALIGNING]


class Attacker:
    """A frozen recogniser and what it does with a face before it looks."""

    def __init__(self, name: str, network: nn.Module) -> None:
        """name: a row of RECOGNIZERS."""
        self.name = name
        self._network = network
        self._kind = RECOGNIZERS[name]

    def embed(self, images: Tensor, keypoints: Tensor, wobble: Tensor | None = None) -> Tensor:
        """Descriptors, (B, D); two faces are the more alike, the nearer theirs are.

        images: (B, 3, R, R) in [-1, 1]. keypoints: (B, 2 K) relative to the image. wobble: (B, WOBBLE), so that a face has to be
        another to every look at it and not to one; None looks straight.
        """
        if wobble is not None:
            images = _relit(_softened(images, (wobble[:, 4] + 1) / 2), wobble[:, 5:])
        grid = chip_grid(keypoints, self._kind, wobble).to(images.dtype)
        chips = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        descriptors: Tensor = self._network(chips)
        return descriptors


def is_alignable(keypoints: Tensor) -> Tensor:
    """Whether eyes and nose are known, (B,); keypoints: (B, 2 K)."""
    return (_points(keypoints) != geometry.ABSENT).all(2).all(1)


def _points(keypoints: Tensor) -> Tensor:
    """Those of ALIGNING, (B, 3, 2)."""
    return keypoints.reshape(len(keypoints), -1, 2)[:, _ROWS]


def chip_grid(keypoints: Tensor, kind: RecognizerKind, wobble: Tensor | None = None) -> Tensor:
    """Where each pixel of a chip lies in its picture, (B, S, S, 2), as `grid_sample` takes it.

    The similarity transform that brings the places that the recogniser expects nearest to the keypoints (least squares, Umeyama
    1991). What is given for a face that is not alignable means nothing, but is finite.
    """
    points = torch.view_as_complex(_points(keypoints).float().contiguous())
    aligned = torch.tensor([kind.aligned[name] for name in ALIGNING], device=keypoints.device)
    places = torch.view_as_complex(aligned - aligned.mean(0))
    centre = points.mean(1)
    turn = ((points - centre[:, None]) * places.conj()).sum(1) / places.abs().square().sum()
    side = turn.abs().clamp_min(1e-6)
    turn = turn / side * side.clamp(LEAST_SIDE, LARGEST_SIDE)
    steps = (torch.arange(kind.chip_px, device=keypoints.device) + 0.5) / kind.chip_px
    pixels = torch.complex(*torch.meshgrid(steps, steps, indexing="xy")) - torch.view_as_complex(aligned.mean(0))
    pixels = pixels.expand(len(points), -1, -1)
    if wobble is not None:
        off = wobble.float() ** 3
        shift = torch.view_as_complex(off[:, :2].contiguous()) * SHIFT
        turn = turn * torch.polar((off[:, 2] * SIZE).exp(), off[:, 3] * TURN)
        pixels = pixels + shift[:, None, None]
    return torch.view_as_real(turn[:, None, None] * pixels + centre[:, None, None]) * 2 - 1


def _softened(images: Tensor, share: Tensor) -> Tensor:
    """Pictures between as they are (share 0) and blurred by 1 2 1 along both sides (share 1); (B, C, R, R), share (B,)."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    blurred = functional.avg_pool2d(functional.avg_pool2d(padded, 2, 1), 2, 1)
    return torch.lerp(images, blurred, share[:, None, None, None].to(images.dtype))


def _relit(images: Tensor, wobble: Tensor) -> Tensor:
    """Pictures with less colour and in other light: half of them are grey. (B, 3, R, R), wobble (B, 2).

    Whoever sees colours can be deceived by stains of colour; whoever does not, only by another face.
    """
    luma = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    grey = (images * luma[:, None, None]).sum(1, keepdim=True)
    share, light = (wobble[:, 0] + 1).clamp(max=1), (wobble[:, 1] * BRIGHTNESS).exp()
    coloured = torch.lerp(images, grey, share[:, None, None, None].to(images.dtype))
    return (coloured + 1) * light[:, None, None, None].to(images.dtype) - 1
