"""The configuration of a run that is there, for a command without `--config`.

It is loaded as other configuration files are: `run_config.py:FOLDER`.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.runs.manifest import read_config


def get_config(run: str) -> ConfigDict:
    """Returns the configuration that a run was started with.

    Settings that came since have their defaults.

    Args:
        run: The folder of one mode's run.
    """
    stored = read_config(Path(run))
    config = config_of_size(stored.get("variant"))
    with config.ignore_type():
        _put(config, stored)
    return config


def config_of_size(size: str | None) -> ConfigDict:
    """Returns the configuration of a size; of an unknown one the paper's."""
    try:
        pix2rep = importlib.import_module("pix2rep_jax.configs.pix2rep")
    except ModuleNotFoundError:  # in a clone of the repository
        pix2rep = importlib.import_module("configs.pix2rep")
    return pix2rep.get_config(size if size in pix2rep.SIZES else "paper")


def _put(config: ConfigDict, stored: Mapping[str, Any]) -> None:
    """Puts values as JSON holds them into a configuration."""
    for name, value in stored.items():
        if isinstance(value, Mapping):
            if name not in config:
                config[name] = ConfigDict()
            with config[name].ignore_type():
                _put(config[name], value)
        else:
            config[name] = tuple(value) if isinstance(value, list) else value
