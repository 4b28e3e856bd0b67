"""The nearest pixels and their votes, against plain loops in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from pix2rep_jax.inference import nearest_pixels
from pix2rep_jax.inference.nearest_pixels import (
    Neighbours,
    SupportPixels,
    choose_pixels,
    find_nearest,
    to_unit_length,
    vote,
)
from tests.support.stored import count_taken, make_slices, store


def make_support(count=300, d=6, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    vectors = to_unit_length(generator.normal(size=(count, d)))
    labels = generator.integers(0, classes, count).astype(np.uint8)
    return SupportPixels(vectors, labels, generator.uniform(0.5, 9, count).astype("f"))


def make_queries(count=70, d=6, seed=1):
    return np.random.default_rng(seed).normal(3, 5, size=(count, d)).astype(np.float32)


def plain_search(queries, support, k):
    """One query after the other, in float64."""
    found = []
    for query in queries.astype(np.float64):
        vectors = support.vectors.astype(np.float64)
        cosines = (
            vectors @ query / (np.linalg.norm(query) * np.linalg.norm(vectors, axis=1))
        )
        order = np.argsort(-cosines, kind="stable")[:k]
        found.append((cosines[order], support.labels[order], support.weights[order]))
    return Neighbours(*map(np.array, zip(*found, strict=True)))


@pytest.mark.parametrize("k", [1, 3, 31])
@pytest.mark.parametrize(
    ("count", "query_block", "support_block"),
    [(300, 512, 16384), (300, 16, 64), (2000, 32, 512), (5000, 64, 4096)],
)
def test_the_nearest_are_those_of_a_plain_loop(k, count, query_block, support_block):
    """Whichever way of sorting the sizes of the blocks lead to."""
    support, queries = make_support(count), make_queries()
    found = find_nearest(
        queries,
        support,
        neighbours=k,
        query_block=query_block,
        support_block=support_block,
    )
    expected = plain_search(queries, support, k)
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_of_equal_pixels_the_first_count_whatever_the_blocks():
    """Padding of scans gives many pixels one embedding; blocks must not choose among
    their classes. Whole numbers make the products exact."""
    generator = np.random.default_rng(0)
    vectors = np.eye(4, dtype=np.float32)[generator.integers(0, 4, 3000)]
    labels = generator.integers(0, 4, 3000).astype(np.uint8)
    support = SupportPixels(vectors, labels, np.ones(3000, np.float32))
    queries = np.eye(4, dtype=np.float32)
    results = [
        find_nearest(queries, support, neighbours=7, query_block=4, support_block=size)
        for size in (128, 1024, 4096, 16384)
    ]
    for query, row in enumerate(results[0].labels):
        alike = np.flatnonzero(vectors[:, query] == 1)[:7]
        np.testing.assert_array_equal(row, labels[alike])
    for other in results[1:]:
        np.testing.assert_array_equal(other.labels, results[0].labels)


def test_fewer_support_pixels_than_neighbours_all_vote():
    support = make_support(5)
    found = find_nearest(make_queries(3), support, neighbours=31)
    assert found.labels.shape == (3, 5)
    assert sorted(found.weights[0]) == sorted(support.weights)


def test_similarities_of_all_pairs_are_never_in_memory(monkeypatch):
    """The program's memory does not grow with the support, whose blocks it walks, and
    the blocks have the sizes that are asked for."""
    support, queries = make_support(5000), make_queries(600)
    search = nearest_pixels._compile_search()
    needed = []
    for number in (4, 64):
        blocks = jnp.zeros((number, 512, 6))
        plan = search.lower(queries[:64], blocks, 512, k=3).compile()
        needed.append(plan.memory_analysis().temp_size_in_bytes)
    assert needed[1] < 1.1 * needed[0] < 3 * 4 * 64 * 512  # bytes
    seen = set()

    def look(part, blocks, count, *, k):
        seen.add((len(part), blocks.shape[1]))
        return search(part, blocks, count, k=k)

    monkeypatch.setattr(nearest_pixels, "_compile_search", lambda: look)
    find_nearest(queries, support, neighbours=3, query_block=64, support_block=512)
    assert seen == {(64, 512)}


@pytest.mark.parametrize(("count", "blocks"), [(20_000, 2), (16_400, 2), (9_000, 1)])
def test_a_support_is_divided_alike_and_hardly_filled_up(monkeypatch, count, blocks):
    """Padding costs as much as pixels: a second block for a few pixels would double
    the time."""
    seen = []

    def look(part, parts, number, *, k):
        seen.append(parts.shape[:2])
        return np.zeros((len(part), k)), np.zeros((len(part), k), int)

    monkeypatch.setattr(nearest_pixels, "_compile_search", lambda: look)
    support = make_support(count)
    find_nearest(make_queries(), support, neighbours=3, support_block=16_384)
    assert seen[0][0] == blocks
    assert count <= np.prod(seen[0]) < 1.25 * count


@pytest.mark.parametrize("temperature", [0.0, 0.03, 0.5])
def test_votes_are_those_of_a_plain_loop(temperature):
    found = plain_search(make_queries(), make_support(), 9)
    shares = vote(found, num_classes=5, temperature=temperature)
    assert shares.shape == (70, 5)
    for pixel, row in enumerate(shares):
        expected = [0.0] * 5
        for s, label, weight in zip(*(x[pixel] for x in found), strict=True):
            expected[label] += weight * (np.exp(s / temperature) if temperature else 1)
        np.testing.assert_allclose(row, np.array(expected) / sum(expected), atol=1e-6)


def test_a_bounded_number_of_each_class_stands_for_all():
    """Padding and pixels without a class are left out; the weights keep the shares."""
    labels = np.random.default_rng(0).choice([0, 0, 0, 0, 1, 2, 255], (3, 20, 20))
    labels = labels.astype(np.uint8)
    inside = np.ones(labels.shape, bool)
    inside[:, :4] = False
    boxes = np.tile([4, 19, 0, 19], (3, 1))
    chosen, given, weights = choose_pixels(labels, boxes, most_pixels=100)
    assert (np.diff(chosen) > 0).all()
    assert inside.reshape(-1)[chosen].all()
    of_class = labels.reshape(-1)[chosen]
    np.testing.assert_array_equal(given, of_class)
    assert set(of_class) == {0, 1, 2}
    for value in (0, 1, 2):
        count = (inside & (labels == value)).sum()
        assert (of_class == value).sum() == min(100, count)
        np.testing.assert_allclose(weights[of_class == value].sum(), count, rtol=1e-5)
    again, *_ = choose_pixels(labels, boxes, most_pixels=100)
    np.testing.assert_array_equal(chosen, again)


@pytest.mark.parametrize("most_pixels", [5, 250, 10_000])
def test_pixels_of_masks_on_the_disk_are_chosen_part_by_part(
    tmp_path, monkeypatch, most_pixels
):
    """They are those of a draw among the places of each class, all in memory."""
    images, labels = make_slices(50)
    labels[labels == 3] = 255
    boxes = np.tile([0, 6, 1, 7], (50, 1))
    usable = np.zeros(labels.shape, bool)
    usable[:, :7, 1:] = labels[:, :7, 1:] != 255
    draw, expected = np.random.default_rng(0), []
    for value in (0, 1, 2):
        found = np.flatnonzero(usable & (labels == value))
        if len(found) > most_pixels:
            found = draw.choice(found, most_pixels, replace=False)
        expected += found.tolist()
    _, stored = store(tmp_path / "slices", (images, labels))
    taken = count_taken(monkeypatch)
    monkeypatch.setattr(nearest_pixels, "_PIXELS_AT_ONCE", 4 * 64)
    for given in (labels, stored):
        chosen = choose_pixels(given, boxes, most_pixels=most_pixels)
        np.testing.assert_array_equal(chosen.places, sorted(expected))
    assert max(taken) == 4 and sum(taken) == 2 * 50
