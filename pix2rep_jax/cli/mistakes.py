"""What a user most probably meant by a flag that cannot be read."""

import difflib
import re
import shlex
from collections.abc import Collection, Sequence

__all__ = ["explain_flag", "explain_override", "nearest_setting"]


def explain_override(
    command: Sequence[str], error: Exception, known: Collection[str] = ()
) -> str:
    """Explains that an override names a setting that does not exist.

    Args:
        command: The words of the command line.
        error: What the parser raised.
        known: The dotted names of all settings.

    Returns:
        One line with the setting's whole name and the nearest known one; "" if the
        error means something else.
    """
    if not isinstance(error, AttributeError | KeyError) or not error.args:
        return ""
    # It begins with the unknown part of the name, and may go on with a near one.
    said = re.sub(r"[\\'\"]", "", str(error.args[0]).replace("\\n", " "))
    part, *rest = said.split()
    found = (re.match(r"--?config\.([\w.]+)", word) for word in command)
    for name in (match[1] for match in found if match):
        if part.strip(".") in name.split(".") or name in rest:
            near = nearest_setting(name, known)
            hint = f": did you mean --config.{near}?" if near else ""
            return f"the configuration has no setting --config.{name}{hint}"
    return ""


def nearest_setting(name: str, known: Collection[str]) -> str:
    """Finds the setting that a mistaken name most probably means; "" if none is near.

    Args:
        name: Dotted, as written.
        known: The dotted names of all settings.

    >>> nearest_setting("pretrain.steps", ["pretrain.num_steps", "probe.num_steps"])
    'pretrain.num_steps'
    >>> nearest_setting("num_steps", ["pretrain.num_steps", "seed"])
    'pretrain.num_steps'
    """
    section, _, leaf = name.rpartition(".")
    own = [each for each in known if section and each.startswith(f"{section}.")]
    usual = [each for each in known if each.partition(".")[0] in _USUAL]
    for listed in (own, usual, known):
        leaves = {each.rpartition(".")[2]: each for each in reversed([*listed])}
        if near := difflib.get_close_matches(leaf, leaves, n=1):
            return leaves[near[0]]
    return "".join(difflib.get_close_matches(name, known, n=1))


def explain_flag(said: str) -> str:
    """Says in a user's words what the parser says of a flag.

    Args:
        said: What absl says.

    Returns:
        The same where it is plain.
    """
    if re.fullmatch(r"Unknown command line flag 'config\.[\w.]+'.*", said):
        return _NO_CONFIG  # only a configuration has settings
    if missing := re.search(r"Flag (--\w+) must have a value", said):
        if missing[1] == "--config":
            return _NO_CONFIG
        return f"{missing[1]} is missing: main.py --help lists the flags"
    value = re.match(r"flag --(config\.[\w.]+)=(.*?): (.*)", said)
    wanted = value and next((x for part, x in _KINDS.items() if part in value[3]), "")
    if value and wanted:
        return f"--{value[1]}={shlex.quote(value[2])} is not {wanted}"
    return said + _suggest_config(said)


_USUAL = ("data", "finetune", "pretrain")
"""Sections that are meant before others where only the last part of a name is near."""

_NO_CONFIG = (
    "--config is missing, and --workdir has no run to take it from: add --config "
    "configs/pix2rep.py, or correct --workdir"
)

_KINDS = {
    "for int()": "a whole number",
    "to float": "a number",
    "boolean": "True or False",
}
"""What Python says of a value that cannot be read, and what it must be."""


def _suggest_config(said: str) -> str:
    """Suggests `--config.` where a flag's name begins with nearly that."""
    found = re.fullmatch(r"Unknown command line flag '(\w+)\.([\w.]+)'", said)
    if not found or not difflib.get_close_matches(found[1], ["config"]):
        return ""
    return f". Did you mean: config.{found[2]} ?"
