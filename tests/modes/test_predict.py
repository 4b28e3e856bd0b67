"""--mode predict over a folder: all of it is counted, and a bad file costs little."""

import dataclasses
import errno
import signal
import struct
import threading
import time
import zlib

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.files import nifti, nifti_file
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes import predict

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
    monkeypatch.setattr(predict, "describe_networks", str)
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
@pytest.mark.parametrize("place", ["ImageOpener", "read_volume"])
def test_one_bad_file_does_not_stop_the_next(study, monkeypatch, capsys, error, place):
    """Whatever is raised, while the file is read or later."""
    module = nifti_file if place == "ImageOpener" else nifti
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
    original = nib.save

    def save(image, path):
        original(image, path)
        if "b_seg" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nifti.nib, "save", save)
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
