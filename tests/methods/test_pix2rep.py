"""Pix2Rep's loss of a batch: equivariance, validity and the efficient form."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pix2rep_jax import losses
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.pretraining.pix2rep import Pix2RepNet, make_loss
from pix2rep_jax.methods.pretraining.pixel_pairs import (
    choose_points,
    embed_at_points,
    embed_everywhere,
    embed_pairs,
)
from pix2rep_jax.models.heads import ProjectionHead
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.state import ModelState
from pix2rep_jax.views.affine import inside
from pix2rep_jax.views.sampling import sample_points
from pix2rep_jax.views.warp import warp_at
from tests.support.motions import STILL
from tests.support.views import make_boxes, make_views

SPATIAL = {
    "max_rotation": 3.0,
    "extent": (0.6, 1.2),
    "flip_probability": 0.5,
    "max_shift": (3 / 16, 3 / 16),
}
ELASTIC = {
    "elastic_probability": 1.0,
    "elastic_grids": (4, 6),
    "elastic_reach": (0.08, 0.02),
}


class Pointwise(nn.Module):
    """A backbone that sees one pixel alone, so it is exactly equivariant."""

    num_features: int = 6

    @nn.compact
    def __call__(self, image, *, train: bool, views=1, read=None):
        # BatchNorm would tie the views together; a variable keeps the interface.
        self.variable("batch_stats", "unused", jnp.zeros, ())
        return nn.Dense(self.num_features)(image)


def tiny_net() -> Pix2RepNet:
    return Pix2RepNet(UNet((4, 8), 6), ProjectionHead((8,), 5))


def options(**changes):
    return {
        "loss": "info_nce",
        "temperature": 0.2,
        "off_diagonal_weight": 0.005,
        "num_points": 20,
        "spatial": SPATIAL,
        "intensity": {"reversal_probability": 0.5},
    } | changes


def make_batch(images):
    return {"image": images, "box": make_boxes(images)}


def model_state(variables):
    return ModelState(variables["batch_stats"], {})


def init(net, key, images):
    return jax.jit(net.init, static_argnames="train")(key, images, train=False)


@pytest.fixture
def images(key):
    return jax.random.uniform(key, (3, 16, 16, 1))


@pytest.mark.parametrize("elastic", [{}, ELASTIC])
def test_an_equivariant_network_has_agreeing_positives(key, elastic):
    """With a linear pointwise f and g, φ·(g∘f)(v) equals (g∘f)(φ·v') at every valid
    pixel, and the alignment is 1."""
    net = Pix2RepNet(Pointwise(), ProjectionHead((), 5))
    images = jax.random.uniform(key, (4, 12, 12, 1))
    variables = net.init(key, images, train=False)
    spatial = SPATIAL | elastic
    views = make_views(key, images, spatial=spatial, intensity={})
    features_a = net.apply(variables, views.view_a, train=True, method="features")
    features_b = net.apply(variables, views.view_b, train=True, method="features")
    points, valid = choose_points(key, views.valid, "all")
    u, v = embed_pairs(
        net, variables["params"], features_a, features_b, views.sources, points
    )
    np.testing.assert_allclose(u[valid], v[valid], atol=1e-4)
    loss_fn = make_loss(net, **options(spatial=spatial, intensity={}))
    _, (_, metrics) = jax.jit(loss_fn)(
        variables["params"], model_state(variables), make_batch(images), key
    )
    assert metrics["alignment"] > 0.9999


@pytest.mark.parametrize("elastic", [{}, ELASTIC])
def test_projecting_neighbours_equals_warping_the_whole_map(key, images, elastic):
    """At the sampled points the efficient form is warp(g(f(v))), in value and in the
    gradient for parameters and features."""
    net = tiny_net()
    params = init(net, key, images)["params"]
    views = make_views(key, images, spatial=SPATIAL | elastic, intensity={})
    points, _ = sample_points(key, views.valid, num_points=9)
    features = jax.random.normal(key, (2, 3, 16, 16, 6))

    def efficient(params, features):
        return embed_pairs(net, params, *features, views.sources, points)

    def plain(params, features):
        maps = net.apply({"params": params}, features, method="project")
        warped = jax.vmap(warp_at)(maps[0], views.sources)
        at = lambda x: jax.vmap(lambda y, p: y.reshape(-1, 5)[p])(x, points)  # noqa: E731
        return at(warped), at(maps[1])

    def total(form):
        return lambda *x: sum(jnp.sum(jnp.sin(z)) for z in form(*x))

    for ours, theirs in zip(
        jax.jit(efficient)(params, features),
        jax.jit(plain)(params, features),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    ours = jax.jit(jax.grad(total(efficient), (0, 1)))(params, features)
    theirs = jax.jit(jax.grad(total(plain), (0, 1)))(params, features)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), ours, theirs)


@pytest.mark.parametrize("loss", ["info_nce", "cross_correlation"])
def test_invalid_pixels_take_no_part(key, images, loss):
    """With φ mostly outside the image the loss over all pixels is the loss over the
    valid pairs alone, and every gradient is finite."""
    net = tiny_net()
    variables = init(net, key, images)
    far = STILL | {"max_shift": (14 / 16, 14 / 16)}
    settings = options(loss=loss, num_points="all", spatial=far, intensity={})
    loss_fn = make_loss(net, **settings, joint_batch_norm=True)
    run = lambda p: loss_fn(  # noqa: E731
        p, model_state(variables), make_batch(images), key
    )
    (value, (_, metrics)), grads = jax.jit(jax.value_and_grad(run, has_aux=True))(
        variables["params"]
    )
    assert metrics["valid_fraction"] < 0.7
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))

    view_key, point_key = jax.random.split(key)
    views = make_views(view_key, images, spatial=far, intensity={})
    features, _ = jax.jit(
        lambda x: net.apply(
            variables, x, train=True, method="features", mutable=["batch_stats"]
        )
    )(jnp.concatenate([views.view_a, views.view_b]))
    points, valid = choose_points(point_key, views.valid, "all")
    u, v = embed_pairs(
        net, variables["params"], *jnp.split(features, 2), views.sources, points
    )
    u, v = np.asarray(u)[valid], np.asarray(v)[valid]
    expected = (
        losses.info_nce(u, v, temperature=0.2)
        if loss == "info_nce"
        else losses.cross_correlation(u, v, off_diagonal_weight=0.005)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("loss", ["info_nce", "cross_correlation"])
@pytest.mark.parametrize("num_points", ["all", 20])
def test_what_stands_in_the_padding_changes_nothing(key, loss, num_points):
    """With a network that sees one pixel at a time, other values in the padding leave
    the loss, its gradient and the metrics as they are; the valid fraction is that of
    the scan."""
    net = Pix2RepNet(Pointwise(), ProjectionHead((8,), 5))
    images = jax.random.uniform(key, (3, 16, 16, 1))
    box = jnp.array([[4, 10, 5, 11], [0, 15, 6, 9], [3, 9, 0, 7]])
    scan = jax.vmap(lambda box: inside(jnp.stack(jnp.mgrid[:16, :16], -1), box))(box)
    assert scan.mean() < 0.25
    variables = init(net, key, images)
    moderate = SPATIAL | {"extent": (0.7, 1.0), "max_shift": (1 / 16, 1 / 16)}
    loss_fn = make_loss(
        net, **options(loss=loss, num_points=num_points, spatial=moderate, intensity={})
    )
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))

    def result(padding):
        batch = {"image": jnp.where(scan[..., None], images, padding), "box": box}
        (value, (_, metrics)), grads = run(
            variables["params"], model_state(variables), batch, key
        )
        return value, metrics, grads

    zero, other = result(0.0), result(7.0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), zero, other
    )
    # The views magnify up to 1 / 0.7 along each side.
    assert 0.05 < zero[1]["valid_fraction"] < 0.45


@pytest.mark.parametrize("loss", ["info_nce", "cross_correlation"])
def test_a_batch_that_shows_no_scan_changes_nothing(key, images, loss):
    """If every view misses a small scan, there is nothing to learn: no NaN either."""
    net = tiny_net()
    variables = init(net, key, images)
    corner = jnp.array([[0, 1, 0, 1]] * 3)
    zoom = STILL | {"extent": (0.5, 0.5)}
    loss_fn = make_loss(net, **options(loss=loss, spatial=zoom))
    batch = {"image": images, "box": corner}
    (value, (_, metrics)), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(
        variables["params"], model_state(variables), batch, key
    )
    assert metrics["valid_fraction"] == 0
    assert value == optax.tree.norm(grads) == 0


def test_each_view_may_have_a_pass_of_its_own(key, images):
    """Without joint BatchNorm the features are those of two applies, view a first, and
    the running averages are those that both leave. With it, those of one apply."""
    net, fixed = tiny_net(), options(num_points="all", intensity={})
    variables = init(net, key, images)
    apply = jax.jit(
        lambda stats, x: net.apply(
            {"params": variables["params"], "batch_stats": stats},
            x,
            train=True,
            method="features",
            mutable=["batch_stats"],
        )
    )
    view_key, point_key = jax.random.split(key)
    views = make_views(view_key, images, spatial=SPATIAL, intensity={})
    points, valid = choose_points(point_key, views.valid, "all")
    a, stats = apply(variables["batch_stats"], views.view_a)
    b, stats = apply(stats["batch_stats"], views.view_b)
    both = jnp.concatenate([views.view_a, views.view_b])
    joint, joint_stats = apply(variables["batch_stats"], both)
    expected = {
        False: (a, b, stats["batch_stats"]),
        True: (*jnp.split(joint, 2), joint_stats["batch_stats"]),
    }
    values = {}
    for choice, (first, second, batch_stats) in expected.items():
        loss_fn = jax.jit(make_loss(net, **fixed, joint_batch_norm=choice))
        values[choice], (after, _) = loss_fn(
            variables["params"], model_state(variables), make_batch(images), key
        )
        u, v = embed_pairs(
            net, variables["params"], first, second, views.sources, points
        )
        u, v = np.asarray(u)[valid], np.asarray(v)[valid]
        np.testing.assert_allclose(
            values[choice], losses.info_nce(u, v, temperature=0.2), rtol=1e-4
        )
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
            after.batch_stats,
            batch_stats,
        )
    assert abs(values[True] - values[False]) > 1e-3
    unnamed, _ = jax.jit(make_loss(net, **fixed))(
        variables["params"], model_state(variables), make_batch(images), key
    )
    assert unnamed == values[False]


def test_statistics_are_updated_and_parameters_receive_gradients(key, images):
    """One evaluation moves every running statistic and reaches every parameter."""
    net = tiny_net()
    variables = init(net, key, images)
    loss_fn = make_loss(net, **options())
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (_, (after, _)), grads = run(
        variables["params"], model_state(variables), make_batch(images), key
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_(not np.allclose(a, b)),
        after.batch_stats,
        variables["batch_stats"],
    )
    silent = [
        path
        for path, g in jax.tree_util.tree_leaves_with_path(grads)
        if not jnp.abs(g).max() > 0
    ]
    assert not silent


def test_an_unknown_loss_is_refused():
    """The error names the setting and its value."""
    with pytest.raises(InputError, match=r"pretrain(\.|__)loss is 'triplet'"):
        make_loss(tiny_net(), **options(loss="triplet"))


@pytest.mark.parametrize("spatial", [SPATIAL, STILL])
@pytest.mark.parametrize("joint", [True, False])
def test_last_convolution_at_the_points_equals_everywhere(key, images, joint, spatial):
    """With BatchNorm's statistics given, embedding at the points alone equals
    embedding everywhere: values, and the gradients of all parameters. Points on the
    border are among them. Unmoved, their sources lie on the border too."""
    net = tiny_net()
    variables = init(net, key, images)
    views = make_views(key, images, spatial=spatial, intensity={})
    drawn, _ = sample_points(key, views.valid, num_points=12)
    border = jnp.tile(jnp.array([0, 15, 16 * 15, 16 * 16 - 1, 7, 16 * 7]), (3, 1))
    points = jnp.concatenate([drawn, border], axis=1)
    counted = jnp.take_along_axis(views.valid.reshape(3, -1), points, 1)

    def everywhere(params):
        given = {**variables, "params": params}
        u, v, _ = embed_everywhere(net, given, views, points, joint=joint, train=False)
        return [jnp.where(counted[..., None], x, 0.0) for x in (u, v)]

    def at_points(params):
        given = {**variables, "params": params}
        u, v, _ = embed_at_points(
            net, given, views, points, counted, joint=joint, train=False
        )
        return [jnp.where(counted[..., None], x, 0.0) for x in (u, v)]

    params = variables["params"]
    ours, theirs = jax.jit(at_points)(params), jax.jit(everywhere)(params)
    for one, other in zip(ours, theirs, strict=True):
        assert jnp.abs(other).max() > 0.01
        np.testing.assert_allclose(one, other, atol=1e-5)
    ours, theirs = (
        jax.jit(jax.grad(lambda p, form=form: sum(jnp.sin(x).sum() for x in form(p))))
        for form in (at_points, everywhere)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4),
        ours(params),
        theirs(params),
    )


@pytest.mark.parametrize("joint", [True, False])
def test_batch_norm_of_the_last_convolution_is_of_the_pixels_read(key, images, joint):
    """The statistics of the last BatchNorm are those of the map before it at the pixels
    that the loss reads, each as often as it is read; all others are as ever."""
    net = tiny_net()
    variables = init(net, key, images)
    views = make_views(key, images, spatial=SPATIAL, intensity={})
    points, valid = sample_points(key, views.valid, num_points=9)
    run = {"joint": joint, "train": True}
    *_, ours = embed_at_points(net, variables, views, points, valid, **run)
    *_, dense = embed_everywhere(net, variables, views, points, **run)
    last = ("backbone", "decode_0", "BatchNorm_1")
    changed = [
        jax.tree_util.keystr(path)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(ours),
            jax.tree.leaves(dense),
            strict=True,
        )
        if not np.allclose(a, b, atol=1e-5)
    ]
    assert changed
    assert all(all(part in name for part in last) for name in changed)

    read = {"a": [], "b": []}
    maps = {
        "a": np.asarray(before_last(net, variables, views, joint)[0]),
        "b": np.asarray(before_last(net, variables, views, joint)[1]),
    }
    for image, (chosen, counts) in enumerate(zip(points, valid, strict=True)):
        for point in np.asarray(chosen)[np.asarray(counts)]:
            row, column = divmod(int(point), 16)
            read["b"].append(maps["b"][image, row, column])
            source = np.asarray(views.sources)[image, row, column]
            low = np.floor(source).astype(int)
            for i in (0, 1):
                for j in (0, 1):
                    near = low + np.array([i, j])
                    weight = np.prod(1 - np.abs(near - source))
                    if weight > 0 and ((near >= 0) & (near < 16)).all():
                        read["a"].append(maps["a"][image, near[0], near[1]])
    parts = [read["a"] + read["b"]] if joint else [read["a"], read["b"]]
    mean, var = np.zeros(6), np.ones(6)
    for part in parts:
        mean = 0.9 * mean + 0.1 * np.mean(part, 0, dtype=np.float64)
        var = 0.9 * var + 0.1 * np.var(part, 0, dtype=np.float64)
    stats = ours["backbone"]["decode_0"]["BatchNorm_1"]
    np.testing.assert_allclose(stats["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(stats["var"], var, atol=1e-5)


def before_last(net, variables, views, joint):
    """The maps of both views after the last convolution, before its BatchNorm."""

    def run(image):
        _, state = net.apply(
            variables,
            image,
            train=True,
            method="features",
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: module.name == "Conv_1",
        )
        found = state["intermediates"]["backbone"]["decode_0"]["Conv_1"]["__call__"]
        return found[0]

    if joint:
        return jnp.split(run(jnp.concatenate([views.view_a, views.view_b])), 2)
    return run(views.view_a), run(views.view_b)
