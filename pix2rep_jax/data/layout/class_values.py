"""Which value of the experts' masks stands for which class."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.layout.dataset_json import plain_name, read_facts
from pix2rep_jax.errors import InputError

__all__ = [
    "describe_values",
    "find_class_values",
    "have_same_names",
    "ignored_values",
    "looks_ignored",
    "order_classes_like",
    "values_note",
    "with_doubt",
]

_LOG = logging.getLogger(__name__)


def find_class_values(data: ConfigDict) -> tuple[int, ...]:
    """Finds the value of each class in the masks of a data set.

    `data.label_values` comes first. Then a plain folder's `dataset.json` is read, whose
    names must be those of `data.classes`, in any order. Else the values are 0, 1, 2, …

    Args:
        data: The `data` section of a configuration.

    Returns:
        The values in the order of `data.classes`.

    Raises:
        InputError: If there are more or fewer values than classes, or if the names in
            `dataset.json` are not those of `data.classes`.
    """
    classes, values = tuple(data.classes), tuple(data.label_values)
    if values:
        if len(values) != len(classes) or len(set(values)) != len(values):
            raise InputError(
                f"data.label_values={values} must give one value to each of "
                f"data.classes={classes}, in the same order and each once: if your "
                "masks have other structures, set --config.data.classes too, for "
                "example to BG,NAME"
            )
        return values
    named = {}
    if data.name == "nifti":
        named = dict(read_facts(Path(data.root).expanduser()).classes)
    if not named:
        return tuple(range(len(classes)))
    if not have_same_names(classes, list(named)):
        shown = ", ".join(f"{name} {value}" for name, value in named.items())
        raise InputError(
            f"data.classes={','.join(classes)}, but dataset.json in {data.root} names "
            f"the labels {shown}: add --config.data.classes={','.join(named)}, or give "
            "the masks' values in the order of your classes by "
            "--config.data.label_values"
        )
    by_name = {plain_name(name): value for name, value in named.items()}
    return tuple(by_name[plain_name(name)] for name in classes)


def ignored_values(data: ConfigDict, values: Sequence[int]) -> tuple[int, ...]:
    """Finds the values in the masks of pixels that nobody has labelled.

    Args:
        data: The `data` section. Runs of earlier versions have no `ignore`.
        values: The values of its classes.

    Raises:
        InputError: If one of them is the value of a class.
    """
    ignored = tuple(data.get("ignore", ()))
    if both := sorted({*ignored} & {*values}):
        raise InputError(
            f"data.ignore={','.join(map(str, ignored))}, but {both[0]} is the value of "
            f"a class ({describe_values(data.classes, values)}): give the value of "
            "pixels without a label, or correct --config.data.label_values"
        )
    return ignored


def looks_ignored(values: Sequence[int]) -> bool:
    """Whether the last of the masks' values may mark pixels without a label.

    255 beside 0 alone is a structure, and so it is as the brightest of some greys.

    Args:
        values: All values, ascending.
    """
    *others, last = values
    plain = others == list(range(len(others)))
    return last == UNLABELLED and len(others) > 1 and plain


def with_doubt(data: ConfigDict) -> ConfigDict:
    """Takes 255 for no structure where nobody has said what it is, for a measurement.

    Args:
        data: The `data` section.

    Returns:
        The section; or a copy in which the value is ignored, if nothing names it but
        itself and it looks so.
    """
    values, classes = tuple(data.label_values), tuple(data.classes)
    named = classes[-1:] != (str(UNLABELLED),)
    if named or data.get("ignore") or not values or not looks_ignored(values):
        return data
    doubted = data.copy_and_resolve_references()
    doubted.classes, doubted.label_values = classes[:-1], values[:-1]
    doubted.ignore = (UNLABELLED,)
    return doubted


def values_note(data: ConfigDict, values: Sequence[int]) -> str:
    """Says that `dataset.json` gives the classes their values, if it does.

    Args:
        data: The `data` section.
        values: What `find_class_values` returned for it.
    """
    if data.label_values or data.name != "nifti":
        return ""
    path = read_facts(Path(data.root).expanduser()).path
    if path is None:
        return ""
    shown = describe_values(data.classes, values)
    return f"note: the values of the masks are those of {path}: {shown}"


def describe_values(classes: Sequence[str], values: Sequence[int]) -> str:
    """Lists the values of classes, such as "BG 0, RV 3"."""
    pairs = zip(classes, values, strict=True)
    return ", ".join(f"{name} {value}" for name, value in pairs)


def order_classes_like(data: ConfigDict, classes: Sequence[str]) -> ConfigDict:
    """Puts the classes of a data set into a network's order, with their labels.

    Args:
        data: The `data` section; its classes have the network's names in some order.
        classes: The network's classes in its own order.

    Returns:
        The section itself if the order is the same. Else a copy with the network's
        `classes`, and with `label_values` that belong to them.

    Raises:
        InputError: As `find_class_values`.
    """
    ours, theirs = list(map(plain_name, data.classes)), list(map(plain_name, classes))
    if ours == theirs:
        return data
    values = dict(zip(ours, find_class_values(data), strict=True))
    matched = data.copy_and_resolve_references()
    matched.classes = tuple(classes)
    matched.label_values = tuple(values[name] for name in theirs)
    _LOG.warning(
        "note: the network has the classes in another order than data.classes, so the "
        "masks' labels are matched by name: %s",
        describe_values(classes, matched.label_values),
    )
    return matched


def have_same_names(first: Sequence[str], second: Sequence[str]) -> bool:
    """Tells whether two lists name the same classes, in any order."""
    return sorted(map(plain_name, first)) == sorted(map(plain_name, second))
