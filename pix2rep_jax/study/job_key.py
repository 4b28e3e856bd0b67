"""A short hash of the settings that a run's numbers depend on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pix2rep_jax.runs.dependencies import (
    EARLIER,
    relevant_settings,
    settings_of_labels,
)
from pix2rep_jax.runs.run_record import VERSION

__all__ = ["job_key"]

_DIGITS = 12


def job_key(
    config: Mapping[str, Any], *, mode: str, home: str, origin: str = ""
) -> str:
    """Hashes the settings that the numbers of a run depend on, and the runs' version.

    Args:
        config: A whole configuration.
        mode: "pretrain", "probe" or "finetune", or "data" for the prepared slices
            alone.
        home: The study's own `data.root`. This value does not count, since the scans
            may be moved. Another root counts.
        origin: Key of the pretraining that the run starts from.

    Returns:
        12 hexadecimal digits.
    """
    settings = relevant_settings(config, "pretrain" if mode == "data" else mode)
    settings |= settings_of_labels(config["data"])  # the prepared slices have labels
    keep = config["segmentation"]["keep"]
    if mode in ("probe", "finetune") and keep != EARLIER["segmentation.keep"]:
        settings["segmentation.keep"] = keep  # what is scored; training is the same
    if mode == "data":
        settings = {x: y for x, y in settings.items() if x.startswith("data.")}
    if (root := config["data"]["root"]) != home:
        settings["data.root"] = root
    text = json.dumps([VERSION, settings, origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
