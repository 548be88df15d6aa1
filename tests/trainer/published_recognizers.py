"""Recognisers as their packages hold them, filled by chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.recognizers import DlibNetwork, FaceRes


def published(network: str) -> tuple[list[dict[str, Any]], bytes, dict[str, Tensor]]:
    """A manifest and a file as the package holds them, filled by chance, and the same arrays by name."""
    random = np.random.default_rng(4)
    manifest: list[dict[str, Any]] = []
    content = b""
    arrays: dict[str, Tensor] = {}
    for name, shape in (faceres_shapes() if network == "faceres" else dlib_shapes()).items():
        values = random.standard_normal(shape).astype(np.float32)
        if len(shape) > 1:  # What comes in goes out as large, also from pixels.
            inputs = 9 if "dw" in name else math.prod(shape[:-1])
            values *= (2 / inputs) ** 0.5 / (60 if name.startswith("conv1/") else 1)
        else:
            values = (1 + 0.1 * values) if name.endswith(("mul", "weights")) else 0.1 * values
        entry: dict[str, Any] = {"name": name, "shape": list(shape), "dtype": "float32"}
        if network == "faceres":
            stored = values.astype(np.float16)
            restored = stored.astype(np.float32)
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        else:
            low, scale = float(values.min()), float(np.ptp(values)) / 255 + 1e-9
            stored = np.round((values - low) / scale).astype(np.uint8)
            restored = stored.astype(np.float32) * np.float32(scale) + np.float32(low)
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
        manifest.append(entry)
        content += stored.tobytes()
        arrays[name] = torch.from_numpy(restored)
    manifest.append({"name": "global_pooling/Mean/reduction_indices", "shape": [2], "dtype": "int32"})
    return manifest, content + np.array([1, 2], np.int32).tobytes(), arrays


def faceres_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"feats/kernel": (4, 2), "conv1/convolution/merged_input": (3, 3, 3, 32)}
    shapes["conv1_bn/batchnorm_1/sub"] = (32,)
    inputs = 32
    for pair, outputs in enumerate(FaceRes.CHANNELS, 1):
        shapes |= {
            f"conv_dw_{pair}/depthwise_kernel": (3, 3, inputs, 1),
            f"conv_dw_{pair}_bn/batchnorm_1/mul": (inputs,),
            f"conv_dw_{pair}_bn/batchnorm_1/sub": (inputs,),
            f"conv_pw_{pair}/convolution/merged_input": (1, 1, inputs, outputs),
            f"conv_pw_{pair}_bn/batchnorm_1/sub": (outputs,),
        }
        inputs = outputs
    return shapes


def dlib_shapes() -> dict[str, tuple[int, ...]]:
    kernels: dict[str, tuple[int, ...]] = {"conv32_down": (7, 7, 3, 32)}
    inputs = 32
    for name, outputs in DlibNetwork.BLOCKS:
        kernels |= {f"{name}/conv1": (3, 3, inputs, outputs), f"{name}/conv2": (3, 3, outputs, outputs)}
        inputs = outputs
    shapes: dict[str, tuple[int, ...]] = {"fc": (256, 128)}
    for name, kernel in kernels.items():
        shapes[f"{name}/conv/filters"] = kernel
        shapes |= {f"{name}/{part}": kernel[-1:] for part in ("conv/bias", "scale/weights", "scale/biases")}
    return shapes
