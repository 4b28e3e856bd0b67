"""The program behind `python main.py` and `pix2rep`: parse, check, dispatch.

What a mode does is in pix2rep_jax/modes/, where it can be imported and tested.
"""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from absl import app, flags, logging
from ml_collections import config_flags

from pix2rep_jax.cli.config_file import (
    config_argument,
    default_workdir,
    flag_argument,
    split_workdirs,
    with_found_config,
    with_quoted_words,
    with_run_config,
)
from pix2rep_jax.cli.failure import describe_failure
from pix2rep_jax.cli.parse import parse
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.home import expand
from pix2rep_jax.runtime.huge_pages import use_huge_pages
from pix2rep_jax.runtime.messages import hide_compiler_messages, show_messages
from pix2rep_jax.runtime.standard_streams import abandon_output, mend_streams
from pix2rep_jax.wording import speak_of_flags

__all__ = ["MODES", "main"]

MODES = {
    "check": ("pix2rep_jax.modes.check", ()),
    "pretrain": ("pix2rep_jax.modes.pretrain", ("command",)),
    "probe": ("pix2rep_jax.modes.probe", ("command",)),
    "finetune": ("pix2rep_jax.modes.finetune", ("command",)),
    "context": ("pix2rep_jax.modes.context", ("command",)),
    "folds": ("pix2rep_jax.modes.folds", ("command",)),
    "evaluate": ("pix2rep_jax.modes.evaluate", ("others",)),
    "predict": (
        "pix2rep_jax.modes.predict",
        (
            "input",
            "output",
            "overwrite",
            "probabilities",
            "suffix",
            "others",
            "support",
        ),
    ),
    "figures": ("pix2rep_jax.modes.figures", ()),
    "report": (
        "pix2rep_jax.modes.report",
        ("command", "others", "output", "overwrite", "anonymise"),
    ),
    "embed": (
        "pix2rep_jax.modes.embed",
        (
            "input",
            "output",
            "overwrite",
            "embedding",
            "grid",
            "format",
            "anonymise",
        ),
    ),
    "export": ("pix2rep_jax.modes.export", ("output", "overwrite", "format")),
    "explore": (
        "pix2rep_jax.modes.explore",
        ("input", "output", "overwrite", "embedding", "anonymise"),
    ),
    "study": ("pix2rep_jax.study.command", ("command",)),
}
"""The module of each --mode, and what its `run(config, workdir, ...)` takes besides."""

_STOPPED = "stopped; what was saved is kept"

_WORDS: list[str] = []
"""The words that are parsed. The parser of overrides reads a list on its own."""

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A configuration and its size, such as configs/pix2rep.py:small. Not needed where "
    "--workdir holds a run.",
    sys_argv=_WORDS,
)
_MODE = flags.DEFINE_enum("mode", None, list(MODES), "What to do.")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder; the default is runs/<config>[-<size>]. predict and evaluate "
    "take several, A,B,C, as an ensemble; report compares them.",
)
_INPUT = flags.DEFINE_string(
    "input", None, "predict, embed, explore: a NIfTI file or a folder."
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "predict: the folder for the masks, or one scan's mask. embed, export: a folder. "
    "report, explore: the HTML file.",
)
_SUPPORT = flags.DEFINE_string(
    "support",
    None,
    "predict: masked scans, or one scan with its mask beside it. A pretraining then "
    "segments by them, without training.",
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "predict, embed, explore, export, report: replace files that are there.",
)
_EMBEDDING = flags.DEFINE_enum(
    "embedding",
    None,
    ["features", "projection"],
    "embed, explore: the backbone's features (default of embed), or what the "
    "pretraining compares (default of explore, where there is such a thing).",
)
_GRID = flags.DEFINE_enum(
    "grid",
    None,
    ["network", "scan"],
    "embed: the pixels of an npz, the network's (default) or the scan's. NIfTI always "
    "has the scan's.",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["npz", "nifti", "rgb", "safetensors", "onnx", "stablehlo", "pytorch"],
    "embed: float16 npz (default); NIfTI with the channels last; or the first three "
    "principal components as the colours of a NIfTI. export: safetensors (default), "
    "onnx, stablehlo, or pytorch, a state dict for examples/pytorch_unet.py.",
)
_ANONYMISE = flags.DEFINE_bool(
    "anonymise",
    False,
    "embed, explore, report: leave the scans' names and headers out of what is "
    "written. It still holds images of patients.",
)
_PROBABILITIES = flags.DEFINE_bool(
    "probabilities", False, "predict: write NAME_probabilities too."
)
_SUFFIX = flags.DEFINE_string(
    "suffix", "_seg", "predict: what a mask's name adds to its scan's; may be empty."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several hosts: HOST:PORT of process 0, or 'auto' on a TPU pod or a cluster.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several hosts: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several hosts: which one.")
flags.mark_flags_as_required(["config", "mode"])


def main() -> None:
    """Runs the command line of this process, and ends the process."""
    speak_of_flags()
    mend_streams()  # before anything opens a file
    use_huge_pages()
    hide_compiler_messages()
    words = sys.argv
    for flag in flags.FLAGS.get_flags_for_module(__name__):  # --help shows these
        flags.FLAGS.register_key_flag_for_module(words[0], flag)
    try:
        _WORDS[:] = with_quoted_words(with_run_config(with_found_config(words)))
        # absl would print a traceback where the parsing fails.
        app.run(lambda rest: run_mode(words, rest), argv=_WORDS, flags_parser=parse)
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        workdir = flag_argument(words, "workdir")
        message, status = describe_failure(error, workdir, command=words)
        print(message, file=sys.stderr)
        sys.exit(status)
    finally:
        abandon_output()
        # All is saved. A second Ctrl-C would only interrupt how jax cleans up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(number: int, frame: FrameType | None) -> None:
    """Ends the process at once: threads that still write would print tracebacks."""
    with contextlib.suppress(Exception):  # it may be in the middle of printing
        sys.stdout.flush()
    os.write(2, f"{_STOPPED}\n".encode())
    os._exit(128 + number)


def run_mode(words: Sequence[str], rest: Sequence[str]) -> int:
    """Checks the configuration and runs the mode.

    Args:
        words: The whole command line.
        rest: The words of it that are not flags, program first.

    Returns:
        The exit status.

    Raises:
        InputError: If the configuration makes no sense, or the mode cannot run.
    """
    from pix2rep_jax.cli.prepare import check, prepare  # late: jax is slow
    from pix2rep_jax.runtime.multihost import join_hosts
    from pix2rep_jax.training.interrupt import call_at_second

    call_at_second(leave)
    if len(rest) > 1:
        raise InputError(f"{rest[1]!r} is not a flag: every option starts with --")
    config = _CONFIG.value
    places = {
        "--input": _INPUT.value,
        "--output": _OUTPUT.value,
        "--support": _SUPPORT.value,
    }
    check(config, places)
    logging.set_verbosity(logging.ERROR)  # Orbax tells every file it writes
    show_messages()
    join_hosts(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    named = _WORKDIR.value or default_workdir(config_argument(words))
    mode = str(_MODE.value)
    workdir, *others = (expand(x, "--workdir") for x in split_workdirs(named, mode))
    prepare(config, workdir, mode, command=words)
    module, takes = MODES[mode]
    given = {
        "command": words,
        "input": _INPUT.value,
        "output": _OUTPUT.value,
        "overwrite": _OVERWRITE.value,
        "probabilities": _PROBABILITIES.value,
        "suffix": _SUFFIX.value,
        "others": others,
        "support": _SUPPORT.value,
        "embedding": _EMBEDDING.value,
        "grid": _GRID.value,
        "format": _FORMAT.value,
        "anonymise": _ANONYMISE.value,
    }
    for name in sorted(given.keys() - {"command", "others", *takes}):
        if flags.FLAGS[name].present:
            note = f"note: --mode {mode} does not read --{name}: it changes nothing"
            print(note, file=sys.stderr)
    run = importlib.import_module(module).run
    options = {name: given[name] for name in takes}
    return run(config, workdir, **options) or 0
