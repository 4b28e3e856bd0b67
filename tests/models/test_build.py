"""From a configuration to networks: what is refused, and what two of them share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.pretraining.pix2rep import make_net as make_pix2rep_net
from pix2rep_jax.models.build import initialise, make_backbone, make_segmentation_net
from pix2rep_jax.models.param_parts import put_parts, take_parts


def make_config(**changes):
    config = ConfigDict(
        {
            "data": {
                "size": 16,
                "crop": "center",
                "classes": ("BG", "RV", "MYO", "LV"),
            },
            "model": {
                "channels": (4, 8),
                "num_features": 6,
                "scratch_num_features": 7,
                "last_hidden": 5,
                "dtype": "float32",
            },
            "projection": {"hidden": (8, 9), "features": 3},
        }
    )
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"data.size": 20, "model.channels": (2, 2, 2, 2)}, r"data\.size is 20 .* 8$"),
        ({"data.size": 15}, r"data\.size is 15 .*model\.channels.* 2$"),
        ({"model.dtype": "float16"}, r"model\.dtype.*'float16'.*'float32'.*'bfloat16'"),
        ({"model.channels": (8,)}, r"model\.channels is \(8,\)"),
        ({"model.channels": ()}, r"model\.channels is \(\)"),
        # Sides of whole slices are multiples of 32 px.
        (
            {"data.size": 64, "data.crop": "whole", "model.channels": (2,) * 7},
            r"model\.channels has 7 levels",
        ),
        # The middle of slices has 80 px for patches of 64.
        (
            {"data.size": 64, "data.crop": "middle", "model.channels": (2,) * 6},
            r"80 px .*model\.channels",
        ),
    ],
)
@pytest.mark.parametrize("make", [make_pix2rep_net, make_segmentation_net])
def test_what_cannot_be_built_is_refused(make, changes, facts):
    """One sentence names the setting, its value, and what it may be."""
    with pytest.raises(InputError, match=facts):
        make(make_config(**changes))


def test_the_settings_reach_the_network():
    """Widths, depth and dtype are the configuration's; from random weights the last
    layer has a width of its own; 0 stands for n_ft between the last two."""
    config = make_config(**{"model.dtype": "bfloat16"})
    backbone = make_backbone(config)
    assert backbone.channels == (4, 8)
    assert (backbone.num_features, backbone.last_hidden) == (6, 5)
    assert backbone.dtype == jnp.bfloat16
    assert make_backbone(config, scratch=True).num_features == 7
    assert make_backbone(make_config(**{"model.last_hidden": 0})).last_hidden is None
    net = make_pix2rep_net(config)
    assert (net.projection.hidden, net.projection.features) == ((8, 9), 3)
    assert make_segmentation_net(config).head.num_classes == 4


def test_pretraining_and_segmentation_have_one_backbone(key):
    """f's parameters and statistics have the same names and shapes in both, so that
    one can start from the other."""
    config = make_config()
    image = jnp.zeros((1, 16, 16, 1))
    trees = []
    for make in (make_pix2rep_net, make_segmentation_net):
        draw = functools.partial(make(config).init, train=False)
        trees.append(jax.eval_shape(draw, key, image))
    for part in ("params", "batch_stats"):
        assert trees[0][part]["backbone"] == trees[1][part]["backbone"]
    assert [set(tree["params"]) for tree in trees] == [
        {"backbone", "projection"},
        {"backbone", "head"},
    ]


def test_the_first_parameters_follow_from_the_key(key):
    """The same key gives the same float32 parameters, another key others, whatever
    the network computes in; BatchNorm starts as the identity."""
    net = make_pix2rep_net(make_config())
    narrow = make_pix2rep_net(make_config(**{"model.dtype": "bfloat16"}))
    params, batch_stats = initialise(net, key, size=16)
    jax.tree.map(
        np.testing.assert_array_equal, params, initialise(narrow, key, size=16)[0]
    )
    other, _ = initialise(net, jax.random.key(1), size=16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    same = [
        bool((a == b).all())
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(params),
            jax.tree.leaves(other),
            strict=True,
        )
        if path[-1].key == "kernel"
    ]
    assert not any(same)
    statistics = batch_stats["backbone"]["encode_0"]["BatchNorm_0"]
    np.testing.assert_array_equal(statistics["mean"], np.zeros(4))
    np.testing.assert_array_equal(statistics["var"], np.ones(4))


def test_parts_that_are_known_change_no_other(key):
    """A part that the caller has is not drawn; all others are as without it."""
    net = make_segmentation_net(make_config())
    params, batch_stats = initialise(net, key, size=16)
    for known in ("backbone", "backbone.encode_0"):
        drawn, statistics = initialise(net, key, size=16, known=(known,))
        assert take_parts(drawn, [known]) == {known: None}
        expected = put_parts(params, {known: None})
        jax.tree.map(np.testing.assert_array_equal, drawn, expected)
        jax.tree.map(np.testing.assert_array_equal, statistics, batch_stats)
