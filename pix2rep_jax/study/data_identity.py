"""The scans of a study: they may be moved between two starts, not exchanged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.scan_digests import find_exchanged, list_scans
from pix2rep_jax.data.splits import Split, make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import pretrain
from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.study.fingerprint import fingerprint
from pix2rep_jax.study.job_record import read_record
from pix2rep_jax.study.plan import Cell, distinct_jobs
from pix2rep_jax.study.report.results import read_test_patients

__all__ = ["check_scans", "read_scans", "write_scans"]

_FILE = "scans.json"


def read_scans(folder: Path) -> dict[str, Any]:
    """Reads which scans a study had, by a fingerprint of the settings of its data."""
    return read_object(folder / _FILE)


def check_scans(
    config: ConfigDict, cells: Sequence[Cell], folder: Path
) -> dict[str, Any]:
    """Checks that there are data for what is still to be run, and the right ones.

    Args:
        config: Of the study.
        cells: From `make_plan`.
        folder: Of the study.

    Returns:
        As `read_scans`, with these; empty where nothing is to be run.

    Raises:
        InputError: If they cannot be read, if nothing can be scored, or if they are
            not those of the finished cells: other test patients, where a testing/
            folder has come or gone, or scans or masks that hold something else.
    """
    if all(read_record(cell.job).status == "finished" for cell in cells):
        return {}
    known, found = read_scans(folder), {}
    begun = any(read_record(job).status != "pending" for _, job in distinct_jobs(cells))
    for key, data in distinct_data(config, cells).items():
        dataset = load_dataset(data)
        split = make_split(dataset, data, draw_labeled=False)
        if data is config.data:
            check_tested(split, config, cells, folder)
        patients = {*split.pretrain_patients, *split.test_patients}
        found[key] = list_scans(dataset.volumes, patients, masks=True)
        if begun and (what := find_exchanged(known.get(key), found[key])):
            raise InputError(
                f"{what} in data.root={data.root} is another than when the study in "
                f"{folder} was begun: name another --workdir, or the data that it was "
                "begun with"
            )
    return known | found


def distinct_data(config: ConfigDict, cells: Sequence[Cell]) -> dict[str, ConfigDict]:
    """Lists a study's data and its rows' own, each prepared in one way, by keys."""
    found: dict[str, ConfigDict] = {}
    for each in (config, *(job.config for _, job in distinct_jobs(cells))):
        key = fingerprint(
            each, sections=("data",), neutral=pretrain.NEUTRAL, home=config.data.root
        )
        found.setdefault(key, each.data)
    return found


def check_tested(
    split: Split, config: ConfigDict, cells: Sequence[Cell], folder: Path
) -> None:
    """Raises InputError without test patients, or with others than were scored."""
    if not split.test_volumes:
        raise InputError(
            "no test patient has a mask, so a study has nothing to compare: raise "
            "data.holdout_per_group, which holds out some that have one"
        )
    theirs = read_test_patients(cells)
    if theirs and (other := set(theirs) ^ set(split.test_patients)):
        raise InputError(
            f"the finished cells in {folder} were scored on {len(theirs)} test "
            f"patients, and data.root={config.data.root} has "
            f"{len(split.test_patients)}, which are not the same ({min(other)} is one "
            "of the two only): name another --workdir, or the data that they are of"
        )


def write_scans(folder: Path, scans: dict[str, Any]) -> None:
    """Records what `check_scans` found, if anything."""
    if scans:
        write_whole(folder / _FILE, json.dumps(scans, indent=1, sort_keys=True) + "\n")
