"""--format onnx: the U-Net as a graph of ONNX, for any batch and any sides.

The graph is written down here, node by node. The converter jax2onnx traces JAX's
program instead, but its releases ask for an Orbax before 0.11.37, and this program
needs 0.12.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.formats.network import Network
from pix2rep_jax.formats.torch_tensors import torch_tensors
from pix2rep_jax.models.norm_relu import EPSILON
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = ["make_graph", "write_onnx"]

_OPSET = 17
"""Version of ONNX's operators; onnxruntime reads it since 1.12 (2022)."""

_IR_VERSION = 8
"""Version of the file's format that came with these operators."""


def write_onnx(path: Path, network: Network) -> None:
    """Writes the graph, which takes an "image" `[batch, channels, height, width]`.

    It needs the package onnx.
    """
    import onnx

    model = make_graph(network)
    onnx.checker.check_model(model)
    with replacing(path, suffix=".onnx") as partial:
        onnx.save(model, partial)


def make_graph(network: Network) -> Any:
    """Makes the model of ONNX.

    Args:
        network: From `load_network`.
    """
    from onnx import TensorProto, helper, numpy_helper

    tensors = torch_tensors(network)
    used: list[str] = []
    nodes: list[Any] = []

    def add(kind: str, inputs: list[str], *names: str, **attributes: Any) -> str:
        """Adds a node, and returns the name of its result."""
        used.extend(names)
        result = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, [*inputs, *names], [result], **attributes))
        return result

    def convolve(x: str, name: str, side: int, *bias: str) -> str:
        return add(
            "Conv", [x], name, *bias, kernel_shape=[side, side], pads=4 * [side // 2]
        )

    def double_conv(x: str, block: str) -> str:
        for place in (0, 3):
            x = convolve(x, f"{block}.{place}.weight", 3)
            norm = ("weight", "bias", "running_mean", "running_var")
            names = [f"{block}.{place + 1}.{each}" for each in norm]
            x = add("BatchNormalization", [x], *names, epsilon=EPSILON)
            x = add("Relu", [x])
        return x

    levels = range(len(network.backbone.channels))
    x, skips = "image", []
    for level in levels:
        if level:
            x = add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        x = double_conv(x, f"encode.{level}")
        skips.append(x)
    skips.pop()
    for level in reversed(levels[:-1]):
        names = f"up.{level}.weight", f"up.{level}.bias"
        up = add("ConvTranspose", [x], *names, kernel_shape=[2, 2], strides=[2, 2])
        x = double_conv(add("Concat", [skips.pop(), up], axis=1), f"decode.{level}")
    width = network.backbone.num_features
    if network.kind == "segmenter":
        x = convolve(x, "head.weight", 1, "head.bias")
        width = len(tensors["head.bias"])
    nodes.append(helper.make_node("Identity", [x], [network.output]))
    ends = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["batch", channels, "height", "width"]
        )
        for name, channels in (("image", network.channels), (network.output, width))
    ]
    known = [numpy_helper.from_array(np.asarray(tensors[each]), each) for each in used]
    graph = helper.make_graph(nodes, network.kind, ends[:1], ends[1:], known)
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="pix2rep-jax",
    )
