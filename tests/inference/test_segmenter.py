import dataclasses
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.pix2rep import get_config
from pix2rep_jax.data.files.axes import LAST, SliceAxis, SliceRule
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.write_masks import write_masks
from pix2rep_jax.models.build import make_segmentation_net
from pix2rep_jax.modes import predict
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import create_state
from tests.support.run_folder import begin_run

CLASSES = ("BG", "RV", "MYO", "LV")


def bright_is_lv(images):
    """A network that is certain: pixels above half of the range are the LV."""
    bright = images[..., 0] > 0.5
    return np.stack([~bright, 0 * bright, 0 * bright, bright], -1).astype(np.float32)


def as_likely_as_bright(images):
    """A network whose edges lie between its pixels, not on them."""
    images = images[..., 0]
    zero = 0 * images
    return np.stack([1 - images, zero, zero, images], -1).astype(np.float32)


def segmenter(*, fov_mm=40.0, size=32, predict_network=bright_is_lv):
    return Segmenter(
        classes=CLASSES,
        predict_network=predict_network,
        percentiles=(1.0, 99.0),
        fov_mm=fov_mm,
        size=size,
    )


def scan(shape=(40, 50, 3)):
    """A bright block off the centre, another one in each slice; spacing 1.25 mm."""
    image = np.full(shape, 100.0, np.float32)
    for i in range(shape[2]):
        image[10 + i : 22, 20 : 34 - i, i] = 900.0
    return image


def write_nifti(path, array, spacing=(1.25, 1.25, 8.0)):
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = 31.0, -7.0, 5.0
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_mask_lies_where_the_structure_lies():
    """The whole way there and back shifts nothing: only the block's edge may differ."""
    image = scan()
    mask = segmenter().predict(image, spacing_mm=(1.25, 1.25, 8.0))
    expected = np.where(image > 500, 3, 0)
    assert mask.dtype == np.uint8
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("size", [24, 48, 64])
def test_mask_has_no_bias_at_other_sizes(size):
    """At finer and coarser network grids the block's centre stays where it is."""
    image = scan()
    uses = segmenter(size=size, predict_network=as_likely_as_bright)
    mask = uses.predict(image, spacing_mm=(1.25, 1.25))
    for i in range(3):
        found = np.argwhere(mask[..., i] == 3).mean(0)
        np.testing.assert_allclose(
            found, np.argwhere(image[..., i] > 500).mean(0), atol=0.3
        )


def test_anisotropic_pixels_keep_their_place():
    """Rows and columns of different size are not confused."""
    image = scan()
    mask = segmenter(fov_mm=75.0, size=60).predict(image, spacing_mm=(1.5, 1.0))
    found = np.argwhere(mask == 3).mean(0)
    np.testing.assert_allclose(found, np.argwhere(image > 500).mean(0), atol=0.3)


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.0, 8.0), (1.0, 1.5, 8.0)])
def test_the_network_sees_a_square_as_a_square(tmp_path, spacing_mm):
    """A block of 18 x 18 mm is as high as wide on the network's grid, whatever the
    pixels' sides, for a file and for its array."""
    high, wide = (round(18 / side) for side in spacing_mm[:2])
    image = np.full((40, 50, 1), 100.0, np.float32)
    image[10 : 10 + high, 20 : 20 + wide] = 900.0
    seen = []

    def look(images):
        seen.append(images[0, ..., 0] > 0.5)
        return bright_is_lv(images)

    uses = segmenter(fov_mm=60.0, size=60, predict_network=look)
    uses.predict(image, spacing_mm=spacing_mm)
    uses.predict(write_nifti(tmp_path / "scan.nii.gz", image, spacing_mm))
    for block in seen:
        sides = block.any(1).sum(), block.any(0).sum()
        np.testing.assert_allclose(sides, 18, atol=1)  # 1 mm per pixel
    np.testing.assert_array_equal(*seen)


def test_beyond_the_field_of_view_is_background():
    """What the network cannot see is background with certainty, never guessed."""

    def everything(images):
        return np.full((*images.shape[:3], 4), [0.0, 0.0, 0.0, 1.0], np.float32)

    mask = segmenter(fov_mm=20.0, size=16, predict_network=everything).predict(
        scan(), spacing_mm=(1.25, 1.25)
    )
    # 20 mm are 16 pixels: rows 12 to 27, columns 17 to 32.
    expected = np.zeros((40, 50, 3), np.uint8)
    expected[12:28, 17:33] = 3
    np.testing.assert_array_equal(mask, expected)


def test_probabilities_sum_to_one_and_give_the_mask():
    """They are those whose largest is the mask, on the scan's own grid."""

    def graded(images):
        images = images[..., 0]
        weights = np.stack([images, 1 - images, images**2, 0.3 + 0 * images], -1)
        return weights / weights.sum(-1, keepdims=True)

    uses = segmenter(predict_network=graded)
    image = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    probabilities = uses.predict_probabilities(image, spacing_mm=(1.25, 1.25))
    assert probabilities.shape == (40, 50, 3, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(
        probabilities.argmax(-1), uses.predict(image, spacing_mm=(1.25, 1.25))
    )


def test_frames_are_segmented_one_by_one():
    """A 4-D scan gives what its frames give alone, each normalised by itself."""
    frames = [scan(), 0.2 * scan()[::-1], 30 + scan()[:, ::-1]]
    uses = segmenter()
    together = uses.predict(np.stack(frames, -1), spacing_mm=(1.25, 1.25))
    assert together.shape == (40, 50, 3, 3)
    for i, frame in enumerate(frames):
        alone = uses.predict(np.ascontiguousarray(frame), spacing_mm=(1.25, 1.25))
        assert (alone == 3).any()
        np.testing.assert_array_equal(together[..., i], alone)


def test_one_slice_gives_one_slice():
    """A 2-D array is the volume that holds it."""
    image = scan()[..., :1]
    uses = segmenter()
    np.testing.assert_array_equal(
        uses.predict(image[..., 0], spacing_mm=(1.25, 1.25)),
        uses.predict(image, spacing_mm=(1.25, 1.25))[..., 0],
    )


def test_a_file_is_its_array_and_spacing(tmp_path):
    """Reading the spacing from the header or being told it is the same."""
    path = write_nifti(tmp_path / "scan.nii.gz", scan())
    np.testing.assert_array_equal(
        segmenter().predict(path), segmenter().predict(scan(), spacing_mm=(1.25, 1.25))
    )
    np.testing.assert_array_equal(
        segmenter().predict(str(path)), segmenter().predict(path)
    )


def test_lists_and_whole_numbers_are_arrays_too():
    """Whatever numpy makes an array of."""
    expected = segmenter().predict(scan(), spacing_mm=(1.25, 1.25))
    halves = jnp.asarray(scan(), jnp.bfloat16)
    for same in (scan().tolist(), scan().astype(np.uint16), halves):
        mask = segmenter().predict(same, spacing_mm=np.array([1.25, 1.25, 8.0]))
        np.testing.assert_array_equal(mask, expected)


def test_a_cine_file_is_its_frames(tmp_path):
    """A 4-D file gives a mask of its own shape, as its array does."""
    cine = np.stack([scan(), scan()[::-1]], -1)
    path = tmp_path / "cine.nii.gz"
    nib.save(nib.Nifti1Image(cine, np.diag([1.25, 1.25, 8.0, 1.0])), path)
    mask = segmenter().predict(path)
    assert mask.shape == cine.shape
    np.testing.assert_array_equal(mask == 3, cine > 500)
    probabilities = segmenter().predict_probabilities(path)
    assert probabilities.shape == (*cine.shape, 4)
    np.testing.assert_array_equal(probabilities.argmax(-1), mask)


def test_files_that_are_no_scans_are_refused(tmp_path):
    """A missing file, a NaN and a single axis are one sentence with the file's name."""
    uses = segmenter()
    with pytest.raises(InputError, match=r"missing\.nii\.gz"):
        uses.predict(tmp_path / "missing.nii.gz")
    broken = scan()
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"nan\.nii\.gz.* 1 "):
        uses.predict(write_nifti(tmp_path / "nan.nii.gz", broken))
    line = nib.Nifti1Image(scan()[:, 0, 0], np.eye(4))
    nib.save(line, tmp_path / "line.nii.gz")
    with pytest.raises(InputError, match=r"line\.nii\.gz.*\(40,\)"):
        uses.predict(tmp_path / "line.nii.gz")


@pytest.mark.parametrize("spacing_mm", [(0.0014, 0.0014, 0.01), (0.0014, 0.0014)])
def test_an_array_measured_in_metres_is_noted(spacing_mm, caplog):
    """As a file with such a header is."""
    segmenter().predict(scan(), spacing_mm=spacing_mm)
    assert any("0.0014 x 0.0014 mm" in each.message for each in caplog.records)


def test_arrays_that_are_no_scans_are_refused():
    """Each mistake is one sentence that says how to mend it."""
    uses = segmenter()
    with pytest.raises(InputError, match="spacing_mm"):
        uses.predict(scan())
    wrong = ((0.0, 1.0), 1.25, (1.25,), ("1", "1"), (1.0, np.nan), (np.inf, 1.0))
    wrong += ((1.0, 1.0, 0.0), (1.0, 1.0, np.nan), (1e-9, 1e-9), (1e9, 1.0))
    for spacing_mm in wrong:
        with pytest.raises(InputError, match="spacing_mm"):
            uses.predict(scan(), spacing_mm=spacing_mm)
    for other in (None, scan() + 1j, np.full((4, 4), "x"), [[1, 2], [3]]):
        with pytest.raises(InputError, match=f"{type(other).__name__}|ndarray"):
            uses.predict(other, spacing_mm=(1.0, 1.0))
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        uses.predict(np.zeros(4), spacing_mm=(1.0, 1.0))
    with pytest.raises(InputError, match=r"shape \(4, 0, 2\)"):
        uses.predict(np.zeros((4, 0, 2)), spacing_mm=(1.0, 1.0))
    for value in (np.nan, -np.inf, 1e39):
        with pytest.raises(InputError, match="finite"):
            uses.predict(np.full((4, 4, 2), value), spacing_mm=(1.0, 1.0))


QUICK = json.loads(get_config("quick").to_json_best_effort())
CONFIG = QUICK | {
    "data": QUICK["data"]
    | {
        "classes": list(CLASSES),
        "crop": "center",
        "percentiles": [1.0, 99.0],
        "spacing_mm": 2.5,
        "crop_px": 16,
        "size": 16,
    },
    "model": QUICK["model"]
    | {
        "channels": [4, 8],
        "num_features": 4,
        "scratch_num_features": 6,
        "last_hidden": 0,
        "dtype": "float32",
    },
    "init": QUICK["init"] | {"checkpoint": ""},
}


def save_checkpoint(
    folder, variables, *, trained=("backbone", "head"), step=0, score=0.5
):
    """Saves variables as a training run does."""
    rates = dict.fromkeys(trained, 1e-3)
    tx = make_optimizer(rates, make_schedule("constant", num_steps=1, warmup_steps=0))
    state = create_state(
        variables["params"],
        variables["batch_stats"],
        tx,
        jax.random.key(0),
        trainable=tuple(rates),
    )
    with Checkpoints(folder / "checkpoints", best_metric="val_dice") as checkpoints:
        state = state.replace(step=jnp.asarray(step, state.step.dtype))
        checkpoints.save(state, metrics={"val_dice": score})


def write_run(folder, *, checkpoint="", slice_axis=LAST, changes=None, **data):
    """Writes the run of a tiny random network: its settings and its checkpoint."""
    config = CONFIG | {
        "data": CONFIG["data"] | data,
        "init": CONFIG["init"] | {"checkpoint": checkpoint},
        **(changes or {}),
    }
    net = make_segmentation_net(ConfigDict(config), scratch=checkpoint == "none")
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, 16, 16, 1)), train=False),
        jax.random.key(0),
    )
    draw = np.random.default_rng(0)
    variables = jax.tree.map_with_path(
        lambda path, leaf: (
            (
                draw.normal(0, 0.5, leaf.shape)
                if path[-1].key == "kernel"
                else draw.uniform(0.05, 1, leaf.shape)  # variances must be positive
            ).astype(np.float32)
        ),
        shapes,
    )
    origin = checkpoint != "none" or None
    begin_run(folder, ConfigDict(config), origin=origin, slice_axis=slice_axis)
    save_checkpoint(folder, variables)
    return net, variables


@pytest.mark.parametrize("checkpoint", ["", "none"])
def test_a_loaded_run_predicts_what_its_network_predicts(tmp_path, checkpoint):
    """Loading changes nothing: the mask is the network's, brought to the scan's grid.

    The scan's grid is the network's here, so nothing has to be resampled. Without
    pretraining the network has the supervised baseline's width.
    """
    net, variables = write_run(tmp_path / "finetune", checkpoint=checkpoint)
    image = np.random.default_rng(0).random((16, 16, 5)).astype(np.float32)
    loaded = Segmenter.load(tmp_path)
    low, high = np.percentile(image, (1, 99))
    slices = np.clip((image - low) / (high - low), 0, 1).transpose(2, 0, 1)
    logits = net.apply(variables, slices[..., None].astype(np.float32), train=False)
    expected = np.asarray(jax.nn.softmax(logits)).transpose(1, 2, 0, 3)
    np.testing.assert_allclose(
        loaded.predict_probabilities(image, spacing_mm=(2.5, 2.5)), expected, atol=1e-4
    )
    assert loaded.classes == CLASSES
    assert len(np.unique(loaded.predict(image, spacing_mm=(2.5, 2.5)))) > 1


def test_configuration_and_record_are_read_once(tmp_path, monkeypatch):
    """And run.json a second time for its version, before the configuration."""
    write_run(tmp_path / "finetune")
    read, text = [], pathlib.Path.read_text
    monkeypatch.setattr(
        pathlib.Path,
        "read_text",
        lambda path, *args, **options: (
            read.append(path.name) or text(path, *args, **options)
        ),
    )
    Segmenter.load(tmp_path)
    assert (read.count("config.json"), read.count("run.json")) == (1, 2)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_loaded_run_prepares_scans_as_its_data_were(tmp_path, interpolation):
    """The run's interpolation and its field of view reach the network's input.

    Without a field of view of its own it is as many pixels as the network has.
    """
    write_run(
        tmp_path / "finetune", interpolation=interpolation, crop_px=0, spacing_mm=1.5
    )
    loaded = Segmenter.load(tmp_path)
    assert loaded.fov_mm == 24
    seen = []

    def look(images):
        seen.append(images[..., 0])
        return np.full((*images.shape[:3], 4), 0.25, np.float32)

    uses = dataclasses.replace(loaded, predict_network=look, percentiles=(0, 100))
    image = np.random.default_rng(0).integers(0, 2, (33, 32, 2)).astype(np.float32)
    uses.predict(image, spacing_mm=(1.0, 1.0))
    mixed = not set(np.unique(seen[0])) <= {0, 1}
    assert mixed == (interpolation == "linear")


def test_fine_tuning_is_preferred_to_probing(tmp_path):
    """A workdir means its best segmenter; one without any is refused."""
    with pytest.raises(InputError, match="--mode finetune"):
        Segmenter.load(tmp_path)
    for mode, size in (("probe", 16), ("finetune", 32)):
        write_run(tmp_path / mode, size=size)
    assert Segmenter.load(tmp_path).size == 32
    assert Segmenter.load(str(tmp_path / "probe")).size == 16


def test_a_network_that_needs_masks_is_refused(tmp_path):
    """The released protocol's crop needs the expert's mask, so it cannot predict."""
    write_run(tmp_path / "finetune", crop="mask_box")
    with pytest.raises(InputError, match=r"data(\.|__)crop"):
        Segmenter.load(tmp_path)


def test_a_damaged_config_is_an_error_that_names_it(tmp_path):
    """Half a config.json is no traceback."""
    write_run(tmp_path / "probe")
    (tmp_path / "probe" / "config.json").write_text('{"data": ')
    with pytest.raises(InputError, match=r"config\.json"):
        Segmenter.load(tmp_path)


def test_a_run_without_a_checkpoint_is_an_error_that_says_so(tmp_path):
    """A run that was stopped before its first checkpoint cannot predict yet."""
    begin_run(tmp_path / "finetune", ConfigDict(CONFIG))
    with pytest.raises(InputError, match="no checkpoint"):
        Segmenter.load(tmp_path)


def quarters(images):
    """A network that knows up from down and left from right, but no mirror."""
    bright, middle = images[..., 0] > 0.5, images.shape[1] // 2
    rows, columns = np.indices(images.shape[1:3])
    upper, left = bright & (rows < middle), bright & (columns < middle)
    classes = [~bright, upper, ~upper & left, bright & ~upper & ~left]
    return np.stack(classes, -1).astype(np.float32)


def turned_segmenter(**rule):
    """It sees all of `scan`, and expects slices like the run's."""
    rule = SliceRule(**{"expected": SliceAxis(2, "S/I"), **rule})
    uses = segmenter(fov_mm=60, size=48, predict_network=quarters)
    return dataclasses.replace(uses, rule=rule)


def store(path, order, flip=(), spacing_mm=(1.25, 1.25, 8.0)):
    """Stores `scan` with other axes, and its affine with them."""
    array, affine = np.flip(scan(), flip), np.diag([*spacing_mm, 1.0])
    for axis in flip:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:, axis] *= -1
    moved = np.transpose(array, order)
    nib.save(nib.Nifti1Image(moved, affine[:, [*order, 3]]), path)
    return path


def in_body(mask, path):
    """A mask of a file, turned as the body lies."""
    image = nib.Nifti1Image(mask.astype(np.uint8), nib.load(path).affine)
    return np.asarray(nib.as_closest_canonical(image).dataobj)


CUBES = (1.25, 1.25, 1.25)


@pytest.mark.parametrize("spacing_mm", [(1.25, 1.25, 8.0), CUBES])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_the_same_anatomy_has_the_same_mask(tmp_path, order, spacing_mm, caplog):
    """Slices stored first, second or third: found by the spacing, or in cubes by the
    body's axis of the run. The mask lies on the file's own grid."""
    uses = turned_segmenter()
    plain = store(tmp_path / "plain.nii.gz", (0, 1, 2), (), spacing_mm)
    expected = uses.predict(plain)
    assert not caplog.records
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    path = store(tmp_path / "turned.nii.gz", order, (), spacing_mm)
    mask = uses.predict(path)
    assert mask.shape == nib.load(path).shape
    np.testing.assert_array_equal(in_body(mask, path), in_body(expected, plain))
    assert len(caplog.records) == (order != (0, 1, 2))
    probabilities = uses.predict_probabilities(path)
    assert probabilities.shape == (*mask.shape, 4)
    np.testing.assert_array_equal(probabilities.argmax(-1), mask)
    pairs = [(path, tmp_path / "mask.nii.gz")]
    (outcome,) = write_masks(uses, pairs, overwrite=False)
    assert outcome.notes == (("turned",) if order != (0, 1, 2) else ())
    written = nib.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(written.dataobj, mask)
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2)])
def test_canonical_masks_do_not_depend_on_how_a_scan_is_stored(tmp_path, order, flip):
    """With every order and direction of the axes the mask of the anatomy is one."""
    uses = turned_segmenter(orientation="canonical")
    plain = store(tmp_path / "plain.nii.gz", (0, 1, 2))
    path = store(tmp_path / "turned.nii.gz", order, flip)
    np.testing.assert_array_equal(
        in_body(uses.predict(path), path), in_body(uses.predict(plain), plain)
    )


def test_frames_of_a_turned_cine_are_turned_too(tmp_path):
    """(slices, rows, columns, frames): the frames stay where they are."""
    cine = np.stack([scan(), scan()[::-1]], -1)
    affine = np.diag([1.25, 1.25, 8.0, 1.0])
    moved = nib.Nifti1Image(cine.transpose(2, 0, 1, 3), affine[:, [2, 0, 1, 3]])
    nib.save(moved, tmp_path / "cine.nii.gz")
    mask = turned_segmenter().predict(tmp_path / "cine.nii.gz")
    for frame in range(2):
        alone = turned_segmenter().predict(cine[..., frame], spacing_mm=(1.25, 1.25))
        np.testing.assert_array_equal(mask[..., frame], np.moveaxis(alone, 2, 0))


def test_arrays_follow_the_rule_of_files():
    """With three sizes the slices' axis is found; with two it is the third."""
    uses, image = turned_segmenter(), scan()
    expected = uses.predict(image, spacing_mm=(1.25, 1.25))
    for order in ((0, 1, 2), (2, 0, 1), (0, 2, 1)):
        sizes = np.array([1.25, 1.25, 8.0])[list(order)]
        mask = uses.predict(image.transpose(order), spacing_mm=sizes)
        np.testing.assert_array_equal(mask, expected.transpose(order))
    coronal = turned_segmenter(expected=SliceAxis(1, "A/P"))
    mask = coronal.predict(image.transpose(0, 2, 1), spacing_mm=CUBES)
    np.testing.assert_array_equal(mask, expected.transpose(0, 2, 1))
    one = uses.predict(image[..., 0], spacing_mm=(1.25, 1.25, 8.0))
    np.testing.assert_array_equal(one, expected[..., 0])
    stacked = uses.predict(image[None, ..., 0], spacing_mm=CUBES)
    np.testing.assert_array_equal(stacked[0], expected[..., 0])


def test_a_loaded_run_knows_its_axis(tmp_path):
    """What run.json records is what a segmenter expects."""
    write_run(tmp_path / "finetune", slice_axis=SliceAxis(0, "A/P"))
    content = json.loads((tmp_path / "finetune" / "run.json").read_text())
    assert content["slice_axis"] == {"index": 0, "anatomy": "A/P", "in_plane": ""}
    loaded = Segmenter.load(tmp_path)
    assert loaded.rule == SliceRule("auto", "file", SliceAxis(0, "A/P"))


def test_predict_counts_what_was_unusual(tmp_path, capsys):
    """One line for all scans of a kind, and every mask on its scan."""
    write_run(tmp_path / "run" / "finetune", slice_axis=SliceAxis(2, "S/I"))
    (tmp_path / "scans").mkdir()
    for number, order in enumerate([(0, 1, 2), (2, 0, 1), (0, 2, 1)]):
        store(tmp_path / "scans" / f"p{number}.nii.gz", order)
    status = predict.run(
        ConfigDict(CONFIG),
        tmp_path / "run",
        input=tmp_path / "scans",
        output=tmp_path / "masks",
    )
    assert status == 0
    notes = [x for x in capsys.readouterr().err.splitlines() if x.startswith("note")]
    assert len(notes) == 1 and "2 of 3" in notes[0] and "p1.nii.gz" in notes[0]
    masks = []
    for number in range(3):
        path = tmp_path / "scans" / f"p{number}.nii.gz"
        mask = nib.load(tmp_path / "masks" / f"p{number}_seg.nii.gz")
        np.testing.assert_array_equal(mask.affine, nib.load(path).affine)
        masks.append(in_body(np.asarray(mask.dataobj), path))
        np.testing.assert_array_equal(masks[-1], masks[0])
    assert len(np.unique(masks[0])) > 1
