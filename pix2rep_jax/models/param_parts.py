"""Parts of a network by dotted name: "projection", or "backbone.encode_0"."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["put_parts", "take_parts"]


def take_parts(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Takes parts out of a tree of nested mappings.

    Args:
        tree: Such as the parameters.
        names: Dotted names; none lies within another.

    Returns:
        The parts by their whole names, in one flat mapping.
    """
    parts = {}
    for name in names:
        part = tree
        for step in name.split("."):
            part = part[step]
        parts[name] = part
    return parts


def put_parts(tree: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tree with parts replaced by those of `take_parts`."""
    tree = dict(tree)
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        tree[first] = put_parts(tree[first], {rest: part}) if rest else part
    return tree
