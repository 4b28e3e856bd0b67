"""The colours of classes, without a package that draws."""

__all__ = ["CLASS_COLORS", "PALETTE", "class_color", "class_rgb"]

PALETTE = (  # by Okabe and Ito, for colour-blind readers too
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#009E73",  # green
    "#F0E442",  # yellow
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#CC79A7",  # purple
)
CLASS_COLORS = tuple(PALETTE[i] for i in (1, 3, 5, 2, 6, 0, 4))
"""Colours of the label values from 1 on, beginning with ACDC's RV, MYO and LV."""


def class_color(label: int) -> str:
    """Returns the colour of a foreground class; many classes repeat the colours."""
    return CLASS_COLORS[(label - 1) % len(CLASS_COLORS)]


def class_rgb(label: int) -> tuple[int, int, int]:
    """Returns the same colour as red, green and blue, 0 to 255.

    >>> class_rgb(1)
    (86, 180, 233)
    """
    red, green, blue = bytes.fromhex(class_color(label)[1:])
    return red, green, blue
