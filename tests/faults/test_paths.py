"""Paths that lead nowhere, in circles, to a pipe, or to a name that is too long."""

import os
import re
import signal

import pytest

from pix2rep_jax.cli.failure import describe_failure
from pix2rep_jax.data.checks import check_files
from pix2rep_jax.data.files.regular_file import read_text
from pix2rep_jax.data.files.scan import read_scan
from pix2rep_jax.data.layout.recognise import recognise
from pix2rep_jax.data.slices.volume import VolumeFile
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.found_scans import find_scans
from pix2rep_jax.inference.scan_files import pair_with_masks
from pix2rep_jax.runs.manifest import check_begun, make_folder
from pix2rep_jax.runs.start import find_start
from pix2rep_jax.runtime.atomic_file import replacing
from tests.modes.test_predict import run, save, study, written  # noqa: F401
from tests.runs.test_manifest import make_config
from tests.support.run_folder import begin_run

LONGEST = 255
"""Bytes of a name, on nearly every file system."""


@pytest.fixture
def pipe(tmp_path):
    """A pipe that is named like a scan; whoever waits for it is stopped."""

    def stop(*_):
        raise TimeoutError("the pipe is waited for")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    os.mkfifo(tmp_path / "pipe.nii.gz")
    yield tmp_path / "pipe.nii.gz"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_pipe_among_scans_is_named(pipe):
    """The others are segmented."""
    save(pipe.parent / "a.nii.gz")
    found = find_scans(pipe.parent)
    assert [each.name for each in found.scans] == ["a"] and found.broken == [pipe]


@pytest.mark.parametrize("kind", ["scan", "input"])
def test_a_pipe_is_not_waited_for(pipe, kind):
    with pytest.raises(InputError, match=r"pipe\.nii\.gz is not a file but a pipe"):
        read_scan([pipe]) if kind == "scan" else find_scans(pipe)


def test_a_name_that_is_too_long_is_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_scan([tmp_path / f"{'y' * LONGEST}.nii"])


@pytest.mark.parametrize("place", ["image_path", "label_path"])
def test_a_pipe_is_not_trained_on(pipe, place):
    """Neither as a scan nor as a mask."""
    save(pipe.parent / "a.nii.gz")
    paths = dict.fromkeys(("image_path", "label_path"), pipe.parent / "a.nii.gz")
    paths[place] = pipe
    volume = VolumeFile("a", "a", "training", "", "", **paths)
    with pytest.raises(InputError, match=r"1 file .*pipe\.nii\.gz"):
        check_files([volume])


def test_a_pipe_is_not_read_as_text(pipe):
    """As what stands beside scans: dataset.json, Info.cfg, a table of pixel sizes."""
    with pytest.raises(OSError, match="not a file"):
        read_text(pipe)


def test_a_pipe_beside_scans_is_named(pipe):
    folder = pipe.parent / "imagesTr"
    folder.mkdir()
    save(folder / "a.nii.gz")
    pipe.rename(pipe.parent / "dataset.json")
    with pytest.raises(InputError, match=r"dataset\.json.*not a file"):
        recognise(pipe.parent)


def test_a_folder_in_the_place_of_a_file_is_called_a_folder(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(InputError, match="not a file but a folder"):
        read_scan([tmp_path / "a.nii"])


@pytest.mark.parametrize(
    "follow",
    [
        lambda loop: find_start(str(loop), "finetune"),
        lambda loop: pair_with_masks(
            find_scans(loop.parent).scans, input=loop.parent, output=loop
        ),
    ],
)
def test_a_loop_of_links_is_one_sentence(tmp_path, follow):
    """It is no defect, wherever it is followed; a newer Python may find no loop."""
    save(tmp_path / "a.nii.gz")
    (tmp_path / "loop").symlink_to("loop")
    try:
        follow(tmp_path / "loop")
    except Exception as error:
        message, status = describe_failure(error)
        assert status == 1 and "loop" in message, message


def test_a_start_in_a_folder_that_is_gone_is_one_sentence(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()
    message, status = describe_failure(caught.value)
    assert status == 1 and "not there any more" in message


@pytest.mark.parametrize("kind", ["file", "link", "below"])
def test_a_file_in_the_place_of_a_folder_needs_no_space(tmp_path, kind):
    """The sentence says what stands there, and gives no other advice."""
    path = tmp_path / "out"
    path.symlink_to("nothing") if kind == "link" else path.touch()
    with pytest.raises(InputError, match="a file or a link stands there") as caught:
        make_folder(path / "x" if kind == "below" else path, option="--output")
    assert "space" not in str(caught.value)


@pytest.mark.parametrize("letter", ["y", "é", "語"])
def test_a_file_may_have_the_longest_name(tmp_path, letter):
    """It is written whole, as others are."""
    path = tmp_path / (letter * (LONGEST // len(letter.encode())))
    with replacing(path, suffix=".nii.gz") as partial:
        partial.touch()
    assert path.exists()


def test_a_mask_whose_name_is_too_long_stops_no_other(study, capsys):  # noqa: F811
    """Nor a scan whose mask just fits."""
    fits = "y" * (LONGEST - len("_seg.nii.gz"))
    for stem in (fits, f"{fits}y"):
        save(study / f"{stem}.nii.gz")
    assert run(study) == 1
    assert len(written(study)) == 4 and f"{fits}_seg.nii.gz" in written(study)
    said = capsys.readouterr()
    assert "4 of 5 masks" in said.out and "File name too long" in said.err
    assert run(study) == 1  # the same again finds them


@pytest.mark.parametrize(
    ("checkpoint", "advice"),
    [
        ("", "checkpoint={workdir} "),
        ("/runs/a", "checkpoint=/runs/a "),
        ("none", "checkpoint=none "),
    ],
)
def test_another_configuration_is_told_where_to_start(tmp_path, checkpoint, advice):
    """From what the run itself starts from, which may be another folder or nothing."""
    config = make_config()
    config["init"]["checkpoint"] = checkpoint
    begin_run(tmp_path / "finetune", config)
    config["seed"] = 7
    with pytest.raises(InputError, match=re.escape(advice.format(workdir=tmp_path))):
        check_begun(tmp_path / "finetune", config)
