"""Command lines of any words, read and checked up to where a mode would begin."""

import contextlib
import copy
import functools
import io
import shutil
import warnings
from pathlib import Path

from absl import flags
from hypothesis import strategies as st
from ml_collections import config_flags

import configs.pix2rep
from pix2rep_jax.cli import program
from pix2rep_jax.cli.config_file import (
    config_argument,
    default_workdir,
    split_workdirs,
    with_found_config,
    with_quoted_words,
    with_run_config,
)
from pix2rep_jax.cli.parse import parse
from pix2rep_jax.cli.prepare import check as check_config
from pix2rep_jax.cli.prepare import prepare
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.runtime.home import expand
from tests.faults.long.drawn import is_refused

VALUES = (
    *("0", "1", "-1", "2", "3", "0.5", "-0.5", "1e-30", "1e30", "nan", "inf", "-inf"),
    *("", "none", "None", "auto", "True", "False", "true", "a", "a,b", "a,b,", "(1,2)"),
    *("(1,2", "[1]", "1,2", "1,2,", "()", "{}", "'", '"a', "a b", "é", "\udce9"),
    *("phantom", "nifti", "acdc", "center", "middle", "whole", "mask_box"),
    *("info_nce", "simclr"),
    *("cross_correlation", "mae", "byol", "float32", "bfloat16", "99999999999", "0x10"),
    *("~nobody/x", "/dev/null", "\n", "..", "lambda: 1", "__import__('os')", "1_000"),
    *("BG,RV,MYO,LV", "patient001", "1e3", "4,8", "64,"),
)

DEFAULTS = {
    name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    for name, value in walk(configs.pix2rep.get_config("quick"))
}
NAMES = tuple(DEFAULTS)

ODD = (
    *("--", "-", "pretrain", "--config", "--config=", "--mode", "--workdir=", "-h"),
    *("--config.", "--config.data", "--config.data=3", "--cofnig.seed=1", "--nosuch"),
    *("--config.data.nosuch=1", "--config.nosuch.size=1", "--overwrite=maybe"),
    *("--input=/nowhere", "--output=", "--suffix=/", "--coordinator=x:y"),
    *("--process_id=-1", "--config=configs/pix2rep.py:huge", "--config=nowhere.py"),
    *("--format=rgb", "--grid=scan", "--embedding=x", "--nooverwrite", "--mode=nosuch"),
    *("--flagfile=/nowhere", "--undefok=a", "--support=", "\udcff", "--=1"),
)


@st.composite
def drawing(draw) -> tuple[str, ...]:
    """Draws a good command of a mode, with some settings and some odd words."""
    words = []
    if draw(st.integers(0, 19)):
        file = st.sampled_from(("pix2rep.py", "pix2rep.py", "pix2rep.py:small"))
        words.append(f"--config=configs/{draw(file)}")
    if draw(st.integers(0, 19)):
        words.append(f"--mode={draw(st.sampled_from(sorted(program.MODES)))}")
    anything = st.one_of(
        st.sampled_from(VALUES), st.text(max_size=8), st.floats().map(str)
    )
    for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):
        name = draw(st.sampled_from(NAMES))
        value = draw(anything) if draw(st.booleans()) else DEFAULTS[name]
        if draw(st.integers(0, 9)):
            words.append(f"--config.{name}={value}")
        else:
            words += [f"--config.{name}", value]
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1)))):
        place = draw(st.integers(0, len(words)))
        words.insert(place, draw(st.sampled_from(ODD)))
    return tuple(words)


def check(place: Path, drawn: tuple[str, ...]) -> bool:
    """Reads a command line, and does all that comes before its mode.

    Returns:
        Whether it was accepted: then the mode would have begun.
    """
    shutil.rmtree(place / "run", ignore_errors=True)
    own = (f"--workdir={place / 'run'}", f"--config.data.cache_dir={place / 'cache'}")
    silent = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            _read(["main.py", *own, *drawn])
        return True
    except SystemExit:  # of --help
        return False
    except Exception as error:
        if not is_refused(error):
            raise
        return False


def _read(words: list[str]) -> None:
    """Does what `program.main` and `run_mode` do before they call a mode."""
    full = with_quoted_words(with_run_config(with_found_config(words)))
    values = flags.FlagValues()
    for flag in _own_flags():
        if flag.name != "config":
            values[flag.name] = copy.deepcopy(flag)
    read: list[str] = []  # as in the program, filled before they are parsed
    config = config_flags.DEFINE_config_file(
        "config", None, "A configuration.", flag_values=values, sys_argv=read
    )
    read[:] = full
    flags.mark_flags_as_required(["config", "mode"], flag_values=values)
    rest = parse(full, values)
    if len(rest) > 1:
        return
    places = {
        f"--{name}": values[name].value for name in ("input", "output", "support")
    }
    check_config(config.value, places)
    mode = values["mode"].value
    named = values["workdir"].value or default_workdir(config_argument(words))
    workdir, *_ = (expand(x, "--workdir") for x in split_workdirs(named, mode))
    prepare(config.value, workdir, mode, command=words)


@functools.cache
def _own_flags() -> list:
    return flags.FLAGS.get_flags_for_module("pix2rep_jax.cli.program")
