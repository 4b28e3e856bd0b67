"""What a user should know about settings that are allowed and yet do little."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pix2rep_jax.errors import name_some
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.wording import count

__all__ = ["setting_notes"]

_SWITCHED = {
    "elastic_probability": ("elastic_grids", "elastic_reach"),
    "rotation_probability": ("max_rotation",),
    "extent_probability": ("extent",),
    "shift_probability": ("max_shift",),
    "blur_probability": ("max_blur",),
    "bias_field_probability": ("max_bias_field",),
    "noise_probability": ("max_noise",),
    "gamma_probability": ("max_gamma", "grey_levels"),
    "contrast_probability": ("max_contrast",),
    "brightness_probability": ("max_brightness",),
}
"""Settings of a view that a probability of 0 switches off."""

_CHANGED_VIEWS = ("pix2rep", "simclr", "byol", "barlow_twins")
"""Methods that compare two views by the sections `spatial` and `intensity`."""

_FINETUNE_RATES = ("finetune.backbone_learning_rate", "finetune.head_learning_rate")
"""Learning rates of pretrained weights and of their new head."""

_FEW_PAIRS = 16
"""Fewer pairs a step say little of what is unlike."""

_PARTS = ("shared", "pretraining", "then", "downstream")
"""Where a row of a study sets what it has of its own."""

Unread = tuple[str, str]
"""A setting or a section, and why nothing reads it."""


def setting_notes(
    config: Mapping[str, Any], mode: str, *, told: Collection[str]
) -> list[str]:
    """Says which settings have no effect, and which leave little to learn.

    Args:
        config: The whole configuration, which has been checked.
        mode: The mode that is to run.
        told: Dotted names of the settings that the command line gives.

    Returns:
        Sentences for a user, one for each reason.
    """
    values = dict(walk(config))
    reasons: dict[str, list[str]] = {}
    for name, why in _unread(values, mode):
        hit = [each for each in told if each == name or each.startswith(f"{name}.")]
        if hit:
            reasons.setdefault(why, []).extend(hit)
    notes = [
        f"note: {why}, so this changes nothing: {name_some(sorted({*names}))}"
        for why, names in reasons.items()
    ]
    doubts = [*_doubtful(values, mode), *_set_by_rows(values, mode, told=told)]
    return [*notes, *(f"note: {each}" for each in doubts)]


def _unread(values: Mapping[str, Any], mode: str) -> Iterator[Unread]:
    """Lists what the chosen method and its options do not read."""
    method = values.get(f"{mode}.method")
    if mode == "pretrain" and method in ("pix2rep", None):
        loss = values["pretrain.loss"]
        other = "off_diagonal_weight" if loss == "info_nce" else "temperature"
        yield f"pretrain.{other}", f"pretrain.loss={loss} does not read it"
    if mode == "finetune":
        for other in {"mean_teacher", "unimatch"} - {str(method)}:
            yield f"finetune.{other}", f"finetune.method is {method}"
        yield from _unread_rates(values)
        if values["augment.recipe"] == "released":
            yield "augment.spatial", "augment.recipe=released moves no slice"
    if mode == "probe":
        which = "augment.spatial", "probing moves no slice"
        if values["augment.recipe"] == "default":
            which = "augment", "probing changes slices with augment.recipe=released"
        yield which
    if mode in ("pretrain", "probe", "finetune") and values[f"{mode}.num_steps"]:
        for leaf in ("num_epochs", "min_steps"):
            yield f"{mode}.{leaf}", f"{mode}.num_steps is set"
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        if leaf in _SWITCHED and value == 0:
            for switched in _SWITCHED[leaf]:
                yield f"{section}.{switched}", f"{name} is 0"
    if values["data.normalization"] == "window":
        yield "data.percentiles", "data.normalization is 'window'"
    elif values["data.normalization"] == "percentiles":
        yield "data.window", "data.normalization is 'percentiles'"
    if values["data.labeled"]:
        for leaf in ("num_labeled", "draw"):
            yield f"data.{leaf}", "data.labeled names the labelled patients"
    if not values["data.folds"]:
        yield "data.fold", "data.folds is 0"


def _unread_rates(values: Mapping[str, Any]) -> Iterator[Unread]:
    """Lists the rates and warm-ups that a fine-tuning does not read."""
    own = f"finetune.{values['finetune.method']}.pretrained"
    if values["init.checkpoint"] == "none":
        for name in (*_FINETUNE_RATES, f"{own}_learning_rate"):
            yield name, "without a checkpoint finetune.scratch_learning_rate counts"
        why = "without a checkpoint finetune.warmup_share counts"
        yield f"{own}_warmup_share", why
        return
    for leaf, names in (
        ("learning_rate", _FINETUNE_RATES),
        ("warmup_share", ("finetune.warmup_share",)),
    ):
        for name in names if values.get(f"{own}_{leaf}") else ():
            yield name, f"{own}_{leaf} counts unless it is 0"


def _set_by_rows(
    values: Mapping[str, Any], mode: str, *, told: Collection[str]
) -> Iterator[str]:
    """Lists settings that rows of a study set, so that a given value does not count."""
    methods = values.get("study.methods", ()) if mode == "study" else ()
    for name in sorted(told):
        rows = [
            row
            for row in methods
            if any(f"study.rows.{row}.{part}.{name}" in values for part in _PARTS)
        ]
        if rows:
            rest = "other rows alone" if len(rows) < len(methods) else "no row"
            yield f"the rows {name_some(rows)} set {name}, so yours counts in {rest}"


def _doubtful(values: Mapping[str, Any], mode: str) -> Iterator[str]:
    """Lists values that leave little to learn, though someone may mean them."""
    method = values.get(f"{mode}.method") or "pix2rep"
    rates = {
        "pretrain": [f"{method}.learning_rate", "pretrain.learning_rate"],
        "probe": ["probe.learning_rate"],
        "finetune": [*_FINETUNE_RATES],
    }.get(mode, [])
    if mode == "finetune" and values["init.checkpoint"] == "none":
        rates = ["finetune.scratch_learning_rate"]
    elif values.get(own := f"finetune.{method}.pretrained_learning_rate"):
        rates = [own]
    rates = [name for name in rates if name in values]
    if mode == "pretrain":
        rates = rates[:1]  # the method's own counts
    if rates and not any(values[name] for name in rates):
        yield f"{' and '.join(rates)} is 0, so the network stays as it is"
    if mode == "pretrain" and method in _CHANGED_VIEWS and _are_views_alike(values):
        yield (
            "every probability of spatial and intensity is 0, so the two views of a "
            "slice are one, and there is little to learn"
        )
    moving = {
        "pretrain": ["byol.momentum"] if method == "byol" else [],
        "finetune": [f"finetune.{method}.ema_decay"],
    }.get(mode, [])
    for name in moving:
        if values.get(name) == 1:
            yield f"{name} is 1, so the averaged network never moves"
    if mode == "pretrain" and method == "pix2rep":
        points, batch_size = (
            values[f"pretrain.{leaf}"] for leaf in ("num_points", "batch_size")
        )
        if points != "all" and points * batch_size < _FEW_PAIRS:
            yield (
                f"a step compares only {count(points * batch_size, 'pair')} of pixels, "
                "and so learns little of what is unlike: raise "
                "--config.pretrain.num_points"
            )


def _are_views_alike(values: Mapping[str, Any]) -> bool:
    """Whether nothing changes a view, because each probability is 0."""
    return not any(
        value
        for name, value in values.items()
        if name.endswith("_probability") and name.startswith(("spatial.", "intensity."))
    )
