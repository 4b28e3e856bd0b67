"""The losses against NumPy loops in float64, Optax, and their own symmetries."""

import collections
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.dense_info_nce import dense_info_nce
from pix2rep_jax import losses
from pix2rep_jax.losses import blockwise_logsumexp

TEMPERATURE = 0.2


def random_pairs(num_pairs: int, dimension: int = 6, seed: int = 0):
    """Pairs of rows that resemble each other, of all lengths."""
    generator = np.random.default_rng(seed)
    u = generator.normal(size=(num_pairs, dimension))
    v = u + generator.normal(0, 0.7, u.shape)
    lengths = np.exp(generator.normal(size=(2, num_pairs, 1)))
    return (u * lengths[0]).astype(np.float32), (v * lengths[1]).astype(np.float32)


def info_nce_loop(u, v, temperature: float) -> float:
    """Eq. 1-2 in float64, an anchor at a time, a term at a time."""
    z = np.concatenate([u, v]).astype(np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    count = len(z)
    total = 0.0
    for i in range(count):
        j = (i + count // 2) % count
        others = sum(
            math.exp(z[i] @ z[k] / temperature) for k in range(count) if k != i
        )
        total += math.log(others) - z[i] @ z[j] / temperature
    return total / count


def interleave(u, v):
    return jnp.stack([u, v], axis=1).reshape(-1, u.shape[1])


def value_and_gradient(loss, *arrays, **options):
    """Compiled, because one program compiles sooner than its hundred operations."""
    both = jax.value_and_grad(functools.partial(loss, **options), (0, 1))
    return jax.jit(both)(*arrays)


def assert_same(ours, theirs, atol=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), ours, theirs)


@pytest.mark.parametrize("block_size", [None, 5, 22])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_info_nce_equals_the_loop(block_size, temperature):
    """The loss is Eq. 1-2 of the paper, whatever the blocks."""
    u, v = random_pairs(11)
    streamed = functools.partial(losses.info_nce, block_size=block_size)
    for loss in (streamed, dense_info_nce):
        value = jax.jit(loss)(u, v, temperature=temperature)
        np.testing.assert_allclose(value, info_nce_loop(u, v, temperature), rtol=5e-6)


@pytest.mark.parametrize("block_size", [None, 1, 7, 13, 100])
def test_info_nce_equals_the_plain_form(block_size):
    """Blocks that divide 2N or not give the plain form's value and gradients."""
    u, v = random_pairs(13)
    valid = np.arange(13) % 4 != 1
    for mask in (None, valid):
        assert_same(
            value_and_gradient(
                losses.info_nce,
                *(u, v),
                temperature=TEMPERATURE,
                valid=mask,
                block_size=block_size,
            ),
            value_and_gradient(
                dense_info_nce, u, v, temperature=TEMPERATURE, valid=mask
            ),
        )


@pytest.mark.parametrize(("at_once", "num_blocks"), [(64, 4), (80, 3)])
def test_default_blocks_equal_one_block(monkeypatch, at_once, num_blocks):
    """80 rows are three blocks up to the limit, and blocks of 20 rows above it. Both
    give the result of one block."""
    u, v = random_pairs(40)
    whole = value_and_gradient(losses.info_nce, u, v, temperature=TEMPERATURE)
    assert blockwise_logsumexp.count_blocks(80, None) == 1
    monkeypatch.setattr(blockwise_logsumexp, "MAX_AT_ONCE", at_once)
    monkeypatch.setattr(blockwise_logsumexp, "CPU_BLOCK_SIZE", 20)
    assert blockwise_logsumexp.count_blocks(80, None) == num_blocks
    blocked = functools.partial(losses.info_nce, temperature=TEMPERATURE)
    assert_same(value_and_gradient(blocked, u, v), whole)


@pytest.mark.parametrize("block_size", [None, 8])
def test_info_nce_equals_optax(block_size):
    """Value and gradients are those of Optax's NT-Xent on labelled pairs."""
    u, v = random_pairs(9)
    labels = jnp.repeat(jnp.arange(9), 2)

    def theirs(u, v):
        return optax.losses.ntxent(interleave(u, v), labels, TEMPERATURE)

    assert_same(
        value_and_gradient(
            losses.info_nce, u, v, temperature=TEMPERATURE, block_size=block_size
        ),
        value_and_gradient(theirs, u, v),
        atol=5e-6,
    )


@pytest.mark.parametrize("block_size", [None, 6])
def test_info_nce_gradient_matches_differences(block_size):
    """The hand-written gradient is the slope of the float64 loop in any direction."""
    u, v = random_pairs(8)
    _, (du, dv) = value_and_gradient(
        losses.info_nce, u, v, temperature=TEMPERATURE, block_size=block_size
    )
    for seed in range(4):
        along = np.random.default_rng(seed).normal(size=(2, *u.shape))
        ahead, behind = (
            info_nce_loop(u + step * along[0], v + step * along[1], TEMPERATURE)
            for step in (1e-6, -1e-6)
        )
        slope = float((along[0] * du).sum() + (along[1] * dv).sum())
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-6, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("block_size", [None, 6])
def test_temperature_is_differentiable(block_size):
    """The slope in τ, traced or not, is that of the float64 loop."""
    u, v = random_pairs(8)
    slope = jax.jit(
        jax.grad(lambda t: losses.info_nce(u, v, temperature=t, block_size=block_size))
    )(TEMPERATURE)
    ahead, behind = (info_nce_loop(u, v, TEMPERATURE + h) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=2e-5)


@pytest.mark.parametrize("block_size", [None, 6])
def test_info_nce_symmetries(block_size):
    """Neither the order of the pairs, nor which view is first, nor the rows' lengths
    matter, and the gradients follow."""
    u, v = random_pairs(10)
    loss = functools.partial(
        losses.info_nce, temperature=TEMPERATURE, block_size=block_size
    )
    value, (du, dv) = value_and_gradient(loss, u, v)
    order = np.random.default_rng(1).permutation(10)
    expected = value, (du[order], dv[order])
    assert_same(value_and_gradient(loss, u[order], v[order]), expected)
    assert_same(value_and_gradient(loss, v, u), (value, (dv, du)))
    scale = np.float32(2.0) ** np.arange(-5, 5)[:, None]
    expected = value, (du / scale, dv)
    assert_same(value_and_gradient(loss, u * scale, v), expected, atol=1e-5)


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("num_pairs", [1, 2, 7])
def test_equal_embeddings(num_pairs, block_size):
    """Where all embeddings are the same, nothing tells the partner from the other
    2N - 1: the loss is log(2N - 1) and there is nothing to gain by moving."""
    u = np.tile(np.float32([[1, 2, -3]]), (num_pairs, 1))
    value, gradients = value_and_gradient(
        losses.info_nce, u, u, temperature=TEMPERATURE, block_size=block_size
    )
    np.testing.assert_allclose(value, math.log(2 * num_pairs - 1), atol=2e-6)
    assert_same(gradients, (0 * u, 0 * u))


def test_orthogonal_pairs():
    """N orthogonal directions with equal partners: log(e^(1/τ) + 2N - 2) - 1/τ."""
    u = np.eye(5, dtype=np.float32)
    value = losses.info_nce(u, 3 * u, temperature=TEMPERATURE, block_size=4)
    expected = math.log(math.exp(1 / TEMPERATURE) + 8) - 1 / TEMPERATURE
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_duplicates_count_as_others():
    """Equal rows in different pairs are contrasted like any others."""
    u, v = random_pairs(6)
    u[3:], v[4:] = u[:3], v[:2]
    value = losses.info_nce(u, v, temperature=TEMPERATURE, block_size=5)
    np.testing.assert_allclose(value, info_nce_loop(u, v, TEMPERATURE), rtol=5e-6)


@pytest.mark.parametrize("block_size", [None, 5])
def test_zero_rows_are_similar_to_nothing(block_size):
    """A zero row has similarity 0 to every row, and no gradient, let alone NaN."""
    u, v = random_pairs(6)
    u[2], v[2], v[4] = 0, 0, 0
    value, (du, dv) = value_and_gradient(
        losses.info_nce, u, v, temperature=TEMPERATURE, block_size=block_size
    )
    # Directions of their own stand in for the zero rows.
    wide_u, wide_v = (np.pad(x, ((0, 0), (0, 3))) for x in (u, v))
    wide_u[2, 6], wide_v[2, 7], wide_v[4, 8] = 1, 1, 1
    expected = info_nce_loop(wide_u, wide_v, TEMPERATURE)
    np.testing.assert_allclose(value, expected, rtol=5e-6)
    assert np.isfinite(du).all() and np.isfinite(dv).all()
    assert not du[2].any() and not dv[2].any() and not dv[4].any() and du[4].any()


@pytest.mark.parametrize("block_size", [None, 4])
def test_invalid_rows_take_no_part(block_size):
    """Whatever rows that are not valid hold, the result is that without them, and
    their gradient is exactly zero."""
    u, v = random_pairs(12)
    valid = np.arange(12) % 3 != 0
    u[~valid] = np.float32([[np.nan], [np.inf], [1e30], [1.0]])
    v[~valid] = np.float32([[1.0], [np.nan], [-np.inf], [1e30]])
    losses_of_pairs = [
        functools.partial(
            losses.info_nce, temperature=TEMPERATURE, block_size=block_size
        ),
        functools.partial(dense_info_nce, temperature=TEMPERATURE),
        functools.partial(losses.cross_correlation, off_diagonal_weight=0.1),
        losses.alignment,
    ]
    for loss in losses_of_pairs:
        value, gradients = value_and_gradient(loss, u, v, valid=jnp.asarray(valid))
        kept, kept_gradients = value_and_gradient(loss, u[valid], v[valid])
        np.testing.assert_allclose(value, kept, rtol=2e-6)
        for gradient, kept_gradient in zip(gradients, kept_gradients, strict=True):
            np.testing.assert_allclose(gradient[valid], kept_gradient, atol=2e-6)
            np.testing.assert_array_equal(gradient[~valid], 0)
    np.testing.assert_allclose(
        losses.embedding_std(u, valid=valid),
        losses.embedding_std(u[valid]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("block_size", [None, 4])
def test_without_any_valid_row(block_size):
    """Without any valid row everything is 0, its gradient too."""
    u, v = random_pairs(5)
    u[1] = np.nan
    valid = np.zeros(5, bool)
    for loss in [
        functools.partial(
            losses.info_nce, temperature=TEMPERATURE, block_size=block_size
        ),
        functools.partial(dense_info_nce, temperature=TEMPERATURE),
        functools.partial(losses.cross_correlation, off_diagonal_weight=0.1),
        losses.alignment,
    ]:
        value, gradients = value_and_gradient(loss, u, v, valid=jnp.asarray(valid))
        assert value == 0
        np.testing.assert_array_equal(gradients, np.zeros((2, *u.shape)))
    assert losses.embedding_std(u, valid=valid) == 0


@pytest.mark.parametrize("block_size", [None, 8])
def test_jit_vmap_and_devices(block_size):
    """Compiled, over a batch, and with the rows spread over four devices, value and
    gradients are those of the plain call."""
    u, v = random_pairs(16)
    valid = np.arange(16) % 5 != 0

    def loss(u, v, valid):
        return losses.info_nce(
            u, v, temperature=TEMPERATURE, valid=valid, block_size=block_size
        )

    both = jax.value_and_grad(loss, (0, 1))
    expected = both(u, v, valid)
    assert_same(jax.jit(both)(u, v, valid), expected)
    stacked = jax.vmap(both)(*(np.stack([x, x[::-1]]) for x in (u, v, valid)))
    assert_same(jax.tree.map(lambda x: x[0], stacked), expected)
    reverse = jax.tree.map(lambda x: x[1], stacked)
    assert_same(
        (reverse[0], [x[::-1] for x in reverse[1]]), (expected[0], [*expected[1]])
    )
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    spread = [jax.device_put(x, rows) for x in (u, v, valid)]
    assert len(spread[0].sharding.device_set) == 4
    assert_same(jax.jit(both)(*spread), expected)


@pytest.mark.parametrize(
    ("num_devices", "block_size"), [(1, 5), (2, 1), (4, 5), (4, None)]
)
def test_devices_share_the_blocks_evenly(monkeypatch, num_devices, block_size):
    """Value and gradient are the plain form's. Each device computes as many blocks as
    any other, and together they compute each pair of blocks once per pass."""
    u, v = random_pairs(15)
    loss = functools.partial(losses.info_nce, temperature=TEMPERATURE)
    expected = value_and_gradient(dense_info_nce, u, v, temperature=TEMPERATURE)
    both = jax.value_and_grad(
        functools.partial(loss, block_size=block_size), argnums=(0, 1)
    )
    computed = collections.Counter()
    original = blockwise_logsumexp.exponentials

    def counted(*args):
        device = jax.lax.axis_index("data") if num_devices > 1 else 0
        jax.debug.callback(lambda device: computed.update([int(device)]), device)
        return original(*args)

    monkeypatch.setattr(blockwise_logsumexp, "exponentials", counted)
    mesh = Mesh(np.asarray(jax.devices()[:num_devices]), ("data",))
    with jax.set_mesh(mesh):
        found = jax.jit(both)(u, v)
        num_blocks = blockwise_logsumexp.count_blocks(30, block_size)
        assert_same(found, expected)
        jax.effects_barrier()
    assert num_blocks >= 30 / (block_size or 30)
    assert len(computed) == num_devices and len(set(computed.values())) == 1
    assert computed.total() == 2 * num_blocks * (num_blocks + 1) / 2


def temporary_bytes(loss, num_pairs: int, **options) -> int:
    """Asks the compiler how much memory value and gradients take."""
    rows = jax.ShapeDtypeStruct((num_pairs, 8), jnp.float32)
    both = jax.value_and_grad(
        functools.partial(loss, temperature=TEMPERATURE, **options), (0, 1)
    )
    analysis = jax.jit(both).lower(rows, rows).compile().memory_analysis()
    if analysis is None:
        pytest.skip("this backend does not tell how much memory a program takes")
    return analysis.temp_size_in_bytes


def test_memory_is_linear():
    """Twice the pairs take twice the memory, where the plain form takes four times."""
    streamed = [
        temporary_bytes(losses.info_nce, n, block_size=128) for n in (4096, 8192)
    ]
    dense = [temporary_bytes(dense_info_nce, n) for n in (1024, 2048)]
    assert streamed[1] < 2.6 * streamed[0]
    assert dense[1] > 3.5 * dense[0]
    # Less than a hundredth of one 2N x 2N matrix.
    assert streamed[1] < (2 * 8192) ** 2 * 4 / 100


@pytest.mark.parametrize("block_size", [None, 8])
def test_bfloat16_is_summed_in_float32(block_size):
    """Embeddings in bfloat16 give a float32 loss, equal to that of the rounded rows,
    and gradients in bfloat16."""
    u, v = (jnp.asarray(x, jnp.bfloat16) for x in random_pairs(12))
    loss = functools.partial(
        losses.info_nce, temperature=TEMPERATURE, block_size=block_size
    )
    value, (du, _) = value_and_gradient(loss, u, v)
    wide, (wide_du, _) = value_and_gradient(
        loss, u.astype(jnp.float32), v.astype(jnp.float32)
    )
    assert value.dtype == jnp.float32 and du.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, wide, rtol=1e-6)
    np.testing.assert_allclose(du.astype(jnp.float32), wide_du, rtol=1e-2, atol=1e-5)


def cross_correlation_plain(u, v, weight: float, module=np):
    """The formula of Barlow Twins, in NumPy or in jax.numpy."""
    u, v = ((x - x.mean(0)[None]) / x.std(0)[None] for x in (u, v))
    correlation = u.T @ v / len(u)
    diagonal = module.diag(correlation)
    off_diagonal = correlation - module.diag(diagonal)
    return ((1 - diagonal) ** 2).sum() + weight * (off_diagonal**2).sum()


@pytest.mark.parametrize("weight", [0.0, 0.005, 1.0])
def test_cross_correlation_equals_the_formula(weight):
    """The loss is Barlow Twins' formula in float64, its gradient that of autodiff."""
    u, v = random_pairs(50, 7)
    value, gradients = value_and_gradient(
        losses.cross_correlation, u, v, off_diagonal_weight=weight
    )
    expected = cross_correlation_plain(*(x.astype(np.float64) for x in (u, v)), weight)
    np.testing.assert_allclose(value, expected, rtol=2e-5)
    plain = functools.partial(cross_correlation_plain, weight=weight, module=jnp)
    assert_same(gradients, jax.grad(plain, (0, 1))(u, v), atol=1e-5)


def test_cross_correlation_of_whitened_views():
    """Equal views with uncorrelated dimensions are the optimum: loss and slope 0."""
    sample = np.random.default_rng(0).normal(size=(40, 5))
    white = np.linalg.qr(sample - sample.mean(0))[0].astype(np.float32) * 3
    value, gradients = value_and_gradient(
        losses.cross_correlation, white, white, off_diagonal_weight=1.0
    )
    np.testing.assert_allclose(value, 0, atol=1e-9)
    assert_same(gradients, (0 * white, 0 * white))


def test_cross_correlation_ignores_affine_changes():
    """Neither scale nor offset of a dimension matters; a negative scale does."""
    u, v = random_pairs(30, 4)
    loss = functools.partial(losses.cross_correlation, off_diagonal_weight=0.1)
    scale, offset = np.float32([[0.1, 2, 30, 1]]), np.float32([[3, -1, 0, 10]])
    np.testing.assert_allclose(loss(scale * u + offset, v), loss(u, v), rtol=1e-4)
    np.testing.assert_allclose(loss(u, scale * v + offset), loss(u, v), rtol=1e-4)
    assert loss(-u, v) > loss(u, v) + 1


def test_constant_dimension_has_no_correlation():
    """A collapsed dimension costs 1, as if uncorrelated, with finite gradients."""
    u, v = random_pairs(30, 4)
    u[:, 2], v[:, 2] = 0.7, -1.3
    value, gradients = value_and_gradient(
        losses.cross_correlation, u, v, off_diagonal_weight=0.1
    )
    rest = losses.cross_correlation(
        np.delete(u, 2, 1), np.delete(v, 2, 1), off_diagonal_weight=0.1
    )
    np.testing.assert_allclose(value, 1 + rest, rtol=1e-4)
    assert all(np.isfinite(x).all() for x in gradients)


def test_alignment():
    """The alignment is the mean cosine: 1 for equal directions, -1 for opposite."""
    u, v = random_pairs(20)
    cosines = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(losses.alignment(u, v), cosines.mean(), rtol=1e-5)
    np.testing.assert_allclose(losses.alignment(u, 4 * u), 1, rtol=1e-6)
    np.testing.assert_allclose(losses.alignment(u, -u), -1, rtol=1e-6)


def test_embedding_std():
    """The spread is 1/sqrt(d) over isotropic rows and 0 over one direction."""
    u = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    np.testing.assert_allclose(losses.embedding_std(u), 0.25, rtol=0.01)
    collapsed = np.outer(np.arange(1, 9), np.arange(1, 4)).astype(np.float32)
    np.testing.assert_allclose(losses.embedding_std(collapsed), 0, atol=1e-6)


def random_masks(num_classes: int = 4, seed: int = 0):
    """Logits and labels of which a fifth is missing."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (2, 5, 6, num_classes)).astype(np.float32)
    labels = generator.integers(0, num_classes, (2, 5, 6))
    labels[generator.random(labels.shape) < 0.2] = 255
    return logits, labels.astype(np.int32)


def segmentation_loops(logits, labels):
    """Cross-entropy and the soft Dice loss of each class, pixel by pixel."""
    num_classes = logits.shape[-1]
    entropy, count = 0.0, 0
    overlap, size = np.zeros(num_classes), np.zeros(num_classes)
    for pixel in np.ndindex(labels.shape):
        if labels[pixel] == 255:
            continue
        p = np.exp(logits[pixel].astype(np.float64))
        p /= p.sum()
        entropy -= math.log(p[labels[pixel]])
        count += 1
        overlap[labels[pixel]] += p[labels[pixel]]
        size[labels[pixel]] += 1
        size += p
    return entropy / count, 1 - (2 * overlap + 1e-5) / (size + 1e-5)


def test_segmentation_losses_equal_the_loops():
    """Both terms are their formulas in float64, over the labelled pixels alone."""
    logits, labels = random_masks()
    entropy, dice = segmentation_loops(logits, labels)
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), entropy, rtol=1e-5)
    np.testing.assert_allclose(losses.soft_dice(logits, labels), dice.mean(), rtol=1e-5)
    foreground = losses.soft_dice(logits, labels, include_background=False)
    np.testing.assert_allclose(foreground, dice[1:].mean(), rtol=1e-5)
    for include_background, term in [(True, dice), (False, dice[1:])]:
        total = losses.segmentation_loss(
            logits,
            labels.astype(np.uint8),
            cross_entropy_weight=0.3,
            dice_weight=2.0,
            include_background=include_background,
        )
        np.testing.assert_allclose(total, 0.3 * entropy + 2 * term.mean(), rtol=1e-5)


def test_unlabelled_pixels_are_ignored():
    """What is predicted where the label is 255 changes nothing and has no gradient."""
    logits, labels = random_masks()
    missing = labels == 255
    loss = functools.partial(
        losses.segmentation_loss,
        labels=labels,
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        include_background=True,
    )
    value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
    assert value == jax.jit(loss)(np.where(missing[..., None], 50.0, logits))
    np.testing.assert_array_equal(gradient[missing], 0)
    assert gradient[~missing].any(-1).all()


@pytest.mark.parametrize("include_background", [True, False])
def test_batch_without_labels(include_background):
    """A batch without any labelled pixel has loss 0 and gradient 0."""
    logits, labels = random_masks()
    value, gradient = jax.value_and_grad(losses.segmentation_loss)(
        logits,
        np.full_like(labels, 255),
        cross_entropy_weight=1.0,
        dice_weight=1.0,
        include_background=include_background,
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_perfect_and_absent_classes():
    """A certain and right prediction costs nothing, also where a class is absent."""
    labels = np.zeros((1, 4, 4), np.int32)
    labels[0, :2] = 2
    logits = 60 * jax.nn.one_hot(labels, 4)
    np.testing.assert_allclose(losses.soft_dice(logits, labels), 0, atol=1e-6)
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), 0, atol=1e-6)


def test_the_gradient_of_the_cross_entropy_scatters_nothing():
    """A scatter runs on one core."""
    labels = jnp.zeros((2, 4, 4), jnp.int32)
    gradient = jax.grad(lambda x: losses.cross_entropy(x, labels))
    assert "scatter" not in str(jax.make_jaxpr(gradient)(jnp.zeros((2, 4, 4, 3))))


def test_the_segmentation_loss_sums_over_no_axis_of_classes():
    """On a CPU such sums are passes of their own over all pixels, and slow ones."""
    labels = jnp.zeros((2, 4, 4), jnp.int32)
    gradient = jax.grad(losses.segmentation_loss)
    weights = {"cross_entropy_weight": 1.0, "dice_weight": 1.0}
    jaxpr = str(
        jax.make_jaxpr(
            lambda x: gradient(x, labels, include_background=True, **weights)
        )(jnp.zeros((2, 4, 4, 3)))
    )
    assert "reduce_sum" in jaxpr
    assert "reduce_max" not in jaxpr
    assert "axes=(3,)" not in jaxpr
