"""Recorded inputs, weights and outputs of the published code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "parity"

needs_recordings = pytest.mark.skipif(not FOLDER.exists(), reason="needs recordings of the published code")


@lru_cache
def recorded(name: str) -> dict[str, Tensor]:
    """The arrays of a recording; pictures as (B, 3, 128, 128) in [-1, 1]."""
    with np.load(FOLDER / f"dp_v1_{name}_c32_128.npz") as arrays:
        values = {key: torch.from_numpy(arrays[key]) for key in arrays}
    for key in ("image", "condition"):
        if f"{key}_u8" in values:
            values[key] = values[f"{key}_u8"].permute(0, 3, 1, 2).float() / 255 * 2 - 1
    return values
