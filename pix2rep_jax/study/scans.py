"""The scans of a study: they may be moved between two starts, not exchanged."""

import json
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import pretrain
from pix2rep_jax.study.fingerprint import fingerprint
from pix2rep_jax.study.plan import Cell
from pix2rep_jax.study.records import read_record
from pix2rep_jax.study.results import read_test_patients
from pix2rep_jax.whole_file import write_whole

__all__ = ["check_scans", "read_scans", "write_scans"]

_FILE = "scans.json"


def read_scans(folder: Path) -> dict[str, str]:
    """Reads which scans a study had, by a fingerprint of the settings of its data."""
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_scans(
    config: ConfigDict, cells: Sequence[Cell], folder: Path
) -> dict[str, str]:
    """Checks that there are data for what is still to be run, and the right ones.

    Args:
        config: Of the study.
        cells: From `make_plan`.
        folder: Of the study.

    Returns:
        As `read_scans`, with these; empty where nothing is to be run.

    Raises:
        InputError: If they cannot be read, if nothing can be scored, or if they are
            not those of the finished cells: other scans, or other test patients, where
            a testing/ folder has come or gone.
    """
    if all(read_record(cell.job).status == "finished" for cell in cells):
        return {}
    split = make_split(load_dataset(config.data), config.data, draw_labeled=False)
    if not split.test_volumes:
        raise InputError(
            "no test patient has a mask, so a study has nothing to compare: raise "
            "data.holdout_per_group, which holds out some that have one"
        )
    key = fingerprint(config, sections=("data",), neutral=pretrain.NEUTRAL)
    scans = read_scans(folder)
    if scans.get(key, split.scans) != split.scans:
        raise InputError(
            f"the study in {folder} was begun with other scans than those in "
            f"data.root={config.data.root}: name another --workdir, or the data that "
            "it was begun with"
        )
    theirs = read_test_patients(cells)
    if theirs and (other := set(theirs) ^ set(split.test_patients)):
        raise InputError(
            f"the finished cells in {folder} were scored on {len(theirs)} test "
            f"patients, and data.root={config.data.root} has "
            f"{len(split.test_patients)}, which are not the same ({min(other)} is one "
            "of the two only): name another --workdir, or the data that they are of"
        )
    return {**scans, key: split.scans}


def write_scans(folder: Path, scans: dict[str, str]) -> None:
    """Records what `check_scans` found, if anything."""
    if scans:
        write_whole(folder / _FILE, json.dumps(scans, indent=1) + "\n")
