"""A short hash of the settings that a run's numbers depend on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pix2rep_jax.modes import pretrain, run_training
from pix2rep_jax.runs import manifest
from pix2rep_jax.runtime.config_checks import effective

__all__ = ["fingerprint"]

_DIGITS = 12


def fingerprint(
    config: Mapping[str, Any], *, mode: str, home: str, origin: str = ""
) -> str:
    """Hashes the settings that the numbers of a run depend on.

    Args:
        config: A whole configuration.
        mode: "pretrain", "probe" or "finetune", or "data" for the prepared slices
            alone.
        home: The study's own `data.root`. This value does not count, since the scans
            may be moved. Another root counts.
        origin: Fingerprint of the pretraining that the run starts from.

    Returns:
        12 hexadecimal digits.
    """
    settings = {
        name: value
        for name, value in effective(config).items()
        if _counts(name, mode, config["pretrain"]["method"])
        and (name, value) != ("data.root", home)
    }
    text = json.dumps([settings, origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _counts(name: str, mode: str, method: str) -> bool:
    """Tells whether the numbers of a mode's run depend on a setting."""
    section = name.split(".")[0]
    if name in manifest.NEUTRAL:
        return False
    if mode in ("probe", "finetune"):
        # `origin` stands for the checkpoint, wherever it lies.
        return section in (*run_training.SECTIONS, mode) and name != "init.checkpoint"
    if name in pretrain.NEUTRAL:
        return False
    return section in (("data",) if mode == "data" else (*pretrain.SECTIONS, method))
