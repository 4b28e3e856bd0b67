"""What killed processes left half written, and caches that grow."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from pix2rep_jax.data.phantom import write
from pix2rep_jax.data.slices import cache_limit, slice_cache
from pix2rep_jax.data.slices.cache_limit import limit_cache
from pix2rep_jax.modes import check
from pix2rep_jax.runtime import atomic_file
from pix2rep_jax.runtime.leftovers import partial_path, remove_leftovers
from tests.support.program import ROOT

KILLED = """
import os, pathlib, sys
from pix2rep_jax.runtime.atomic_file import replacing
from pix2rep_jax.runtime.leftovers import partial_path
place = pathlib.Path(sys.argv[1])
partial_path(place / "phantom", suffix=".partial").mkdir()
with replacing(place / "run.json") as one:
    one.write_text("ha")
    with replacing(place / "a.nii", suffix=".nii") as two:
        two.write_text("ha")
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def killed(tmp_path):
    """A folder in which a process was killed while it wrote."""
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 3
    atomic_file._tidy.cache_clear()
    return tmp_path


def test_the_next_writer_removes_what_a_killed_one_left(killed):
    """Files and folders, whatever it writes itself; and nothing else."""
    (killed / ".hidden.json").touch()
    (killed / ".scan.nii.gz.0123abcd-x-0123abcd").touch()
    atomic_file.write_whole(killed / "other.json", "{}")
    names = {".hidden.json", ".scan.nii.gz.0123abcd-x-0123abcd", "other.json"}
    assert {each.name for each in killed.iterdir()} == names


def test_the_next_phantom_removes_what_a_killed_one_left(killed):
    write.write(killed / "new", num_training=1, num_testing=0)
    assert [each.name for each in killed.iterdir()] == ["new"]


def test_what_another_process_is_writing_stays(tmp_path):
    """One that runs here, and one of another machine for a day."""
    mine = partial_path(tmp_path / "run.json")
    here, number, chance = mine.name.rsplit(".", 1)[1].split("-")
    other = "0" * 8 if here != "0" * 8 else "1" * 8
    theirs = tmp_path / f".run.json.{other}-{number}-{chance}"
    for path in (mine, theirs):
        path.touch()
    remove_leftovers(tmp_path)
    assert mine.exists() and theirs.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(theirs, (yesterday, yesterday))
    remove_leftovers(tmp_path)
    assert mine.exists() and not theirs.exists()
    remove_leftovers(tmp_path / "missing")


ONE, OTHER = (f"slices-{letter * 24}.npz" for letter in "ac")
FACTS = f"fingerprint-{'b' * 24}.json"
PROGRAM = f"jit_step-{'d' * 64}-cache"
"""Names that the caches have."""


def make_cache(folder, *, hours):
    """Files of 1 kB each, last used so many hours ago."""
    (folder / "programs").mkdir()
    names = (ONE, f"programs/{PROGRAM}", FACTS, OTHER)
    for name, ago in zip(names, hours, strict=True):
        path = folder / name
        path.write_bytes(bytes(1000))
        os.utime(path, (time.time() - ago * 3600,) * 2)


@pytest.mark.parametrize(
    ("limit_gb", "left"),
    [
        (0, {ONE, PROGRAM, FACTS, OTHER}),
        (4e-6, {ONE, PROGRAM, FACTS, OTHER}),
        (3.5e-6, {ONE, FACTS, OTHER}),
        (2e-6, {ONE, OTHER}),
        (1e-9, {ONE}),
    ],
)
def test_what_was_not_used_for_longest_goes_first(tmp_path, limit_gb, left):
    """And never what is in use, nor a file that is not of the caches."""
    make_cache(tmp_path, hours=(9, 4, 3, 1))
    (tmp_path / "mine.txt").write_bytes(bytes(1000))
    limit_cache(tmp_path, limit_gb=limit_gb, keep=tmp_path / ONE)
    names = {each.name for each in tmp_path.rglob("*") if each.is_file()}
    assert names == {*left, "mine.txt"}


def test_files_that_only_look_like_a_cache_stay(tmp_path):
    """Where a user names a folder of other things as the cache's."""
    names = ("slices-3.npz", "statistics-all.npz", "detail-2.json", "programs/main.py")
    names += ("programs/latest-cache", f"programs/{PROGRAM}.txt", f"old {ONE}")
    (tmp_path / "programs").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(bytes(1000))
    limit_cache(tmp_path, limit_gb=1e-9, keep=tmp_path / ONE)
    assert all((tmp_path / name).exists() for name in names)


def test_jax_names_its_programs_as_expected(tmp_path):
    """The files that jax itself keeps are counted, and can be removed."""
    code = (
        "import sys, pathlib, jax\n"
        "from pix2rep_jax.runtime.compiler import cache_programs\n"
        "cache_programs(pathlib.Path(sys.argv[1]))\n"
        "jax.jit(lambda x: x + 1)(1.0)\n"
    )
    folder = tmp_path / "programs"
    variables = {x: y for x, y in os.environ.items() if not x.startswith("JAX_")}
    words = [sys.executable, "-c", code, str(folder)]
    variables["JAX_PLATFORMS"] = "cpu"
    subprocess.run(words, cwd=ROOT, env=variables, check=True)
    assert [*folder.iterdir()]
    limit_cache(tmp_path, limit_gb=1e-9, keep=tmp_path / ONE)
    assert not [*folder.iterdir()]


def test_reading_a_cache_is_a_use_of_it(tmp_path):
    """A damaged one too; it is not the reader who removes it."""
    path = tmp_path / ONE
    np.savez(path, images=np.zeros(3))
    os.utime(path, (1e9, 1e9))
    assert slice_cache.load(path, dict, dict) is None
    assert path.stat().st_mtime > time.time() - 60


def test_the_limit_is_kept_when_slices_are_added(tmp_path, monkeypatch):
    """With the limit that the configuration gives."""
    from pix2rep_jax.data.dataset import load_dataset
    from tests.faults.test_settings import make_config

    asked = []
    monkeypatch.setattr(
        slice_cache, "limit_cache", lambda *_, **options: asked.append(options)
    )
    assert slice_cache.limit_cache is not cache_limit.limit_cache
    changes = {"data.phantom_training": 1, "data.phantom_testing": 0, "data.size": 16}
    changes |= {"data.cache_dir": str(tmp_path), "data.cache_gb": 0.5}
    data = make_config(**changes).data
    load_dataset(data)
    load_dataset(data)
    ((made,),) = (tmp_path.glob("slices-*.npz"),)
    assert asked == [{"limit_gb": 0.5, "keep": made}]


def test_check_counts_the_caches_and_nothing_else(tmp_path):
    """Since it says that what it counts may be deleted."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, size in ((ONE, 3), ("scan.nii", 5), ("deep/er/scan.nii", 7)):
        (tmp_path / name).write_bytes(bytes(size * 10**6))
    assert " 3 MB in " in check._caches(tmp_path)
