"""How programs are compiled: XLA's options, and where the compiled ones are kept."""

import functools
import os
from pathlib import Path

import jax

__all__ = ["cache_programs", "compiler_options", "once_options"]

_LEVEL = "xla_backend_optimization_level"


def cache_programs(folder: Path) -> None:
    """Keeps compiled programs on disk, so that a mode starts sooner the next time.

    Small programs are kept too: a start compiles a dozen, which takes as long as the
    import of jax. The user's own `JAX_COMPILATION_CACHE_DIR` and
    `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` come first. If the folder cannot be
    written, programs are compiled anew each time.

    Args:
        folder: Where to keep them; it is made when there is a program to keep.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@functools.cache
def compiler_options() -> dict[str, str | int] | None:
    """Returns the options of `jax.jit` for programs with many convolutions.

    On a CPU, XLA hands convolutions and matrix products to a library that runs small
    ones on a single core. XLA's own code runs them on all cores.

    Returns:
        The options that this jax knows; None on other backends. An optimisation level
        in `XLA_FLAGS` is kept.
    """
    if jax.default_backend() != "cpu":
        return None
    # The library keeps its reductions. A processor with AVX-512 takes 16 numbers at
    # once, of which XLA uses 8 by default; on others the width changes nothing.
    options: dict[str, str | int] = {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
        "xla_cpu_prefer_vector_width": 512,
    }
    if _LEVEL not in os.environ.get("XLA_FLAGS", ""):
        options[_LEVEL] = 2  # as fast a step as with 3, compiled in less time
    if _are_known(options):
        return options
    return {name: each for name, each in options.items() if _are_known({name: each})}


def _are_known(options: dict[str, str | int]) -> bool:
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def once_options() -> dict[str, int] | None:
    """Returns the options of `jax.jit` for programs that run once.

    On a CPU they are compiled without optimisation, which is ten times as fast.
    """
    on_cpu = jax.default_backend() == "cpu"
    return {_LEVEL: 0} if on_cpu else None
