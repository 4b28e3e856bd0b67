"""Settings that a trained network has decided, so that no later flag changes them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.dependencies import IMAGES, answer
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.remembered import TRAINING, find_source
from pix2rep_jax.runtime.config_checks import plain, walk

__all__ = ["check_decided"]

_ONE_NETWORK = ("predict", "export")
"""Modes that use the workdir's first network alone."""

_USING = (*_ONE_NETWORK, "evaluate", "figures", "embed", "explore")
"""Modes that use a network as it was trained."""

_SECTIONS = ("model", "projection")
"""Sections that say what a network is."""


def check_decided(
    config: Mapping[str, Any],
    source: Path | None,
    mode: str,
    *,
    told: Collection[str],
    support: bool = False,
) -> None:
    """Checks that a command does not change what a trained network has decided.

    Args:
        config: The whole configuration, with the user's settings.
        source: The run in the workdir that the mode starts from; None if there is none.
        mode: The mode that is to run.
        told: Dotted names of the settings that the user has given.
        support: Whether masked scans say what the classes are.

    Raises:
        InputError: If a setting differs from the network's; names all of these.
    """
    labels = ("data.classes", "data.label_values")
    names = [
        name
        for name in sorted(told)
        if answer(name) == IMAGES
        or name.partition(".")[0] in _SECTIONS
        or (name in labels and mode in _ONE_NETWORK and not support)
    ]
    if not names or mode not in _USING:
        return
    run, start = source, config["init"]["checkpoint"]
    if run is None and start not in ("", "none"):
        run = find_source(Path(start).expanduser(), mode)
    if run is None:
        return
    runs = [run]
    if mode not in _ONE_NETWORK or support:
        beside = (run.parent / name for name in TRAINING)
        runs += [each for each in beside if (each / "config.json").is_file()]
    recorded = [dict(walk(read_config(each))) for each in runs]
    values = dict(walk(config))
    differing = [
        name
        for name in names
        if name in values
        and name in recorded[0]
        and values[name] != "auto"
        and plain(values[name]) not in [plain(each.get(name)) for each in recorded]
    ]
    if differing:
        given, theirs = (
            " ".join(f"--config.{name}={_shown(each[name])}" for name in differing)
            for each in (values, recorded[0])
        )
        raise InputError(
            f"{given} cannot change a trained network, and that in {run} has {theirs}: "
            "leave it out, or train another network in another --workdir"
        )


def _shown(value: Any) -> str:
    """Writes a value as on a command line."""
    listed = isinstance(value, tuple | list)
    return (",".join(map(str, value)) or "()") if listed else str(value)
