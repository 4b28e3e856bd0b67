"""A pretraining embeds scans: on both grids, of whatever holds a scan."""

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.compared_pixels import nearest_pixels, similarity
from pix2rep_jax.inference.preparation import Preparation
from pix2rep_jax.methods.pretraining import pix2rep
from tests.inference.test_segmenter import (
    CONFIG,
    save_checkpoint,
    scan,
    segmenter,
    write_run,
)
from tests.support.run_folder import begin_run

SPACING = (1.25, 1.25, 8.0)


def coordinates(images):
    """Embeds a pixel as its intensity and its place, from 1 to 2."""
    rows, columns = 1 + np.indices(images.shape[1:3]) / images.shape[1]
    planes = [
        images[..., 0],
        *(np.broadcast_to(x, images.shape[:3]) for x in (rows, columns)),
    ]
    return np.stack(planes, -1).astype(np.float32)


def backbone(*, fov_mm=40.0, size=32, embed_network=coordinates):
    return Backbone(embed_network, Preparation((1.0, 99.0), fov_mm, size))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The pretraining of a tiny random network, and that network."""
    folder = tmp_path_factory.mktemp("run")
    config = ConfigDict(CONFIG)
    net = pix2rep.make_net(config)
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, 16, 16, 1)), train=False),
        jax.random.key(0),
    )
    draw = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: draw.uniform(0.05, 1, leaf.shape).astype(np.float32), shapes
    )
    trained = ("backbone", "projection")
    begin_run(folder / "pretrain", config, trained=trained)
    save_checkpoint(folder / "pretrain", variables, trained=trained)
    return folder, net, variables


def test_on_the_networks_grid_it_is_the_network_on_prepared_slices(pretrained, caplog):
    """Features are those of the backbone alone, projections those of the whole."""
    folder, net, variables = pretrained
    image = np.random.default_rng(0).random((24, 20, 5)).astype(np.float32)
    uses = Backbone.load(folder, embedding="projection")
    assert len(caplog.records) == 1  # the run is not finished
    slices, _ = uses.preparation.prepare(image[..., None, None], spacing_mm=(2.5, 2.5))
    expected = net.apply(variables, slices, train=False)
    found = uses.embed(image, spacing_mm=(2.5, 2.5))
    assert found.shape == (5, 16, 16, expected.shape[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    parts = {name: each["backbone"] for name, each in variables.items()}
    features = net.backbone.apply(parts, slices, train=False)
    found = Backbone.load(folder / "pretrain").embed(image, spacing_mm=(2.5, 2.5))
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-4)


def test_a_segmenters_features_are_those_below_its_head(tmp_path):
    """At fine-tuning's own weights of the step that it keeps, here not the last."""
    config = {"segmentation": CONFIG["segmentation"] | {"keep": "best"}}
    net, variables = write_run(tmp_path / "finetune", changes=config)
    later = jax.tree.map(lambda leaf: leaf * 1.5, variables)
    save_checkpoint(tmp_path / "finetune", later, step=3, score=0.4)
    image = np.random.default_rng(0).random((24, 20, 5)).astype(np.float32)
    uses = Backbone.of_segmenter(tmp_path / "finetune")
    slices, _ = uses.preparation.prepare(image[..., None, None], spacing_mm=(2.5, 2.5))
    expected = net.apply(variables, slices, method="features")
    found = uses.embed(image, spacing_mm=(2.5, 2.5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_scans_grid_has_the_scans_shape():
    """Places grow along the scan's own rows and columns, and beyond the view is 0."""
    found = backbone(fov_mm=30, size=16).embed(scan(), spacing_mm=SPACING, grid="scan")
    assert found.shape == (3, 40, 50, 3)
    # 30 mm are 24 px: rows 8 to 31, columns 13 to 36.
    seen = np.zeros((40, 50), bool)
    seen[8:32, 13:37] = True
    np.testing.assert_array_equal(found[1].any(-1), seen)
    inner = found[1, 10:30, 15:35]
    np.testing.assert_allclose(np.diff(inner[..., 1], axis=0), 1 / 24, atol=1e-4)
    np.testing.assert_allclose(np.diff(inner[..., 2], axis=1), 1 / 24, atol=1e-4)


def test_a_path_an_image_an_array_and_a_batch_are_the_same(tmp_path):
    """For embeddings as for masks; an image may have another format than NIfTI."""
    affine = np.diag([*SPACING, 1.0])
    image = nib.Nifti1Image(scan(), affine)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    other = nib.MGHImage(scan(), affine)
    for function in (backbone().embed, segmenter().predict):
        expected = function(scan(), spacing_mm=SPACING)
        batch = function([path, str(path)]) + function((image, nib.load(path), other))
        batch += function([path, image, str(path)])
        for found in (function(path), function(image), *batch):
            np.testing.assert_array_equal(found, expected)
    probabilities = segmenter().predict_probabilities([image, image])
    np.testing.assert_array_equal(probabilities[1].argmax(-1), expected)
    arrays = backbone().embed([scan(), scan()[..., :1]], spacing_mm=SPACING)
    assert [len(each) for each in arrays] == [3, 1]
    with pytest.raises(InputError, match="finite"):
        backbone().embed(nib.Nifti1Image(scan() * np.nan, affine))


def test_an_image_is_turned_as_its_file(tmp_path):
    """Its slices may be stored first, and its values may be scaled whole numbers."""
    moved = np.moveaxis(scan(), 2, 0)
    image = nib.Nifti1Image(moved.astype(np.int16), np.diag([8.0, 1.25, 1.25, 1.0]))
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "scan.nii.gz")
    loaded = nib.load(tmp_path / "scan.nii.gz")
    for source in (loaded, tmp_path / "scan.nii.gz"):
        found = backbone().embed(source, grid="scan")
        assert found.shape == (3, 40, 50, 3)
        np.testing.assert_array_equal(found, backbone().embed(loaded, grid="scan"))


def test_frames_have_an_axis_of_their_own():
    """Each is normalised by itself."""
    cine = np.stack([scan(), 0.2 * scan()[::-1]], -1)
    found = backbone().embed(cine, spacing_mm=SPACING)
    assert found.shape == (2, 3, 32, 32, 3)
    alone = backbone().embed(cine[..., 1], spacing_mm=SPACING)
    np.testing.assert_array_equal(found[1], alone)


def test_a_large_scan_is_embedded_a_few_slices_at_once():
    """So that memory does not grow with the number of slices."""
    numbers = []

    def watched(images):
        numbers.append(len(images))
        return coordinates(images)

    many = np.random.default_rng(0).random((40, 40, 30)).astype(np.float32)
    backbone(embed_network=watched).embed(many, spacing_mm=SPACING)
    assert sum(numbers) == 30 and max(numbers) <= 4


def test_a_wrong_word_is_refused(pretrained):
    with pytest.raises(InputError, match="'own'"):
        backbone().embed(scan(), spacing_mm=SPACING, grid="own")
    with pytest.raises(InputError, match="'feature'"):
        Backbone.load(pretrained[0], embedding="feature")


def test_similarities_are_those_of_a_loop():
    """One cosine after the other, in float64."""
    draw = np.random.default_rng(0)
    query, target = draw.normal(size=(2, 5)), draw.normal(size=(3, 4, 6, 5))
    target[0, 0, 0] = 0
    maps = similarity(query, target)
    assert maps.shape == (2, 3, 4, 6) and maps.dtype == np.float32
    for place in np.ndindex(maps.shape):
        u, v = query[place[0]], target[place[1:]]
        length = np.linalg.norm(u) * np.linalg.norm(v)
        expected = u @ v / length if length else 0
        np.testing.assert_allclose(maps[place], expected, atol=1e-6)
    np.testing.assert_allclose(similarity(query[1], target), maps[1], atol=1e-6)


def test_the_nearest_pixels_are_those_of_a_sort():
    """The k largest of each map, and where they are."""
    draw = np.random.default_rng(1)
    query, target = draw.normal(size=(2, 2, 5)), draw.normal(size=(3, 4, 6, 5))
    found = nearest_pixels(query, target, k=4)
    assert found.places.shape == (2, 2, 4, 3)
    maps = similarity(query, target)
    for place in np.ndindex(2, 2):
        order = np.argsort(-maps[place], axis=None)[:4]
        expected = np.stack(np.unravel_index(order, (3, 4, 6)), -1)
        np.testing.assert_array_equal(found.places[place], expected)
        values = maps[place].reshape(-1)[order]
        np.testing.assert_allclose(found.similarities[place], values, atol=1e-6)
