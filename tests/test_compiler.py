"""The options of the compiler are taken, and change no result."""

import jax
import numpy as np

from pix2rep_jax.compiler import compiler_options


def test_the_options_are_accepted_and_harmless(key):
    """A convolution compiled with them is the convolution."""

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x = jax.random.normal(key, (2, 8, 8, 32))
    kernel = jax.random.normal(key, (3, 3, 32, 32))
    ours = jax.jit(convolve, compiler_options=compiler_options())(x, kernel)
    np.testing.assert_allclose(ours, jax.jit(convolve)(x, kernel), atol=1e-4)


def test_an_unknown_option_is_left_out(monkeypatch):
    """As with a jax that has it no more."""

    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("No such compile option")

    compiler_options.cache_clear()
    monkeypatch.setattr(jax, "jit", refuse)
    assert compiler_options() is None
    compiler_options.cache_clear()
