"""--mode predict over a folder: all of it is counted, and a bad file costs little."""

import csv
import dataclasses
import errno
import json
import signal
import struct
import threading
import time
import zlib

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.files import nifti, nifti_file, nifti_writer
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.modes import predict
from tests.inference.test_segmenter import write_run

GREY = np.random.default_rng(0).random((8, 6, 3), np.float32)


def bright_is_lv(images):
    bright = images[..., 0] > 0.5
    return np.stack([~bright, 0 * bright, 0 * bright, bright], -1).astype(np.float32)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder of three scans, and a network that needs no run."""
    segmenter = Segmenter(
        classes=("BG", "RV", "MYO", "LV"),
        predict_network=bright_is_lv,
        percentiles=(1.0, 99.0),
        fov_mm=16.0,
        size=16,
    )
    monkeypatch.setattr(predict, "find_ensemble", lambda *_, **__: [tmp_path])
    monkeypatch.setattr(predict, "describe_networks", lambda *_: "")
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: segmenter)
    data = get_config("quick").data.to_dict() | {"label_values": (0, 7, 8, 9)}
    monkeypatch.setattr(predict, "read_config", lambda _: {"data": data})
    for name in "abc":
        save(tmp_path / "study" / f"{name}.nii.gz")
    return tmp_path / "study"


def save(path, array=GREY):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def run(study, **options):
    config = get_config("quick")
    output = study.parent / "masks"
    return predict.run(config, study, input=study, output=output, **options)


def written(study):
    return sorted(each.name for each in (study.parent / "masks").glob("*.nii*"))


def test_everything_in_the_folder_is_counted(study, capsys):
    """In the last line: what was written, was there, was left out and cannot be read;
    files that cannot be read are named, and the exit status says so."""
    save(study / "a_seg.nii.gz", (GREY > 0.5).astype(np.uint8))
    for name in ("1.dcm", "2.dcm", ".hidden"):
        (study / name).touch()
    assert run(study) == 0
    *_, labels, last = capsys.readouterr().out.splitlines()
    assert "BG 0, RV 7, MYO 8, LV 9" in labels  # how the experts' masks had them
    assert last.startswith("3 of 3 masks")
    assert all(part in last for part in ("1 mask (_seg),", "2 other files (.dcm)"))
    (study / "b.nii.gz").write_bytes(b"damaged")
    (study / "annexed.nii.gz").symlink_to("none")
    (study.parent / "masks" / "b_seg.nii.gz").unlink()
    save(study / "new.nii")
    assert run(study) == 1
    said = capsys.readouterr()
    last = said.out.splitlines()[-1]
    assert last.startswith("1 of 4 masks") and "2 were there before" in last
    assert "1 could not be segmented" in last and "1 could not be opened" in last
    for name in ("b.nii.gz", "annexed.nii.gz"):
        (line,) = [each for each in said.err.splitlines() if name in each]
        assert line.startswith("skipped ") and line.count(name) == 1
    assert written(study) == [f"{name}_seg.nii.gz" for name in ("a", "c", "new")]


def test_scans_with_the_same_fault_are_said_together(study, capsys):
    """The first at once, and the others in one line; another fault has its own."""
    for name in ("d", "e", "f", "g", "h"):
        save(study / f"{name}.nii.gz")
        (study / f"{name}.nii.gz").write_bytes(b"damaged")
    save(study / "flat.nii.gz", np.ones(GREY.shape, np.float32) * np.nan)
    assert run(study) == 1
    said = capsys.readouterr()
    lines = [each for each in said.err.splitlines() if each.startswith("skipped")]
    assert len(lines) == 3 and "5 " not in lines[0]
    (many,) = [each for each in lines if "4 more" in each]
    assert all(f"{name}.nii.gz" in many for name in "defg") and "h.nii" not in many
    assert "6 could not be segmented" in said.out.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a"),
        KeyError("a"),
        struct.error("a"),
        zlib.error("a"),
        OverflowError("two\nlines"),
        MemoryError(),
        ValueError("a"),
    ],
)
@pytest.mark.parametrize("place", ["open_to_read", "read_volume"])
def test_one_bad_file_does_not_stop_the_next(study, monkeypatch, capsys, error, place):
    """Whatever is raised, while the file is read or later."""
    module = nifti_file if place == "open_to_read" else nifti
    original = getattr(module, place)

    def fail(path, *options):
        if str(path).endswith("b.nii.gz"):
            raise error
        return original(path, *options)

    monkeypatch.setattr(module, place, fail)
    assert run(study) == 1
    assert written(study) == ["a_seg.nii.gz", "c_seg.nii.gz"]
    said = capsys.readouterr()
    (line,) = [each for each in said.err.splitlines() if each.startswith("skipped")]
    assert "b.nii.gz" in line and "Traceback" not in said.err
    assert said.out.splitlines()[-1].startswith("2 of 3 masks")


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "stop, error", [(interrupt, KeyboardInterrupt), (exit, SystemExit)]
)
def test_a_signal_stops_at_once(study, monkeypatch, stop, error):
    """It is not taken for a bad file. What is written by then is whole, and the same
    command goes on."""
    segmenter = Segmenter.load(study)
    mask = study.parent / "masks" / "a_seg.nii.gz"
    calls = []

    def predict_network(images):
        calls.append(len(images))
        if len(calls) == 2:
            wait_for(mask.exists)
            stop()
        return bright_is_lv(images)

    stopped = dataclasses.replace(
        segmenter, predict_network=predict_network, batch_size=3
    )
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: stopped)
    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(error):
            run(study)
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [3, 3] and written(study) == ["a_seg.nii.gz"]
    assert nib.load(mask).get_fdata().shape == GREY.shape
    assert not [each for each in threading.enumerate() if "Pool" in each.name]
    assert run(study) == 0
    assert calls == [3, 3, 3, 3] and len(written(study)) == 3


def wait_for(condition):
    """Waits until another thread has done something."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_a_full_disk_costs_one_sentence(study, monkeypatch, capsys):
    """The scan whose mask cannot be written is named, and nothing of it is left."""
    original = nifti_writer._save

    def save(image, path):
        original(image, path)
        if "b_seg" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nifti_writer, "_save", save)
    assert run(study) == 1
    assert written(study) == ["a_seg.nii.gz", "c_seg.nii.gz"]
    said = capsys.readouterr()
    (line,) = [each for each in said.err.splitlines() if each.startswith("skipped")]
    assert "b_seg.nii.gz" in line and "No space" in line
    assert said.out.splitlines()[-1].startswith("2 of 3 masks")


def test_folder_without_scans_is_one_sentence(study):
    """It counts what is there instead."""
    for name in "abc":
        (study / f"{name}.nii.gz").unlink()
    save(study / "a_seg.nii.gz", (GREY > 0.5).astype(np.uint8))
    with pytest.raises(InputError, match=r"--input.*1 mask"):
        run(study)


def volumes(study):
    text = (study.parent / "masks" / "volumes.csv").read_text()
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def count(path, value=3):
    return int((np.asarray(nib.load(path).dataobj) == value).sum())


def test_tables_lie_beside_the_masks(study):
    """Names by value; volumes in ml, of the mask and the voxel's size."""
    affine = np.diag([2.0, 2.0, 10.0, 1.0])
    (study / "sub").mkdir()
    nib.save(nib.Nifti1Image(GREY, affine), study / "sub" / "d.nii.gz")
    assert run(study) == 0
    masks = study.parent / "masks"
    names = json.loads((masks / "labels.json").read_text())
    assert names == {"0": "BG", "1": "RV", "2": "MYO", "3": "LV"}
    rows = volumes(study)
    assert [*rows] == ["a", "b", "c", "sub/d"]
    assert [*rows["a"]] == ["name", "RV_ml", "MYO_ml", "LV_ml"]
    for name, voxel_ml in (("a", 0.001), ("sub/d", 0.04)):
        number = count(masks / f"{name}_seg.nii.gz")
        assert float(rows[name]["LV_ml"]) == pytest.approx(number * voxel_ml)
        assert number
        assert float(rows[name]["RV_ml"]) == 0
    assert not [each for each in masks.iterdir() if each.name.startswith(".")]


def test_each_frame_has_a_line(study):
    """And scans without frames leave that column empty."""
    save(study / "cine.nii.gz", np.stack([GREY, 0.1 * GREY, GREY], -1))
    assert run(study) == 0
    text = (study.parent / "masks" / "volumes.csv").read_text()
    rows = [*csv.DictReader(text.splitlines())]
    assert [(x["name"], x["frame"]) for x in rows[-3:]] == [
        ("cine", "0"),
        ("cine", "1"),
        ("cine", "2"),
    ]
    assert rows[0]["frame"] == ""
    assert rows[-1]["LV_ml"] == rows[0]["LV_ml"]


def test_a_command_that_goes_on_completes_the_tables(study, capsys):
    """Masks that were there are measured as they are; those of other scans are kept as
    long as they exist."""
    assert run(study) == 0
    masks = study.parent / "masks"
    first = volumes(study)
    changed = nib.load(masks / "b_seg.nii.gz")
    labels = np.asarray(changed.dataobj).copy()
    labels[labels == 3] = 1
    nib.save(nib.Nifti1Image(labels, changed.affine), masks / "b_seg.nii.gz")
    (study / "a.nii.gz").rename(study.parent / "a.nii.gz")
    (study / "c.nii.gz").rename(study.parent / "c.nii.gz")
    (masks / "c_seg.nii.gz").unlink()
    save(study / "d.nii.gz")
    (masks / "labels.json").unlink()
    assert run(study) == 0
    rows = volumes(study)
    assert [*rows] == ["a", "b", "d"]
    assert rows["a"] == first["a"]
    assert rows["b"]["RV_ml"] == first["b"]["LV_ml"] and rows["b"]["LV_ml"] == "0"
    assert (masks / "labels.json").exists()


def test_what_another_process_writes_meanwhile_is_no_fault(study, monkeypatch, capsys):
    """Its masks are kept and counted, and the tables are complete."""

    def write_first(segmenter, left, **options):
        with monkeypatch.context() as undone:
            undone.setattr(predict, "write_masks", write_masks)
            run(study)
        return write_masks(segmenter, left, **options)

    monkeypatch.setattr(predict, "write_masks", write_first)
    assert run(study) == 0
    said = capsys.readouterr()
    assert "0 of 3 masks were written" in said.out and "3 were there before" in said.out
    assert not said.err.count("skipped")
    assert len((study.parent / "masks" / "volumes.csv").read_text().splitlines()) == 4


def test_files_that_say_something_else_are_kept(study, capsys):
    """The names of the experts' masks, and a table of someone else."""
    masks = study.parent / "masks"
    masks.mkdir()
    (masks / "labels.json").write_text('{"BG": 0, "LIVER": 1}')
    (masks / "volumes.csv").write_text("patient,ml\n1,2\n")
    assert run(study) == 0
    assert "LIVER" in (masks / "labels.json").read_text()
    assert (masks / "volumes.csv").read_text() == "patient,ml\n1,2\n"
    said = capsys.readouterr().err
    assert "labels.json" in said and "volumes.csv" in said
    assert run(study, overwrite=True) == 0
    assert "LIVER" not in (masks / "labels.json").read_text()


def test_probabilities_overlay_the_scan(study, monkeypatch):
    """Classes last, of 16 bits; written first, and added to masks that are there."""
    segmenter = dataclasses.replace(Segmenter.load(study), predict_network=hazy)
    monkeypatch.setattr(Segmenter, "load", lambda *_, **__: segmenter)
    save(study / "cine.nii.gz", np.stack([GREY, 0.1 * GREY], -1))
    turned = nib.Nifti1Image(GREY.transpose(2, 0, 1), np.diag([9.0, 1, 1, 1]))
    nib.save(turned, study / "turned.nii.gz")
    assert run(study) == 0
    before = (study.parent / "masks" / "a_seg.nii.gz").stat().st_mtime_ns
    assert run(study, probabilities=True) == 0
    masks = study.parent / "masks"
    assert (masks / "a_seg.nii.gz").stat().st_mtime_ns == before
    for name in ("a", "cine", "turned"):
        found = nib.load(masks / f"{name}_probabilities.nii.gz")
        assert found.header.get_data_dtype() == np.uint16
        np.testing.assert_array_equal(
            found.affine, nib.load(study / f"{name}.nii.gz").affine
        )
        expected = segmenter.predict_probabilities(study / f"{name}.nii.gz")
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.get_fdata(), expected, atol=2**-16 + 1e-6)
        mask = np.asarray(nib.load(masks / f"{name}_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(expected.argmax(-1), mask)
    (masks / "a_seg.nii.gz").unlink()
    (masks / "b_probabilities.nii.gz").unlink()
    assert run(study, probabilities=True) == 0
    assert {"a_seg.nii.gz", "b_probabilities.nii.gz"} <= {*written(study)}


def hazy(images):
    images = 0.2 + 0.6 * images[..., 0]
    return np.stack([1 - images, images / 8, images / 8, images * 0.75], -1)


def test_masks_may_have_the_names_of_nnu_net(study):
    """NAME.nii.gz, also of NAME_0000.nii.gz; in a folder of the scans they are left out
    the next time."""
    save(study / "n_0000.nii.gz")
    config, output = get_config("quick"), study / "masks"
    for expected in (4, 4):
        status = predict.run(config, study, input=study, output=output, suffix="")
        assert status == 0
        assert len([*output.glob("*.nii.gz")]) == expected
    assert {each.name for each in output.glob("*.nii.gz")} == {
        *("a.nii.gz", "b.nii.gz", "c.nii.gz", "n.nii.gz")
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("suffix", ["", "_2"])
def test_no_mask_is_written_over_a_scan(study, overwrite, suffix):
    """Neither its own, nor another one of the input, nor by a link."""
    save(study / "a_2.nii.gz")
    before = (study / "a.nii.gz").read_bytes()
    link = study.parent / "link"
    link.symlink_to(study)
    for output in (study, link):
        with pytest.raises(InputError, match="--suffix"):
            predict.run(
                get_config("quick"),
                study,
                input=study,
                output=output,
                suffix=suffix,
                overwrite=overwrite,
            )
    assert (study / "a.nii.gz").read_bytes() == before
    assert not (study / "labels.json").exists()
    with pytest.raises(InputError, match="--suffix"):
        run(study, suffix="x/y")


def test_the_networks_are_named(study, tmp_path, capsys, monkeypatch):
    """In the first line: folders, and steps of how many."""
    monkeypatch.undo()
    for name in ("one", "two"):
        write_run(tmp_path / name / "finetune")
    options = {"input": study / "a.nii.gz", "output": tmp_path / "out"}
    config = get_config("quick")
    assert predict.run(config, tmp_path / "one", **options) == 0
    (first, *_) = capsys.readouterr().out.splitlines()
    assert str(tmp_path / "one" / "finetune") in first and "step 0 of 10" in first
    options |= {"output": tmp_path / "both", "others": [tmp_path / "two"]}
    assert predict.run(config, tmp_path / "one", **options) == 0
    (first, *_) = capsys.readouterr().out.splitlines()
    assert "2" in first and str(tmp_path / "two" / "finetune") in first
