"""Pix2Rep in JAX: dense self-supervised learning for medical image segmentation.

The names below are imported when they are first used, so `import pix2rep_jax` alone
does not import jax.

Reference: M. Seince, L. Le Folgoc, L. A. Facury de Souza, E. Angelini, "Dense
Self-Supervised Learning for Medical Image Segmentation", MIDL 2024.
"""

import importlib
from typing import TYPE_CHECKING, Any

from pix2rep_jax.runtime.messages import show_notes

if TYPE_CHECKING:
    from pix2rep_jax.api.learned import embed, explore, export, report
    from pix2rep_jax.api.masks import evaluate, predict
    from pix2rep_jax.api.run import Run
    from pix2rep_jax.api.training import finetune, pretrain, probe
    from pix2rep_jax.inference.backbone import Backbone
    from pix2rep_jax.inference.compared_pixels import nearest_pixels, similarity
    from pix2rep_jax.inference.segmenter import Segmenter
    from pix2rep_jax.losses.contrastive import info_nce
    from pix2rep_jax.losses.decorrelation import cross_correlation
    from pix2rep_jax.models.unet import UNet
    from pix2rep_jax.views.warp import warp

__version__ = "0.1.0"

show_notes()

__all__ = [
    "Backbone",
    "Run",
    "Segmenter",
    "UNet",
    "cross_correlation",
    "embed",
    "evaluate",
    "explore",
    "export",
    "finetune",
    "info_nce",
    "nearest_pixels",
    "predict",
    "pretrain",
    "probe",
    "report",
    "similarity",
    "warp",
]

_MODULES = {
    "Backbone": "pix2rep_jax.inference.backbone",
    "Run": "pix2rep_jax.api.run",
    "Segmenter": "pix2rep_jax.inference.segmenter",
    "UNet": "pix2rep_jax.models.unet",
    "cross_correlation": "pix2rep_jax.losses.decorrelation",
    "embed": "pix2rep_jax.api.learned",
    "evaluate": "pix2rep_jax.api.masks",
    "explore": "pix2rep_jax.api.learned",
    "export": "pix2rep_jax.api.learned",
    "finetune": "pix2rep_jax.api.training",
    "info_nce": "pix2rep_jax.losses.contrastive",
    "nearest_pixels": "pix2rep_jax.inference.compared_pixels",
    "predict": "pix2rep_jax.api.masks",
    "pretrain": "pix2rep_jax.api.training",
    "probe": "pix2rep_jax.api.training",
    "report": "pix2rep_jax.api.learned",
    "similarity": "pix2rep_jax.inference.compared_pixels",
    "warp": "pix2rep_jax.views.warp",
}


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__` when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the names that are imported on demand beside those that are there."""
    return sorted({*globals(), *__all__})
