"""Chaitanya et al. 2020: partitions, pairs, regions, and what each stage moves."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.pix2rep import get_config
from pix2rep_jax.errors import InputError
from pix2rep_jax.losses.masked_contrast import contrast
from pix2rep_jax.methods.pretraining import chaitanya, load_method
from pix2rep_jax.methods.pretraining.chaitanya_pairs import (
    MIN_MAP,
    global_pairs,
    local_pairs,
    near_regions,
    region_corners,
    take_regions,
)
from pix2rep_jax.methods.pretraining.chaitanya_slices import (
    draw_slices,
    partition_volumes,
)
from pix2rep_jax.models.heads import MLP, ProjectionHead
from pix2rep_jax.models.image_embedder import ImageEmbedder
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.modes import pretrain
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.training.feed import make_batches
from pix2rep_jax.training.sharding import make_mesh
from pix2rep_jax.training.state import ModelState
from tests.support.motions import STILL
from tests.support.program import start, succeed
from tests.support.stored import count_taken, store

COUNTS = (9, 4, 3, 7, 8)  # slices of each volume


def make_slices(counts=COUNTS, size=2):
    """Slices in no order, each filled with 100 x volume + slice."""
    volume = np.repeat(np.arange(len(counts)), counts)
    index = np.concatenate([np.arange(n) for n in counts])
    order = np.random.default_rng(0).permutation(len(volume))
    volume, index = volume[order], index[order]
    image = np.broadcast_to(
        (100 * volume + index).astype(np.float32)[:, None, None, None],
        (len(volume), size, size, 1),
    )
    return {"image": image, "volume": volume, "slice": index}


# --- partitions --------------------------------------------------------------------


def test_a_volume_is_cut_into_equal_parts_along_its_axis():
    """Slice s of n lies in part floor(4 s / n) and in no other; volumes too short for
    the parts are left out, the others' slices in the scan's order."""
    data = partition_volumes(make_slices(), num_partitions=4)
    kept = [(v, n) for v, n in enumerate(COUNTS) if n >= 4]
    assert data["image"].shape == (len(kept), 9, 2, 2, 1)
    for row, (volume, number) in enumerate(kept):
        values = data["image"][row, :, 0, 0, 0]
        np.testing.assert_array_equal(values[:number], 100 * volume + np.arange(number))
        for s in range(number):
            first, count = data["first"][row], data["count"][row]
            found = [p for p in range(4) if first[p] <= s < first[p] + count[p]]
            assert found == [4 * s // number]
        assert data["count"][row].sum() == number
        assert np.ptp(data["count"][row]) <= 1


def test_volumes_that_fill_the_memory_are_made_for_their_batch(
    tmp_path, key, monkeypatch
):
    """With slices on the disk of one volume at a time; the batches are the same."""
    slices = make_slices()
    labels = np.zeros(slices["image"].shape[:3], np.uint8)
    image, _ = store(tmp_path / "slices", (slices["image"], labels))
    small = partition_volumes(slices, num_partitions=4)
    assert isinstance(small["image"], np.ndarray)
    taken = count_taken(monkeypatch)
    large = partition_volumes({**slices, "image": image}, num_partitions=4)
    assert not taken and large["image"].nbytes == small["image"].nbytes
    options = {"key": key, "first_step": 0, "mesh": make_mesh(), "batch_size": 4}
    expected, found = (
        list(itertools.islice(make_batches(each, budget_mb=0, **options), 3))
        for each in (small, large)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert max(taken) == max(COUNTS) and len(taken) == 3 * 4
    np.testing.assert_array_equal(large["image"], small["image"])


def test_volumes_without_parts_are_refused():
    """The error names the number and the setting."""
    with pytest.raises(InputError, match=r"\b4 slices.*chaitanya(\.|__)num_partitions"):
        partition_volumes(make_slices((3, 1)), num_partitions=4)


def test_a_slice_of_every_part_is_drawn():
    """Each from its own part, all of a part's in time, none from the padding."""
    data = partition_volumes(make_slices(), num_partitions=4)
    batch = jax.tree.map(jnp.asarray, data)
    draw = jax.jit(lambda key: draw_slices(key, batch)[:, 0, 0, 0])
    drawn = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), 200)))
    drawn = drawn.reshape(200, len(data["image"]), 4)
    for row, first in enumerate(data["first"]):
        for part in range(4):
            members = first[part] + np.arange(data["count"][row, part])
            expected = data["image"][row, members, 0, 0, 0]
            assert {*drawn[:, row, part]} == {*expected}


# --- pairs -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["GR", "GD-", "GD"])
def test_which_slices_are_alike(loss):
    """By a loop over all pairs of the definitions: x with x~; in G^D, of the same
    partition, x_i with x_j and x~_i with x~_j; negatives are all other slices, or those
    of other partitions."""
    rows = [(a, v, p) for a in range(2) for v in range(3) for p in range(4)]
    positive, negative = global_pairs(3, 4, loss=loss)
    for i, (view, volume, part) in enumerate(rows):
        for k, (view_k, volume_k, part_k) in enumerate(rows):
            is_slice = (volume, part) == (volume_k, part_k)
            alike = is_slice and view != view_k
            if loss == "GD" and part == part_k and volume != volume_k:
                alike = alike or view == view_k
            assert positive[i, k] == alike
            unlike = not is_slice if loss == "GR" else part != part_k
            assert negative[i, k] == unlike
    assert not (positive & negative).any()


@pytest.mark.parametrize("loss", ["LR", "LD"])
def test_which_regions_are_alike(loss):
    """By a loop: a region with itself in the other view; in L^D also with itself in the
    same partition of other volumes; negatives are near ones of the same slice, in both
    views."""
    near = near_regions(region_corners(16), 5)
    shape = (2, 2, 2, 13)
    positive, negative = local_pairs(2, 2, near, loss=loss)
    rows = list(np.ndindex(shape))
    for i, (view, volume, part, region) in enumerate(rows):
        for k, (view_k, volume_k, part_k, region_k) in enumerate(rows):
            is_slice = (volume, part) == (volume_k, part_k)
            alike = is_slice and region == region_k and view != view_k
            if loss == "LD" and volume != volume_k:
                alike = (view, part, region) == (view_k, part_k, region_k)
            assert positive[i, k] == alike
            assert negative[i, k] == (is_slice and near[region, region_k])
    assert (negative.sum(1) == 2 * 5).all()


def test_the_thirteen_regions():
    """Corners, edges, centre and quarter points, all within the map; the five near ones
    by a sort of the distances; each region's vector is its 3 x 3 pixels."""
    corners = region_corners(19)
    assert {tuple(x) for x in corners} == {
        *((r, c) for r in (0, 8, 16) for c in (0, 8, 16)),
        *((r, c) for r in (4, 12) for c in (4, 12)),
    }
    near = near_regions(corners, 5)
    for i, here in enumerate(corners):
        others = [k for k in range(13) if k != i]
        others.sort(key=lambda k: (np.hypot(*(corners[k] - here)), k))
        assert {*np.flatnonzero(near[i])} == {*others[:5]}
    maps = np.random.default_rng(0).random((2, 19, 19, 4))
    assert len({tuple(x) for x in region_corners(MIN_MAP)}) == 13
    assert len({tuple(x) for x in region_corners(MIN_MAP - 1)}) < 13
    regions = np.asarray(take_regions(jnp.asarray(maps), corners))
    assert regions.shape == (26, 36)
    for i, (row, column) in enumerate(corners):
        expected = maps[1, row : row + 3, column : column + 3].ravel()
        np.testing.assert_allclose(regions[13 + i], expected, rtol=1e-6)


def test_the_contrast_is_its_definition():
    """A loop in float64 over positive pairs, each against its own row's negatives."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(24, 5))
    positive, negative = global_pairs(3, 4, loss="GD")
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    e = np.exp(unit @ unit.T / 0.1)
    terms = [
        -np.log(e[i, k] / (e[i, k] + e[i, negative[i]].sum()))
        for i, k in zip(*np.nonzero(positive), strict=True)
    ]
    run = jax.jit(
        lambda x: contrast(x, positive=positive, negative=negative, temperature=0.1)
    )
    np.testing.assert_allclose(run(z.astype(np.float32)), np.mean(terms), rtol=1e-4)
    assert jnp.isfinite(jax.jit(jax.grad(run))(jnp.zeros((24, 5)))).all()


def test_the_contrast_over_all_others_is_nt_xent():
    """G^R is SimCLR: optax's loss of the same embeddings."""
    z = jax.random.normal(jax.random.key(0), (24, 5))
    positive, negative = global_pairs(3, 4, loss="GR")
    value = contrast(z, positive=positive, negative=negative, temperature=0.2)
    expected = optax.losses.ntxent(z, jnp.tile(jnp.arange(12), 2), temperature=0.2)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


# --- stages ------------------------------------------------------------------------


def make_batch():
    slices = make_slices((5, 6, 4), size=32)
    noise = np.random.default_rng(1).random(slices["image"].shape, np.float32)
    return partition_volumes(slices | {"image": noise}, num_partitions=4)


def gradient(net, loss_fn, batch):
    """Statistics, metrics and the blocks that get a gradient, of one evaluation."""
    variables = jax.jit(net.init, static_argnames="train")(
        jax.random.key(0), batch["image"][:, 0], train=False
    )
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (value, ((updated, _), metrics)), grads = run(
        variables["params"],
        ModelState(variables["batch_stats"], {}),
        batch,
        jax.random.key(1),
    )
    parts = grads["backbone"] | {"projection": grads["projection"]}
    moving = {name for name, part in parts.items() if optax.tree.norm(part) > 0}
    before = variables["batch_stats"]["backbone"]
    measured = {
        name
        for name, part in updated["backbone"].items()
        if not jax.tree.all(jax.tree.map(np.array_equal, part, before[name]))
    }
    return value, metrics, moving, measured


def test_the_global_stage_reaches_the_encoder_alone():
    """Parameters by their gradient, and statistics."""
    net = ImageEmbedder(UNet((2, 4, 8), 6), MLP((8,), 5), pool=False)
    loss_fn = chaitanya.make_global_loss(
        net, loss="GD", temperature=0.1, spatial=STILL, intensity={}
    )
    _, metrics, moving, measured = gradient(net, loss_fn, make_batch())
    encoder = {"encode_0", "encode_1", "encode_2"}
    assert moving == {*encoder, "projection"} and measured == encoder
    assert -1 <= metrics["alignment"] <= 1


def test_the_local_stage_updates_no_statistics_of_the_encoder():
    """Those of the first decoding block only, though it normalises by the batch; with
    no change of intensity the two views of a region agree to the bit."""
    net = chaitanya.LocalNet(UNet((2, 4, 8), 6), ProjectionHead((4,), 4), num_blocks=1)
    loss_fn = chaitanya.make_local_loss(
        net,
        loss="LR",
        temperature=0.1,
        num_negatives=5,
        frozen=("backbone.encode_0", "backbone.encode_1", "backbone.encode_2"),
        intensity={},
    )
    value, metrics, moving, measured = gradient(net, loss_fn, make_batch())
    assert measured == {"decode_1"} and {"up_1", "decode_1", "projection"} <= moving
    assert not moving & {"up_0", "decode_0"}
    np.testing.assert_allclose(metrics["alignment"], 1, rtol=1e-5)
    assert 0 < value < np.log(1 + 10)


def config_of(**changes):
    config = get_config("quick")
    config.pretrain.method = "chaitanya"
    config.chaitanya.update(changes)
    return config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stage": "both"}, r"stage is 'both'"),
        ({"global_loss": "G"}, r"global_loss is 'G'"),
        ({"local_loss": "GD"}, r"local_loss is 'GD'"),
        ({"num_partitions": 1}, r"num_partitions is 1\b.*\b2\b"),
        ({"stage": "local", "num_blocks": 0}, r"num_blocks is 0\b.*1 to 3\b"),
        ({"stage": "local", "num_blocks": 4}, r"num_blocks is 4\b.*1 to 3\b"),
        ({"stage": "local", "num_negatives": 13}, r"num_negatives is 13\b.*1 to 12\b"),
    ],
)
def test_invalid_settings_are_refused(changes, named):
    """Before anything is read or made; the error names the setting and its values."""
    with pytest.raises(InputError, match=rf"chaitanya\.{named}"):
        load_method(config_of(**changes))


def test_each_stage_says_what_it_trains():
    """The encoder first; then the coarsest decoding blocks, and from another run."""
    first = load_method(config_of(stage="global"))
    second = load_method(config_of(stage="local", num_blocks=2))
    encoder = {f"backbone.encode_{i}" for i in range(4)}
    assert {*first.trained} == {
        *encoder,
        "projection",
    } and not first.requires_pretrained
    blocks = {f"backbone.{kind}_{i}" for kind in ("up", "decode") for i in (1, 2)}
    assert {*second.trained} == {*blocks, "projection"}
    assert second.requires_pretrained


@pytest.mark.parametrize("checkpoint", ["", "none"])
def test_the_local_stage_needs_a_run_to_go_on_from(tmp_path, checkpoint):
    """The error names the setting, and no folder is made."""
    config = config_of(stage="local")
    config.init.checkpoint, config.data.cache_dir = checkpoint, str(tmp_path / "no")
    with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
        pretrain.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_stages_and_fine_tuning(cache, tmp_path):
    """Through main.py. The second stage leaves the first one's encoder as it is to the
    bit, parameters and statistics, moves the coarsest decoding block, and leaves the
    finer one; fine-tuning takes what either has trained."""
    first, second = tmp_path / "first", tmp_path / "second"
    common = {"pretrain__method": "chaitanya", "model__channels": "4,4,8"}
    local = common | {"chaitanya__stage": "local", "chaitanya__num_blocks": 1}
    succeed(start("pretrain", first, cache, **common))
    local["init__checkpoint"] = first
    said = succeed(start("pretrain", second, cache, **local))
    assert str(first) in said and f"--workdir={second}" in said.rpartition("next:")[2]
    runs = [restore_params(folder / "pretrain") for folder in (first, second)]
    for before, after in zip(*runs, strict=True):
        for block, part in before["backbone"].items():
            same = jax.tree.map(np.array_equal, part, after["backbone"][block])
            is_moved = block in ("up_1", "decode_1")
            assert jax.tree.all(same) is not is_moved, block
    encoder = [f"backbone.encode_{i}" for i in range(3)]
    assert {*read_run(first / "pretrain").trained} == {*encoder, "projection"}
    assert {*read_run(second / "pretrain").trained} == {
        *encoder,
        "backbone.decode_1",
        "backbone.up_1",
        "projection",
    }
    tuned = {"model__channels": "4,4,8", "init__checkpoint": second}
    said = succeed(start("finetune", tmp_path / "tuned", cache, **tuned))
    assert "decode_1, encode_0, encode_1, encode_2, up_1" in said
    path = tmp_path / "tuned" / "finetune" / "evaluation.json"
    assert json.loads(path.read_text())["num_volumes"] == 4
