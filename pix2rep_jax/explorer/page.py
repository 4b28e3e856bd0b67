"""The page: markup, style, program and the scans in one file."""

import base64
import gzip
import importlib.resources
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pix2rep_jax.explorer.explored_scan import ExploredScan
from pix2rep_jax.explorer.reduced_vectors import (
    ReducedVectors,
    restore_vectors,
)
from pix2rep_jax.inference.principal_components import find_colours
from pix2rep_jax.runtime.atomic_file import write_whole

__all__ = ["write_page"]

_COLOURED = 4096
"""Pixels of each scan that decide the colours of the principal components."""


def write_page(
    path: Path,
    scans: Sequence[ExploredScan],
    reduced: ReducedVectors,
    *,
    title: str,
    about: str,
    classes: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> None:
    """Writes the page, atomically.

    Args:
        path: The file, in an existing folder. It is replaced if it exists.
        scans: At least one.
        reduced: Their embeddings, from `reduce_vectors`.
        title: The page's title.
        about: One sentence on the network.
        classes: Names of the classes of masks and predictions, background first.
        notes: Sentences to show at the end.

    Raises:
        InputError: If it cannot be written.
    """
    facts: dict[str, Any] = {
        "title": title,
        "about": about,
        "classes": [*classes],
        "notes": [*notes],
        "error": round(reduced.error, 4),
        "largestError": round(reduced.largest_error, 4),
        "axes": reduced.axes,
        "scale": reduced.scale,
        "colours": _find_colours(reduced),
        "scans": [],
    }
    parts: list[np.ndarray] = []

    def add(array: np.ndarray | None) -> int | None:
        """Appends bytes to the file, and returns where they begin."""
        if array is None:
            return None
        start = sum(part.nbytes for part in parts)
        parts.append(np.ascontiguousarray(array))
        return start

    for scan, values in zip(scans, reduced.values, strict=True):
        facts["scans"].append(
            {
                "name": scan.name,
                "shape": [*scan.images.shape],
                "grid": [*values.shape[1:3]],
                "first": scan.first,
                "step": scan.step,
                "slices": scan.slices.tolist(),
                "affine": np.asarray(scan.affine).tolist(),
                "image": add(scan.images),
                "values": add(np.moveaxis(values, -1, 0)),  # packs better
                "labels": add(scan.labels),
                "predictions": add(scan.predictions),
            }
        )
    content = b"".join(part.tobytes() for part in parts)
    packed = base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")
    # No text in it may end the element that holds it.
    said = json.dumps(facts).replace("<", "\\u003c")
    parts_of_page = {
        "style": _read("page.css"),
        "program": _read("page.js"),
        "facts": said,
        "content": packed,
    }
    # All at once: a scan may be called like one of them.
    names = r"\{\{(" + "|".join(parts_of_page) + r")\}\}"
    page = re.sub(names, lambda found: parts_of_page[found[1]], _read("page.html"))
    write_whole(path, page)


def _read(name: str) -> str:
    """Reads a file of this folder."""
    place = importlib.resources.files("pix2rep_jax.explorer") / name
    return place.read_text("utf-8")


def _find_colours(reduced: ReducedVectors) -> dict[str, list]:
    """Finds the principal components of what the page has, common to all scans."""
    draw = np.random.default_rng(0)
    samples = []
    for values in reduced.values:
        pixels = values.reshape(-1, values.shape[-1])
        pixels = pixels[pixels.any(-1)]
        chosen = draw.permutation(len(pixels))[:_COLOURED]
        samples.append(restore_vectors(pixels[chosen], reduced.scale))
    found = find_colours(samples)
    return {name: np.asarray(x).tolist() for name, x in found._asdict().items()}
