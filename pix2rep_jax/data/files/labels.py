"""The label value that means "nobody has labelled this pixel"."""

__all__ = ["UNLABELLED"]

UNLABELLED = 255
"""Label of a pixel without an expert's opinion; losses and scores leave it out."""
