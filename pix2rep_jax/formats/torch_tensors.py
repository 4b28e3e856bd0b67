"""The network's arrays with the names and layouts of `examples/pytorch_unet.py`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pix2rep_jax.formats.network import Network

__all__ = ["torch_tensors"]


def torch_tensors(network: Network) -> dict[str, np.ndarray]:
    """Lists the arrays by the names of a PyTorch state dict.

    Convolutions have the kernel's rows and columns last there, as in ONNX.

    Args:
        network: From `load_network`.

    Returns:
        float32 arrays, and for each BatchNorm the counter that PyTorch keeps.
    """
    params, stats = network.params["backbone"], network.batch_stats["backbone"]
    tensors: dict[str, Any] = {}
    for name in params:
        kind, _, level = name.rpartition("_")
        if kind == "up":
            # From [in, row, column, out]. The stride is the kernel's side, so that
            # nothing is mirrored.
            kernel = np.transpose(params[name]["kernel"], (0, 3, 1, 2))
            tensors |= {f"up.{level}.weight": kernel}
            tensors |= {f"up.{level}.bias": params[name]["bias"]}
        else:
            block = _double_conv(params[name], stats[name])
            tensors |= {f"{kind}.{level}.{key}": x for key, x in block.items()}
    if "head" in network.params:
        dense = network.params["head"]["Dense_0"]
        tensors["head.weight"] = np.transpose(dense["kernel"])[:, :, None, None]
        tensors["head.bias"] = dense["bias"]
    return {name: np.ascontiguousarray(x) for name, x in tensors.items()}


def _double_conv(params: Mapping, stats: Mapping) -> dict[str, np.ndarray]:
    """The arrays of two times convolution, BatchNorm and ReLU in `nn.Sequential`."""
    tensors: dict[str, np.ndarray] = {}
    for index, place in enumerate((0, 3)):
        norm, own = params[f"BatchNorm_{index}"], stats[f"BatchNorm_{index}"]
        # From [row, column, in, out].
        kernel = np.transpose(params[f"Conv_{index}"]["kernel"], (3, 2, 0, 1))
        tensors |= {
            f"{place}.weight": kernel,
            f"{place + 1}.weight": norm["scale"],
            f"{place + 1}.bias": norm["bias"],
            f"{place + 1}.running_mean": own["mean"],
            f"{place + 1}.running_var": own["var"],
            f"{place + 1}.num_batches_tracked": np.zeros((), np.int64),
        }
    return tensors
