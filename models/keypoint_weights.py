"""The keypoint network's weights on disk: safetensors with metadata, and export to ONNX.

training -> save_keypoints -> .safetensors -> load_keypoints -> export_keypoints -> .onnx (what serving runs)
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors

from models.generator_export import forget_its_making, quiet_exporter
from models.generator_weights import Provenance, digest, read_tensors, with_tensors, write_atomically
from models.keypoint_network import Calibration, ConfidentKeypoints, ConvolutionUnit, KeypointArchitecture, KeypointNetwork
from models.keypoints import CROP_PX
from models.weights import WeightsError

FORMAT = "veil-keypoints-1"
OPSET = 18


def save_keypoints(path: Path, network: KeypointNetwork, provenance: Provenance) -> None:
    """Write a network with its architecture, its calibration and where it comes from."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {
        **_described(network, provenance),
        "sha256": digest(weights),
    }
    write_atomically(path, to_safetensors(weights, metadata))


def load_keypoints(path: Path) -> tuple[KeypointNetwork, Provenance]:
    """Read what `save_keypoints` wrote, ready for inference. Raises WeightsError unless every tensor is there and unchanged."""
    weights, metadata = read_tensors(path, FORMAT, "a keypoint network")
    try:
        fields = json.loads(metadata["architecture"])
        architecture = KeypointArchitecture(**{**fields, "widths": tuple(fields["widths"])})
        provenance = Provenance(**json.loads(metadata["provenance"]))
        calibration = read_calibration(metadata.get("calibration", "null"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description cannot be read ({error})") from error
    network = with_tensors(path, KeypointNetwork(architecture), weights)
    network.calibration = calibration
    return network, provenance


def _described(network: KeypointNetwork, provenance: Provenance) -> dict[str, str]:
    """What the metadata of both kinds of files say."""
    calibration = None if network.calibration is None else asdict(network.calibration)
    return {
        "format": FORMAT,
        "architecture": json.dumps(asdict(network.architecture)),
        "calibration": json.dumps(calibration),
        "provenance": json.dumps(asdict(provenance)),
    }


def read_calibration(text: str) -> Calibration | None:
    """Raises TypeError or ValueError where it is none."""
    fields = json.loads(text)
    return None if fields is None else Calibration(**{name: tuple(map(tuple, rows)) for name, rows in fields.items()})


def export_keypoints(network: KeypointNetwork, provenance: Provenance) -> bytes:
    """ONNX: `crops`, uint8 (B, 64, 64, 3), any batch -> `keypoints`, float32 (B, 7, 3): x, y relative to the crop, confidence.

    The metadata of the file holds architecture, calibration and provenance. The given network is not changed.
    """
    import onnx  # export alone needs it

    folded = copy.deepcopy(network).cpu().eval()
    for module in folded.modules():
        if isinstance(module, ConvolutionUnit):
            module.fold()
    # A batch of two: the exporter takes one for a constant.
    example = torch.zeros(2, CROP_PX, CROP_PX, 3, dtype=torch.uint8)
    with quiet_exporter():
        program = torch.onnx.export(
            ConfidentKeypoints(folded).eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=["crops"],
            output_names=["keypoints"],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    model = program.model_proto
    forget_its_making(model)
    onnx.helper.set_model_props(model, _described(network, provenance))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
