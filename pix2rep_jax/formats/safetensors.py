"""--format safetensors: all arrays by dotted names, and the run to start others from.

`--config.init.checkpoint` takes the file, or its folder.
"""

from pathlib import Path
from typing import Any

from pix2rep_jax.data.hidden_names import hide_names
from pix2rep_jax.formats.network import Network
from pix2rep_jax.runs.run_record import record_to_dict
from pix2rep_jax.runs.trackers import SETTINGS as TRACKERS
from pix2rep_jax.runs.weights_file import About, write_weights

__all__ = ["write_safetensors"]

_OPEN = {
    "root": "",
    "cache_dir": "~/.cache/pix2rep-jax",
    "exclude": [],
    "labeled": [],
    "split": "auto",
}
"""Settings of the data that name folders and patients, and what stands for them."""


def write_safetensors(path: Path, network: Network) -> None:
    """Writes the arrays, with the run's settings and its record in the metadata.

    Names of patients and of folders are left out.

    Raises:
        InputError: If the package safetensors is missing.
    """
    mode = "pretrain" if network.kind == "backbone" else network.run.name
    about = About(mode, network.step, hidden_config(network), hidden_record(network))
    write_weights(path, network.params, network.batch_stats, about)


def hidden_config(network: Network) -> dict[str, Any]:
    """The run's configuration, without places, services and names of patients."""
    config = network.config
    data = {k: _OPEN.get(k, value) for k, value in config["data"].items()}
    init, log = {**config["init"], "checkpoint": ""}, dict(config.get("log", {}))
    # An address of a service may hold a password.
    log |= {name: "" for name in TRACKERS if name in log}
    return {**config, "data": data, "init": init, "log": log}


def hidden_record(network: Network) -> dict[str, Any]:
    """The run's record, with hashes for the names of patients."""
    record = network.record
    return record_to_dict(
        record._replace(
            split=hide_names(record.split),
            command="",
            origin=record.origin and record.origin._replace(run="", weights=""),
        )
    )
