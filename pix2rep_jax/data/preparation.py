"""The settings by which slices are prepared, and what they may be."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.files.labels import EMPTY_SLICES, UNLABELLED
from pix2rep_jax.data.files.nifti_header import LARGEST_MM, SMALLEST_MM
from pix2rep_jax.data.layout.dataset_json import plain_name
from pix2rep_jax.data.slices.grid import CROPS
from pix2rep_jax.data.slices.normalization import NORMALIZATIONS
from pix2rep_jax.data.slices.resample import INTERPOLATIONS
from pix2rep_jax.data.volume_list import NAMES
from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    anything,
    between,
    choice,
    finite,
    not_below_zero,
    pair,
    seed,
    whole_numbers,
    word_or,
    words,
)

__all__ = ["SETTINGS", "check_preparation", "field_of_view_mm"]

_LARGEST_VIEW_MM = 10_000.0
"""No scan is wider; a larger field of view holds nothing but its surroundings."""

SETTINGS = {
    "name": choice("auto", *NAMES),
    "root": anything,
    "crop": choice(*CROPS),
    "spacing_mm": word_or("auto", above_zero),
    "crop_px": between(0, 16_384, "px; no scan has more in a row"),
    "size": between(4, 4096, "px; the network's input"),
    "interpolation": choice(*INTERPOLATIONS),
    "percentiles": all_of(pair, finite),
    "normalization": choice(*NORMALIZATIONS),
    "window": finite,
    "slice_axis": choice("auto", 0, 1, 2),
    "orientation": choice("file", "canonical"),
    "fourth_axis": choice("auto", "frames", "channels"),
    "classes": words,
    "label_values": whole_numbers,
    "ignore": whole_numbers,
    "empty_slices": choice(*EMPTY_SLICES),
    "exclude": words,
    "all_frames": anything,
    "patient_regex": anything,
    "cache_dir": anything,
    "cache_gb": not_below_zero,
    "phantom_seed": seed,
    "phantom_training": not_below_zero,
    "phantom_testing": not_below_zero,
}
"""What data sets are listed and prepared by, in the configuration's section `data`."""


def field_of_view_mm(data: Mapping[str, Any]) -> float:
    """Computes the side of the square that the network sees, mm.

    Args:
        data: The `data` section of a configuration. If its `crop_px` is 0, the network
            sees `size` pixels of `spacing_mm` each.
    """
    return data["spacing_mm"] * (data["crop_px"] or data["size"])


def check_preparation(data: ConfigDict) -> None:
    """Checks the settings by which slices are prepared, against each other too.

    Args:
        data: The `data` section of a configuration.

    Raises:
        InputError: If one of them makes no sense; names it.
    """
    check_choice("data.crop", data.crop, CROPS)
    check_choice("data.interpolation", data.interpolation, INTERPOLATIONS)
    if "auto" in (data.crop, data.spacing_mm, data.normalization):
        raise InputError(
            "data.crop, data.spacing_mm or data.normalization is 'auto': take what "
            "pix2rep_jax.data.fit.plan.plan_data makes of it, or give a value"
        )
    if data.crop == "whole" and data.crop_px:
        raise InputError(
            f"data.crop_px={data.crop_px} is the side of a centred crop, and "
            "data.crop='whole' has none: set --config.data.crop_px=0, or "
            "--config.data.crop=center"
        )
    if not (data.spacing_mm > 0 and data.crop_px >= 0 and data.size > 0):
        raise InputError(
            "data.spacing_mm and data.size must be above 0, and data.crop_px must be 0 "
            f"or more, but they are {data.spacing_mm}, {data.size} and {data.crop_px}"
        )
    if (side := field_of_view_mm(data)) > _LARGEST_VIEW_MM:
        raise InputError(
            f"the network would see {side:g} mm, because data.spacing_mm is "
            f"{data.spacing_mm:g}, data.crop_px {data.crop_px} and data.size "
            f"{data.size}: choose them so that it sees {_LARGEST_VIEW_MM:g} mm at most"
        )
    pixel_mm = side / data.size
    if not SMALLEST_MM <= pixel_mm <= LARGEST_MM:
        raise InputError(
            f"a pixel would measure {pixel_mm:g} mm, because data.spacing_mm is "
            f"{data.spacing_mm:g}, data.crop_px {data.crop_px} and data.size "
            f"{data.size}: choose them so that it measures {SMALLEST_MM:g} to "
            f"{LARGEST_MM:g} mm"
        )
    percentiles = tuple(data.percentiles)
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise InputError(
            f"data.percentiles={percentiles} must be two numbers between 0 and 100, "
            "the lower one first"
        )
    # Without masks nobody needs to know the classes.
    if not (2 <= len(data.classes) <= UNLABELLED or not data.classes):
        raise InputError(
            f"data.classes={tuple(data.classes)} must name 2 to {UNLABELLED} classes, "
            "background first"
        )
    # Scores have the last two names.
    names = [*map(plain_name, data.classes), "mean", "mean_foreground"]
    if twice := [name for name in data.classes if names.count(plain_name(name)) > 1]:
        raise InputError(
            f"data.classes={tuple(data.classes)} has {twice[0]!r} twice (capitals do "
            "not count), or it is the name of an average: give every class a name of "
            "its own"
        )
