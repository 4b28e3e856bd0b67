"""Fine-tuning by each method: the loss, and the data that it is for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError, check_choice
from pix2rep_jax.losses.segmentation import loss_options
from pix2rep_jax.methods.downstream import mean_teacher, supervised, unimatch
from pix2rep_jax.methods.downstream.augmentation import (
    finetuning_options,
    patch_options,
)
from pix2rep_jax.methods.downstream.similarity_terms import Similarity
from pix2rep_jax.methods.downstream.teacher import NETWORKS, make_extra
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.training.state import LossFn

__all__ = [
    "METHODS",
    "Finetuning",
    "check_finetuning",
    "make_finetuning",
    "read_similarity",
    "settle_recipe",
]

METHODS = ("supervised", "mean_teacher", "unimatch")
"""Values of `finetune.method`. All but the first use slices without a mask too."""


class Finetuning(NamedTuple):
    """What `finetune.method` decides.

    Attributes:
        loss_fn: The loss of a batch.
        extra: Initial extra state, as in `TrainState`.
        data: Tree of arrays, one sample per row, or a mapping of such sets.
        batch_size: Samples of the global batch, or a mapping by the names of the sets.
    """

    loss_fn: LossFn
    extra: Any
    data: Any
    batch_size: Any


def check_finetuning(recipe: ConfigDict) -> dict[str, int]:
    """Checks the words in the `finetune` section.

    Returns:
        The batch sizes that the method uses, by the setting's name.

    Raises:
        InputError: If there is no such method, if its section is missing, or if it has
            no such network.
    """
    check_choice("finetune.method", recipe.method, METHODS)
    sizes = {"finetune.batch_size": recipe.batch_size}
    if recipe.method == "supervised":
        return sizes
    section = f"finetune.{recipe.method}"
    if recipe.method not in recipe:
        raise InputError(
            f"finetune.method is {recipe.method!r}, and the configuration has no "
            f"section {section}: start from configs/pix2rep.py, which has it"
        )
    own = recipe[recipe.method]
    check_choice(f"{section}.result", own.result, NETWORKS)
    sizes[f"{section}.unlabeled_batch_size"] = own.unlabeled_batch_size
    return sizes


def settle_recipe(recipe: ConfigDict, *, pretrained: bool) -> ConfigDict:
    """Chooses the learning rates and the warm-up among those of the section `finetune`.

    Args:
        recipe: The section.
        pretrained: Whether the backbone has weights of a pretraining.

    Returns:
        The section, in which `backbone_learning_rate`, `head_learning_rate` and
        `warmup_share` are those that count. Random weights have `scratch_learning_rate`
        for both parts. A method may have a rate and a warm-up of its own for pretrained
        ones; 0 stands for those of `finetune`.
    """
    settled = recipe.copy_and_resolve_references()
    if not pretrained:
        return _with_rate(settled, recipe.scratch_learning_rate)
    own = recipe.get(recipe.method) or {}  # earlier runs lack what follows
    if share := own.get("pretrained_warmup_share"):
        with settled.unlocked():
            settled.warmup_share = share
    if rate := own.get("pretrained_learning_rate"):
        return _with_rate(settled, rate)
    return settled


def _with_rate(recipe: ConfigDict, rate: float) -> ConfigDict:
    """Gives both parts of the network one rate."""
    recipe.update(backbone_learning_rate=rate, head_learning_rate=rate)
    return recipe


def make_finetuning(
    config: ConfigDict,
    net: SegmentationNet,
    params: Any,
    batch_stats: Any,
    *,
    labeled: Mapping[str, np.ndarray],
    unlabeled: Mapping[str, np.ndarray],
    num_steps: int,
) -> Finetuning:
    """Makes what `finetune.method` names.

    Args:
        config: Its sections `finetune`, `segmentation` and `augment` are read, and
            `data.crop` and `data.size`.
        net: Backbone and head.
        params: Initial parameters.
        batch_stats: Initial BatchNorm statistics.
        labeled: "image" `[slices, height, width, channels]` and "label"
            `[slices, height, width]` of the slices with a mask; "box" `[slices, 4]`
            too if they are whole.
        unlabeled: "image" `[slices, height, width, channels]` of the slices that are
            used without their masks, and "box" if they are whole; nothing if the method
            is "supervised". UniMatch also takes masks, as `unimatch_views.HIDDEN`.
        num_steps: Steps of the run.
    """
    recipe = config.finetune
    options = {
        **loss_options(config.segmentation),
        **finetuning_options(config.augment),
        "batch_norm": recipe.batch_norm,
        "patch": patch_options(config.data),
    }
    if recipe.method == "supervised":
        loss_fn = supervised.make_loss(net, **options)
        return Finetuning(loss_fn, {}, labeled, recipe.batch_size)
    own = recipe[recipe.method].to_dict()
    del own["result"]
    for name in ("pretrained_learning_rate", "pretrained_warmup_share"):
        own.pop(name, None)  # `settle_recipe` has read them
    size = own.pop("unlabeled_batch_size")
    if recipe.method == "mean_teacher":
        loss_fn = mean_teacher.make_loss(net, **options, num_steps=num_steps, **own)
        extra = make_extra(params)
    else:
        own["strong_intensity"] = own.pop("intensity")
        own["similarity"] = read_similarity(own, size=config.data.size)
        loss_fn = unimatch.make_loss(net, **options, **own)
        averages = own["teacher"] == "ema"
        extra = make_extra(params, batch_stats=batch_stats) if averages else {}
        size *= 1 if averages else 2  # and as many partners
    return Finetuning(
        loss_fn=loss_fn,
        extra=extra,
        data={"labeled": labeled, "unlabeled": unlabeled},
        batch_size={"labeled": recipe.batch_size, "unlabeled": size},
    )


def read_similarity(own: dict[str, Any], *, size: int) -> Similarity:
    """Takes UniMatch's further terms out of its settings; earlier runs lack them.

    Args:
        own: The section `finetune.unimatch`. It is changed.
        size: Side of the network's images, in pixels.

    Raises:
        InputError: If blocks of pixels do not fill an image.
    """
    given = {name: own.pop(name) for name in Similarity._fields if name in own}
    found = Similarity(**given)
    if found.affinity_weight > 0 and size % found.affinity_blocks:
        raise InputError(
            f"finetune.unimatch.affinity_blocks is {found.affinity_blocks}, which does "
            f"not divide data.size={size}: set it to a divisor of that"
        )
    return found
