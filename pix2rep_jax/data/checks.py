"""Notes on data that are valid but may surprise: unseen classes, cut-off masks."""

from collections.abc import Collection, Sequence

import numpy as np
from ml_collections import ConfigDict

from pix2rep_jax.data.files.axes import SliceAxis, most_common
from pix2rep_jax.data.files.regular_file import is_there
from pix2rep_jax.data.layout.known_layouts import describe_root
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = [
    "check_files",
    "check_masks",
    "cut_masks",
    "empty_slices",
    "missing_masks",
    "other_slice_axis",
    "patients_hint",
    "reading_notes",
    "shown_classes",
    "unseen_classes",
]

_TOLERATED_SHARE = 0.05
"""Share of a mask that may lie outside the field of view without a note."""


def check_files(volumes: Sequence[VolumeFile]) -> None:
    """Checks that all scans and masks are there, as those of broken links are not.

    Raises:
        InputError: If some are missing; counts them and names the first.
    """
    paths = (path for each in volumes for path in (*each.image_paths, each.label_path))
    missing = [path for path in dict.fromkeys(paths) if path and not is_there(path)]
    if missing:
        raise InputError(
            f"{count(len(missing), 'file')} cannot be found (a link to nothing or a "
            f"pipe counts too): {name_some(missing)}. Fetch what is missing, or leave "
            "it out by --config.data.exclude"
        )


def check_masks(volumes: Sequence[VolumeFile], data: ConfigDict) -> None:
    """Checks that there are masks at all, for what cannot do without.

    Args:
        volumes: All volumes.
        data: The `data` section that they were listed by.

    Raises:
        InputError: If no scan has a mask; says where masks were looked for.
    """
    if any(volume.label_path is not None for volume in volumes):
        return
    if data.name == "nifti":
        where = f"{data.root} ({describe_root(data.root)})"
        wanted = "put the masks into labels/, under the names of their scans"
    else:
        where = "the patients' folders, under the names of the frames with _gt"
        wanted = "download the masks too"
    raise InputError(f"no mask was found in {where}: {wanted}")


def shown_classes(labels: np.ndarray, wanted: Collection[int]) -> set[int]:
    """Finds which classes slices show, and ends once all that are wanted are there.

    Args:
        labels: `[slices, height, width]`. They are read one by one, since they may lie
            on the disk.
        wanted: The classes to look for.
    """
    shown: set[int] = set()
    for label in labels:
        shown.update(np.flatnonzero(np.bincount(label.ravel())).tolist())
        if shown.issuperset(wanted):
            break
    return shown


def unseen_classes(classes: Sequence[str], labels: np.ndarray) -> str:
    """Names the classes that no training slice shows, so that they cannot be learned.

    Args:
        classes: Names of the classes, background first.
        labels: `[slices, height, width]`, the labels of the training slices.

    Returns:
        A note, or "" if every class is there.

    Raises:
        InputError: If no slice shows anything but background.
    """
    shown = shown_classes(labels, range(1, len(classes)))
    unseen = [name for i, name in enumerate(classes) if i and i not in shown]
    if len(unseen) == len(classes) - 1:
        raise InputError(
            f"the masks of {count(len(labels), 'training slice')} show no structure at "
            "all: check the masks of the labelled patients, or draw other patients by "
            "--config.data.draw"
        )
    if not unseen:
        return ""
    return (
        f"note: no training slice shows {', '.join(unseen)}, so the network cannot "
        "learn it. More labelled patients (data.num_labeled) may show it. If the masks "
        "have other labels, correct --config.data.classes: it names them by value, "
        "background first"
    )


def cut_masks(volumes: Sequence[VolumeRecord]) -> str:
    """Counts the masks that reach beyond the field of view, where nothing is segmented.

    Args:
        volumes: The volumes of all patients whose masks train or score.

    Returns:
        A note, or "" if no mask loses more than 5 %.
    """
    masked = [volume for volume in volumes if volume.label_path is not None]
    # Rounded as it is shown: "more than 5% (5%)" would contradict itself.
    cut = [x for x in masked if round(1 - x.label_share, 2) > _TOLERATED_SHARE]
    if not cut:
        return ""
    most = min(cut, key=lambda volume: volume.label_share)
    return (
        f"note: in {len(cut)} of {len(masked)} labelled and test scans more than "
        f"{_TOLERATED_SHARE:.0%} of the mask lies outside the field of view "
        f"({1 - most.label_share:.0%} in {most.volume_id}). Nothing is segmented "
        "there. In a new workdir, --config.data.crop=whole sees all of each slice, and "
        "a larger --config.data.size sees more (with --config.data.crop_px, if that is "
        "not 0)"
    )


def empty_slices(volumes: Sequence[VolumeRecord]) -> str:
    """Says what the slices without a structure are in masks that show one.

    Args:
        volumes: The volumes of a data set.

    Returns:
        A note that names the flag, or "" if no mask has such slices.
    """
    masked = [volume for volume in volumes if volume.label_path is not None]
    counts = []
    for key, meaning in (
        ("empty_background", "these count as background"),
        ("empty_unannotated", "these have no label, so they neither train nor score"),
    ):
        having = [each.volume_id for each in masked if key in each.empty]
        if having:
            counts.append(
                f"{len(having)} of {len(masked)} masks (such as {having[0]}) have "
                f"slices without a structure: {meaning}"
            )
    if not counts:
        return ""
    return (
        f"note: {'; '.join(counts)} (data.empty_slices=background or unannotated "
        "decides)"
    )


def missing_masks(volumes: Sequence[VolumeFile]) -> str:
    """Counts the scans without a mask, which neither train a segmenter nor score it.

    Args:
        volumes: The volumes of a plain folder, where a mask may have another name.

    Returns:
        A note, or "" if each scan has one.
    """
    bare = [volume.volume_id for volume in volumes if volume.label_path is None]
    if not bare:
        return ""
    return f"note: {len(bare)} of {len(volumes)} scans have no mask: {name_some(bare)}"


def patients_hint(volumes: Sequence[VolumeFile], data_name: str) -> str:
    """Adds to an error about too few patients that they may be more.

    Args:
        volumes: The volumes of a data set.
        data_name: The setting `data.name`, by which patients are found in names.

    Returns:
        The end of a sentence, or "" if each scan is a patient of its own.
    """
    number = len({volume.patient for volume in volumes})
    if data_name != "nifti" or number == len(volumes):
        return ""
    return (
        f". {len(volumes)} scans count as {count(number, 'patient')}: if each scan is "
        "a patient of its own, add --config.data.patient_regex='.+'"
    )


def reading_notes(volumes: Sequence[VolumeRecord]) -> list[str]:
    """Says what was unusual about how the scans were read.

    Args:
        volumes: The volumes of a data set. Frames of one file count once.

    Returns:
        Notes, each with the number of its scans.
    """
    scans = list({volume.image_path: volume for volume in volumes}.values())
    notes = count_notes((each.volume_id, each.notes) for each in scans)
    usual = most_common(each.slice_axis for each in scans)
    others = [each for each in scans if each.slice_axis[:2] != usual[:2]]
    if others:
        notes.append(
            f"note: {len(others)} of {len(scans)} scans (such as "
            f"{others[0].volume_id}) have their slices along "
            f"{describe_slice_axis(others[0].slice_axis)}, and the others along "
            f"{describe_slice_axis(usual)}: each is used as it is"
        )
    turned = [
        each
        for each in scans
        if each not in others
        and each.slice_axis.in_plane
        and usual.in_plane not in ("", each.slice_axis.in_plane)
    ]
    if turned:
        notes.append(
            f"note: in {len(turned)} of {len(scans)} scans (such as "
            f"{turned[0].volume_id}) rows and columns run to other ends of the body "
            f"({turned[0].slice_axis.in_plane}) than in the others ({usual.in_plane}), "
            "by the affines: if these are right, set "
            "--config.data.orientation=canonical"
        )
    return notes


def other_slice_axis(before: SliceAxis, now: SliceAxis) -> str:
    """Says that a network was pretrained on slices along another axis of the body.

    Args:
        before: The slice axis of the pretraining's scans.
        now: That of the scans which it is to be used with.

    Returns:
        A note, or "" if the axis is the same, or is not known of both.
    """
    if not (before.anatomy and now.anatomy) or before.anatomy == now.anatomy:
        return ""
    return (
        f"note: the network was pretrained on slices along {before.anatomy}, and these "
        f"scans have theirs along {now.anatomy}: set --config.data.slice_axis if that "
        "is wrong"
    )


def describe_slice_axis(slice_axis: SliceAxis) -> str:
    """Names a slice axis, for example "the file's first axis (R/L)"."""
    number = ("first", "second", "third")[slice_axis.axis]
    anatomy = f" ({slice_axis.anatomy})" if slice_axis.anatomy else ""
    return f"the file's {number} axis{anatomy}"
