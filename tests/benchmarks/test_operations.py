"""The count of operations that the benchmarks divide by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.operations import count_operations


def test_products_convolutions_and_loops_are_counted():
    """Two operations a term of every sum, in each turn; elementwise work is free."""
    a, b = np.ones((5, 3, 7), np.float32), np.ones((5, 7, 2), np.float32)
    image, kernel = np.ones((2, 8, 8, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def loop(a, b):
        return jax.lax.scan(lambda sum_, _: (sum_ + a @ b, None), 0.0 * a @ b, None, 4)

    product = 2 * 5 * 3 * 7 * 2
    convolution = 2 * (2 * 8 * 8 * 4) * (3 * 3 * 3)
    assert count_operations(jax.jit(lambda a, b: jnp.exp(a @ b)), a, b) == product
    assert count_operations(jax.jit(loop), a, b) == 5 * product
    assert count_operations(jax.jit(convolve), image, kernel) == convolution
    # Forward, and twice as much for two gradients; but each of the kernel's nine is a
    # sum over the whole image.
    value = jax.jit(jax.grad(lambda *x: (convolve(*x) ** 2).sum(), (0, 1)))
    assert count_operations(value, image, kernel) == pytest.approx(3 * convolution)
