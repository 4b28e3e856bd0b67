"""Any pretraining method: found by its name, run by main.py, resumed, started from."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.pix2rep import get_config
from pix2rep_jax.data.splits import make_split, take_pretraining_slices
from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.pixel_embeddings import load_embed
from pix2rep_jax.methods.method import Method
from pix2rep_jax.methods.pretraining import load_method, make_recipe
from pix2rep_jax.models.build import initialise, make_segmentation_net
from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.modes import pretrain
from pix2rep_jax.modes.pretrain import describe_collapse
from pix2rep_jax.modes.run_training import make_pretraining
from pix2rep_jax.modes.train_segmenter import downstream_keys, load_segmentation
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.pretrained_backbone import read_backbone
from pix2rep_jax.runs.run_record import read_run
from pix2rep_jax.training.feed import batch_indices
from pix2rep_jax.training.sharding import make_mesh
from pix2rep_jax.training.task import make_training
from tests.support.patients import make_dataset, make_volumes
from tests.support.program import TINY, start, succeed
from tests.support.views import make_boxes

ENCODER_ONLY = ("simclr", "byol", "barlow_twins")
ENCODER = ("backbone.encode_0", "backbone.encode_1")


def tiny(**changes):
    """The configuration of `program.command`, without a process."""
    config = get_config("quick")
    settings = TINY | {name.replace("__", "."): x for name, x in changes.items()}
    for name, value in settings.items():
        if isinstance(value, str) and "," in value:
            value = tuple(json.loads(x) for x in value.split(",") if x)
        config.update_from_flattened_dict({name: value})
    return config


# --- samples -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pix2rep", "mae", *ENCODER_ONLY])
def test_a_method_that_compares_pixels_knows_where_the_scan_is(name):
    """Samples of such a method have each slice's own box; others have none."""
    dataset = make_dataset(make_volumes(range(1, 31)))
    number = np.arange(len(dataset.images), dtype=np.int32)
    dataset = dataclasses.replace(dataset, boxes=np.stack([number] * 4, 1))
    config = tiny(pretrain__method=name)
    split = make_split(dataset, config.data, draw_labeled=False)
    slices = take_pretraining_slices(dataset, split)
    samples = load_method(config).make_samples(slices)
    if name in ("pix2rep", "mae"):
        np.testing.assert_array_equal(samples.pop("box")[:, 0], split.pretrain_slices)
    assert set(samples) == {"image"}


# --- by name -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image_pairs", "moco", "", "method", "../byol"])
def test_an_unknown_method_is_refused_by_name(name):
    """Also if it names a file without a method; the error lists the methods."""
    with pytest.raises(InputError) as refusal:
        load_method(tiny(pretrain__method=name))
    assert f"pretrain.method is {name!r}" in str(refusal.value)
    for known in ("pix2rep", *ENCODER_ONLY, "chaitanya", "mae"):
        assert f"{known!r}" in str(refusal.value)
    assert str(refusal.value).count("'image_pairs'") == (name == "image_pairs")


def test_a_method_without_its_section_is_refused_by_name():
    """As whoever adds a method and forgets its section."""
    config = get_config("quick")
    config.pretrain.method = "simclr"
    del config.simclr
    with pytest.raises(InputError, match=r"simclr\.hidden"):
        load_method(config)


def test_an_unknown_method_leaves_the_workdir_free(tmp_path):
    """It is refused before the data are read or a folder is made."""
    with pytest.raises(InputError, match=r"pretrain.method is 'moco'"):
        pretrain.run(tiny(pretrain__method="moco"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_methods_section_says_what_it_does_otherwise():
    """The rest is `pretrain`'s, and so is a configuration from before the choice."""
    config = tiny(pretrain__method="simclr", pretrain__learning_rate=0.5)
    recipe = make_recipe(config)
    assert recipe.learning_rate == 0.5 and recipe.schedule == config.pretrain.schedule
    assert recipe.temperature == 0.1 and config.pretrain.temperature == 0.2
    config.pretrain.method = "pix2rep"
    assert make_recipe(config).to_dict() == config.pretrain.to_dict()
    del config.pretrain.method
    assert load_method(config).trained == ("backbone", "projection")


def test_parts_by_dotted_name():
    """Taking and putting back is the identity; putting others changes nothing else."""
    tree = {"a": {"b": {"x": 1, "y": 2}, "c": 3}, "d": 4}
    parts = take_parts(tree, ("a.b", "d"))
    assert parts == {"a.b": {"x": 1, "y": 2}, "d": 4}
    assert put_parts(tree, parts) == tree
    changed = put_parts(tree, {"a.b": {"x": 9, "y": 2}, "d": 5})
    assert changed == {"a": {"b": {"x": 9, "y": 2}, "c": 3}, "d": 5}
    assert tree == {"a": {"b": {"x": 1, "y": 2}, "c": 3}, "d": 4}


@pytest.mark.parametrize(
    ("losses", "collapsed"),
    [([4.0] * 5, True), ([1.0] + [3.98] * 5, True), ([4.0] * 4 + [3.9], False)],
)
def test_a_loss_that_stands_is_a_collapse(tmp_path, losses, collapsed):
    """The last five within a hundredth of it; a method without such a loss has none."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": 1, "loss": x}) + "\n" for x in losses))
    config = ConfigDict({"pretrain": {"method": "simclr"}})
    method = Method(net=None, loss_fn=None, trained=(), collapsed_loss=4.0)
    sentence = describe_collapse(config, method, tmp_path)
    assert bool(sentence) is ("simclr" in sentence) is collapsed
    other = method._replace(collapsed_loss=None)
    assert describe_collapse(config, other, tmp_path) == ""


# --- a run -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, cache):
    """A workdir of each encoder-only method, after pretrain."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ENCODER_ONLY}
    for name, folder in folders.items():
        succeed(start("pretrain", folder, cache, pretrain__method=name))
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODER_ONLY)
def test_a_method_pretrains_and_is_fine_tuned(pretrained, cache, name):
    """Through main.py; the run says what it trained, fine-tuning what is random."""
    folder = pretrained[name]
    trained = read_run(folder / "pretrain").trained
    assert {*ENCODER} <= {*trained} and not any("decode" in part for part in trained)
    said = succeed(start("finetune", folder, cache, pretrain__method=name))
    assert "encode_0, encode_1;" in said and "decode_0" not in said
    result = json.loads((folder / "finetune" / "evaluation.json").read_text())
    assert result["num_volumes"] == 4


@pytest.mark.slow
def test_masked_images_pretrain_the_whole_network(cache, tmp_path):
    """Probing and fine-tuning take encoder and decoder, by the same commands."""
    own = {"pretrain__method": "mae"}
    succeed(start("pretrain", tmp_path, cache, **own))
    trained = read_run(tmp_path / "pretrain").trained
    assert {*trained} == {"backbone", "reconstruction", "token"}
    params, _, _ = read_backbone(tiny().model, tmp_path / "pretrain")
    assert set(params) == {"backbone"}
    for mode in ("probe", "finetune"):
        succeed(start(mode, tmp_path, cache, **own))
        result = json.loads((tmp_path / mode / "evaluation.json").read_text())
        assert result["num_volumes"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODER_ONLY)
def test_what_a_method_did_not_train_starts_at_random(pretrained, tmp_path, name):
    """The encoder is the run's to the bit, the decoder as without any run, and not the
    one that the run drew and left alone."""
    config = ConfigDict(read_config(pretrained[name] / "pretrain"))
    config.init.update(recalibrate=False, checkpoint=str(pretrained[name]))
    config.seed = 1
    task = load_segmentation(config, tmp_path, "finetune")
    stored, statistics = restore_params(pretrained[name] / "pretrain")
    _, init_key = downstream_keys(config)
    drawn, start_statistics = initialise(
        make_segmentation_net(config), init_key, size=config.data.size
    )
    for block, part in task.params["backbone"].items():
        source = stored if block.startswith("encode") else drawn
        jax.tree.map(np.testing.assert_array_equal, part, source["backbone"][block])
    for block, part in task.batch_stats["backbone"].items():
        source = statistics if block.startswith("encode") else start_statistics
        jax.tree.map(np.testing.assert_array_equal, part, source["backbone"][block])
    kernel = lambda tree: tree["backbone"]["decode_0"]["Conv_0"]["kernel"]  # noqa: E731
    assert not np.array_equal(kernel(drawn), kernel(stored))


def test_each_draw_has_weights_order_and_augmentation_of_its_own(cache, tmp_path):
    """As each run of the paper; the same draw has the same ones again."""
    heads, orders, keys = [], [], []
    for draw in (0, 1, 2, 0):
        options = {"data__cache_dir": str(cache), "data__draw": draw}
        config = tiny(init__checkpoint="none", **options)
        start = load_segmentation(config, tmp_path, "finetune")
        heads.append(np.asarray(jax.tree.leaves(start.params["head"])[-1]))
        order_key, step_key = jax.random.split(start.key)
        order = batch_indices(order_key, jnp.int32(0), num_samples=100, batch_size=100)
        orders.append(np.asarray(order))
        keys.append(np.asarray(jax.random.key_data(step_key)))
    for found in (heads, orders, keys):
        np.testing.assert_array_equal(found[0], found[3])
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert not np.array_equal(found[a], found[b])


def test_a_backbone_trained_as_a_whole_is_taken_as_a_whole(workdir):
    """Pix2Rep's run says so."""
    config = ConfigDict(read_config(workdir / "pretrain"))
    assert read_run(workdir / "pretrain").trained == ("backbone", "projection")
    params, batch_stats, _ = read_backbone(config.model, workdir / "pretrain")
    stored = restore_params(workdir / "pretrain")
    assert set(params) == set(batch_stats) == {"backbone"}
    for ours, theirs in zip((params, batch_stats), stored, strict=True):
        jax.tree.map(
            np.testing.assert_array_equal, ours["backbone"], theirs["backbone"]
        )


@pytest.mark.parametrize(
    "name",
    [  # byol has a state of its own
        "byol",
        "mae",
        pytest.param("simclr", marks=pytest.mark.slow),
        pytest.param("barlow_twins", marks=pytest.mark.slow),
    ],
)
def test_a_methods_run_goes_on_to_the_bit(tmp_path, name):
    """Restored after two of four steps, from a checkpoint, it ends as if left alone:
    its extra state too."""
    config = tiny(pretrain__method=name)
    draw = np.random.default_rng(0)
    data = {"image": draw.random((9, 32, 32, 1), np.float32)}
    if name == "mae":
        data["box"] = make_boxes(data["image"])
    method, recipe = load_method(config), make_recipe(config)
    task = make_pretraining(method, recipe, data, seed=0, size=32)
    task, options = task._replace(num_steps=4), {"mesh": make_mesh(), "budget_mb": 100}
    state, step, feed = make_training(task, **options)

    def two_steps(state):
        for _, batch in zip(range(2), feed(state), strict=False):
            state, _ = step(state, batch)
        return state

    state = two_steps(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state)
    state = two_steps(state)
    fresh, *_ = make_training(task, **options)
    with Checkpoints(tmp_path) as checkpoints:
        resumed = checkpoints.restore_latest(fresh)
    resumed = two_steps(resumed)
    for field in ("params", "batch_stats", "extra", "opt_state"):
        ours, theirs = getattr(resumed, field), getattr(state, field)
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_pixels_cannot_be_drawn_of_a_method_without_them(pretrained):
    """The error names the method."""
    with pytest.raises(InputError, match=r"\bbyol\b"):
        load_embed(pretrained["byol"] / "pretrain")
