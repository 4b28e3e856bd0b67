"""What the settings of a data set become once its folder has been looked at."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pix2rep_jax.data.files.labels import UNLABELLED
from pix2rep_jax.data.files.mask import label_values
from pix2rep_jax.data.held_out import fold_of_patients, holdout_numbers, ways_to_test
from pix2rep_jax.data.layout import acdc, nifti_folder
from pix2rep_jax.data.layout.class_values import looks_ignored
from pix2rep_jax.data.layout.fourth_axis import (
    count_channels,
    find_fourth_axis,
    name_fourth_axis,
)
from pix2rep_jax.data.layout.known_layouts import TITLES
from pix2rep_jax.data.layout.layout import Layout
from pix2rep_jax.data.layout.recognise import recognise
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.wording import count

__all__ = ["Settled", "settle_data"]

ACDC_CLASSES = ("BG", "RV", "MYO", "LV")
"""Classes of ACDC and of the phantom, by label value."""


class Settled(NamedTuple):
    """What was found out.

    Attributes:
        settings: The values that settings of `data` get, by name.
        lines: What was recognised, in one line.
        notes: What the user may want to change, with the flags.
        patients: The names of all patients.
    """

    settings: Mapping[str, Any]
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    patients: frozenset[str] = frozenset()


def settle_data(
    data: ConfigDict, *, told: Collection[str] = (), least_held_out: int = 0
) -> Settled:
    """Finds out what the settings of a data set are to be, where they leave it open.

    `name` "auto" becomes "acdc" or "nifti". Empty `classes` become those that a file
    in the folder names, or the values in the masks. `holdout_per_group` "auto" becomes
    a number, if one holds for all pathologies, and `num_labeled` is lowered to what
    there is unless it was asked for.

    Args:
        data: The `data` section of a configuration. It is not changed.
        told: The names of its settings that the user has given.
        least_held_out: Where `holdout_per_group` is "auto", hold out this many
            patients of each pathology at least.

    Raises:
        InputError: If the folder is missing, or its layout is unknown.
    """
    if data.name == "phantom":
        classes = {} if data.classes else {"classes": ACDC_CLASSES}
        held = {"holdout_per_group": 4} if data.holdout_per_group == "auto" else {}
        return Settled({**classes, **held})
    if not data.root:
        raise InputError(
            f"data.name={data.name!r} needs the folder of the scans: add "
            "--config.data.root=FOLDER"
        )
    layout = recognise(data.root)
    name = data.name
    if name == "auto":
        name = "acdc" if layout.name == "acdc" else "nifti"
    if name == "acdc":
        volumes = acdc.list_volumes(data.root, exclude=data.exclude)
    else:
        volumes = nifti_folder.list_volumes(
            data.root, patient_regex=data.patient_regex, quiet=True, layout=layout
        )
    settings: dict[str, Any] = {"name": name}
    notes: list[str] = []
    ignore = tuple(data.ignore)
    if not ignore and "ignore" not in told and name == "nifti":
        ignore = layout.facts.ignore
        settings |= {"ignore": ignore} if ignore else {}
    if not data.classes:
        settings |= _find_classes(name, layout, volumes, notes, ignore=ignore)
    notes += _perhaps_predicted(layout)
    settings |= _few_masks(data, volumes, told, notes, least_held_out)
    first = name_fourth_axis(volumes[:1], find_fourth_axis(data))
    line = describe(layout, volumes, channels=count_channels(first[0]))
    patients = frozenset(volume.patient for volume in volumes)
    return Settled(settings, (line,), tuple(notes), patients)


def describe(layout: Layout, volumes: Sequence[VolumeFile], *, channels: int) -> str:
    """Says what was recognised, and how many scans, masks, patients and channels."""
    masks = sum(volume.label_path is not None for volume in volumes)
    patients = len({volume.patient for volume in volumes})
    line = (
        f"{TITLES[layout.name]} in {layout.root}: {count(len(volumes), 'scan')}, "
        f"{count(masks, 'mask')}, {count(patients, 'patient')}, "
        f"{count(channels, 'channel')}"
    )
    if layout.facts.channels:
        line += f" ({', '.join(layout.facts.channels)})"
    listed = {volume.volume_id for volume in volumes}
    unused = [] if layout.name == "acdc" else [*{*layout.test_scans} - listed]
    if unused:
        line += f"; this leaves out {count(len(unused), 'test scan')} without a mask"
    return line


def _perhaps_predicted(layout: Layout) -> list[str]:
    """Says that masks beside scans may be the network's, by their names."""
    names = [path.name for path in layout.masks.values() if "_seg." in path.name]
    if layout.name != "flat" or not names:
        return []
    return [
        f"note: {count(len(names), 'mask')} beside the scans ({name_some(names)}) will "
        "count as drawn by experts: move what --mode predict wrote, and name another "
        "folder by --output"
    ]


def _find_classes(
    name: str,
    layout: Layout,
    volumes: Sequence[VolumeFile],
    notes: list[str],
    *,
    ignore: Sequence[int],
) -> dict[str, Any]:
    """The classes that a file names, or else as many as the masks have values."""
    if name == "acdc":
        return {"classes": ACDC_CLASSES}
    if named := layout.facts.classes:
        values = tuple(named.values())
        # Later only the files in the root itself are asked for the values.
        beside = layout.facts.path and layout.facts.path.parent != Path(layout.root)
        plain = not beside or values == tuple(range(len(values)))
        return {"classes": tuple(named), **({} if plain else {"label_values": values})}
    paths = [volume.label_path for volume in volumes if volume.label_path]
    if not paths:
        return {}
    values = _values_in(paths, ignore)
    if not values:  # reading the scans says what is wrong with each mask
        return {"classes": ("background", "structure")}
    if not 2 <= len(values) <= UNLABELLED:
        raise InputError(
            f"the masks in {layout.root} hold {count(len(values), 'value')}, so the "
            "classes cannot be counted: name them by --config.data.classes=BG,NAME"
        )
    numbers = ",".join(map(str, values))
    names = ("background", *map(str, values[1:]))
    if len(values) == 2:  # a heading "1" says nothing
        names = ("background", "structure")
    example = ",".join(["BG", *(f"NAME{value}" for value in values[1:])])
    notes.append(
        f"note: nothing names the classes, so they are called {','.join(names)} after "
        f"the values in the masks ({numbers}): name them by "
        f"--config.data.classes={example}, or in {Path(layout.root) / 'labels.json'}"
    )
    if looks_ignored(values):
        notes.append(
            f"note: the value {UNLABELLED} beside 0 to {values[-2]} looks like pixels "
            f"that nobody has labelled: add --config.data.ignore={UNLABELLED}. Without "
            "it the value is a class, though no size is measured on it"
        )
    plain = values == tuple(range(len(values)))
    return {"classes": names, **({} if plain else {"label_values": values})}


def _values_in(paths: Sequence[Path], ignore: Sequence[int]) -> tuple[int, ...]:
    """Lists the values in the masks that can be used; () if some cannot, and no value.

    What is wrong with a mask is said where all files are read, so that one fault does
    not hide the others.
    """
    values, faulty = {0}, False
    for path in paths:
        try:
            values |= {*label_values([path], ignore=ignore)}
        except InputError:
            faulty = True
        if len(values) > UNLABELLED:
            break
    return () if faulty and len(values) < 2 else (0, *sorted(values - {0}))


def _few_masks(
    data: ConfigDict,
    volumes: Sequence[VolumeFile],
    told: Collection[str],
    notes: list[str],
    least_held_out: int,
) -> dict[str, Any]:
    """How many patients are held out for the test, and how many are labelled."""
    kept = [volume for volume in volumes if volume.patient not in data.exclude]
    masked = [volume for volume in kept if volume.label_path is not None]
    training = {volume.patient for volume in masked if volume.subset == "training"}
    testing = {volume.patient for volume in masked if volume.subset == "testing"}
    settings: dict[str, Any] = {}
    numbers = {*holdout_numbers(data.holdout_per_group, volumes).values()}
    held = max(numbers, default=0)
    if data.holdout_per_group == "auto":
        held = max(held, least_held_out)
        if len(numbers) < 2:  # else "auto" says it shorter than any list
            settings["holdout_per_group"] = held
        if training and not held and not data.folds and not testing:
            notes.append(
                f"note: there are masks of only {count(len(training), 'patient')}, so "
                f"none is held out for testing: {ways_to_test(kept)}"
            )
    if data.labeled:
        return settings | {"num_labeled": len(data.labeled)}
    if "num_labeled" in told or {volume.group for volume in volumes} != {""}:
        return settings
    if data.folds:
        left = training - fold_of_patients(kept, folds=data.folds, fold=data.fold)
        if left:
            settings["num_labeled"] = len(left)
    elif 0 < len(training) - (0 if testing else held) < data.num_labeled:
        settings["num_labeled"] = len(training) - (0 if testing else held)
        notes.append(
            f"note: data.num_labeled is {settings['num_labeled']}, because no more "
            "patients have masks"
        )
    return settings
