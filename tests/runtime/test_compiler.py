"""The options of the compiler are taken, and change no result."""

import jax
import numpy as np
import pytest

from pix2rep_jax.runtime.compiler import cache_programs, compiler_options
from tests.support.program import lines, start, succeed


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
    assert compiler_options()["xla_cpu_prefer_vector_width"] == 512


def test_an_unknown_option_is_left_out(monkeypatch):
    """As with a jax that has it no more, or not yet. The others are kept."""
    known, unknown, jit = compiler_options(), "xla_cpu_prefer_vector_width", jax.jit

    def refuse(function, *, compiler_options):
        if unknown in compiler_options:
            raise jax.errors.JaxRuntimeError("No such compile option")
        return jit(function, compiler_options=compiler_options)

    compiler_options.cache_clear()
    monkeypatch.setattr(jax, "jit", refuse)
    rest = compiler_options()
    compiler_options.cache_clear()
    assert rest == {name: value for name, value in known.items() if name != unknown}
    assert len(rest) == len(known) - 1


@pytest.mark.slow
def test_a_second_start_takes_the_programs_of_the_first(tmp_path, cache, monkeypatch):
    """They are kept beside the data, and compute the same to the bit."""
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    kept, losses = [], []
    for name in ("first", "second"):
        succeed(start("pretrain", tmp_path / name, cache, pretrain__num_steps=4))
        kept.append(
            sorted(path.name for path in (tmp_path / "programs").glob("*-cache"))
        )
        losses.append(
            [x["loss"] for x in lines(tmp_path / name / "pretrain") if "loss" in x]
        )
    assert any("step" in name for name in kept[0])
    assert kept[0] == kept[1]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_finetuning_compiles_few_programs(tmp_path, cache, workdir, monkeypatch):
    """From keys to scores. A function of jax.numpy outside a program is one of its own,
    and it is another one for each shape."""
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    options = {"init__checkpoint": workdir, "init__recalibrate": True}
    succeed(start("finetune", tmp_path / "run", cache, **options))
    kept = sorted(path.name for path in (tmp_path / "programs").glob("*-cache"))
    assert len(kept) <= 14, kept


def test_programs_are_kept_in_the_folder_that_is_named(tmp_path, monkeypatch):
    """Unless the user has named one."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    cache_programs(tmp_path)
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    try:
        cache_programs(tmp_path)
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
