"""A slice with outlines of its classes, as a picture inside of a page."""

import base64
import io

import numpy as np
from matplotlib.figure import Figure

from pix2rep_jax.figures.drawing import draw_outlines, show_image
from pix2rep_jax.figures.panels import Panel
from pix2rep_jax.page.document import text

__all__ = ["captioned", "slice_picture"]

_SIDE_IN, _DPI = 2.0, 140
_LEAST_PX = 4


def slice_picture(panel: Panel, label: np.ndarray | None, *, num_classes: int) -> str:
    """Draws a slice as a PNG, and writes it as an address that holds it.

    Args:
        panel: The slice. What of its box lies outside of the scan is not drawn.
        label: `[rows, columns]`, the classes to outline; None for none.
        num_classes: Number of classes, background included.
    """
    rows, columns = panel.image.shape
    first_row, first_column = (max(x, -0.5) for x in panel.box[::2])
    last_row = min(panel.box[1], rows - 0.5)
    last_column = min(panel.box[3], columns - 0.5)
    wide = (last_row - first_row) * panel.spacing[0]
    tall = (last_column - first_column) * panel.spacing[1]
    scale = _SIDE_IN / max(wide, tall)
    # At least a few pixels: a slice may be one row of a long scan.
    width, height = (max(side * scale, _LEAST_PX / _DPI) for side in (wide, tall))
    figure = Figure(figsize=(width, height), facecolor="black")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    box = first_row, last_row, first_column, last_column
    show_image(ax, panel.image, spacing=panel.spacing, box=box)
    if label is not None:
        draw_outlines(ax, label, num_classes=num_classes, width=1.4)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def captioned(address: str, title: str, words: str, *, alt: str) -> str:
    """Puts words below a picture.

    Args:
        address: From `slice_picture`.
        title: The first of the words.
        words: The others.
        alt: What a reader hears who does not see the picture.
    """
    image = f'<img src="{address}" alt="{text(alt)}" loading="lazy">'
    said = f"<b>{text(title)}</b> {text(words)}".strip()
    return f"<figure>{image}<figcaption>{said}</figcaption></figure>"
