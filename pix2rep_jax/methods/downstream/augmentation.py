"""How labelled slices are changed in each step: what `augment.recipe` decides."""

from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.slices.grid import PATCHED
from pix2rep_jax.runtime.config_checks import choice
from pix2rep_jax.views.patches import PatchOptions

__all__ = ["RECIPES", "finetuning_options", "patch_options", "probing_options"]

_FOREGROUND_SHARE = 1 / 3
"""Share of the patches that hold a structure if their slice does, as in nnU-Net."""

RECIPES = ("default", "released")
"""Names of the recipes.

"default" moves slices and changes their intensities in fine-tuning. Probing sees the
slices as they are. "released" is what the paper's released code does: fine-tuning and
probing change intensities only.
"""


SETTINGS = {"recipe": choice(*RECIPES)}
"""What this module reads of the section `augment`."""


def finetuning_options(augment: ConfigDict) -> dict[str, Any]:
    """Selects how fine-tuning changes its slices, with or without masks.

    Args:
        augment: The section.

    Returns:
        "spatial" and "intensity" of `views.sampling.augment`.
    """
    moves = augment.recipe == "default"
    return {
        "spatial": augment.spatial.to_dict() if moves else None,
        "intensity": augment.intensity.to_dict(),
    }


def patch_options(data: ConfigDict) -> PatchOptions | None:
    """Selects how patches of labelled slices are drawn; None for crops.

    Args:
        data: The section; `crop` and `size` are read.

    Reference:
        Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
        biomedical image segmentation", Nature Methods 18, 2021.
    """
    if data.crop not in PATCHED:
        return None
    return PatchOptions(data.size, foreground_share=_FOREGROUND_SHARE)


def probing_options(augment: ConfigDict) -> dict[str, Any]:
    """Selects how probing changes its slices.

    Args:
        augment: The section.

    Returns:
        "intensity" of `methods.downstream.probe.make_loss`. It is None where the
        slices stay as they are, so their features can be computed once.
    """
    changes = augment.recipe == "released"
    return {"intensity": augment.intensity.to_dict() if changes else None}
