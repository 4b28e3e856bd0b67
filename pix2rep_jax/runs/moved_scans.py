"""A run's scans in another folder: checked to be the same, and remembered."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.scan_digests import find_exchanged, list_scans
from pix2rep_jax.data.slices.prepared_volume import digest_scan
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.data.volume_list import list_included
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.data_checks import is_same_data
from pix2rep_jax.runs.manifest import change_setting, read_config
from pix2rep_jax.runs.run_record import read_run

__all__ = ["check_first_scan", "remember_root"]


def check_first_scan(
    data: ConfigDict, before: Mapping[str, Any], split: Split, folder: Path
) -> None:
    """Checks, before all scans are read, that those of another folder are the run's.

    Other scans may have the same names, and a fault of theirs would hide that.

    Args:
        data: The `data` section that the run would go on with.
        before: That which it began with.
        split: The run's patients and scans.
        folder: The run's folder.

    Raises:
        InputError: If the first of the run's scans is another one there.
    """
    if is_same_data(data, before):
        return
    for volume in list_included(data)[0]:
        known = split.scans.get(volume.patient, {}).get(volume.volume_id, "")
        if not known:
            continue
        if known.partition(" ")[0] != digest_scan(volume):
            raise InputError(
                f"the run in {folder} was trained on {before['root'] or before['name']}"
                f", and {data['root'] or data['name']} holds another scan by the name "
                f"of {volume.volume_id}: name another --workdir for other scans"
            )
        return


def remember_root(data: ConfigDict, workdir: Path, dataset: Dataset) -> None:
    """Writes into the runs of a workdir where their scans lie now.

    A run whose scans are not all in this data set keeps its folder, and so does one
    that cannot be written.

    Args:
        data: The `data` section by which the scans were read.
        workdir: A workdir, that of a fold, or the folder of a mode in it.
        dataset: All scans.
    """
    if not data.root or data.name == "phantom":
        return
    place = Path(workdir)
    if (place / "config.json").is_file() or re.fullmatch(r"fold\d+", place.name):
        place = place.parent
    scans: dict[str, dict[str, str]] = {}
    for path in sorted([*place.glob("*/config.json"), *place.glob("*/*/config.json")]):
        # Another mode's folder may hold something else, or a run that is damaged.
        with contextlib.suppress(InputError, OSError):
            before = read_config(path.parent)["data"]
            if before["name"] == "phantom" or is_same_data(data, before):
                continue
            if not scans:
                patients = {each.patient for each in dataset.volumes}
                scans = list_scans(dataset.volumes, patients, masks=True)
            theirs = read_run(path.parent).split.scans
            if theirs and {*theirs} <= {*scans} and not find_exchanged(theirs, scans):
                change_setting(path.parent, "data", "root", str(data.root))
