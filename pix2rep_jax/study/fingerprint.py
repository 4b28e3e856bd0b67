"""A few digits for what a run's numbers depend on, by which it is found again."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pix2rep_jax import downstream
from pix2rep_jax.modes import pretrain
from pix2rep_jax.settings import has_effect, walk
from pix2rep_jax.training import run_folder

__all__ = ["fingerprint", "sections_of"]

_DIGITS = 12


def sections_of(mode: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Lists what of a configuration a run of a mode depends on."""
    if mode == "pretrain":
        # The section of a method's own name says what it does otherwise.
        return (*pretrain.SECTIONS, config["pretrain"]["method"])
    return (*downstream.SECTIONS, mode)


def fingerprint(
    config: Mapping[str, Any],
    *,
    sections: Sequence[str],
    neutral: Collection[str] = (),
    origin: str = "",
) -> str:
    """Hashes the settings that a run's numbers depend on.

    Args:
        config: A whole configuration.
        sections: Its parts that matter.
        neutral: Settings in them that do not, besides those of every run.
        origin: Whatever else matters.

    Returns:
        Hexadecimal digits.
    """
    ignored = {*neutral, *run_folder.NEUTRAL}
    settings = dict(walk(config))
    content = {
        name: value
        for name, value in settings.items()
        if name.split(".")[0] in sections
        and name not in ignored
        and has_effect(name, settings)
    }
    text = json.dumps([content, origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
