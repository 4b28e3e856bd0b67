"""The middle or whole slices: what the experts' masks keep decides."""

import re

import numpy as np
import pytest

from pix2rep_jax.data import dataset
from pix2rep_jax.data.files.axes import AUTO
from pix2rep_jax.data.fit import field_of_view, mask_detail
from pix2rep_jax.data.fit.fingerprint import take_fingerprint
from pix2rep_jax.data.fit.plan import make_plan, plan_data
from pix2rep_jax.data.slices.grid import centre_grid, whole_grid
from pix2rep_jax.data.slices.resample import resample_label, restore_labels
from pix2rep_jax.data.volume_list import list_volumes
from pix2rep_jax.evaluation.dice import dice_per_class
from tests.data.fit.test_plan import make_data, make_set, save


def disc(shape, centre, radius):
    place = np.indices(shape)
    return np.hypot(place[0] - centre[0], place[1] - centre[1]) < radius


def make_discs(root, *, centre=(150, 30), side=320, n=3, spacing_mm=1.0):
    """Noise with a round structure of 7 px, wherever it is wanted."""
    for number in range(n):
        rng = np.random.default_rng(number)
        label = disc((side, side), np.add(centre, number), 7)[..., None].astype(
            np.uint8
        )
        size = (spacing_mm, spacing_mm, 5 * spacing_mm)
        save(root / f"images/p{number}.nii.gz", rng.random(label.shape) + label, size)
        save(root / f"labels/p{number}.nii.gz", label, size)
    return make_data(root)


def test_structures_off_the_centre_are_seen_in_whole_slices(tmp_path):
    """The centred crop would need pixels of over 4 mm for a disc of 14 mm."""
    data = make_discs(tmp_path)
    settled = plan_data(data)
    assert settled.crop == "whole" and 1.0 <= settled.spacing_mm < 2.5
    loaded = dataset.load_dataset(settled)
    assert min(each.label_share for each in loaded.volumes) == 1.0
    data.crop = "center"
    assert plan_data(data).spacing_mm > 3.9


def test_a_crop_may_lose_a_little_more_than_whole_slices(tmp_path):
    """Discs ever farther from the centre, which a crop sees in ever larger pixels."""
    crops = {}
    for row in (160, 110, 80, 60, 40, 20):
        data = make_discs(tmp_path / str(row), centre=(row, 160))
        reason = make_plan(take_fingerprint(data), data).reasons[0]
        kept = float(re.findall(r"(\d\.\d{3})", reason)[-1])
        crops[kept] = plan_data(data).crop
    assert any(field_of_view.CENTRE < kept < field_of_view.DETAIL for kept in crops)
    assert any(kept < field_of_view.CENTRE for kept in crops)
    for kept, crop in crops.items():
        assert crop == ("middle" if kept >= field_of_view.CENTRE else "whole")


def test_the_pixels_are_the_coarsest_that_keep_the_masks(tmp_path):
    """What they keep does not fall evenly, but pixels twice as large lose too much."""
    data = make_discs(tmp_path)
    found = plan_data(data).spacing_mm
    volumes = list_volumes(data)
    parts = mask_detail.read_mask_parts(volumes, AUTO, num_classes=2)

    def kept(pixel_mm):
        grid = lambda shape, mm: whole_grid(shape, mm, pixel_mm=pixel_mm, least=1)  # noqa: E731
        return mask_detail.detail_kept(parts, grid)

    assert kept(found) >= field_of_view.DETAIL > kept(2 * found)


def test_structures_in_the_centre_are_seen_in_the_middle(tmp_path):
    """Also without masks. With a side that was asked for, the crop is no larger."""
    data = make_discs(tmp_path / "near", centre=(160, 160))
    settled = plan_data(data)
    assert (settled.crop, settled.spacing_mm) == ("middle", 1.0)
    far = make_discs(tmp_path / "far")
    far.crop_px = 80
    assert plan_data(far).crop == "center"
    for path in (tmp_path / "near/labels").iterdir():
        path.unlink()
    assert plan_data(data).crop == "middle"


@pytest.mark.parametrize(("side", "crop"), [(64, "center"), (65, "middle")])
def test_slices_that_a_patch_holds_need_no_more(tmp_path, side, crop):
    """As those of Hippocampus. The widest slice decides."""
    data = make_discs(tmp_path, centre=(32, 32), side=side)
    settled = plan_data(data)
    assert (settled.crop, settled.spacing_mm) == (crop, 1.0)


@pytest.mark.parametrize(
    ("centre", "crop"), [((160, 160), "middle"), ((150, 30), "whole")]
)
def test_pixels_without_a_label_are_not_a_structure(tmp_path, centre, crop):
    """Scribbles: a stroke in the disc, one beside it, and 9 everywhere else.

    The strokes lie in the disc's place, and tell nothing of how coarse pixels may be.
    """
    data = make_discs(tmp_path, centre=centre)
    for path in sorted((tmp_path / "labels").iterdir()):
        label = np.full((320, 320, 1), 9, np.uint8)
        row, column = np.add(centre, int(path.name[1]))
        label[row - 5 : row + 6, column] = 1
        label[row - 5 : row + 6, column + 20] = 0
        save(path, label, (1, 1, 5))
    data.ignore = (9,)
    settled = plan_data(data)
    assert (settled.crop, settled.spacing_mm) == (crop, 1.0)
    volumes = list_volumes(data)
    for part in mask_detail.read_mask_parts(volumes, AUTO, num_classes=2):
        assert max(part.label.shape) <= 15


def test_what_is_given_is_kept(tmp_path):
    """A spacing, or whole slices where a crop would do."""
    data = make_discs(tmp_path)
    with data.ignore_type():
        data.spacing_mm = 1.5
    settled = plan_data(data)
    assert (settled.crop, settled.spacing_mm) == ("whole", 1.5)
    near = make_discs(tmp_path / "near", centre=(160, 160))
    near.crop = "whole"
    assert plan_data(near).crop == "whole"


@pytest.mark.parametrize(("spacing_mm", "enough"), [(1.0, True), (5.0, False)])
def test_pixels_that_were_given_are_measured_too(tmp_path, spacing_mm, enough):
    """The quick configuration has one size for all scans; discs of 14 mm show it."""
    data = make_discs(tmp_path, centre=(160, 160))
    data.crop = "center"
    with data.ignore_type():
        data.spacing_mm = spacing_mm
    reason = make_plan(take_fingerprint(data), data).reasons[0]
    kept = float(re.search(r"Dice of (\d\.\d+)", reason)[1])
    assert (kept >= field_of_view.DETAIL) == enough
    assert ("--config.data.spacing_mm=auto" in reason) != enough


@pytest.mark.parametrize(
    ("n", "said"), [(1, "the only volume"), (3, "all 3 volumes"), (12, "90% of 12")]
)
def test_few_volumes_are_counted_and_have_no_share(tmp_path, n, said):
    """Of one volume nobody says 90 %."""
    data = make_discs(tmp_path, n=n, side=40, centre=(10, 10))
    reason = make_plan(take_fingerprint(data), data).reasons[0]
    assert f"in {said}" in reason


def test_masks_of_test_patients_decide_nothing(tmp_path):
    """The last patient alone has its structure in a corner."""
    data = make_discs(tmp_path, centre=(160, 160), n=3)
    label = disc((320, 320), (12, 12), 7)[..., None].astype(np.uint8)
    save(tmp_path / "labels/p2.nii.gz", label, (1, 1, 5))
    assert plan_data(data).crop == "whole"
    data.holdout_per_group = 1
    assert plan_data(data).crop == "middle"


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    """From the cache, until a mask changes."""
    data = make_discs(tmp_path)
    settled = plan_data(data)
    monkeypatch.setattr(field_of_view, "_look", None)
    assert plan_data(data).spacing_mm == settled.spacing_mm
    make_discs(tmp_path, centre=(100, 40))
    with pytest.raises(TypeError):
        plan_data(data)


@pytest.mark.parametrize("kind", ["center", "whole"])
def test_what_masks_keep_is_their_dice_there_and_back(tmp_path, kind):
    """Against whole slices resampled by the functions that prepare and restore."""
    data = make_set(tmp_path, shape=(90, 70, 3), box=(slice(5, 40), slice(30, 69)))
    volumes = list_volumes(data)
    parts = mask_detail.read_mask_parts(volumes, AUTO, num_classes=2)

    def make_grid(shape, spacing_mm):
        if kind == "center":
            return centre_grid(shape, spacing_mm, fov_mm=80.0, size=24)
        return whole_grid(shape, spacing_mm, pixel_mm=3.3, least=16)

    grid = make_grid((90, 70), (1.0, 1.0))
    label = np.zeros((90, 70), np.uint8)
    label[5:40, 30:69] = 1
    one_hot = np.eye(2, dtype=np.float32)[resample_label(label, grid)]
    back = restore_labels(one_hot, grid)
    expected = dice_per_class(back, label, num_classes=2)[1]
    found = mask_detail.detail_kept(parts, make_grid)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("root", "crop", "spacing_mm"),
    [
        ("ACDC", "middle", 2.5),
        ("Hippocampus", "center", 1.0),
        ("FetalHead", "middle", 0.59),
    ],
)
def test_real_sets_are_seen_around_the_centre(
    root, crop, spacing_mm, acdc_root, tmp_path
):
    """Their masks keep 96.3, 100 and 98.8 there."""
    folder = acdc_root.parent / root
    if not folder.is_dir():
        pytest.skip(f"{root} is not at {folder}")
    from pix2rep_jax.data.fit.settle import settle_data

    data = make_data(tmp_path, holdout_per_group="auto", name="auto")
    data.update(root=str(folder), classes=())
    with data.ignore_type():
        data.update(settle_data(data).settings)
    settled = plan_data(data)
    assert settled.crop == crop
    assert settled.spacing_mm == pytest.approx(spacing_mm, rel=0.02)
