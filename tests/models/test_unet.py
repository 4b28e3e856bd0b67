"""The U-Net and its parts against plain forms of themselves, and its sizes."""

import importlib.util
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from pix2rep_jax.methods.pretraining import pix2rep
from pix2rep_jax.models.heads import ProjectionHead, SegmentationHead
from pix2rep_jax.models.layers import DoubleConv, UpConv, max_pool
from pix2rep_jax.models.unet import UNet
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import create_state
from pix2rep_jax.training.step import make_train_step
from tests.support.program import ROOT


def lax_conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def init(net, image_shape, *, seed=0):
    """Variables of a network, all of them random, so that none hides behind a 0."""
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros(image_shape), train=False),
        jax.random.key(0),
    )
    draw = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (
            draw.uniform(0.2, 1, leaf.shape).astype(leaf.dtype)
            * (draw.choice([-1, 1], leaf.shape) if len(leaf.shape) > 1 else 1)
        ),
        shapes,
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# --- the convolution ---------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "hidden", "outputs"), [(1, 3, 2), (5, 16, 4)])
def test_double_conv_is_scipys_correlation(inputs, hidden, outputs):
    """Twice: a correlation with zeros beyond the border, the running statistics, ReLU.
    Each output channel is the sum of SciPy's correlations of the inputs."""
    net = DoubleConv(hidden, outputs)
    variables = init(net, (1, 6, 9, inputs))
    x = np.random.default_rng(1).normal(size=(2, 6, 9, inputs)).astype(np.float32)
    found = net.apply(variables, x, train=False)
    for index in (0, 1):
        kernel = variables["params"][f"Conv_{index}"]["kernel"]
        correlated = np.zeros((2, 6, 9, kernel.shape[3]))
        for n, o, i in np.ndindex(2, kernel.shape[3], kernel.shape[2]):
            correlated[n, :, :, o] += ndimage.correlate(
                x[n, :, :, i].astype(float), kernel[:, :, i, o], mode="constant"
            )
        name = f"BatchNorm_{index}"
        params, stats = variables["params"][name], variables["batch_stats"][name]
        x = np.maximum(normalise(correlated, params, stats), 0)
    assert np.abs(x).max() > 0.1
    np.testing.assert_allclose(found, x, atol=1e-5 * np.abs(x).max())


# --- pooling and its way back ------------------------------------------------------


def pool_by_loops(x, grads):
    """Largest of each 2 x 2 pixels, and who of them receives the gradient: the first
    of several, upper before lower, then left before right."""
    value, received = np.zeros(grads.shape, x.dtype), np.zeros_like(x)
    for n, i, j, c in np.ndindex(grads.shape):
        winners = [
            max((0, 1), key=lambda a, b=b: (x[n, 2 * i + a, 2 * j + b, c], -a))
            for b in (0, 1)
        ]
        b = max((0, 1), key=lambda b: (x[n, 2 * i + winners[b], 2 * j + b, c], -b))
        value[n, i, j, c] = x[n, 2 * i + winners[b], 2 * j + b, c]
        received[n, 2 * i + winners[b], 2 * j + b, c] += grads[n, i, j, c]
    return value, received


@pytest.mark.parametrize("levels", [3, 1000])
def test_max_pool_is_its_loop_and_one_pixel_receives_the_gradient(levels):
    """Value and gradient, with many ties (few grey levels) and next to none."""
    draw = np.random.default_rng(0)
    x = draw.integers(levels, size=(2, 6, 8, 3)).astype(np.float32)
    grads = draw.normal(size=(2, 3, 4, 3)).astype(np.float32)
    value, pullback = jax.vjp(max_pool, x)
    expected, received = pool_by_loops(x, grads)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(pullback(grads)[0], received)


def test_max_pool_does_not_hide_what_is_not_a_number():
    """NaN anywhere in the four comes through, so that a run can stop."""
    for place in np.ndindex(2, 2):
        x = np.zeros((1, 4, 4, 1), np.float32)
        x[(0, *place, 0)] = np.nan
        np.testing.assert_array_equal(
            np.isnan(max_pool(x))[0, ..., 0], [[True, False], [False, False]]
        )


def test_up_conv_is_a_transposed_convolution():
    """Pixel (i, j) times the kernel's tap (a, b) stands at (2 i + a, 2 j + b), as in
    PyTorch; Flax's ConvTranspose is the same with its taps counted backwards."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 3, 5, 4)).astype(np.float32)
    kernel = draw.normal(size=(4, 2, 2, 6)).astype(np.float32)
    bias = draw.normal(size=6).astype(np.float32)
    result = UpConv(6).apply({"params": {"kernel": kernel, "bias": bias}}, x)
    expected = np.zeros((2, 6, 10, 6), np.float32)
    for a, b in np.ndindex(2, 2):
        expected[:, a::2, b::2] = x @ kernel[:, a, b] + bias
    np.testing.assert_allclose(result, expected, atol=1e-5)

    flax = {"kernel": kernel.transpose(1, 2, 0, 3)[::-1, ::-1], "bias": bias}
    reference = nn.ConvTranspose(6, (2, 2), strides=(2, 2))
    np.testing.assert_allclose(result, reference.apply({"params": flax}, x), atol=1e-5)


def test_up_conv_is_pytorchs_with_the_same_weights():
    """The parameters fit `ConvTranspose2d` with their axes in PyTorch's order."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    layer = UpConv(6)
    params = layer.init(jax.random.key(1), x)["params"]
    params["bias"] = jax.random.normal(jax.random.key(2), params["bias"].shape)
    theirs = torch.nn.ConvTranspose2d(4, 6, kernel_size=2, stride=2)
    state = {
        "weight": torch.tensor(np.asarray(params["kernel"]).transpose(0, 3, 1, 2)),
        "bias": torch.tensor(np.asarray(params["bias"])),
    }
    theirs.load_state_dict(state)
    expected = theirs(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)).detach().numpy()
    found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-5)


# --- the whole network -------------------------------------------------------------


def normalise(x, params, stats):
    scale = params["scale"] / np.sqrt(stats["var"] + 1e-5)
    return (x - stats["mean"]) * scale + params["bias"]


def double_conv(x, params, stats):
    for i in (0, 1):
        x = np.asarray(lax_conv(x, params[f"Conv_{i}"]["kernel"]))
        name = f"BatchNorm_{i}"
        x = np.maximum(normalise(x, params[name], stats[name]), 0)
    return x


def unet_by_hand(x, params, stats, *, levels, perturb=lambda _, x: x):
    """The paper's figure, level by level, from the parameters alone."""
    skips = []
    for level in range(levels):
        if level:
            x = np.asarray(nn.max_pool(x, (2, 2), strides=(2, 2)))
        x = double_conv(x, params[f"encode_{level}"], stats[f"encode_{level}"])
        skips.append(x)
    skips = [np.asarray(perturb(level, skip)) for level, skip in enumerate(skips)]
    x = skips[-1]
    for level in reversed(range(levels - 1)):
        up = params[f"up_{level}"]
        batch, height, width, _ = x.shape
        wide = np.zeros((batch, 2 * height, 2 * width, up["bias"].shape[-1]), x.dtype)
        for a, b in np.ndindex(2, 2):
            wide[:, a::2, b::2] = x @ up["kernel"][:, a, b] + up["bias"]
        x = np.concatenate([skips[level], wide], -1)
        x = double_conv(x, params[f"decode_{level}"], stats[f"decode_{level}"])
    return x


@pytest.mark.parametrize("last_hidden", [None, 3])
def test_the_network_is_its_figure(last_hidden):
    """Blocks, pooling, skips and their order equal a form written out from the
    parameters, with running statistics."""
    net = UNet((2, 4, 6), 5, last_hidden)
    variables = init(net, (1, 8, 12, 1))
    image = np.random.default_rng(1).normal(size=(2, 8, 12, 1)).astype(np.float32)
    expected = unet_by_hand(
        image, variables["params"], variables["batch_stats"], levels=3
    )
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(
        jax.jit(net.apply, static_argnames="train")(variables, image, train=False),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_what_the_decoder_reads_can_be_changed():
    """At every level, the coarsest included, and never what the encoder reads: the
    second half of the decoded batch sees other features than the first."""
    net = UNet((2, 4, 6), 5)
    variables = init(net, (1, 8, 12, 1))
    image = np.random.default_rng(1).normal(size=(2, 8, 12, 1)).astype(np.float32)
    perturb = lambda level, x: jnp.concatenate([x, (level + 2.0) * x])  # noqa: E731
    parts = variables["params"], variables["batch_stats"]
    expected = unet_by_hand(image, *parts, levels=3, perturb=perturb)
    found = net.apply(variables, image, train=False, perturb=perturb)
    plain = net.apply(variables, image, train=False)
    assert found.shape == (4, 8, 12, 5)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale)
    np.testing.assert_allclose(found[:2], plain, atol=1e-5 * scale)


def test_training_normalises_by_the_batch_and_moves_the_statistics_by_a_tenth():
    """In training the result ignores the running statistics, which become 0.9 of
    themselves and 0.1 of the batch's: PyTorch's momentum of 0.1."""
    net = UNet((3, 4), 5)
    image = np.random.default_rng(1).normal(size=(3, 4, 4, 1)).astype(np.float32)
    first, second = init(net, image.shape), init(net, image.shape, seed=1)
    second["params"] = first["params"]

    @jax.jit
    def apply(variables):
        return net.apply(variables, image, train=True, mutable=["batch_stats"])

    out, updated = apply(first)
    np.testing.assert_array_equal(out, apply(second)[0])
    before = first["batch_stats"]["encode_0"]["BatchNorm_0"]
    after = updated["batch_stats"]["encode_0"]["BatchNorm_0"]
    x = lax_conv(image, first["params"]["encode_0"]["Conv_0"]["kernel"])
    for name, own in (("mean", x.mean((0, 1, 2))), ("var", x.var((0, 1, 2)))):
        np.testing.assert_allclose(after[name], 0.9 * before[name] + 0.1 * own, 1e-4)


@pytest.mark.parametrize(
    ("channels", "num_features", "image", "expected"),
    [
        ((4, 8), 6, (1, 2, 2, 1), (1, 2, 2, 6)),
        ((4, 8), 6, (3, 10, 6, 1), (3, 10, 6, 6)),
        ((8, 16, 32, 64), 32, (2, 64, 64, 1), (2, 64, 64, 32)),
        ((8, 16, 32, 64), 32, (2, 8, 72, 3), (2, 8, 72, 32)),
        ((16, 32, 64, 128), 64, (8, 64, 64, 1), (8, 64, 64, 64)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_have_the_shape_of_the_image(
    key, channels, num_features, image, expected, dtype
):
    """One vector a pixel, of the dtype asked for, from parameters in float32."""
    net = UNet(channels, num_features, dtype=jnp.dtype(dtype))
    out, variables = jax.eval_shape(
        lambda key: net.init_with_output(key, jnp.zeros(image), train=False), key
    )
    assert (out.shape, out.dtype) == (expected, jnp.dtype(dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def count_by_hand(channels, num_features, last_hidden):
    """Kernels of 3 x 3, two BatchNorm vectors after each; 2 x 2 taps and a bias."""

    def block(inputs, hidden, outputs):
        return 9 * inputs * hidden + 2 * hidden + 9 * hidden * outputs + 2 * outputs

    total = block(1, channels[0], channels[0])
    for fine, coarse in itertools.pairwise(channels):
        total += block(fine, coarse, coarse)
        total += 4 * coarse * fine + fine
        if fine == channels[0]:
            total += block(2 * fine, last_hidden, num_features)
        else:
            total += block(2 * fine, fine, fine)
    return total


# Who changes the network on purpose counts again and replaces these numbers.
@pytest.mark.parametrize(
    ("channels", "num_features", "last_hidden", "golden"),
    [
        ((8, 16, 32, 64), 32, 8, 122_800),
        ((16, 32, 64, 128), 64, 16, 489_440),
    ],
)
def test_number_of_parameters(channels, num_features, last_hidden, golden):
    """The small networks have as many parameters as their layers add up to."""
    net = UNet(channels, num_features, last_hidden)
    shapes = jax.eval_shape(
        lambda key: net.init(key, jnp.zeros((1, 64, 64, 1)), train=False),
        jax.random.key(0),
    )
    assert count(shapes["params"]) == golden
    assert count_by_hand(channels, num_features, last_hidden) == golden


def load_config(variant):
    path = ROOT / "configs" / "pix2rep.py"
    spec = importlib.util.spec_from_file_location("config_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def test_the_papers_network_and_its_step_by_shape_alone():
    """The configuration `paper` builds the paper's U-Net, and a whole pretraining step
    of it maps a state to one of the same shapes. Nothing is computed."""
    config = load_config("paper")
    net = pix2rep.make_net(config)
    assert net.backbone.channels == (64, 128, 256, 512, 1024, 2048)
    assert net.backbone.num_features == 1024
    recipe, rates = config.pretrain, {"backbone": 5e-4, "projection": 5e-4}
    schedule = make_schedule("constant", num_steps=10, warmup_steps=0)
    tx = make_optimizer(rates, schedule)
    loss_fn = pix2rep.make_loss(
        net,
        loss="info_nce",
        temperature=recipe.temperature,
        off_diagonal_weight=recipe.off_diagonal_weight,
        num_points=recipe.num_points,
        spatial=config.spatial.to_dict(),
        intensity=config.intensity.to_dict(),
    )

    def begin(key):
        variables = net.init(key, jnp.zeros((1, 128, 128, 1)), train=False)
        return create_state(
            variables["params"],
            variables["batch_stats"],
            tx,
            key,
            trainable=tuple(rates),
        )

    state = jax.eval_shape(begin, jax.random.key(0))
    backbone = state.params["backbone"]
    assert count(backbone) == count_by_hand(net.backbone.channels, 1024, 1024)
    assert count(backbone) == 134_883_072
    kernels = {
        "encode_0": ((3, 3, 1, 64), (3, 3, 64, 64)),
        "encode_1": ((3, 3, 64, 128), (3, 3, 128, 128)),
        "encode_5": ((3, 3, 1024, 2048), (3, 3, 2048, 2048)),
        "decode_4": ((3, 3, 2048, 1024), (3, 3, 1024, 1024)),
        "decode_0": ((3, 3, 128, 1024), (3, 3, 1024, 1024)),
    }
    for block, shapes in kernels.items():
        for i, shape in enumerate(shapes):
            assert backbone[block][f"Conv_{i}"]["kernel"].shape == shape
    assert backbone["up_4"]["kernel"].shape == (2048, 2, 2, 1024)

    step = make_train_step(loss_fn, tx, schedule, learning_rates=rates)
    batch = {
        "image": jax.ShapeDtypeStruct((8, 128, 128, 1), jnp.float32),
        "box": jax.ShapeDtypeStruct((8, 4), jnp.int32),
    }
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for before, behind in zip(
        jax.tree.leaves(state), jax.tree.leaves(after), strict=True
    ):
        assert (before.shape, before.dtype) == (behind.shape, behind.dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {
        jnp.dtype("float32")
    }
    assert {value.shape for value in metrics.values()} == {()}


@pytest.mark.parametrize("image", [(1, 12, 16, 1), (1, 16, 12, 1), (1, 4, 4, 1)])
def test_sides_that_cannot_be_halved_are_refused(key, image):
    """The error names the size, how often it is halved, and what would do."""
    with pytest.raises(
        ValueError, match=rf"{image[1]} x {image[2]} px.*3 times.*multiples of 8"
    ):
        UNet((2, 2, 2, 2), 2).init(key, jnp.zeros(image), train=False)


def test_one_level_is_refused(key):
    """Without a way back up there would be no last layer of n_ft features."""
    with pytest.raises(ValueError, match=r"model\.channels"):
        UNet((4,), 6).init(key, jnp.zeros((1, 8, 8, 1)), train=False)


# --- the heads ---------------------------------------------------------------------


def test_the_projection_head_is_an_mlp_of_each_pixel():
    """One hidden layer with ReLU and a linear one, on every pixel alike."""
    draw = np.random.default_rng(0)
    first, second = draw.normal(size=(3, 7)), draw.normal(size=(7, 4))
    params = {
        "Dense_0": {"kernel": first, "bias": np.arange(7.0) / 7},
        "Dense_1": {"kernel": second, "bias": np.arange(4.0)},
    }
    params = jax.tree.map(np.float32, params)
    x = draw.normal(size=(2, 5, 6, 3)).astype(np.float32)
    expected = np.maximum(x @ first + np.arange(7.0) / 7, 0) @ second + np.arange(4.0)
    head = ProjectionHead((7,), 4)
    np.testing.assert_allclose(
        head.apply({"params": params}, x), expected, rtol=1e-4, atol=1e-4
    )


def test_the_segmentation_head_computes_in_float32(key):
    """Logits of bfloat16 features are those of the same features in float32."""
    head = SegmentationHead(4)
    features = jax.random.normal(key, (2, 5, 5, 6), jnp.bfloat16)
    logits, variables = head.init_with_output(key, features)
    assert (logits.shape, logits.dtype) == ((2, 5, 5, 4), jnp.float32)
    np.testing.assert_array_equal(
        logits, head.apply(variables, features.astype(jnp.float32))
    )
