"""Which value of the experts' masks stands for which class."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError

__all__ = [
    "describe_values",
    "find_class_values",
    "have_same_names",
    "order_classes_like",
    "plain_name",
    "values_note",
]

_BACKGROUND = ("bg", "background")
"""Names of the background, in small letters."""

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
                "masks have other structures, set data.classes too, for example to "
                "BG,NAME"
            )
        return values
    named = {}
    if data.name == "nifti":
        named = read_dataset_json(Path(data.root).expanduser() / "dataset.json")
    if not named:
        return tuple(range(len(classes)))
    if not have_same_names(classes, list(named)):
        shown = ", ".join(f"{name} {value}" for name, value in named.items())
        raise InputError(
            f"data.classes={','.join(classes)}, but dataset.json in {data.root} names "
            f"the labels {shown}: add --config.data.classes={','.join(named)}, or give "
            "the masks' values in the order of your classes by data.label_values"
        )
    by_name = {plain_name(name): value for name, value in named.items()}
    return tuple(by_name[plain_name(name)] for name in classes)


def values_note(data: ConfigDict, values: Sequence[int]) -> str:
    """Says that `dataset.json` gives the classes their values, if it does.

    Args:
        data: The `data` section.
        values: What `find_class_values` returned for it.
    """
    path = Path(data.root).expanduser() / "dataset.json"
    if data.label_values or data.name != "nifti" or not read_dataset_json(path):
        return ""
    shown = describe_values(data.classes, values)
    return f"note: the values of the masks are those of {path}: {shown}"


def describe_values(classes: Sequence[str], values: Sequence[int]) -> str:
    """Lists the values of classes, such as "BG 0, RV 3"."""
    pairs = zip(classes, values, strict=True)
    return ", ".join(f"{name} {value}" for name, value in pairs)


def read_dataset_json(path: Path) -> dict[str, int]:
    """Reads the names of the labels from a `dataset.json`.

    Both forms are read: `{"RV": 1}` of nnU-Net, and `{"1": "RV"}` of the Decathlon.

    Args:
        path: The file.

    Returns:
        Values by name, in the order of the values; empty if the file is missing or does
        not name labels.

    Raises:
        InputError: If the file is damaged, or if a class has not one whole number.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if not os.path.lexists(path):
            return {}
        raise InputError(
            f"{path} cannot be read ({' '.join(str(error).split())}): correct it, or "
            "move it away and set data.label_values"
        ) from error
    labels = content.get("labels") if isinstance(content, Mapping) else None
    if not isinstance(labels, Mapping) or not labels:
        return {}
    pairs: list[tuple[Any, Any]] = list(labels.items())
    if all(name.strip().lstrip("-").isdecimal() for name, _ in pairs):
        pairs = [(name, value) for value, name in pairs]
    try:
        # Not int(value) alone, which takes 1.5 and True for 1.
        named = {str(name): int(str(value)) for name, value in pairs}
    except ValueError as error:
        raise InputError(
            f"{path} does not give one whole number to each label: set "
            "data.label_values to the masks' values in the order of data.classes"
        ) from error
    names, values = {*map(plain_name, named)}, {*named.values()}
    if not len(names) == len(values) == len(pairs):
        raise InputError(
            f"{path} gives two labels one name or one value: correct it, or set "
            "data.label_values"
        )
    return dict(sorted(named.items(), key=lambda item: item[1]))


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


def plain_name(name: str) -> str:
    """Writes a class's name in the way in which names are compared."""
    small = name.strip().casefold()
    return "background" if small in _BACKGROUND else small
