"""Whether a new engine may be used: it must answer made-up inputs nearly as the reference does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backends.engine_cache import Forms

WORST, MEAN = 0.02, 0.005
"""Largest difference of any value as a part of the range of the answer, and mean difference as a part of its standard deviation. In
half precision the shipped networks come to 0.007 and 0.0014 (detector), 0.0013 and 0.0005 (generator), 0.0005 and 0.0005."""


def objection_to(answers: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> str | None:
    """What speaks against an engine with these answers; None where nothing does."""
    shapes, wanted = [answer.shape for answer in answers], [answer.shape for answer in expected]
    if shapes != wanted:
        return f"answers of {shapes} in place of {wanted}"
    for answer, right in zip(answers, expected, strict=True):
        if not np.isfinite(answer).all():
            return "answers that are not finite"
        difference = np.abs(answer.astype(np.float64) - right)
        worst = difference.max() / max(float(np.ptp(right)), 1e-6)
        mean = difference.mean() / max(float(right.std()), 1e-6)
        if worst > WORST or mean > MEAN:
            return f"answers differ by up to {worst:.2g} of their range, {mean:.2g} of their spread on average"
    return None


def probe(names: Sequence[str], forms: Forms) -> list[NDArray[Any]]:
    """Inputs as a network of ours may get them, always the same. names: of its inputs, as exported."""
    random = np.random.default_rng(0)
    return [_probe_one(random, name, form.shape).astype(form.dtype) for name, form in zip(names, forms, strict=True)]


def _probe_one(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    match name:
        case "keypoints":
            keypoints: NDArray[Any] = (random.integers(-8, 72, shape) + 0.5) / 64
            return keypoints
        case "noise":
            return random.standard_normal(shape)
        case "mask":
            mask = np.zeros(shape)
            rows, columns = shape[-2:]
            mask[..., rows // 8 : rows * 3 // 4, columns // 4 : columns * 7 // 8] = 1
            return mask
        case "image":
            batch, channels, rows, columns = shape
            return _squares(random, (batch, rows, columns, channels)).transpose(0, 3, 1, 2) / 127.5 - 1
        case _:
            batch, rows, columns, channels = shape
            return _squares(random, (batch, rows, columns, channels))


def _squares(random: np.random.Generator, shape: tuple[int, int, int, int]) -> NDArray[Any]:
    """Pictures (B, rows, columns, channels) of large and small squares of any colour, 0 to 255."""
    batch, rows, columns, channels = shape
    pictures = np.zeros(shape)
    for side in (16, 4, 1):
        coarse = random.uniform(0, 85, (batch, -(-rows // side), -(-columns // side), channels))
        pictures += coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :rows, :columns]
    return pictures.round()
