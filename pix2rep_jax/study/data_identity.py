"""The scans of a study: they may be moved between two starts, but not exchanged."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.fit.plan import plan_data
from pix2rep_jax.data.scan_digests import find_exchanged, list_scans
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.study.job_record import read_record
from pix2rep_jax.study.jobs import distinct_jobs
from pix2rep_jax.study.report.results import Result, test_patients
from pix2rep_jax.wording import count

__all__ = ["check_scans", "read_scans", "scan_digests", "write_scans"]

_FILE = "scans.json"


def read_scans(folder: Path) -> dict[str, Any]:
    """Reads which scans a study had, by the data key of its jobs."""
    return read_object(folder / _FILE)


def write_scans(folder: Path, scans: Mapping[str, Any]) -> None:
    """Records what `check_scans` has returned, if anything."""
    if scans:
        write_whole(folder / _FILE, json.dumps(scans, indent=1, sort_keys=True) + "\n")


def scan_digests(scans: Mapping[str, Any]) -> dict[str, str]:
    """Shortens what `read_scans` returns to one digest per data key."""
    texts = {key: json.dumps(own, sort_keys=True) for key, own in scans.items()}
    return {
        key: hashlib.sha256(text.encode()).hexdigest()[:12]
        for key, text in texts.items()
    }


def check_scans(results: Sequence[Result], folder: Path) -> dict[str, Any]:
    """Checks that the data can be read, and that they are those of earlier runs.

    Args:
        results: Results of all cells. If all have finished, nothing is checked.
        folder: The study's folder.

    Returns:
        As `read_scans`, with the present scans added.

    Raises:
        InputError: If the data cannot be read, if no test patient has a mask, or if
            test patients, scans or masks differ from those of earlier runs.
    """
    if all(each.status == "finished" for each in results):
        return {}
    known, found = read_scans(folder), {}
    jobs = distinct_jobs(each.cell for each in results)
    begun = any(read_record(job).status != "pending" for job in jobs)
    scored_on = test_patients(results)
    for job in {job.data_key: job for job in jobs}.values():
        key, data = job.data_key, job.config.data.copy_and_resolve_references()
        data.num_unlabeled = 0  # whoever may be labelled is listed too
        data = plan_data(data)
        dataset = load_dataset(data)
        split = make_split(dataset, data, draw_labeled=False)
        if job.mode != "pretrain":
            tested = split.test_patients if split.test_volumes else ()
            check_tested(tested, scored_on, root=data.root)
        patients = {*split.pretrain_patients, *split.test_patients, *split.val_patients}
        found[key] = list_scans(dataset.volumes, patients, masks=True)
        what = begun and find_exchanged(known.get(key), found[key])
        # Scans of this folder were compared one by one; of a published run there is
        # one digest.
        same = {"", scan_digests(known).get(key), scan_digests(found)[key]}
        others = {x.scans for x in results if x.cell.job.data_key == key} - same
        if what or others:
            raise InputError(
                f"{what or 'a scan or a mask'} in data.root={data.root} is not the one "
                f"that earlier runs of this study used ({folder}): name another "
                "--workdir, or the data of those runs"
            )
    return known | found


def check_tested(
    tested: Collection[str], scored_on: Collection[str], *, root: str
) -> None:
    """Raises InputError without test patients, or with others than were scored."""
    if not tested:
        raise InputError(
            "no test patient has a mask, so a study has nothing to compare: raise "
            "--config.data.holdout_per_group, which holds out some patients that have "
            "one"
        )
    if scored_on and (other := {*scored_on} ^ {*tested}):
        raise InputError(
            "the finished cells were scored on "
            f"{count(len(scored_on), 'test patient')}, and data.root={root} has "
            f"{len(tested)}; {min(other)} is only in one of the two: "
            "name another --workdir, or the data of the finished cells"
        )
