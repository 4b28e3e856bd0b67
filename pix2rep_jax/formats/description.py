"""config.json of an export: all that another program needs to use the network."""

from typing import Any

import pix2rep_jax
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices.grid import side_around
from pix2rep_jax.data.slices.normalization import read_normalization
from pix2rep_jax.formats.network import Network
from pix2rep_jax.inference.postprocess import EVERY_PIECE, choose_components
from pix2rep_jax.runs.pretrained_backbone import digest

__all__ = ["describe"]

_FIRST = ["batch", "channels", "height", "width"]
_LAST = ["batch", "height", "width", "channels"]

_KERNELS = {
    "safetensors": "convolutions [row, column, in, out], up [in, row, column, out], "
    "dense [in, out]",
    "pytorch": "as PyTorch keeps them; examples/pytorch_unet.py loads them",
}


def describe(network: Network, *, format: str, file: str, sha256: str) -> dict:
    """Describes an exported network.

    Args:
        network: From `load_network`.
        format: The format of the file.
        file: The file's name.
        sha256: The file's checksum.

    Returns:
        What JSON can hold.
    """
    config, record = network.config, network.record
    backbone, data = network.backbone, config["data"]
    axes = _FIRST if format in ("onnx", "pytorch") else _LAST
    classes = list(data["classes"]) if network.kind == "segmenter" else []
    values = list(record.inputs.label_values) or list(range(len(classes)))
    pieces = choose_components(config, record, "auto") if classes else EVERY_PIECE
    trees = (network.params, network.batch_stats)
    return {
        "package": f"pix2rep-jax {pix2rep_jax.__version__}",
        "format": format,
        "file": file,
        "sha256": sha256,
        "network": {
            "kind": network.kind,
            "channels": list(backbone.channels),
            "in_channels": network.channels,
            "num_features": backbone.num_features,
            "last_hidden": backbone.last_hidden or backbone.num_features,
            "num_classes": len(classes) or None,
            **({"kernels": _KERNELS[format]} if format in _KERNELS else {}),
            **({"trained": list(record.trained)} if not network.is_whole else {}),
        },
        "input": {
            "name": "image",
            "axes": axes,
            "dtype": "float32",
            "channels": network.channels,
            "range": [0, 1],
            "side_multiple": network.side_multiple,
            "trained_side": data["size"],
            "meaning": "slices, prepared as `preparation` says. Pad both sides with 0 "
            f"to a multiple of {network.side_multiple} px.",
        },
        "output": {
            "name": network.output,
            "axes": axes,
            "dtype": "float32",
            "channels": len(classes) or backbone.num_features,
            "meaning": "one feature vector per pixel"
            if network.kind == "backbone"
            else "one logit per class and pixel. Softmax over the channels gives "
            "probabilities; the largest is the class.",
        },
        "classes": [
            {"name": name, "label_value": value}
            for name, value in zip(classes, values, strict=False)
        ],
        "keep_largest_piece_of_foreground": pieces.foreground,
        "keep_largest_piece_of": [classes[index] for index in pieces.classes],
        "preparation": preparation(network),
        "run": {
            "mode": config_mode(network),
            "method": config["pretrain"].get("method", "pix2rep"),
            "step": network.step,
            "num_steps": record.num_steps,
            "digest": digest(trees),
            "pretrained_digest": record.origin.digest if record.origin else None,
        },
    }


def config_mode(network: Network) -> str:
    """The mode that trained the network."""
    return "pretrain" if network.kind == "backbone" else network.run.name


def preparation(network: Network) -> dict[str, Any]:
    """Says how a scan becomes the network's slices: numbers, and steps in words."""
    data, record = network.config["data"], network.record
    how, size = read_normalization(data), data["size"]
    pixel = field_of_view_mm(data) / size if data["crop"] != "mask_box" else None
    axis, seen = record.slice_axis, side_around(data["crop"], size)
    return {
        "spacing_mm": pixel,
        "size": seen,
        "crop": data["crop"],
        "interpolation": data["interpolation"],
        "normalization": "window" if how.window else "percentiles",
        "percentiles": list(how.percentiles),
        "window": list(how.window),
        "slice_axis": {"index": axis.axis, "anatomy": axis.anatomy},
        "rows_and_columns_run_to": axis.in_plane,
        "orientation": data["orientation"],
        "steps": [
            "Take the slices along slice_axis. Rows and columns are the scan's other "
            "two axes, in the order in which the file stores them"
            + (
                ", once it is turned to RAS+." if data["orientation"] != "file" else "."
            ),
            _normalise(how.percentiles, how.window),
            "Set y = clip((x - low) / (high - low), 0, 1) in float32.",
            _resample(data["crop"], data["interpolation"], pixel, seen),
        ],
    }


def _normalise(percentiles: Any, window: Any) -> str:
    if window:
        return f"Set low = {window[0]:g} and high = {window[1]:g} for every scan."
    low, high = percentiles
    return (
        f"Set low and high to the percentiles {low:g} and {high:g} of all voxels of "
        "the volume, as numpy.percentile finds them, for each frame and each channel "
        "by itself. A negative padding value that stands apart from all other values "
        "is left out."
    )


def _resample(crop: str, interpolation: str, pixel: float | None, size: int) -> str:
    if crop == "mask_box":
        return (
            "Crop to the box of the expert's mask of the volume and 10 px around it, "
            f"and resample to {size} x {size} px ({interpolation}). This needs a mask."
        )
    kind = "the nearest pixel" if interpolation == "nearest" else "linear interpolation"
    low_pass = "; where the grid is coarser than the scan, widen the triangle to its "
    low_pass = "" if interpolation == "nearest" else f"{low_pass}pixels"
    if crop == "whole":
        return f"Resample the whole slice at {pixel:g} mm by {kind}{low_pass}."
    middle = (size - 1) / 2
    return (
        f"Resample {size} x {size} px of {pixel:g} mm by {kind}{low_pass}. Along an "
        f"axis of n pixels of s mm, pixel i lies at (n - 1) / 2 + (i - {middle:g}) * "
        f"{pixel:g} / s, counted from the first pixel's centre. If s is {pixel:g}, "
        f"take the pixels unchanged from (n - {size}) // 2 on. Outside is 0."
    )
