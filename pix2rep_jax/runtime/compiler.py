"""How programs are compiled: XLA's options, and where the compiled ones are kept."""

import functools
import os
from pathlib import Path

import jax

__all__ = ["cache_programs", "compiler_options", "once_options"]

_LEVEL = "xla_backend_optimization_level"


def cache_programs(folder: Path) -> None:
    """Keeps compiled programs on disk, so that a mode starts sooner the next time.

    Those that took a second or more to compile. A `JAX_COMPILATION_CACHE_DIR` of the
    user's own is kept. A folder that cannot be written to costs the time, nothing else.

    Args:
        folder: Where to keep them; made when there is something to keep.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))


@functools.cache
def compiler_options() -> dict[str, str | int] | None:
    """Returns the options of `jax.jit` for programs with many convolutions.

    On a CPU, XLA hands convolutions and matrix products to a library that runs small
    ones on a single core; its own run on all of them (docs/performance.md).

    Returns:
        The options, or None on other backends and where this jax has no such option.
        A level of optimisation in `XLA_FLAGS` is kept.
    """
    if jax.default_backend() != "cpu":
        return None
    # What is left to the library.
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
    if _LEVEL not in os.environ.get("XLA_FLAGS", ""):
        options[_LEVEL] = 2  # as fast a step as with 3, compiled in less time
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options


def once_options() -> dict[str, int] | None:
    """Returns the options of `jax.jit` for programs that run once.

    On a CPU they are compiled without optimisation, ten times sooner.
    """
    on_cpu = jax.default_backend() == "cpu"
    return {_LEVEL: 0} if on_cpu else None
