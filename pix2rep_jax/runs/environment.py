"""What the last digits of a run depend on, besides its configuration and its data."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import jax

__all__ = ["environment_warning", "numeric_environment"]

_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def numeric_environment() -> dict[str, str | int]:
    """Describes the machine and the libraries as far as they change rounding.

    XLA splits a sum on a CPU into as many parts as the process has threads, and adds
    the parts in that order. So the number of usable cores decides the last digits. On
    other backends the host's cores and processor are left out.

    Returns:
        Names and values that JSON can hold, to be stored with a run.
    """
    device = jax.devices()[0]
    facts: dict[str, str | int] = {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    if device.platform == "cpu":
        facts |= {"threads": _count_threads(), "cpu": _describe_cpu()}
    return facts


def environment_warning(
    recorded: Mapping[str, object], now: Mapping[str, object]
) -> str:
    """Says in what a run's environment differs from the one in which it began.

    Args:
        recorded: What `numeric_environment` returned when the run began. A fact that
            is missing here, in the record of an older version, is not compared.
        now: What it returns now.

    Returns:
        One sentence, or "" if nothing differs.
    """
    changes = [
        f"{name} was {recorded[name]!r} and is now {now.get(name)!r}"
        for name in sorted(recorded)
        if recorded[name] != now.get(name)
    ]
    if not changes:
        return ""
    mend = ""
    if recorded.get("threads", now.get("threads")) != now.get("threads"):
        mend = f"; NPROC={recorded['threads']} in the environment sets the threads"
    return (
        f"note: this run goes on in another environment ({'; '.join(changes)}), so its "
        f"last digits will differ from those of an unbroken run{mend}"
    )


def _count_threads() -> int:
    """Counts the threads of XLA's pool on a CPU: NPROC, or the cores granted to it."""
    named = os.environ.get("NPROC", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _describe_cpu() -> str:
    """Names the processor, and those of its instructions that XLA may choose."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in reversed(text.splitlines())]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    flags = facts.get("flags", facts.get("Features", "")).split()
    name = facts.get("model name", platform.machine())
    return " ".join([name, *(feature for feature in _FEATURES if feature in flags)])
