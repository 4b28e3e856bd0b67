"""From the words of a command to its flags and its configuration."""

import re
import warnings
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from pix2rep_jax.cli.config_file import (
    config_argument,
    explain_override,
    suggest_config,
)
from pix2rep_jax.errors import InputError

__all__ = ["parse", "read_settings"]


def parse(words: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the flags, and reads the configuration with its overrides.

    Args:
        words: The command line, program first.
        values: The flags that it may have, which take its values.

    Returns:
        The words that are not flags, program first.

    Raises:
        InputError: If they make no sense, or the configuration cannot be read.
    """
    config = config_argument(words)
    cause: Exception
    try:
        return values(words)
    except ModuleNotFoundError:
        raise
    except flags.Error as error:  # its text may hold a config file's whole traceback
        said = str(error).strip().splitlines()[-1].strip()
        if missing := re.search(r"Flag (--\w+) must have a value", said):
            said = f"{missing[1]} is missing: main.py --help lists the flags"
            if missing[1] == "--config":
                said = (
                    "--config is missing, and --workdir has no run to take it from: "
                    "add --config configs/pix2rep.py, or correct --workdir"
                )
        said += suggest_config(said)
        if not re.match(r"(?!ValueError)\w+Error: ", said):
            raise InputError(said.removeprefix("ValueError: ")) from error
        cause = error
    except Exception as error:
        if sentence := explain_override(words, error):
            raise InputError(f"{config} {sentence}") from error
        said = " ".join(f"{type(error).__name__}: {error}".split())
        cause = error
    raise InputError(
        f"the config file {config!r} cannot be used ({said}): it must be Python with a "
        "get_config, as configs/pix2rep.py"
    ) from cause


def read_settings(words: Sequence[str]) -> ConfigDict:
    """Reads the configuration of a command that is not the one of this process.

    Args:
        words: The command, program first. Other flags than `--config` and its
            overrides are passed over.

    Raises:
        InputError: As `parse`.
    """
    program, *options = words
    own = [program, *(x for x in options if re.match(r"--?config[.=]", x))]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", None, "A configuration.", flag_values=values, sys_argv=own
    )
    with warnings.catch_warnings():  # the way in which the file is loaded is old
        warnings.simplefilter("ignore", DeprecationWarning)
        parse(own, values)
    return config.value
