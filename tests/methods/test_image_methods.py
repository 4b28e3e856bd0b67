"""SimCLR, BYOL and Barlow Twins of whole images: what defines each of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from configs.pix2rep import get_config
from pix2rep_jax.methods.pretraining import byol, load_method
from pix2rep_jax.models.heads import MLP
from pix2rep_jax.models.image_embedder import encoder_parts
from pix2rep_jax.models.param_parts import put_parts, take_parts
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.state import ModelState
from tests.support.motions import STILL
from tests.support.views import make_view_pairs

VIEWS = {
    "spatial": {
        "max_rotation": 3.0,
        "extent": (0.6, 1.2),
        "flip_probability": 0.5,
        "max_shift": (2 / 16, 2 / 16),
    },
    "intensity": {"max_contrast": 0.3, "contrast_probability": 1.0},
}
BACKBONE = UNet((4, 8), 6)
BYOL = byol.ByolNet(BACKBONE, MLP((8,), 5, True), MLP((7,), 5, True))
FOLLOWED = ("backbone.encode_0", "backbone.encode_1", "projection")


def make_method(name, **recipe):
    """A method on images of 16 x 16 px, with a head of 8 and 5 units."""
    config = get_config("quick")
    config.pretrain.method = name
    config.model.update(channels=(4, 8), num_features=6, last_hidden=0)
    config[name].update({"hidden": (8,), "features": 5, "batch_size": 6} | recipe)
    config.data.size = 16
    config.spatial, config.intensity = map(ConfigDict, VIEWS.values())
    return load_method(config)


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(0), (6, 16, 16, 1))


def draw(net, images):
    variables = jax.jit(net.init, static_argnames="train")(
        jax.random.key(1), images, train=False
    )
    return variables["params"], variables["batch_stats"]


def embed(net, params, batch_stats, views, method="embed"):
    """What a network makes of views, in a plain call of its own."""
    call = lambda x: net.apply(  # noqa: E731
        {"params": params, "batch_stats": batch_stats},
        x,
        train=True,
        method=method,
        mutable=["batch_stats"],
    )
    return jax.jit(call)(views)[0]


def value_and_grad(loss_fn, params, model_state, images, key):
    run = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    return run(params, model_state, {"image": images}, key)


def silent(grads):
    """Top-level parts and blocks of the backbone that get no gradient at all."""
    parts = {f"backbone.{name}": part for name, part in grads["backbone"].items()}
    parts |= {name: part for name, part in grads.items() if name != "backbone"}
    return {name for name, part in parts.items() if optax.tree.norm(part) == 0}


DECODER = {"backbone.up_0", "backbone.decode_0"}


def test_views_are_two_of_each_image_each_on_its_own(key, images):
    """Nothing but the identity gives the images twice; else all views differ."""
    same = make_view_pairs(key, images, spatial=STILL, intensity={})
    np.testing.assert_allclose(same, np.concatenate([images, images]), atol=1e-6)
    views = np.asarray(
        make_view_pairs(key, jnp.tile(images[:1], (3, 1, 1, 1)), **VIEWS)
    )
    apart = np.abs(views[:, None] - views[None]).max((2, 3, 4))
    assert (apart[~np.eye(6, dtype=bool)] > 0.05).all()


def test_simclr_is_nt_xent_of_the_encoder(key, images):
    """The loss is optax's of the embedded views; the gradient reaches every block of
    the encoder and none of the decoder, whose statistics stay as well."""
    method = make_method("simclr", temperature=0.1)
    params, batch_stats = draw(method.net, images)
    (value, (updated, _)), grads = value_and_grad(
        method.loss_fn, params, ModelState(batch_stats, {}), images, key
    )
    z = embed(method.net, params, batch_stats, make_view_pairs(key, images, **VIEWS))
    ids = jnp.tile(jnp.arange(6), 2)
    expected = optax.losses.ntxent(z, ids, temperature=0.1)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert silent(grads) == DECODER
    same = jax.tree.map(np.array_equal, updated.batch_stats, batch_stats)["backbone"]
    assert all(jax.tree.leaves(same["decode_0"]))
    assert not any(jax.tree.leaves([same["encode_0"], same["encode_1"]]))


def test_simclr_knows_the_loss_of_a_collapse(key, images):
    """An embedder that maps all to one has exactly the loss that the method names."""
    method = make_method("simclr")
    params, batch_stats = draw(method.net, images)
    last = params["projection"]["Dense_1"]
    last |= {"kernel": jnp.zeros_like(last["kernel"]), "bias": jnp.ones(5)}
    model_state = ModelState(batch_stats, {})
    value, _ = jax.jit(method.loss_fn)(params, model_state, {"image": images}, key)
    assert method.collapsed_loss == pytest.approx(math.log(11))
    np.testing.assert_allclose(value, math.log(11), rtol=1e-5)


def test_barlow_twins_is_the_cross_correlation_of_the_encoder(key, images):
    """A NumPy computation of Zbontar's Eq. 1-2 on the embedded views."""
    method = make_method("barlow_twins", off_diagonal_weight=0.1)
    params, batch_stats = draw(method.net, images)
    (value, _), grads = value_and_grad(
        method.loss_fn, params, ModelState(batch_stats, {}), images, key
    )
    z = embed(method.net, params, batch_stats, make_view_pairs(key, images, **VIEWS))
    u, v = (x - x.mean(0) for x in np.split(np.asarray(z, np.float64), 2))
    c = (u / u.std(0)).T @ (v / v.std(0)) / 6
    off = c[~np.eye(5, dtype=bool)]
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.1 * (off**2).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    assert silent(grads) == DECODER


def test_byol_predicts_the_target_of_the_other_view(key, images):
    """The loss is |p/|p| - z/|z||², summed over both views, z the target's."""
    params, batch_stats = draw(BYOL, images)
    other, _ = draw(BYOL, images + 1)
    target = jax.tree.map(lambda x: 1.3 * x + 0.01, take_parts(other, FOLLOWED))
    loss_fn = byol.make_loss(BYOL, momentum=1.0, followed=FOLLOWED, **VIEWS)
    (value, (updated, _)), grads = value_and_grad(
        loss_fn, params, ModelState(batch_stats, {"target": target}), images, key
    )
    views = make_view_pairs(key, images, **VIEWS)
    unit = lambda x: np.split(x / np.linalg.norm(x, axis=1, keepdims=True), 2)  # noqa: E731
    p = unit(np.asarray(embed(BYOL, params, batch_stats, views, "predict")))
    z = unit(np.asarray(embed(BYOL, put_parts(params, target), batch_stats, views)))
    pairs = ((p[0], z[1]), (p[1], z[0]))
    expected = sum(((a - b) ** 2).sum(1).mean() for a, b in pairs)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert silent(grads) == DECODER
    # With momentum 1 the target stands still, to the bit.
    jax.tree.map(np.testing.assert_array_equal, updated.extra["target"], target)


def test_no_gradient_reaches_the_target(key, images):
    """Neither into the target itself, nor through it into the parameters it follows:
    with momentum 0 the target is the online network, yet the gradient is that of a
    target which is a constant."""
    params, batch_stats = draw(BYOL, images)
    target = take_parts(params, FOLLOWED)
    following = byol.make_loss(BYOL, momentum=0.0, followed=FOLLOWED, **VIEWS)
    standing = byol.make_loss(BYOL, momentum=1.0, followed=FOLLOWED, **VIEWS)

    def gradients(loss_fn):
        def loss(params, target):
            model_state = ModelState(batch_stats, {"target": target})
            return loss_fn(params, model_state, {"image": images}, key)[0]

        return jax.jit(jax.grad(loss, (0, 1)))(params, target)

    (ours, of_target), (theirs, of_standing) = map(gradients, (following, standing))
    assert optax.tree.norm((of_target, of_standing)) == 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        ours,
        theirs,
    )


def test_the_target_follows_as_a_moving_average(key, images):
    """Over some steps with changing parameters it is the recursion in NumPy; it starts
    as a copy of the online network."""
    config = get_config("quick")
    config.model.channels = (4, 8)
    assert (*encoder_parts(config), "projection") == FOLLOWED
    params, batch_stats = draw(BYOL, images)
    state = ModelState(batch_stats, make_method("byol").make_extra(params))
    loss_fn = jax.jit(byol.make_loss(BYOL, momentum=0.9, followed=FOLLOWED, **VIEWS))
    kernel = lambda x: np.asarray(x["encode_1"]["Conv_0"]["kernel"])  # noqa: E731
    expected = kernel(params["backbone"]).astype(np.float64)
    for step in range(4):
        _, (state, _) = loss_fn(params, state, {"image": images}, key)
        expected = 0.9 * expected + 0.1 * kernel(params["backbone"])
        found = state.extra["target"]["backbone.encode_1"]["Conv_0"]["kernel"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
        params = jax.tree.map(lambda x, t=step: x * 1.1 + 0.1 * t, params)
    assert set(state.extra["target"]) == {*FOLLOWED}
