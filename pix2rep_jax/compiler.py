"""Options for XLA, where its defaults are slow for this."""

import functools

import jax

__all__ = ["compiler_options"]


@functools.cache
def compiler_options() -> dict[str, str] | None:
    """Returns the options of `jax.jit` for programs with many convolutions.

    On a CPU, XLA hands convolutions and matrix products to a library that runs small
    ones on a single core; its own run on all of them (docs/performance.md).

    Returns:
        The options, or None on other backends and where this jax has no such option.
    """
    if jax.default_backend() != "cpu":
        return None
    # What is left to the library.
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options
