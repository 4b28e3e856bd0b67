"""Segmenting by masked scans: --mode context, --mode predict --support, Segmenter."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.data.slices.stored_slices import StoredRows
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.dice import dice_per_class
from pix2rep_jax.inference.postprocess import Pieces
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.inference.support_scans import read_support
from pix2rep_jax.modes.predict import load_from_support
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.run_record import read_run
from tests.support.program import finish, refused, start, succeed
from tests.support.stored import count_taken


@pytest.fixture(scope="module")
def phantom(workdir, cache):
    """The folder of one patient's files, and the paths of its ED scan and mask."""
    folder = cache / "phantom-seed0-5-2" / "training" / "patient001"
    mask = sorted(folder.glob("*_gt.nii.gz"))[0]
    return folder, mask.with_name(mask.name.replace("_gt", "")), mask


def read(path):
    return np.asarray(nib.load(path).dataobj)


def save(path, array, like):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, nib.load(like).affine), path)
    return path


def test_a_scan_by_its_own_mask_scores_near_one(workdir, phantom):
    """One neighbour finds the pixel itself, whichever embedding is compared."""
    _, scan, mask = phantom
    for embedding in ("features", "projection"):
        segmenter = Segmenter.from_support(
            workdir, scan, neighbours=1, embedding=embedding
        )
        assert segmenter.classes == ("BG", "RV", "MYO", "LV")
        found = segmenter.predict(scan)
        dice = dice_per_class(found, read(mask), num_classes=4)
        assert dice.min() > 0.6  # the error is that of the pixels of 5 mm
        shares = segmenter.predict_probabilities(scan)
        np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(shares.argmax(-1), found)


def test_the_mask_of_a_frame_is_taken_through_a_cine(workdir, phantom, tmp_path):
    """The masked frame is found by what it shows. Where no frame is it, each frame is
    segmented on its own."""
    _, scan, mask = phantom
    image = read(scan).astype(np.float32)
    frames = np.stack([image + 9, image, 1.02 * image[::-1]], -1)
    frames[..., 0][:3] += 50
    cine = save(tmp_path / "cine.nii.gz", frames, scan)
    segmenter = Segmenter.from_support(workdir, mask, neighbours=1)
    found = segmenter.predict(cine)
    assert found.shape == frames.shape
    alone = segmenter.predict(save(tmp_path / "one.nii.gz", frames[..., 1], scan))
    np.testing.assert_array_equal(found[..., 1], alone)
    output = tmp_path / "masks"
    words = (f"--support={mask}", f"--input={cine}", f"--output={output}")
    said = succeed(start("predict", workdir, tmp_path, *words, context__neighbours=1))
    assert "labels: 0 BG, 1 RV, 2 MYO, 3 LV" in said  # as by a trained network
    # With another number of cores, sums are rounded otherwise, and the nearest of two
    # equally near pixels is the other one.
    assert (read(output / "cine_seg.nii.gz") != found).mean() < 1e-3


def test_the_test_patients_are_scored_as_in_every_mode(workdir, cache, tmp_path):
    """By the labelled patients, and by each patient's own first frame."""
    options = {"init__checkpoint": workdir}
    succeed(start("context", tmp_path / "a", cache, **options))
    own = {**options, "context__own_frame": True}
    own["data__classes"] = "BG,RV,MYO,LV,NONE"
    result = finish(start("context", tmp_path / "b", cache, **own))
    assert result.returncode == 0 and "slice shows NONE" in result.stderr
    content = [
        json.loads((tmp_path / name / "context" / "evaluation.json").read_text())
        for name in "ab"
    ]
    probe = json.loads((workdir / "probe" / "evaluation.json").read_text())
    assert [each["mode"] for each in content] == ["context"] * 2
    for name in ("labeled_patients", "test_patients", "pretrained_digest"):
        assert content[0][name] == probe[name]
    assert content[0]["num_volumes"] == probe["num_volumes"] == 4
    assert content[1]["num_volumes"] == 2
    assert content[1]["labeled_patients"] == []
    assert 0 < content[0]["dice"]["mean"] < 1


@pytest.fixture
def folder(tmp_path, phantom):
    """A folder of one scan and its mask in images/ and labels/."""
    _, scan, mask = phantom
    save(tmp_path / "images" / "p1.nii.gz", read(scan), scan)
    save(tmp_path / "labels" / "p1.nii.gz", read(mask), mask)
    return tmp_path


def test_a_folder_names_its_classes_or_has_the_runs(workdir, phantom, folder):
    """The run's names where the values are its own; the values where they are not."""
    _, _, mask = phantom
    assert Segmenter.from_support(workdir, folder).classes[1:] == ("RV", "MYO", "LV")
    named = Segmenter.from_support(workdir, folder, classes=("a", "b", "c", "d"))
    assert named.classes == ("a", "b", "c", "d")
    save(folder / "labels" / "p1.nii.gz", 7 * (read(mask) > 1).astype(np.uint8), mask)
    other = Segmenter.from_support(workdir, folder)
    assert other.classes == ("background", "structure")
    assert other.inputs.label_values == (0, 7)


def test_the_names_may_lie_beside_the_masks(workdir, folder):
    """Such as those that predict writes; they come before the run's own."""
    names = {"BG": 0, "A": 1, "B": 2, "C": 3}
    (folder / "labels" / "labels.json").write_text(json.dumps(names))
    assert Segmenter.from_support(workdir, folder).classes == ("BG", "A", "B", "C")


def test_classes_that_no_mask_shows_are_named(workdir, folder, caplog):
    """Nothing can become such a class, and not even background."""
    path = folder / "labels" / "p1.nii.gz"
    save(path, np.full_like(read(path), 3), path)
    Segmenter.from_support(workdir, folder)
    (said,) = [x for x in caplog.messages if "no mask of the support shows" in x]
    assert "BG, RV, MYO" in said and "LV" not in said


def as_folder(folder, mask):
    return folder, {"data": {"ignore": (255,)}}


def as_file(folder, mask):
    image = folder / "images" / "p1.nii.gz"
    path = save(folder / "p1.nii.gz", read(image), image)
    save(folder / "p1_seg.nii.gz", mask, image)
    return path, {"data": {"ignore": (255,)}}


def as_dataset_json_says(folder, mask):
    labels = {"BG": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 255}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder, {}


@pytest.mark.parametrize("given", [as_folder, as_file, as_dataset_json_says])
def test_pixels_that_nobody_has_labelled_do_not_vote(workdir, folder, given, caplog):
    """Wherever it is said. Where nobody says it, a note asks."""
    path = folder / "labels" / "p1.nii.gz"
    mask = read(path).copy()
    mask[::2] = 255
    save(path, mask, path)
    support, options = given(folder, mask)
    segmenter = Segmenter.from_support(workdir, support, neighbours=1, **options)
    assert segmenter.classes == ("BG", "RV", "MYO", "LV")
    assert segmenter.predict(folder / "images" / "p1.nii.gz").max() == 3
    assert "255" not in caplog.text
    if options:
        assert "255" in Segmenter.from_support(workdir, support).classes
        assert "data.ignore=255" in caplog.text


def test_what_the_run_ignores_is_ignored_in_one_scan_too(workdir, folder):
    """A mask that is given by itself means what the masks of a folder mean."""
    path = folder / "labels" / "p1.nii.gz"
    mask = np.where(read(path) == 2, 255, read(path)).astype(np.uint8)
    mask[..., -1] = 0
    file, _ = as_file(folder, mask)
    run = Path(workdir) / "pretrain"
    before = read_config(run)["data"] | {"ignore": [255], "empty_slices": "unannotated"}
    found = read_support(file, before, read_run(run), run=run)
    assert found.classes == ("BG", "RV", "MYO", "LV")
    assert {*np.unique(found.labels)} == {0, 1, 3, 255}
    assert (found.labels[-1] == 255).all() and (found.labels[0] == 0).any()


def without_masks(folder, phantom):
    (folder / "labels" / "p1.nii.gz").unlink()
    return folder


def empty_mask(folder, phantom):
    path = folder / "labels" / "p1.nii.gz"
    save(path, np.zeros_like(read(path)), phantom[2])
    return folder


def scan_without_a_mask(folder, phantom):
    return folder / "images" / "p1.nii.gz"


def missing(folder, phantom):
    return folder / "none"


def two_channels(folder, phantom):
    image = read(folder / "images" / "p1.nii.gz")
    (folder / "images" / "p1.nii.gz").unlink()
    for number in range(2):
        save(folder / "images" / f"p1_000{number}.nii.gz", image, phantom[1])
    return folder


@pytest.mark.parametrize(
    "spoil", [without_masks, empty_mask, scan_without_a_mask, missing, two_channels]
)
def test_a_support_that_cannot_be_used_is_refused(workdir, phantom, folder, spoil):
    with pytest.raises(InputError):
        Segmenter.from_support(workdir, spoil(folder, phantom))


@pytest.mark.parametrize(
    ("support", "options", "words"),
    [
        ("", {}, "empty"),
        ("x" * 300, {}, "there is no file"),
        ("labels", {"label_values": (0, 1, 2, 3)}, "classes"),
        ("labels", {"data": {"size": 64}}, "size"),
    ],
)
def test_what_contradicts_itself_is_refused(workdir, folder, support, options, words):
    with pytest.raises(InputError, match=words):
        Segmenter.from_support(workdir, support and folder / support, **options)


def test_classes_that_differ_from_the_masks_are_refused(workdir, folder):
    with pytest.raises(InputError, match="label 3"):
        Segmenter.from_support(workdir, folder, classes=("BG", "RV", "MYO"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("neighbours", 0), ("embedding", "z"), ("temperature", -1.0), ("k", 3)],
)
def test_settings_that_make_no_sense_are_named(workdir, folder, name, value):
    with pytest.raises(InputError, match=name):
        Segmenter.from_support(workdir, folder, **{name: value})


def test_a_workdir_without_a_pretraining_is_refused(tmp_path, folder, cache):
    words = (f"--support={folder}", f"--input={folder}", f"--output={folder / 'out'}")
    assert "pretrain" in refused(start("predict", tmp_path / "none", cache, *words))


def test_a_masked_scan_that_fills_the_memory_stays_on_the_disk(
    workdir, phantom, tmp_path, monkeypatch
):
    """It is looked at slice by slice, and is that of memory."""
    run = Path(workdir) / "pretrain"
    before = {**read_config(run)["data"], "cache_dir": str(tmp_path / "small")}
    expected = read_support(phantom[2], before, read_run(run), run=run)
    before["cache_dir"] = str(tmp_path / "large")
    taken = count_taken(monkeypatch)
    found = read_support(phantom[2], before, read_run(run), run=run)
    assert set(taken) == {1} and len(taken) < len(expected.labels)
    assert isinstance(found.images, StoredRows)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_several_workdirs_have_no_support(workdir, folder, tmp_path, cache):
    """It would be silently that of the first."""
    output = tmp_path / "masks"
    words = (f"--support={folder}", f"--input={folder}", f"--output={output}")
    said = refused(start("predict", f"{workdir},{workdir}", cache, *words))
    assert "one pretraining" in said and not output.exists()


def test_the_largest_piece_is_kept_where_it_is_asked_for(workdir, folder, cache):
    config = get_config()
    with config.ignore_type():
        config.data.update(read_config(Path(workdir) / "pretrain")["data"])
    every = (1, 2, 3)
    expected = {
        "auto": Pieces(),
        True: Pieces(every),
        "foreground": Pieces(every, True),
    }
    for wanted, pieces in expected.items():
        config.predict.largest_component = wanted
        found = load_from_support(config, workdir, folder)
        assert found.pieces == pieces
