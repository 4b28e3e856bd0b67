"""A run as the fields of a `Segmenter`: its networks, and how they are given scans."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.data.files.axes import SliceRule
from pix2rep_jax.data.preparation import field_of_view_mm
from pix2rep_jax.data.slices.normalization import read_normalization
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.load_networks import restore_predictors
from pix2rep_jax.inference.postprocess import choose_components
from pix2rep_jax.inference.support_predictors import load_support_predictors
from pix2rep_jax.inference.support_scans import read_support
from pix2rep_jax.runs.checkpoint_steps import unfinished
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import RunRecord, read_run

__all__ = ["restore_fields", "scan_preparation", "support_fields"]

_LOG = logging.getLogger(__name__)


def restore_fields(
    run: Path,
    config: Mapping[str, Any],
    record: RunRecord,
    *,
    mirror: bool | str,
    largest_component: bool | str,
    keep: str = "",
) -> dict[str, Any]:
    """Loads the network of one run, of which the rest has been read.

    Args:
        run: The run's folder.
        config: Its whole configuration.
        record: What its run.json holds.
        mirror: As for `Segmenter.load`.
        largest_component: As for `Segmenter.load`.
        keep: As for `Segmenter.load`.

    Raises:
        InputError: As `Segmenter.load`.
    """
    data = config["data"]
    preparation = scan_preparation(run, data, record)
    networks = restore_predictors(run, config, record, mirror=mirror, keep=keep)
    return {
        "classes": tuple(data["classes"]),
        "predict_network": next(iter(networks.values())),  # the run's result
        "inputs": record.inputs,
        "pieces": choose_components(config, record, largest_component),
        **preparation,
    }


def support_fields(
    run: Path,
    support: str | Path,
    *,
    classes: Sequence[str],
    label_values: Sequence[int],
    settings: Mapping[str, Any],
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Loads a pretraining and the masked scans by which it segments.

    Args:
        run: The folder of the pretraining.
        support: As for `Segmenter.from_support`, like the others.
        classes: Names of the classes.
        label_values: The value of each class in the masks.
        settings: As for `read_support`.
        context: Settings of the section `context`.

    Raises:
        InputError: As `Segmenter.from_support`.
    """
    config, record = read_config(run), read_run(run)
    data = config["data"]
    preparation = scan_preparation(run, data, record)
    scans = read_support(
        support,
        data,
        record,
        run=run,
        classes=classes,
        label_values=label_values,
        settings=settings,
    )
    predictors = load_support_predictors(
        run, scans, {**config.get("context", {}), **context}
    )
    return {
        "classes": scans.classes,
        "predict_network": predictors.predict,
        "predict_frames": predictors.predict_frames,
        "inputs": record.inputs._replace(label_values=scans.values),
        **preparation,
    }


def scan_preparation(
    run: Path, data: Mapping[str, Any], record: RunRecord
) -> dict[str, Any]:
    """Returns how a run prepares scans, and logs that it is not finished, if so.

    Args:
        run: The run's folder.
        data: The `data` section of its configuration.
        record: What its run.json holds.

    Raises:
        InputError: If it was trained on crops that need experts' masks.
    """
    if note := unfinished(run, record.num_steps):
        _LOG.warning(note)
    if data["crop"] == "mask_box":
        raise InputError(
            f"the network in {run} was trained on crops around the expert's masks "
            f"(data.crop={data['crop']}), so it cannot be used on a scan without "
            "a mask: train one with --config.data.crop=center in another workdir"
        )
    return {
        "percentiles": tuple(data["percentiles"]),
        "window": read_normalization(data).window,
        "fov_mm": field_of_view_mm(data),
        "size": data["size"],
        "interpolation": data["interpolation"],
        "crop": data["crop"],
        "rule": SliceRule(data["slice_axis"], data["orientation"], record.slice_axis),
    }
