"""Embeddings in few bytes keep their cosines, and say how well."""

import numpy as np
import pytest

from pix2rep_jax.explorer.reduced_vectors import reduce_vectors, restore_vectors


def cosines(first, second):
    """By the plain formula, in float64."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    return first @ second.T / lengths


def scans_of(axes, *, seed=0, length=(0.5, 20)):
    """Two scans whose embeddings are shorter along later axes, of any length."""
    draw = np.random.default_rng(seed)
    return [
        draw.normal(size=(slices, 9, 11, len(axes)))
        * axes
        * draw.uniform(*length, (slices, 9, 11, 1))
        for slices in (3, 2)
    ]


@pytest.mark.parametrize("number", [2, 7, 24])
def test_cosines_are_right_to_the_error_that_is_said(number):
    """Between pixels of two scans, whatever the vectors' lengths."""
    scans = scans_of(np.linspace(1, 0.3, number))
    reduced = reduce_vectors(scans)
    assert all(values.dtype == np.int8 for values in reduced.values)
    found = [
        restore_vectors(values, reduced.scale).reshape(-1, reduced.axes)
        for values in reduced.values
    ]
    expected = cosines(*(scan.reshape(-1, number) for scan in scans))
    errors = np.abs(found[0].astype(np.float64) @ found[1].T - expected)
    assert errors.max() <= 1.05 * reduced.largest_error < 0.03
    assert np.percentile(errors, 99) <= 1.05 * reduced.error < 0.011


def test_no_more_axes_are_kept_than_are_needed():
    """Forty short axes beside five long ones are worth nothing."""
    axes = np.concatenate([np.ones(5), np.full(40, 1e-3)])
    reduced = reduce_vectors(scans_of(axes))
    assert reduced.axes == 8 and reduced.error < 0.01


def test_the_error_of_what_is_cut_off_is_said():
    """Forty equal axes do not fit, and the cosines are off by a tenth or more."""
    reduced = reduce_vectors(scans_of(np.ones(40)))
    assert reduced.axes == 32 and reduced.error > 0.1


def test_pixels_outside_of_the_scan_stay_zero():
    scans = scans_of(np.ones(4))
    scans[0][:, :2] = 0
    values = reduce_vectors(scans).values
    assert not values[0][:, :2].any()
    assert values[0][:, 2:].any(-1).all() and values[1].any(-1).all()
