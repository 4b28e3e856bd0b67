"""Which values of a configuration make sense, before anything is read or written."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError

__all__ = ["SECTIONS", "check_settings", "effective", "split_words", "walk"]

SECTIONS = (
    "data",
    "model",
    "projection",
    "spatial",
    "intensity",
    "pretrain",
    "augment",
    "probe",
    "finetune",
    "init",
    "log",
)
"""What every configuration has; methods have sections of their own beside them."""

_WORDS = ("classes", "exclude", "methods", "figure3")

_CHOICES = {"schedule": ("constant", "cosine")}

_PAIRS = ("percentiles", "extent", "max_shift")

_COUNTS = ("channels", "hidden", "elastic_grids")

_ABOVE_ZERO = (
    "spacing_mm",
    "crop_px",
    "size",
    "batch_size",
    "unlabeled_batch_size",
    "extent",
    "channels",
    "hidden",
    "temperature",
    "num_features",
    "scratch_num_features",
    "features",
    "local_features",
)

_SHARES = ("ema_decay", "start_fraction", "ramp_up_fraction")

_NOT_BELOW_ZERO = (
    "num_steps",
    "min_steps",
    "num_epochs",
    "max_rotation",
    "max_shift",
    "elastic_reach",
    "max_blur",
    "max_bias_field",
    "max_noise",
    "max_gamma",
    "max_contrast",
    "max_brightness",
    "off_diagonal_weight",
    "weight_decay",
    "learning_rate",
    "backbone_learning_rate",
    "head_learning_rate",
    "scratch_learning_rate",
    "cross_entropy_weight",
    "dice_weight",
    "consistency_weight",
    "noise_std",
    "noise_clip",
    "last_hidden",
    "warmup_steps",
    "device_budget_mb",
    "feature_budget_mb",
    "metrics_every",
    "validate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "holdout_per_group",
    "validation_patients",
    "phantom_training",
    "phantom_testing",
)


def check_settings(config: Mapping[str, Any]) -> None:
    """Checks every value whose name says what it may be.

    Args:
        config: The whole configuration.

    Raises:
        InputError: If a section is missing, a number is not finite, a probability lies
            outside 0 to 1, a range has other than two ends or the wrong order, a size
            is none, a word is none of its choices, or the elastic grids are not as
            many as their reaches; names the first such value.
    """
    for section in SECTIONS:
        if section not in config:
            raise InputError(
                f"the configuration has no section {section!r}: start from "
                "configs/pix2rep.py, which has all of them"
            )
    values = dict(walk(config))
    for name, value in values.items():
        wanted = complaint(name.rpartition(".")[2], value)
        if wanted:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError(f"{name} is {shown}: it must be {wanted}")
        partner = name.replace("elastic_grids", "elastic_reach")
        if partner != name and len(value) != len(values[partner]):
            raise InputError(
                f"{name} has {len(value)} grid(s) and {partner} {len(values[partner])} "
                "number(s): give one of these a grid, such as 5,9 and 0.06,0.02"
            )


def split_words(config: ConfigDict) -> None:
    """Reads lists of words as they are written on a command line: a,b.

    Its parser makes one word of that, and numbers of words such as 101.

    Args:
        config: The whole configuration, in which they are replaced.
    """
    for name, value in list(walk(config)):
        if name.rpartition(".")[2] not in _WORDS or not isinstance(value, tuple):
            continue
        words = [str(word) for word in value]
        if len(words) == 1:
            words = [word.strip() for word in words[0].split(",")]
        config.update_from_flattened_dict({name: tuple(filter(None, words))})


def walk(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value with its dotted name."""
    for name, value in node.items():
        if hasattr(value, "items"):
            yield from walk(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """Lists the settings that change anything beside the others.

    Args:
        config: A whole configuration, or a part.

    Returns:
        Values by dotted names.
    """
    settings = dict(walk(config))

    def counts(name: str) -> bool:
        section, _, own = name.rpartition(".")
        if own == "min_steps":
            return settings[name] > 0 and not settings[f"{section}.num_steps"]
        return True

    return {name: value for name, value in settings.items() if counts(name)}


def complaint(name: str, value: Any) -> str:
    """Says what a value must be; empty where it is."""
    entries = value if isinstance(value, tuple) else (value,)
    if name in _CHOICES and value not in _CHOICES[name]:
        return " or ".join(map(repr, _CHOICES[name]))
    if name in _PAIRS and not (len(entries) == 2 and all(map(is_number, entries))):
        return "two numbers, such as 0.5,1.5"
    if name in _COUNTS and not all(type(x) is int for x in entries):
        return "whole numbers, such as 16,32"
    if any(isinstance(x, float) and not math.isfinite(x) for x in entries):
        return "finite"
    if name in _ABOVE_ZERO and not all(x > 0 for x in entries):
        return "above 0"
    if name == "elastic_grids" and min(entries, default=2) < 2:
        return "2 or more"
    if name == "extent" and entries[0] > entries[1]:
        return "the smaller number first"
    if name in _NOT_BELOW_ZERO and not all(x >= 0 for x in entries):
        return "0 or more"
    if name in ("seed", "phantom_seed") and not 0 <= value < 2**32:
        return "between 0 and 4294967295"
    is_share = name.endswith("_probability") or name in _SHARES
    if is_share and not 0 <= value <= 1:
        return "between 0 and 1"
    if name == "momentum" and not 0 <= value <= 1:
        return "between 0 and 1"
    return ""


def is_number(x: Any) -> bool:
    """Tells numbers from texts and from truth values."""
    return isinstance(x, int | float) and not isinstance(x, bool)
