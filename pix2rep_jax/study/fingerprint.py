"""A few digits for what a run's numbers depend on, by which it is found again."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pix2rep_jax.modes import pretrain, run_training
from pix2rep_jax.runs import manifest
from pix2rep_jax.runtime.config_checks import effective

__all__ = ["fingerprint", "sections_of"]

_DIGITS = 12


def sections_of(mode: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Lists what of a configuration a run of a mode depends on."""
    if mode == "pretrain":
        # The section of a method's own name says what it does otherwise.
        return (*pretrain.SECTIONS, config["pretrain"]["method"])
    return (*run_training.SECTIONS, mode)


def fingerprint(
    config: Mapping[str, Any],
    *,
    sections: Sequence[str],
    neutral: Collection[str] = (),
    home: str | None = None,
    origin: str = "",
) -> str:
    """Hashes the settings that a run's numbers depend on.

    Args:
        config: A whole configuration.
        sections: Its parts that matter.
        neutral: Settings in them that do not, besides those of every run.
        home: Of a study's data: a `data.root` that is this does not count, since they
            may be moved (scans.json says what they hold); a row's own does.
        origin: Whatever else matters.

    Returns:
        Hexadecimal digits.
    """
    ignored = {*neutral, *manifest.NEUTRAL}
    settings = effective(config)
    if settings.get("data.root") == home:
        ignored.add("data.root")
    content = {
        name: value
        for name, value in settings.items()
        if name.split(".")[0] in sections and name not in ignored
    }
    text = json.dumps([content, origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
