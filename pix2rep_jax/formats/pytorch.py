"""--format pytorch: a state dict for the U-Net of `examples/pytorch_unet.py`."""

from pathlib import Path

from pix2rep_jax.formats.network import Network
from pix2rep_jax.formats.torch_tensors import torch_tensors
from pix2rep_jax.runs.weights_file import write_tensors

__all__ = ["write_pytorch"]


def write_pytorch(path: Path, network: Network) -> None:
    """Writes the state dict as safetensors.

    Raises:
        InputError: If the package safetensors is missing.
    """
    # Programs that read files of PyTorch ask for this word.
    write_tensors(path, torch_tensors(network), {"format": "pt"})
