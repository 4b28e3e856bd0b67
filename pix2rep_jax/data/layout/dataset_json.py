"""What dataset.json and labels.json say of a data set: its classes and channels."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pix2rep_jax.data.files.regular_file import read_text
from pix2rep_jax.errors import InputError, plain_text

__all__ = ["DatasetFacts", "plain_name", "read_channel_names", "read_facts"]

_BACKGROUND = ("bg", "background")
"""Names of the background, in small letters."""

_IGNORE = "ignore"
"""nnU-Net's name for pixels that nobody has labelled."""


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """What a data set says of itself.

    Attributes:
        path: The file that names the classes; None if no file does.
        classes: The value of each class by its name, in the order of the values.
        channels: The names of the channels in their order, such as "MRI" or "CT".
        ignore: The value of pixels without a label, which nnU-Net calls "ignore".
    """

    path: Path | None = None
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] = ()
    ignore: tuple[int, ...] = ()


def read_facts(root: Path, labels_folder: Path | None = None) -> DatasetFacts:
    """Reads dataset.json, and labels.json where that does not name the classes.

    `dataset.json` may have the form of nnU-Net (`"labels": {"RV": 1}`) or of the
    Decathlon (`{"1": "RV"}`). `labels.json` may hold either, with or without "labels".

    Args:
        root: The folder of the data set.
        labels_folder: The folder of the masks, where labels.json may lie too.

    Raises:
        InputError: If a file is damaged, or if a class has not one whole number.
    """
    channels = _channels(_read_json(root / "dataset.json"))
    places = [root, *([labels_folder] if labels_folder else [])]
    candidates = [root / "dataset.json", *(each / "labels.json" for each in places)]
    for path in candidates:
        read = _read_json(path)
        named = read.get("labels", {} if path.name == "dataset.json" else read)
        if classes := class_values(named, path):
            ignored = [name for name in classes if plain_name(name) == _IGNORE]
            ignore = tuple(classes.pop(name) for name in ignored)
            return DatasetFacts(path, classes, channels, ignore)
    return DatasetFacts(channels=channels)


def read_channel_names(path: Path) -> tuple[str, ...]:
    """Reads the names of the channels alone from a `dataset.json`.

    Args:
        path: The file. nnU-Net calls them "channel_names", and the Decathlon
            "modality".

    Returns:
        The names in their order; empty if the file is missing, damaged or names none.
    """
    try:
        return _channels(_read_json(path))
    except InputError:
        return ()


def class_values(labels: Any, path: Path) -> dict[str, int]:
    """Reads the values of classes by their names, in the order of the values.

    Args:
        labels: `{name: value}` or `{value: name}`.
        path: The file that it is from, for the message.

    Returns:
        Values by names; empty if nothing is named.

    Raises:
        InputError: If a class has not one whole number.
    """
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
            "--config.data.label_values to the masks' values in the order of "
            "--config.data.classes"
        ) from error
    names, values = {*map(plain_name, named)}, {*named.values()}
    if not len(names) == len(values) == len(pairs):
        raise InputError(
            f"{path} gives two labels one name or one value: correct it, or set "
            "--config.data.label_values"
        )
    return dict(sorted(named.items(), key=lambda item: item[1]))


def plain_name(name: str) -> str:
    """Writes a class's name in the way in which names are compared."""
    small = plain_text(name.strip().casefold())
    return "background" if small in _BACKGROUND else small


def _channels(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of channels in the order of their numbers."""
    named = content.get("channel_names", content.get("modality"))
    if isinstance(named, Mapping):
        try:
            named = [named[key] for key in sorted(named, key=int)]
        except (ValueError, TypeError):
            return ()
    return tuple(map(str, named)) if isinstance(named, list) else ()


def _read_json(path: Path) -> Mapping[str, Any]:
    """Reads a JSON object; empty if the file is missing or holds something else."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        if not os.path.lexists(path):
            return {}
        raise InputError(
            f"{path} cannot be read ({' '.join(str(error).split())}): correct it, or "
            "move it away and set --config.data.classes and --config.data.label_values"
        ) from error
    return content if isinstance(content, Mapping) else {}
