"""Proof, on a machine without a GPU, that every network becomes one TensorRT engine; needs the environment of .ci/tensorrt.sh.

The networks are exported and handed over as `veil` does it on a GPU. torch_tensorrt then says which operators it can convert, and
TensorRT-RTX, which builds without a GPU, builds the engine to the end; only loading it would need CUDA. Prints a row for each and
exits with 1 unless all operators of each are in one engine. Exported at batch 2 and 8, the detector at sizes it has for 1280x720.
"""

import contextlib
import io
import logging
import os
import re
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch

from models.backends.engine_cache import Forms, TensorForm
from models.backends.half_precision import compile_plan, export, specifications
from models.backends.torch_networks import TorchNetwork, exported_generator, read_network
from models.detectors import network_sizes
from models.generator import paper_architecture
from models.generator_weights import parameter_count
from models.weights import read_weights


def import_compiler() -> Any:
    """torch_tensorrt, which asks for a GPU when it is imported: three answers and a missing library make it import without."""
    torch.cuda.get_device_capability = lambda *arguments, **options: (8, 6)
    torch.cuda.current_device = lambda: 0
    torch.cuda.mem_get_info = lambda *arguments, **options: (12 << 30, 16 << 30)
    torch.cuda.empty_cache = lambda: None
    if not hasattr(torch._C, "_CudaDeviceProperties"):
        torch._C._CudaDeviceProperties = type("_CudaDeviceProperties", (), {})
    is_file = os.path.isfile
    os.path.isfile = lambda path: "libtorchtrt" not in str(path) and is_file(path)  # it needs torch's CUDA libraries
    try:
        import torch_tensorrt
    finally:
        os.path.isfile = is_file
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("torch_tensorrt") and hasattr(module, "to_torch_device"):
            module.to_torch_device = lambda device=None: torch.device("cpu")
    return torch_tensorrt


def examine(compiler: Any, network: TorchNetwork, forms: Forms) -> tuple[float, int]:
    """Percent of the operators that can be converted, and the number of engines that they make."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        inputs = specifications(compiler, forms)
        compiler.dynamo.compile(export(network, forms), arg_inputs=inputs, dryrun=True, min_block_size=1)
    coverage = re.search(r"supported, ([\d.]+)% coverage", said.getvalue())
    if coverage is None:
        raise RuntimeError(f"torch_tensorrt says nothing of its coverage: {said.getvalue()[:500]}")
    return float(coverage[1]), len(re.findall(r"TRT Engine #\d+", said.getvalue()))


class Built(Exception):  # noqa: N818 - it is what is wanted
    """TensorRT has built the engine."""


def build(compiler: Any, network: TorchNetwork, forms: Forms) -> int:
    """Bytes of the engine. Raises whatever stands in the way of building it."""
    import tensorrt
    import torch_tensorrt.dynamo.conversion._TRTInterpreter as interpreter

    sizes: list[int] = []

    def loaded(plan: Any) -> None:
        sizes.append(plan.nbytes)
        raise Built

    # Everything of TensorRT but the one step behind the build, which loads the engine.
    seen = {name: getattr(tensorrt, name) for name in dir(tensorrt)}
    interpreter.trt = SimpleNamespace(**seen | {"Runtime": lambda *logger: SimpleNamespace(deserialize_cuda_engine=loaded)})
    try:
        compile_plan(compiler, network, forms, "cpu")
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, Built):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
    finally:
        interpreter.trt = tensorrt
    (size,) = sizes
    return size


def generator_forms(batch: int, side: int, *, has_mask: bool) -> Forms:
    shapes = [(3, side, side), (14,), (32, 4, 4), *([(1, side, side)] if has_mask else [])]
    return tuple(TensorForm(dtype="float32", shape=(batch, *shape)) for shape in shapes)


def picture_forms(batch: int, rows: int, columns: int) -> Forms:
    return (TensorForm(dtype="uint8", shape=(batch, rows, columns, 3)),)


def cases() -> list[tuple[str, TorchNetwork, Forms]]:
    names = ("centerface.onnx", "keypoints.onnx", "generator.onnx")
    detector, keypoints, generator = (read_network(read_weights(name)) for name in names)
    paper = [
        TorchNetwork(module=exported_generator(paper_architecture(channels)), names=("image", "keypoints", "noise"), metadata={})
        for channels in (256, 512)
    ]
    working = network_sizes((1280, 720))
    return [
        *(("detector", detector, picture_forms(1, rows, columns)) for columns, rows in (working[0], working[-1])),
        *(("keypoints", keypoints, picture_forms(batch, 64, 64)) for batch in (1, 8)),
        *(("generator", generator, generator_forms(batch, 128, has_mask=True)) for batch in (1, 2, 4, 8)),
        *(("the paper's", network, generator_forms(8, 128, has_mask=False)) for network in paper),
    ]


def main() -> None:
    torch.manual_seed(0)
    compiler = import_compiler()
    logging.disable(logging.ERROR)  # it logs the end of each build, which is ours, as an error
    is_whole = True
    print("| network | parameters | first input | operators converted | engines | engine | built in |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name, network, forms in cases():
        network.module.eval().requires_grad_(False)
        coverage, engines = examine(compiler, network, forms)
        start = time.monotonic()
        size = build(compiler, network, forms)
        shape = "x".join(map(str, forms[0].shape))
        print(
            f"| {name} | {parameter_count(network.module) / 1e6:.1f} M | {forms[0].dtype} {shape} | {coverage:.1f} % | {engines} "
            f"| {size / 1e6:.1f} MB | {time.monotonic() - start:.0f} s |",
            flush=True,
        )
        is_whole &= coverage == 100.0 and engines == 1
    sys.exit(not is_whole)


if __name__ == "__main__":
    main()
