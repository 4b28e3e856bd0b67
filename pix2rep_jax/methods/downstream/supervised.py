"""Fine-tuning: supervised segmentation by the whole network."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from pix2rep_jax import losses
from pix2rep_jax.errors import check_choice
from pix2rep_jax.models.segmentation_net import SegmentationNet
from pix2rep_jax.runtime.config_checks import choice
from pix2rep_jax.training.state import LossFn, ModelState
from pix2rep_jax.views.patches import PatchOptions, augment_patches
from pix2rep_jax.views.sampling import augment

__all__ = ["BATCH_NORM", "augment_slices", "make_loss", "make_train_pass"]

BATCH_NORM = ("train", "frozen")
"""How BatchNorm normalises in fine-tuning."""


SETTINGS = {"batch_norm": choice(*BATCH_NORM)}
"""What this module reads of the section `finetune`."""


def make_train_pass(
    net: SegmentationNet, *, batch_norm: str
) -> Callable[..., tuple[Any, Any]]:
    """Makes the forward pass of a step in fine-tuning.

    Args:
        net: Backbone and head.
        batch_norm: "train" normalises by each batch and keeps running averages.
            "frozen" normalises by the statistics that the run started from.

    Returns:
        `train_pass(params, batch_stats, image, perturb=None) -> (logits, batch_stats)`,
        with images `[batch, height, width, channels]` and `perturb` as `UNet` takes it.
        With `with_features=True` it gives `(logits, features)` for the logits.

    Raises:
        InputError: If `batch_norm` is neither "train" nor "frozen".
    """
    check_choice("finetune.batch_norm", batch_norm, BATCH_NORM)

    def train_pass(params, batch_stats, image, perturb=None, *, with_features=False):
        logits, updated = net.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=batch_norm == "train",
            perturb=perturb,
            with_features=with_features,
            mutable=["batch_stats"],
        )
        return logits, updated["batch_stats"]

    return train_pass


def augment_slices(
    key: jax.Array,
    batch: Mapping[str, jax.Array],
    *,
    patch: PatchOptions | None,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
) -> tuple[jax.Array, jax.Array]:
    """Draws images and labels of one step, from crops or from whole slices.

    Args:
        key: One random key.
        batch: As for the loss of `make_loss`.
        patch: How patches of whole slices are drawn; None if the images are crops.
        spatial: Options of `affine.sample_sources`; None moves nothing.
        intensity: Options of `intensity.random_intensity`.
    """
    options: dict[str, Any] = {"spatial": spatial, "intensity": intensity}
    if patch is None:
        return augment(key, batch["image"], batch["label"], **options)
    image, label = augment_patches(key, batch, options=patch, **options)
    assert label is not None
    return image, label


def make_loss(
    net: SegmentationNet,
    *,
    cross_entropy_weight: float,
    dice_weight: float,
    include_background: bool,
    spatial: Mapping[str, Any] | None,
    intensity: Mapping[str, Any],
    batch_norm: str,
    patch: PatchOptions | None = None,
) -> LossFn:
    """Makes the supervised loss of a batch that is moved and changed at random.

    Args:
        net: Backbone and head.
        cross_entropy_weight: Weight of the cross-entropy.
        dice_weight: Weight of the soft Dice loss.
        include_background: Whether background counts in the soft Dice loss.
        spatial: Options of `affine.sample_sources`; None moves nothing.
        intensity: Options of `intensity.random_intensity`.
        batch_norm: "train" normalises by each batch and keeps running averages.
            "frozen" normalises by the statistics that the run started from.
        patch: How patches of whole slices are drawn; None if the images are crops.

    Returns:
        The loss of batches with "image" `[batch, height, width, channels]` and "label"
        `[batch, height, width]`; with `patch` also "box" `[batch, 4]`.

    Raises:
        InputError: If `batch_norm` is neither "train" nor "frozen".
    """
    train_pass = make_train_pass(net, batch_norm=batch_norm)

    def loss_fn(params, model_state: ModelState, batch, key: jax.Array):
        image, label = augment_slices(
            key, batch, patch=patch, spatial=spatial, intensity=intensity
        )
        logits, batch_stats = train_pass(params, model_state.batch_stats, image)
        value = losses.segmentation_loss(
            logits,
            label,
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            include_background=include_background,
        )
        return value, (model_state._replace(batch_stats=batch_stats), {})

    return loss_fn
