"""A run in one file: its weights as safetensors, with its settings and its record.

The file holds arrays and JSON. Reading it executes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.models.build import make_backbone
from pix2rep_jax.runtime.atomic_file import replacing

__all__ = [
    "ENDING",
    "About",
    "is_weights",
    "join_tensors",
    "read_about",
    "read_weights",
    "split_tensors",
    "write_tensors",
    "write_weights",
]

ENDING = ".safetensors"

_STATISTICS = ("mean", "var")
"""Names of BatchNorm's statistics; all other arrays are parameters."""

_INSTALL = "pip install 'pix2rep-jax[export]' (or pip install safetensors)"


class About(NamedTuple):
    """What a file of weights says of itself.

    Attributes:
        mode: The mode of the run: "pretrain", "finetune" or "probe".
        step: The step of the checkpoint that was taken.
        config: The run's whole configuration, as JSON holds it.
        run: The content of its run.json.
    """

    mode: str
    step: int
    config: dict[str, Any]
    run: dict[str, Any]


def is_weights(path: str | Path) -> bool:
    """Tells by its name whether a path stands for a file of weights."""
    return Path(path).suffix == ENDING


def join_tensors(params: Any, batch_stats: Any) -> dict[str, np.ndarray]:
    """Lists all arrays of a network by dotted names, such as `backbone.up_0.kernel`."""
    flat = {**flatten_dict(params, sep="."), **flatten_dict(batch_stats, sep=".")}
    return {name: np.asarray(x, np.float32) for name, x in sorted(flat.items())}


def split_tensors(tensors: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """Makes the trees of parameters and of statistics that `join_tensors` took."""
    trees: tuple[dict, dict] = ({}, {})
    for name, array in tensors.items():
        trees[name.rpartition(".")[2] in _STATISTICS][name] = array
    params, batch_stats = (unflatten_dict(each, sep=".") for each in trees)
    return params, batch_stats


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Replaces a safetensors file.

    Raises:
        InputError: If the package safetensors is missing.
    """
    numpy = _import()
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with replacing(path, suffix=ENDING) as partial:
        # Its own `save_file` makes a file that only its owner can read.
        partial.write_bytes(numpy.save(whole, dict(metadata)))


def write_weights(path: Path, params: Any, batch_stats: Any, about: About) -> None:
    """Writes a run's weights as float32, with what a later run needs to know of them.

    Args:
        path: The file.
        params: Parameters as nested mappings.
        batch_stats: BatchNorm's statistics, likewise.
        about: What the file says of itself.

    Raises:
        InputError: If the package safetensors is missing.
    """
    tensors = join_tensors(params, batch_stats)
    metadata = {
        "mode": about.mode,
        "step": str(about.step),
        "config": json.dumps(about.config),
        "run": json.dumps(about.run),
        "tensors_sha256": _digest(tensors),
    }
    write_tensors(path, tensors, metadata)


def read_about(path: str | Path) -> About:
    """Reads what a file of weights says of itself, without its arrays.

    Raises:
        InputError: If it is damaged, or if this program has not written it.
    """
    return _about(Path(path), _read_metadata(Path(path)))


def read_weights(path: str | Path) -> tuple[Any, Any]:
    """Reads the weights of a file, and checks that they are those that were written.

    Returns:
        Parameters and statistics, as trees of NumPy arrays.

    Raises:
        InputError: As `read_about`, if an array has changed since, or if the arrays are
            not those of the network that the settings describe.
    """
    numpy, path = _import(), Path(path)
    metadata = _read_metadata(path)
    about = _about(path, metadata)
    try:
        tensors = numpy.load_file(path)
    except Exception as error:
        raise _unreadable(path, error) from error
    if metadata.get("tensors_sha256") != _digest(tensors):
        raise InputError(
            f"the weights in {path} are not those that were written into it: get the "
            "file again"
        )
    if about.mode == "pretrain" and (wrong := _misfit(about, tensors)):
        raise InputError(
            f"the weights in {path} do not fit the settings in it ({wrong}): get the "
            "file again, or export its run again"
        )
    return split_tensors(tensors)


def _misfit(about: About, tensors: Mapping[str, np.ndarray]) -> str:
    """Says what of a pretraining's arrays is not what its settings ask for.

    Only the parts that it has trained are looked at, and "" means that they fit.
    """
    try:
        expected = _shapes(about)
        parts = [x for x in about.run["trained"] if f"{x}.".startswith("backbone.")]
    except Exception as error:  # settings of any kind, read by Flax
        said = (str(error).splitlines() or [type(error).__name__])[0]
        return f"they describe no network: {said}"
    if not parts:
        return "nothing of a backbone is trained"
    for part in parts:
        names = [name for name in expected if name.startswith(f"{part}.")]
        if not names:
            return f"there is no {part}"
        for name in names:
            array = tensors.get(name)
            if array is None:
                return f"{name} is missing"
            if array.shape != expected[name] or array.dtype != np.float32:
                found = f"{array.dtype} {list(array.shape)}"
                return f"{name} is {found}, and not float32 {list(expected[name])}"
            if not np.isfinite(array).all():
                return f"{name} holds values that are not finite"
    parents = {name.rpartition(".")[0] for name in tensors} & {*tensors}
    return f"{min(parents)} is an array and a part" if parents else ""


def _shapes(about: About) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a pretraining's backbone; nothing is computed."""
    config, channels = ConfigDict(about.config), about.run["inputs"]["channels"]
    net, side = make_backbone(config), 2 ** (len(config.model.channels) - 1)
    variables = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, side, side, channels)), train=False),
        jax.random.key(0),
    )
    trees = [variables["params"], variables["batch_stats"]]
    flat = [flatten_dict({"backbone": tree}, sep=".") for tree in trees]
    return {name: tuple(x.shape) for each in flat for name, x in each.items()}


def _about(path: Path, metadata: Mapping[str, str]) -> About:
    """Reads the metadata; raises InputError if they are those of another program."""
    try:
        config, run = (json.loads(metadata[name]) for name in ("config", "run"))
        step = int(metadata["step"])
        if step < 0 or not (isinstance(config, dict) and isinstance(run, dict)):
            raise ValueError("these are not a run's")
        return About(metadata["mode"], step, config, run)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} does not hold the settings of a run: name a file that --mode "
            "export --format=safetensors has written"
        ) from error


def _read_metadata(path: Path) -> dict[str, str]:
    _import()
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{path} cannot be read ({said}): get the file again")


def _import() -> Any:
    """Imports safetensors, which is optional; raises InputError if it is missing."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            f"files of weights need the package safetensors: {_INSTALL}"
        ) from error
    return safetensors.numpy


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    """Hashes names, shapes and bits."""
    result = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        result.update(f"{name} {array.dtype} {array.shape}".encode())
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()
