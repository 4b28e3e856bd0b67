"""Scans and masks that can be read, but may not be what they are taken for."""

from collections.abc import Sequence

from pix2rep_jax.data.fit.scan_facts import ScanFacts
from pix2rep_jax.errors import name_some
from pix2rep_jax.wording import count

__all__ = ["doubt_notes"]

_FEW_PIXELS = 10
"""A class of so few pixels in all masks together may be a slip of the brush."""

_SMALL_SHARE = 0.01
"""So may one with a smaller share of the only mask that shows it."""


def doubt_notes(scans: Sequence[ScanFacts], classes: Sequence[str]) -> list[str]:
    """Says which scans look like masks, and which masks look wrong.

    Args:
        scans: The facts of all scans.
        classes: The names of the classes, background first.

    Returns:
        Notes, one for each kind, with examples.
    """
    doubts = [_masks_as_scans(scans), _empty_masks(scans)]
    doubts += [
        _rare_class(scans, index, name) for index, name in enumerate(classes) if index
    ]
    return [f"note: {doubt}" for doubt in doubts if doubt]


def _masks_as_scans(scans: Sequence[ScanFacts]) -> str:
    """Names scans whose names or values are a mask's, while those of others are not."""
    by_values = [each for each in scans if each.few_values > 1]
    if len(by_values) == len(scans):
        by_values = []
    found = [each for each in scans if each.named_mask or each in by_values]
    if not found:
        return ""
    reason = "by their names" if found[0].named_mask else "because their values are few"
    shown = name_some(each.volume_id for each in found)
    return (
        f"{len(found)} of {len(scans)} scans look like masks ({shown}), {reason}: if "
        "they are, name each as its scan with _seg behind it (NAME.nii.gz and "
        "NAME_seg.nii.gz), or put scans into images/ and masks into labels/ under the "
        "same names"
    )


def _empty_masks(scans: Sequence[ScanFacts]) -> str:
    """Names the masks that show nothing."""
    masked = [each for each in scans if each.has_mask]
    empty = [x.volume_id for x in masked if not x.annotated and any(x.class_pixels)]
    if not empty:
        return ""
    return (
        f"{len(empty)} of {len(masked)} masks show no structure ({name_some(empty)}), "
        "so all of these scans counts as background: remove the masks if nobody has "
        "drawn them"
    )


def _rare_class(scans: Sequence[ScanFacts], index: int, name: str) -> str:
    """Says that a class has few pixels, or a small part of the only mask with it."""
    # The last class is not measured if it may mark pixels without a label.
    masked = [each for each in scans if len(each.class_pixels) > index]
    having = [each for each in masked if each.class_pixels[index]]
    pixels = sum(each.class_pixels[index] for each in having)
    if not having:
        return ""
    drawn = sum(having[0].class_pixels[1:])
    alone = len(having) == 1 < len(masked) and pixels < _SMALL_SHARE * drawn
    if pixels > _FEW_PIXELS and not alone:
        return ""
    return (
        f"the class {name} has {count(pixels, 'pixel')}, in {len(having)} of "
        f"{len(masked)} masks (such as that of {having[0].volume_id}): if this is a "
        "slip, correct the mask"
    )
