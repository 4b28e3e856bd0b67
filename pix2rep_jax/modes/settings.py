"""Checks a whole configuration by what each module declares of its own settings.

`SECTIONS` names the modules that read a section. A new setting is declared in the
module that uses it; a new section gets a line here.
"""

from collections.abc import Mapping
from typing import Any

from pix2rep_jax.data import named_split, preparation, splits
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference import in_context, postprocess
from pix2rep_jax.losses import segmentation
from pix2rep_jax.methods.downstream import (
    augmentation,
    mean_teacher,
    similarity_terms,
    supervised,
    unimatch,
)
from pix2rep_jax.methods.pretraining import (
    barlow_twins,
    byol,
    chaitanya,
    mae,
    pix2rep,
    simclr,
)
from pix2rep_jax.models import build
from pix2rep_jax.runs import kept_checkpoint, trackers
from pix2rep_jax.runtime.config_checks import (
    Check,
    anything,
    check_values,
    choice,
    not_below_zero,
    seed,
    share,
    walk,
)
from pix2rep_jax.training import feed, optimizer
from pix2rep_jax.views import affine, elastic, intensity

__all__ = ["CHECKS", "REQUIRED", "check_settings"]

TRAINING = {**feed.SETTINGS, **optimizer.SETTINGS}
"""What each section has that trains."""

RATES = dict.fromkeys(
    ("backbone_learning_rate", "head_learning_rate", "scratch_learning_rate"),
    optimizer.RATE,
)
"""Learning rates of fine-tuning, which modes/finetune.py chooses from."""

LOG = {
    **dict.fromkeys(
        (
            "metrics_every",
            "validate_every",
            "checkpoint_every",
            "checkpoint_minutes",
            "pictures_every",
        ),
        not_below_zero,
    ),
    **trackers.SETTINGS,
}
"""How often a run logs, validates and saves; read by modes/run_training.py."""

SECTIONS: dict[str, Mapping[str, Check]] = {
    "": {"seed": seed, "variant": anything},
    "data": {
        **preparation.SETTINGS,
        **splits.SETTINGS,
        **named_split.SETTINGS,
        "device_budget_mb": not_below_zero,  # the modes give it to training/feed.py
    },
    "model": build.SETTINGS,
    "projection": pix2rep.PROJECTION,
    "spatial": affine.SETTINGS,
    "intensity": intensity.SETTINGS,
    "augment": augmentation.SETTINGS,
    "augment.spatial": affine.SETTINGS,
    "augment.intensity": intensity.SETTINGS,
    "segmentation": {**segmentation.SETTINGS, **kept_checkpoint.SETTINGS},
    "pretrain": {"method": anything, **TRAINING, **pix2rep.SETTINGS},
    "simclr": {**TRAINING, **simclr.SETTINGS},
    "byol": {**TRAINING, **byol.SETTINGS},
    "barlow_twins": {**TRAINING, **barlow_twins.SETTINGS},
    "chaitanya": {**TRAINING, **chaitanya.SETTINGS},
    "mae": {**TRAINING, **mae.SETTINGS},
    "chaitanya.spatial": affine.SETTINGS,
    "chaitanya.intensity": intensity.SETTINGS,
    "probe": {**TRAINING, "feature_budget_mb": not_below_zero},
    "finetune": {
        "method": anything,
        "warmup_share": share,  # read by training/optimizer.py
        "compare_scratch": choice(True, False),  # read by modes/finetune.py
        **TRAINING,
        **RATES,
        **supervised.SETTINGS,
    },
    "finetune.mean_teacher": mean_teacher.SETTINGS,
    "finetune.unimatch": unimatch.SETTINGS,
    "finetune.unimatch.intensity": intensity.SETTINGS,
    "predict": postprocess.SETTINGS,
    "context": in_context.SETTINGS,
    "init": {"checkpoint": anything, "recalibrate": anything},
    "log": LOG,
}
"""Settings by section, each with its check."""

CHECKS: dict[str, Check] = {
    f"{section}.{name}".lstrip("."): check
    for section, checks in SECTIONS.items()
    for name, check in checks.items()
}
"""The same checks by the settings' dotted names."""

REQUIRED = (
    "data",
    "model",
    "projection",
    "spatial",
    "intensity",
    "pretrain",
    "augment",
    "segmentation",
    "probe",
    "finetune",
    "init",
    "log",
)
"""Sections that every configuration has."""

OPTIONAL = (
    "variant",
    "log.pictures_every",
    "log.wandb",
    "log.mlflow",
    "data.cache_gb",
    "pretrain.method",
    "pretrain.min_steps",
    "probe.min_steps",
    "finetune.min_steps",
    "finetune.warmup_share",
    "finetune.compare_scratch",
    "finetune.unimatch.paste_probability",
    "finetune.unimatch.cross_entropy_share",
    "finetune.unimatch.pretrained_learning_rate",
    "finetune.unimatch.pretrained_warmup_share",
    *(f"finetune.unimatch.{name}" for name in similarity_terms.SETTINGS),
    "finetune.learning_rate",  # fine-tuning has several, each with a name of its own
    "spatial.shift_inside",
    "augment.spatial.shift_inside",
    "spatial.upright",
    "augment.spatial.upright",
    "intensity.convolution_probability",
    "augment.intensity.convolution_probability",
    "finetune.unimatch.intensity.convolution_probability",
)
"""What a configuration may leave out of the sections that it has."""

_METHODS = (
    "simclr",
    "byol",
    "barlow_twins",
    "chaitanya",
    "mae",
    "chaitanya.spatial",
    "chaitanya.intensity",
)
"""Sections that leave out what they do not override."""

_NOT_ALL_ZERO = (
    ("segmentation.cross_entropy_weight", "segmentation.dice_weight"),
    ("finetune.unimatch.supervised_weight", "finetune.unimatch.unlabeled_weight"),
)
"""Weights of a loss, of which one at least must count."""

_SPATIAL = [name for name, checks in SECTIONS.items() if checks is affine.SETTINGS]


def check_settings(config: Mapping[str, Any]) -> None:
    """Checks a configuration before anything is read or written.

    Args:
        config: The whole configuration.

    Raises:
        InputError: If a section or a setting is missing, or a value makes no sense;
            names the first.
    """
    for section in REQUIRED:
        if section not in config:
            raise InputError(
                f"the configuration has no section {section!r}: start from "
                "configs/pix2rep.py, which has all sections"
            )
    values = dict(walk(config))
    sections = {name.rpartition(".")[0] for name in values} - {*_METHODS}
    for name in CHECKS:
        if name.rpartition(".")[0] in sections and name not in (*values, *OPTIONAL):
            raise InputError(
                f"the configuration has no setting {name!r}: start from "
                "configs/pix2rep.py, which has all settings"
            )
    check_values(values, CHECKS)
    for names in _NOT_ALL_ZERO:
        if all(values.get(name) == 0 for name in names):
            raise InputError(
                f"{' and '.join(names)} are all 0, so the loss is 0 and nothing is "
                "learnt: set one of them above 0"
            )
    for section in _SPATIAL:
        prefix = f"{section}."
        elastic.check_grids(
            section,
            {
                name.removeprefix(prefix): value
                for name, value in values.items()
                if name.startswith(prefix)
            },
        )
