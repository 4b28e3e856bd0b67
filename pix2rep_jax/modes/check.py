"""--mode check: what the scans are like, what is done with them, and what is wrong."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from pix2rep_jax.data.fault import Fault, group_faults
from pix2rep_jax.data.fit.doubts import doubt_notes
from pix2rep_jax.data.fit.fingerprint import take_fingerprint
from pix2rep_jax.data.fit.plan import make_plan
from pix2rep_jax.data.scan_notes import count_notes
from pix2rep_jax.data.slices.cache_limit import list_cache
from pix2rep_jax.errors import InputError, name_some
from pix2rep_jax.runs.manifest import check_place
from pix2rep_jax.runs.plan_file import PLAN_FILE, describe, write_plan
from pix2rep_jax.wording import count

__all__ = ["run"]


def run(config: ConfigDict, workdir: Path) -> int:
    """Reads every file, prints ten lines and every fault, and writes plan.json.

    Args:
        config: The whole configuration; `data` is read.
        workdir: The run's folder.

    Returns:
        The exit code: 0, or 1 if a file must be mended; then there is no plan.json.

    Raises:
        InputError: If the scans cannot be listed, or the workdir cannot be written.
    """
    check_place(workdir)
    data = config.data
    found = take_fingerprint(data)
    if found.scans:
        plan = make_plan(found, data)
        print(*describe(found, plan, data), sep="\n")
    print(_caches(Path(data.cache_dir).expanduser()))
    notes = count_notes((each.volume_id, each.notes) for each in found.scans)
    doubts = doubt_notes(found.scans, data.classes)
    for line in (*notes, *doubts, *_fault_lines(found.faults)):
        print(line, file=sys.stderr)
    if found.faults:
        print(
            (
                f"{count(len(found.faults), 'file')} must be mended, or left out by "
                "--config.data.exclude"
            ),
            file=sys.stderr,
        )
        return 1
    if not found.scans:
        raise InputError(f"no scan can be read in {data.root}")
    write_plan(workdir, plan, found, data)
    said = "nothing is wrong"
    if doubts:
        said = "no file is at fault, but what may be wrong stands in "
        said += f"{count(len(doubts), 'note')} above"
    print(f"{said}; the plan is in {Path(workdir) / PLAN_FILE}")
    return 0


def _fault_lines(faults: Sequence[Fault]) -> list[str]:
    """Writes one line per fault, and one line where several files have the same."""
    lines = []
    for first, *others in group_faults(faults):
        where = ""
        if others:
            shown = name_some((each.name for each in (first, *others)), most=3)
            where = f"the same in {len(others) + 1} files ({shown}): "
        lines.append(f"fault: {where}{first.sentence}")
    return lines


def _caches(folder: Path) -> str:
    """Says how much room the caches take."""
    files = list_cache(folder)
    slices = [each for each in files if each[2].name.startswith("slices-")]
    every, own = (sum(size for _, size, _ in each) / 1e6 for each in (files, slices))
    return (
        f"caches: {every:,.0f} MB in {folder}, {own:,.0f} MB of it in "
        f"{count(len(slices), 'file')} of prepared slices, which may be deleted"
    )
