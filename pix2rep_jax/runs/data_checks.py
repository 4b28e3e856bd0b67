"""Whether a run may go on with scans, start from them, or be scored on them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.few_shot import KNOWN_DUPLICATES, with_twins
from pix2rep_jax.data.files.axes import SliceAxis
from pix2rep_jax.data.hidden_names import reveal_names
from pix2rep_jax.data.layout.class_values import have_same_names, order_classes_like
from pix2rep_jax.data.scan_digests import find_exchanged, shared_patients
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.dependencies import relevant_settings, settings_of_images
from pix2rep_jax.wording import count

__all__ = [
    "check_same_channels",
    "check_same_data",
    "check_same_images",
    "check_same_root",
    "check_same_split",
    "check_unseen",
    "expected_slice_axis",
    "is_same_data",
    "is_scored_alike",
    "match_classes",
    "select_usable",
]


def check_same_split(before: Split, now: Split, folder: Path) -> None:
    """Checks that a run goes on with its own patients and scans.

    Patients that take no part may have come since, and so may masks.

    Args:
        before: The split that the run in the folder began with.
        now: The split that it would go on with.
        folder: The run's folder.

    Raises:
        InputError: If patients or scans differ.
    """
    for name, title in (
        ("pretrain_patients", "patients to pretrain on"),
        ("labeled_patients", "labelled patients"),
        ("test_patients", "test patients"),
        ("val_patients", "validation patients"),
    ):
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            raise InputError(
                f"the run in {folder} began with {len(old)} {title}, and the "
                f"{len(new)} that there are now are not the same: name another "
                "--workdir, or bring the scans back as they were"
            )
    if changed := find_exchanged(before.scans, now.scans):
        raise InputError(
            f"{changed} has changed since the run in {folder} began: name another "
            "--workdir, or the --config.data.root that it began with"
        )


def check_same_root(
    data: Mapping[str, Any],
    before: Mapping[str, Any],
    split: Split,
    *,
    patients: Collection[str],
    folder: Path,
) -> None:
    """Checks, before any scan is read, that a run's scans lie in another folder.

    They may have been moved. Then the patients have the same names.

    Args:
        data: The `data` section that the run would go on with.
        before: That which it began with.
        split: The run's patients.
        patients: Names of all patients in the folder.
        folder: The run's folder.

    Raises:
        InputError: If patients of the run are missing there; names both folders.
    """
    known = {*split.pretrain_patients, *split.labeled_patients, *split.test_patients}
    missing = sorted(known - {*patients})
    if missing and not is_same_data(data, before):
        raise InputError(
            f"the run in {folder} was trained on {before['root'] or before['name']}, "
            f"and {data['root'] or data['name']} does not hold its patients (such as "
            f"{missing[0]}): name another --workdir for other scans"
        )


def check_unseen(split: Split, pretraining: Split, folder: Path) -> None:
    """Checks that no test patient, nor one with the same scan, has pretrained.

    Args:
        split: The split of the run that starts from the pretraining.
        pretraining: The split of the pretraining run. On other data it passes.
        folder: The pretraining run's folder.

    Raises:
        InputError: If a test patient did; names it and the settings to change.
    """
    duplicates = KNOWN_DUPLICATES if split.source == "acdc" else ()
    tested = with_twins(split.test_patients, duplicates)
    volumes = [name for own in split.scans.values() for name in own]
    pretraining = reveal_names(pretraining, [*tested, *split.scans, *volumes])
    seen = set(pretraining.pretrain_patients) & tested
    if pretraining.source != split.source:  # it may have been moved, and have grown
        seen &= shared_patients(pretraining.scans, split.scans)
    if seen:
        raise InputError(
            f"{min(seen)} is a test patient, or has the same scan as one, and took "
            f"part in the pretraining in {folder}, so its score would be too good: use "
            "the same --config.data.holdout_per_group, "
            "--config.data.validation_patients and testing/ in both; if its mask was "
            "added since, pretrain anew, or train on all and score none by "
            "--config.data.holdout_per_group=0"
        )


def is_scored_alike(before: Split, now: Split) -> bool:
    """Tells whether two splits test the same patients on the same scans."""
    return (
        bool(before.scans)
        and before.test_patients == now.test_patients
        and not find_exchanged(before.scans, now.scans)
    )


def expected_slice_axis(
    data: ConfigDict, before: Mapping[str, Any], recorded: SliceAxis
) -> SliceAxis | None:
    """Returns the slice axis to expect of the scans that a network is used with.

    Args:
        data: The `data` section of the configuration.
        before: The whole configuration of the network's run.
        recorded: The slice axis of that run.

    Returns:
        The run's; None for its own scans, which are read as they were.
    """
    return None if is_same_data(data, before["data"]) else recorded


def is_same_data(data: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tells whether two `data` sections read the same folder in the same way."""
    roots = [Path(each["root"]).expanduser().resolve() for each in (data, before)]
    return data["name"] in ("auto", before["name"]) and roots[0] == roots[1]


def check_same_data(data: ConfigDict, before: Mapping[str, Any], folder: Path) -> None:
    """Checks that a network can be used on this data.

    On the scans it was trained on, all settings of the data must be the run's own, so
    that no training patient is tested. On other scans it is enough that images are
    prepared in the same way, and that the classes have the same names in any order.

    Args:
        data: The `data` section of the configuration.
        before: The whole configuration of the run.
        folder: The run's folder, whose name is its mode.

    Raises:
        InputError: If a setting differs; names it and both values.
    """
    old = relevant_settings(before, folder.name)
    now = relevant_settings({**before, "data": data}, folder.name)
    names = [name for name in {**old, **now} if name.startswith("data.")]
    if not is_same_data(data, before["data"]):
        names = list(settings_of_images(data))
        theirs, ours = before["data"]["classes"], data.classes
        if not have_same_names(ours, theirs):
            raise InputError(
                f"data.classes={','.join(ours)}, but the network in {folder} was "
                f"trained with {','.join(theirs)}: name the classes of the masks by "
                "the network's names, in the order of the masks' values"
            )
    for name in names:
        if now.get(name) != old.get(name):
            own = data[name.removeprefix("data.")]
            raise InputError(
                f"{name} is {own}, but the network in {folder} was trained with "
                f"{old.get(name, 'its default')}: use the run's own setting"
            )


def check_same_channels(channels: int, recorded: int, folder: Path) -> None:
    """Checks that scans have as many channels as a network expects.

    Args:
        channels: How many channels each scan has.
        recorded: How many the scans had that trained the network in the folder.
        folder: The run's folder.

    Raises:
        InputError: If not.
    """
    if channels != recorded:
        raise InputError(
            f"the scans have {count(channels, 'channel')}, but the network in {folder} "
            f"was trained on {recorded}: give it the same channels, or train another "
            "one by --config.init.checkpoint=none in another --workdir"
        )


def check_same_images(
    one: Mapping[str, Any], other: Mapping[str, Any], folders: tuple[Path, Path]
) -> None:
    """Checks that two networks see scans on the same grid, prepared alike.

    Args:
        one: The whole configuration of a network's run.
        other: That of another.
        folders: The folders of both.

    Raises:
        InputError: If a setting differs; names it, both values and both folders.
    """
    first, second = (settings_of_images(each["data"]) for each in (one, other))
    for name in first:
        if first[name] != second.get(name):
            raise InputError(
                f"{name} is {first[name]} for the network in {folders[0]}, and "
                f"{second.get(name)} for the one in {folders[1]}: --mode evaluate "
                "scores networks of one grid together (--mode predict takes any)"
            )


def select_usable(
    data: ConfigDict, configs: Mapping[Path, Mapping[str, Any]]
) -> tuple[dict[Path, Mapping[str, Any]], list[str]]:
    """Selects the networks that `check_same_data` passes.

    Args:
        data: The `data` section of the configuration.
        configs: The whole configurations of the networks' runs by folder.

    Returns:
        The configurations of those that can be used, in the same order; and for each of
        the others a note that says why it cannot.

    Raises:
        InputError: If none can be used; says why the first cannot.
    """
    usable, errors = {}, {}
    for folder, before in configs.items():
        try:
            check_same_data(data, before, folder)
            usable[folder] = before
        except InputError as error:
            errors[folder] = error
    if errors and not usable:
        raise next(iter(errors.values()))
    return usable, [
        f"note: the network in {folder} is left out: {error}"
        for folder, error in errors.items()
    ]


def match_classes(
    data: ConfigDict, configs: Mapping[Path, Mapping[str, Any]]
) -> tuple[ConfigDict, tuple[str, ...]]:
    """Matches the classes of a data set with those of networks, by name.

    Args:
        data: The `data` section of the configuration.
        configs: The whole configurations of the networks' runs by folder, at least one;
            `check_same_data` has passed them.

    Returns:
        The `data` section that reads masks in the order of the networks' classes, and
        these classes.

    Raises:
        InputError: If the networks have their classes in different orders.
    """
    orders = {run: tuple(each["data"]["classes"]) for run, each in configs.items()}
    first = next(iter(orders))
    for run, order in orders.items():
        if order != orders[first]:
            raise InputError(
                f"the network in {first} has the classes {','.join(orders[first])}, "
                f"and the one in {run} has {','.join(order)}: name one of the two "
                "folders by --workdir"
            )
    return order_classes_like(data, orders[first]), orders[first]
