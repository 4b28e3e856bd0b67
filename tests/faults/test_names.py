"""Names of files that are not UTF-8, or that spell a letter in another way."""

import os
import unicodedata

import pytest

from pix2rep_jax.cli.config_file import split_words
from pix2rep_jax.data.files.file_names import match_masks
from pix2rep_jax.data.layout.dataset_json import plain_name
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.data.volume_list import list_volumes
from pix2rep_jax.errors import InputError, explain, plain_text
from pix2rep_jax.modes.settings import CHECKS
from pix2rep_jax.runtime.atomic_file import write_whole
from pix2rep_jax.runtime.home import check_utf8
from tests.faults.test_settings import make_config
from tests.support.nifti import make_label, save
from tests.support.run_folder import make_split_of

COMPOSED = unicodedata.normalize("NFC", "Ren\u00e9")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def make_scans(root, *names):
    """Scans and masks by names, which are bytes."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for name in names:
        for folder in ("images", "labels"):
            path = root / folder / "new.nii.gz"
            save(path, make_label())
            place = os.fsencode(root / folder) + b"/" + name + b".nii.gz"
            os.rename(path, place)


def listed(root, **changes):
    changes = {"data.name": "nifti", "data.root": str(root), **changes}
    return list_volumes(make_config(**changes).data)


def test_a_name_in_latin_letters_is_read_and_written(tmp_path):
    """As an escape, so that tables, figures and records can hold it."""
    try:
        make_scans(tmp_path, b"Ren\xe9")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (volume,) = listed(tmp_path)
    assert volume.volume_id == volume.patient == r"Ren\udce9"
    assert volume.image_path.is_file() and volume.label_path.is_file()
    write_whole(tmp_path / "table.csv", f"{volume.image_path},1\n")
    assert r"Ren\udce9" in (tmp_path / "table.csv").read_text("utf-8")


def test_a_letter_has_one_spelling_in_names_of_patients(tmp_path):
    """Whichever the file system and the command line have."""
    make_scans(tmp_path, DECOMPOSED.encode(), b"other")
    assert {each.patient for each in listed(tmp_path)} == {COMPOSED, "other"}
    config = make_config(**{"data.exclude": (DECOMPOSED,)})
    split_words(config, CHECKS)
    assert config.data.exclude == (COMPOSED,)
    assert plain_name(DECOMPOSED) == plain_name(COMPOSED.upper())


def test_a_mask_has_its_scans_name_in_either_spelling(tmp_path):
    scan, mask = tmp_path / DECOMPOSED, tmp_path / f"{COMPOSED}_seg"
    found = match_masks([DECOMPOSED], {mask.name: mask}, tmp_path)
    assert found == {scan.name: mask}


def test_a_run_of_before_knows_its_patients():
    """It recorded them as the file system spelt them."""
    scans = {DECOMPOSED: {f"{DECOMPOSED}_ED": "a b"}}
    before = make_split_of(pretrain_patients=(DECOMPOSED,), scans=scans)
    now = Split.from_dict(before.to_dict())
    assert now.pretrain_patients == (COMPOSED,)
    assert now.scans == {COMPOSED: {f"{COMPOSED}_ED": "a b"}}


def test_a_workdir_that_is_not_utf_8_is_refused_at_once(tmp_path):
    """A run would train as far as its first checkpoint, and lose it."""
    check_utf8(tmp_path / COMPOSED, "--workdir")
    with pytest.raises(InputError, match="--workdir"):
        check_utf8(tmp_path / "Ren\udce9", "--workdir")


def test_a_library_that_wants_utf_8_is_explained():
    with pytest.raises(UnicodeEncodeError) as refused:
        ("line\n" * 1000 + "Ren\udce9").encode()
    said = explain(refused.value)
    assert plain_text("Ren\udce9") in said and len(said) < 300
