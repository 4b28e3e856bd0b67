"""The command line: python main.py --config configs/pix2rep.py --mode pretrain.

This file only parses and dispatches; what a mode does is in pix2rep_jax/modes/,
where it can be imported and tested.
"""

import importlib
import pathlib
import sys

from pix2rep_jax.errors import InputError, explain_disk, explain_memory, explain_missing

try:
    from absl import app, flags, logging
    from ml_collections import config_flags
except ModuleNotFoundError as error:
    sys.exit(f"error: {explain_missing(error)}")

from pix2rep_jax.runtime.command_line import config_argument, default_workdir, explain
from pix2rep_jax.runtime.config_checks import check_settings, split_words
from pix2rep_jax.runtime.huge_pages import use_huge_pages

MODES = ("pretrain", "probe", "finetune", "evaluate", "predict", "figures", "study")

_CONFIG = config_flags.DEFINE_config_file("config", None, "Such as configs/pix2rep.py.")
_MODE = flags.DEFINE_enum("mode", None, MODES, "What to do.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; runs/<config>[-<variant>] when not given."
)
_INPUT = flags.DEFINE_string("input", None, "predict: a NIfTI file or a folder.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "predict: the folder for the masks, or one scan's mask."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "predict: replace masks.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several hosts: HOST:PORT of process 0, or 'auto' on a TPU pod or a cluster.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several hosts: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several hosts: which one.")
flags.mark_flags_as_required(["config", "mode"])
config_is_read = False


def main(argv: list[str]) -> int:
    """Runs one mode and returns the exit status."""
    from pix2rep_jax.runtime.compiler import cache_programs  # late: jax takes a second
    from pix2rep_jax.runtime.multihost import join_hosts

    global config_is_read
    if len(argv) > 1:
        raise InputError(f"{argv[1]!r} is not a flag: every option starts with --")
    split_words(_CONFIG.value)
    check_settings(_CONFIG.value)
    config_is_read = True
    logging.set_verbosity(logging.ERROR)  # Orbax tells every file it writes
    join_hosts(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    cache = pathlib.Path(_CONFIG.value.data.cache_dir).expanduser()
    cache_programs(cache / "programs")
    named = _WORKDIR.value or default_workdir(config_argument(sys.argv))
    workdir = pathlib.Path(named).expanduser().resolve()
    options = {}
    if _MODE.value == "predict":
        options = {
            "input": _INPUT.value,
            "output": _OUTPUT.value,
            "overwrite": _OVERWRITE.value,
        }
    mode = importlib.import_module(
        "pix2rep_jax.study.command"
        if _MODE.value == "study"
        else f"pix2rep_jax.modes.{_MODE.value}"
    )
    return mode.run(_CONFIG.value, workdir, **options) or 0


if __name__ == "__main__":
    use_huge_pages()
    try:
        app.run(main, flags_parser=flags.FLAGS)  # absl would print a traceback
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; what was saved is kept", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        sentence = (
            explain_memory(error) or explain_disk(error) or explain_missing(error)
        )
        if not config_is_read:  # what comes later is no slip of the command line's
            sentence = sentence or explain(error, sys.argv)
        if sentence is None:
            raise
        sys.exit(f"error: {sentence}")
