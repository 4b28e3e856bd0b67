"""UniMatch's further terms: feature affinities and class prototypes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pix2rep_jax.losses.pseudo_labels import dice_of_probabilities
from pix2rep_jax.losses.similarity import (
    class_prototypes,
    propagate_classes,
    prototype_loss,
)
from pix2rep_jax.runtime.config_checks import (
    above_zero,
    all_of,
    not_below_zero,
    whole_numbers,
)

__all__ = ["NO_TERMS", "SETTINGS", "Similarity", "similarity_terms"]

SETTINGS = {
    "affinity_weight": not_below_zero,
    "affinity_temperature": above_zero,
    "affinity_blocks": all_of(whole_numbers, above_zero),
    "prototype_weight": not_below_zero,
    "prototype_temperature": above_zero,
}
"""What this module reads of the section `finetune.unimatch`."""

Seen = tuple[jax.Array, jax.Array]
"""A pass's logits `[batch, height, width, num_classes]` and its features."""


class Similarity(NamedTuple):
    """How much the terms count, and how features are compared.

    Attributes:
        affinity_weight: Weight of the term of affinities; 0 leaves it out.
        affinity_temperature: As for `propagate_classes`.
        affinity_blocks: Blocks along a side of the image, whose mean features the
            pixels are compared with.
        prototype_weight: Weight of the term of prototypes; 0 leaves it out.
        prototype_temperature: As for `prototype_loss`.
    """

    affinity_weight: float = 0.0
    affinity_temperature: float = 1.0
    affinity_blocks: int = 16
    prototype_weight: float = 0.0
    prototype_temperature: float = 0.1


NO_TERMS = Similarity()
"""Leaves both terms out."""


def similarity_terms(
    labeled: Seen,
    label: jax.Array,
    weak: Seen,
    partner: Seen,
    strong: Seen,
    *,
    paste_targets: Callable[[jax.Array, jax.Array], jax.Array],
    targets: jax.Array,
    confident: jax.Array,
    options: Similarity,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the terms whose weights are above 0.

    Affinities (SemSim's L_intra): the classes of the weak view and those of a strong
    one are propagated by their own features, and the strong ones learn the likeliest
    propagated class of the weak. Prototypes (L_cross): the features of strong views
    are drawn to the labelled slices' prototypes of their pseudo-label.

    Args:
        labeled: What the network gives for the labelled slices.
        label: `[labelled, height, width]` classes.
        weak: The same for the weak views, `[n, …]`.
        partner: The same for the slices that are mixed in, `[n, …]`.
        strong: The same for the strong views, `[2 n, …]`: all first ones, then all
            second.
        paste_targets: Makes the targets `[2, n, height, width]` of the strong views
            from classes of the weak views and of the partners.
        targets: `[2, n, height, width]`, their pseudo-labels.
        confident: `[2, n, height, width]` bool, the pixels that count.
        options: Weights and temperatures.

    Returns:
        The weighted sum, and the terms to log.
    """
    value = jnp.zeros(())
    metrics: dict[str, jax.Array] = {}
    logits, features = strong
    if options.affinity_weight > 0:
        spread = functools.partial(
            propagate_classes,
            temperature=options.affinity_temperature,
            stride=features.shape[1] // options.affinity_blocks,
        )
        own, other = (
            spread(jax.nn.softmax(x), y).argmax(-1)
            for x, y in map(jax.lax.stop_gradient, (weak, partner))
        )
        views = jnp.split(spread(jax.nn.softmax(logits), features), 2)
        terms = map(dice_of_probabilities, views, paste_targets(own, other), confident)
        metrics["affinity_loss"] = jnp.stack([*terms]).mean()
        value += options.affinity_weight * metrics["affinity_loss"]
    if options.prototype_weight > 0:
        prototypes, occurs = class_prototypes(
            labeled[1], label, num_classes=logits.shape[-1]
        )
        metrics["prototype_loss"] = prototype_loss(
            features,
            targets.reshape(logits.shape[:-1]),
            confident.reshape(logits.shape[:-1]),
            prototypes,
            occurs,
            temperature=options.prototype_temperature,
        )
        value += options.prototype_weight * metrics["prototype_loss"]
    return value, metrics
