"""From the words of a command to its flags and its configuration."""

import contextlib
import re
import warnings
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from pix2rep_jax.cli.config_file import config_argument
from pix2rep_jax.cli.mistakes import explain_flag, explain_override
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import walk

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
    except SystemExit:  # absl ends --help as if it were a mistake
        raise SystemExit(0) from None
    except flags.Error as error:  # its text may hold a config file's whole traceback
        said = str(error).strip().splitlines()[-1].strip()
        said = explain_flag(said)
        ours = re.match(r"(pix2rep_jax\.errors\.InputError|ValueError): ", said)
        if ours or not re.match(r"[\w.]+Error: ", said):
            raise InputError(said[ours.end() if ours else 0 :]) from error
        cause = error
    except Exception as error:
        if explain_override(words, error):
            sentence = explain_override(words, error, _known_settings(words))
            raise InputError(sentence) from error
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


def _known_settings(words: Sequence[str]) -> list[str]:
    """Lists the settings of the configuration that a command names, by dotted names."""
    file = config_argument(words)
    with contextlib.suppress(InputError):
        return [name for name, _ in walk(read_settings([words[0], f"--config={file}"]))]
    return []
