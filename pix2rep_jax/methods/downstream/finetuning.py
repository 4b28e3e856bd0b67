"""Fine-tuning by either method: the loss, and the data that it is for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.errors import check_choice
from pix2rep_jax.methods.downstream import mean_teacher, supervised
from pix2rep_jax.methods.downstream.augmentation import finetuning_options
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.training.state import LossFn

__all__ = ["Finetuning", "check_finetuning", "make_finetuning"]


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
        InputError: If there is no such method, or no such network of Mean Teacher.
    """
    for name, value, known in (
        ("method", recipe.method, ("supervised", "mean_teacher")),
        ("mean_teacher.result", recipe.mean_teacher.result, mean_teacher.NETWORKS),
    ):
        check_choice(f"finetune.{name}", value, known)
    sizes = {"finetune.batch_size": recipe.batch_size}
    if recipe.method == "mean_teacher":
        name = "unlabeled_batch_size"
        sizes[f"finetune.mean_teacher.{name}"] = recipe.mean_teacher[name]
    return sizes


def make_finetuning(
    config: ConfigDict,
    net: SegmentationNet,
    params: Any,
    *,
    labeled: Mapping[str, np.ndarray],
    unlabeled: np.ndarray | None,
    num_steps: int,
) -> Finetuning:
    """Makes what `finetune.method` names.

    Args:
        config: Its sections `finetune`, `segmentation` and `augment` are read.
        net: Backbone and head.
        params: Initial parameters.
        labeled: "image" `[slices, height, width, channels]` and "label"
            `[slices, height, width]` of the slices with a mask.
        unlabeled: `[slices, height, width, channels]`; None unless it is Mean Teacher.
        num_steps: Steps of the run.
    """
    recipe = config.finetune
    options = {
        **config.segmentation.to_dict(),
        **finetuning_options(config.augment),
        "batch_norm": recipe.batch_norm,
    }
    if recipe.method == "supervised":
        loss_fn = supervised.make_loss(net, **options)
        return Finetuning(loss_fn, {}, labeled, recipe.batch_size)
    own = recipe.mean_teacher.to_dict()
    del own["result"]
    unlabeled_size = own.pop("unlabeled_batch_size")
    return Finetuning(
        loss_fn=mean_teacher.make_loss(net, **options, num_steps=num_steps, **own),
        extra=mean_teacher.make_extra(params),
        data={"labeled": labeled, "unlabeled": {"image": unlabeled}},
        batch_size={"labeled": recipe.batch_size, "unlabeled": unlabeled_size},
    )
