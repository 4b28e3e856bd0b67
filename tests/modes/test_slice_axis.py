"""A run records the axis of its slices, and the modes expect it of other scans."""

import json

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.files.axes import SliceAxis
from pix2rep_jax.data.slices.volume import VolumeFile, VolumeRecord
from pix2rep_jax.figures.panels import read_own_grid
from pix2rep_jax.modes import evaluate, figures
from pix2rep_jax.runs.data_checks import expected_slice_axis
from tests.support.run_folder import begin_run

RUN = SliceAxis(1, "A/P", "RS")


def make_config(root, **data):
    config = get_config("quick")
    config.data.update(name="nifti", root=str(root), cache_dir=str(root / "cache"))
    config.data.update(spacing_mm=1.0, size=16, **data)
    return config


def write_scans(root, order):
    """Three patients of cubic voxels, stored with these axes."""
    for number in range(3):
        draw = np.random.default_rng(number)
        image = draw.integers(0, 900, (12, 14, 10)).astype(np.int16)
        label = np.zeros(image.shape, np.uint8)
        label[3:9, 3:8, 2:7] = 1 + (image[3:9, 3:8, 2:7] > 450)
        for kind, array in (("images", image), ("labels", label)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            stored = nib.Nifti1Image(array.transpose(order), np.eye(4)[:, [*order, 3]])
            nib.save(stored, root / kind / f"p{number}.nii.gz")


def test_a_run_records_the_axis_of_its_slices(workdir):
    """The phantom's lie along the third, as ACDC's do."""
    for mode in ("pretrain", "probe", "finetune"):
        content = json.loads((workdir / mode / "run.json").read_text())
        expected = {"index": 2, "anatomy": "S/I", "in_plane": "LP"}
        assert content["slice_axis"] == expected


def test_only_other_scans_are_expected_to_lie_so(tmp_path):
    """A run's own are read as they were when it began."""
    config = make_config(tmp_path)
    before = json.loads(config.to_json_best_effort())
    assert expected_slice_axis(config.data, before, RUN) is None
    config.data.root = str(tmp_path / "other")
    assert expected_slice_axis(config.data, before, RUN) == RUN


class SeenError(Exception):
    """Ends a mode once its scans were asked for."""


@pytest.mark.parametrize("mode", [evaluate, figures])
@pytest.mark.parametrize("own", [True, False])
def test_modes_expect_the_runs_axis_of_other_scans(tmp_path, monkeypatch, mode, own):
    """The recorded one is what the scans are loaded with."""
    config = make_config(tmp_path / "scans")
    begin_run(tmp_path / "run" / "finetune", config, slice_axis=RUN)

    def load(data, *, expected=None):
        raise SeenError(expected)

    monkeypatch.setattr(mode, "load_dataset", load)
    if not own:
        config.data.root = str(tmp_path / "others")
    with pytest.raises(SeenError) as seen:
        mode.run(config, tmp_path / "run")
    assert seen.value.args == (None if own else RUN,)


def test_figures_show_a_scan_as_the_network_saw_it(tmp_path):
    """Sagittal slices, by the record and not by the rule: cubes do not tell."""
    write_scans(tmp_path, (2, 0, 1))
    config = make_config(tmp_path, classes=("BG", "ONE", "TWO"))
    dataset = load_dataset(config.data, expected=SliceAxis(0, "R/L"))
    for record in dataset.volumes:
        assert record.axes.order == (0, 2, 1) and record.shape == (10, 14, 12)
        image, label = read_own_grid(record, num_classes=3)
        shown = read_own_grid(as_stored(record), num_classes=3)
        order = record.axes.order
        np.testing.assert_array_equal(image, shown[0].transpose(order))
        np.testing.assert_array_equal(label, shown[1].transpose(order))


def as_stored(record):
    """The same volume as it is in its file."""
    fields = {name: getattr(record, name) for name in VolumeFile.__dataclass_fields__}
    shape = record.axes.of_file(record.shape)
    return VolumeRecord(**fields, shape=shape, low=record.low, high=record.high)
