"""Which files of a folder are scans, by their names: suffixes, pairs and links."""

import os

import pytest

from pix2rep_jax.data.files.nifti_paths import (
    file_parts,
    find_subfolder,
    list_folder,
    nifti_stem,
)
from pix2rep_jax.errors import InputError


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"never read here")
    return folder


def names(folder, **options):
    """The names of a folder's scans, and the files that they are read from."""
    files = list_folder(folder, **options).files
    return {each.name: each.path.relative_to(folder).as_posix() for each in files}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii", "a"),
        ("A.NII.GZ", "A"),
        ("a.b.Nii.gz", "a.b"),
        ("a.hdr", "a"),
        ("a.IMG", "a"),
        ("a.img.gz", "a"),
        ("a.nii.json", None),
        ("a.nifti", None),
        ("a.gz", None),
        (".nii", None),
        ("nii", None),
    ],
)
def test_suffixes_are_known_in_any_case(name, stem):
    """One file, or a pair of header and voxels."""
    assert nifti_stem(name) == stem


def test_pair_is_one_scan(tmp_path):
    """The file with the voxels stands for both; a half alone is a scan to complain of,
    and both count where a change is looked for."""
    make_files(tmp_path, "p.hdr", "p.img", "Q.HDR", "Q.IMG", "half.hdr", "x.nii")
    assert names(tmp_path) == {
        "Q": "Q.IMG",
        "half": "half.hdr",
        "p": "p.img",
        "x": "x.nii",
    }
    for name in ("p.img", "Q.HDR"):
        parts = {each.suffix.lower() for each in file_parts(tmp_path / name)}
        assert parts == {".hdr", ".img"}
    for name in ("half.hdr", "x.nii"):
        assert file_parts(tmp_path / name) == [tmp_path / name]


def test_halves_of_a_pair_may_differ_in_capitals(tmp_path):
    """But each of two such pairs keeps its own header."""
    make_files(tmp_path, "one/P.HDR", "one/p.img")
    make_files(tmp_path / "two", "P.hdr", "P.img", "p.hdr", "p.img")
    if len(list((tmp_path / "two").iterdir())) < 4:
        pytest.skip("the disk does not tell capitals")
    assert names(tmp_path / "one") == {"p": "p.img"}
    assert names(tmp_path / "two") == {"P": "P.img", "p": "p.img"}
    for folder, name, header in (
        ("one", "p.img", "P.HDR"),
        ("two", "p.img", "p.hdr"),
        ("two", "P.img", "P.hdr"),
    ):
        parts = file_parts(tmp_path / folder / name)
        assert [each.name for each in parts] == [name, header]


def test_folder_named_like_its_scan_is_the_scan(tmp_path):
    """As some archives unpack; with two scans in it, it is a folder like others."""
    make_files(
        tmp_path,
        "a.nii/a.nii",
        "b.nii.gz/b.nii.gz",
        "c.nii.gz/other.nii",
        "d.nii/d.hdr",
        "d.nii/d.img",
        "two.nii/1.nii",
        "two.nii/2.nii",
    )
    own = {
        "a": "a.nii/a.nii",
        "b": "b.nii.gz/b.nii.gz",
        "c": "c.nii.gz/other.nii",
        "d": "d.nii/d.img",
    }
    assert names(tmp_path) == own
    assert list_folder(tmp_path).unsearched == [tmp_path / "two.nii"]
    two = {"two.nii/1": "two.nii/1.nii", "two.nii/2": "two.nii/2.nii"}
    assert names(tmp_path, deep=True) == own | two


def test_hidden_files_stay_out_and_others_are_listed(tmp_path):
    """Those that macOS and git-annex leave are hidden."""
    make_files(tmp_path, "._a.nii", ".git/annex/a.nii", "a.nii", "a.json", "sub/b.dcm")
    listing = list_folder(tmp_path, deep=True)
    assert [each.name for each in listing.files] == ["a"]
    assert listing.others == [tmp_path / "a.json", tmp_path / "sub" / "b.dcm"]


def test_linked_folders_are_followed_once(tmp_path):
    """One that links to what is above it has an end; a folder keeps its own name."""
    make_files(tmp_path / "store", "p1/b.nii")
    study = make_files(tmp_path / "study", "a.nii", "z/c.nii")
    (study / "p1").symlink_to(tmp_path / "store" / "p1")
    (tmp_path / "store" / "p1" / "up").symlink_to(study)
    (study / "again").symlink_to(study / "z")
    assert names(study, deep=True) == {
        "a": "a.nii",
        "p1/b": "p1/b.nii",
        "z/c": "z/c.nii",
    }
    assert sorted(list_folder(study, deep=True).repeated) == [
        study / "again",
        study / "p1" / "up",
    ]


def test_links_to_nothing_are_listed(tmp_path):
    """A scan that git-annex has not fetched."""
    (tmp_path / "annexed.nii.gz").symlink_to("none.nii.gz")
    (tmp_path / "itself.nii.gz").symlink_to("itself.nii.gz")
    (tmp_path / "long.nii.gz").symlink_to("n" * 300)  # cannot even be looked up
    listing = list_folder(tmp_path)
    names = ["annexed", "itself", "long"]
    assert [each.name for each in listing.files] == names
    assert listing.broken == [tmp_path / f"{name}.nii.gz" for name in names]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_folder_that_may_not_be_read_is_listed(tmp_path):
    """The others are searched."""
    make_files(tmp_path, "a.nii", "locked/b.nii")
    (tmp_path / "locked").chmod(0)
    listing = list_folder(tmp_path, deep=True)
    (tmp_path / "locked").chmod(0o700)
    assert listing.unsearched == [tmp_path / "locked"]
    assert [each.name for each in listing.files] == ["a"]


def test_missing_folder_is_one_sentence(tmp_path):
    """Also a file in its place."""
    make_files(tmp_path, "file")
    for name in ("nowhere", "file"):
        with pytest.raises(InputError, match=name):
            list_folder(tmp_path / name)


def test_subfolder_is_found_in_any_case(tmp_path):
    """Two of them cannot both be meant; without one, the usual name is said."""
    assert find_subfolder(tmp_path, "labels") == tmp_path / "labels"
    (tmp_path / "Labels").mkdir()
    (tmp_path / "images.txt").touch()
    assert find_subfolder(tmp_path, "labels") == tmp_path / "Labels"
    (tmp_path / "LABELS").mkdir()
    with pytest.raises(InputError, match="LABELS, Labels"):
        find_subfolder(tmp_path, "labels")
