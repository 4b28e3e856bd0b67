"""The scans of a study: they may be moved between two starts, not exchanged."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.identity import find_exchanged, list_scans
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import pretrain
from pix2rep_jax.study.fingerprint import fingerprint
from pix2rep_jax.study.plan import Cell, distinct_jobs, neutral_root
from pix2rep_jax.study.records import read_record
from pix2rep_jax.study.results import read_test_patients
from pix2rep_jax.whole_file import write_whole

__all__ = ["check_scans", "read_scans", "write_scans"]

_FILE = "scans.json"


def read_scans(folder: Path) -> dict[str, Any]:
    """Reads which scans a study had, by a fingerprint of the settings of its data."""
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
    split = make_split(load_dataset(config.data), config.data, draw_labeled=False)
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
    known, found = read_scans(folder), {}
    states = {read_record(job).status for _, job in distinct_jobs(cells)}
    begun = known if states != {"pending"} else {}
    for data in distinct_data(cells):
        dataset = load_dataset(data)
        split = make_split(dataset, data, draw_labeled=False)
        patients = {*split.pretrain_patients, *split.test_patients}
        own = {"data": data}
        neutral = (*pretrain.NEUTRAL, *neutral_root(own, config.data.root))
        key = fingerprint(own, sections=("data",), neutral=neutral)
        found[key] = list_scans(dataset.volumes, patients, masks=True)
        if what := find_exchanged(begun.get(key), found[key]):
            raise InputError(
                f"{what} in data.root={data.root} is another than when the study in "
                f"{folder} was begun: name another --workdir, or the data that it was "
                "begun with"
            )
    return known | found


def distinct_data(cells: Sequence[Cell]) -> list[ConfigDict]:
    """Lists the data sets of a study, each prepared in one way."""
    found = {}
    for _, job in distinct_jobs(cells):
        key = fingerprint(job.config, sections=("data",), neutral=pretrain.NEUTRAL)
        found.setdefault(key, job.config.data)
    return list(found.values())


def write_scans(folder: Path, scans: dict[str, Any]) -> None:
    """Records what `check_scans` found, if anything."""
    if scans:
        write_whole(folder / _FILE, json.dumps(scans, indent=1, sort_keys=True) + "\n")
