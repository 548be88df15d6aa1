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

from models.generator_weights import Provenance, digest, quiet_exporter, read_tensors, with_tensors, write_atomically
from models.keypoint_network import ConfidentKeypoints, ConvolutionUnit, KeypointArchitecture, KeypointNetwork
from models.keypoints import CROP_PX
from models.weights import WeightsError

FORMAT = "veil-keypoints-1"
OPSET = 18


def save_keypoints(path: Path, network: KeypointNetwork, provenance: Provenance) -> None:
    """Write a network with its architecture and where it comes from."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(network.architecture)),
        "provenance": json.dumps(asdict(provenance)),
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
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its description cannot be read ({error})") from error
    return with_tensors(path, KeypointNetwork(architecture), weights), provenance


def export_keypoints(network: KeypointNetwork, provenance: Provenance) -> bytes:
    """ONNX: `crops`, uint8 (B, 64, 64, 3), any batch -> `keypoints`, float32 (B, 7, 3): x, y relative to the crop, confidence.

    The metadata of the file holds architecture and provenance. The given network is not changed.
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
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.metadata_props[:]
    described = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(network.architecture)),
        "provenance": json.dumps(asdict(provenance)),
    }
    onnx.helper.set_model_props(model, described)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
