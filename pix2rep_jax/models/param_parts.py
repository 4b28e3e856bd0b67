"""Parts of a network's parameters by dotted name, such as "backbone.encode_0"."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["put_parts", "take_parts"]


def take_parts(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Takes parts out of a tree of nested mappings.

    Args:
        tree: For example a network's parameters.
        names: Dotted names. No part may contain another.

    Returns:
        A flat mapping from dotted name to part.
    """
    parts = {}
    for name in names:
        part = tree
        for step in name.split("."):
            part = part[step]
        parts[name] = part
    return parts


def put_parts(tree: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of the tree with these parts, as `take_parts` names them."""
    result = dict(tree)
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        result[first] = put_parts(result[first], {rest: part}) if rest else part
    return result
