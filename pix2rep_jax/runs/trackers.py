"""Others' trackers of experiments, each by one setting: Weights & Biases and MLflow.

Both packages are optional, and imported only where their setting is given.
"""

import importlib.util
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.atomic_file import read_object, write_whole
from pix2rep_jax.runtime.config_checks import anything, walk

__all__ = ["SETTINGS", "Tracker", "check_trackers", "open_trackers"]

SETTINGS = dict.fromkeys(("wandb", "mlflow"), anything)
"""What this module reads of the section `log`; "" is off."""

_INSTALL = {"wandb": "pip install wandb", "mlflow": "pip install mlflow-skinny"}

_FILE = "trackers.json"
"""In a run's folder: by what names the trackers know the run."""

_EXPERIMENT = "pix2rep-jax"

_PARAMS_AT_ONCE = 100
"""MLflow takes no more in one request."""


class Tracker(NamedTuple):
    """A service that is told a run's metrics.

    Attributes:
        name: The setting's.
        write: Is given a step, and finite values by name.
        close: Ends the run there.
    """

    name: str
    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None]


def check_trackers(log: Mapping[str, Any]) -> None:
    """Checks, before any work, that the packages of the wanted trackers are there.

    Args:
        log: The section `log` of the configuration.

    Raises:
        InputError: If one is missing; names the command that installs it.
    """
    for name, command in _INSTALL.items():
        if log.get(name) and importlib.util.find_spec(name) is None:
            raise InputError(
                f"log.{name}={log[name]} needs the package {name}, which is not "
                f"installed: {command}, or leave log.{name} out"
            )


def open_trackers(folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Opens the trackers that a configuration asks for.

    A run that goes on is the same run there. Only the first of several processes has
    any.

    Args:
        folder: The run's folder, which exists.
        config: The whole configuration; its settings go there too.

    Raises:
        InputError: If a package is missing, or a service refuses.
    """
    log = config["log"]
    check_trackers(log)
    if jax.process_index():
        return []
    opened = []
    for name, open_one in (("wandb", _open_wandb), ("mlflow", _open_mlflow)):
        if not log.get(name):
            continue
        try:
            opened.append(open_one(log[name], folder, dict(walk(config))))
        except Exception as error:
            for each in opened:
                each.close()
            known = f", or delete {folder / _FILE} to begin a new run there"
            known = known if name in read_object(folder / _FILE) else ""
            raise InputError(
                f"log.{name}={log[name]} cannot be used ({error}): mend that, or leave "
                f"log.{name} out{known}"
            ) from error
    return opened


def _open_wandb(project: str, folder: Path, settings: dict[str, Any]) -> Tracker:
    """Opens a run of Weights & Biases; its own variables, such as WANDB_MODE, count."""
    import wandb

    known = read_object(folder / _FILE).get("wandb") or uuid.uuid4().hex[:12]
    _remember(folder, "wandb", known)
    run = wandb.init(
        project=project,
        id=known,
        resume="allow",
        name=_title(folder),
        dir=str(folder),
        config=settings,
        settings=wandb.Settings(console="off"),
    )
    # Steps that are logged again after a kill would be dropped as steps of its own.
    run.define_metric("step")
    run.define_metric("*", step_metric="step")

    def write(step: int, metrics: Mapping[str, float]) -> None:
        run.log({**metrics, "step": step})

    return Tracker("wandb", write, run.finish)


def _open_mlflow(uri: str, folder: Path, settings: dict[str, Any]) -> Tracker:
    """Opens a run of MLflow, in the experiment of this program."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=uri)
    remembered = read_object(folder / _FILE)
    known = remembered.get("mlflow")
    if known and remembered.get("mlflow_uri", uri) == uri:
        client.update_run(known, status="RUNNING")
    else:
        experiment = client.get_experiment_by_name(_EXPERIMENT)
        place = (
            client.create_experiment(_EXPERIMENT)
            if experiment is None
            else experiment.experiment_id
        )
        known = client.create_run(place, run_name=_title(folder)).info.run_id
        _remember(folder, "mlflow", known)
        _remember(folder, "mlflow_uri", uri)  # another service does not know the run
        listed = [Param(name, str(value)) for name, value in settings.items()]
        for first in range(0, len(listed), _PARAMS_AT_ONCE):
            client.log_batch(known, params=listed[first : first + _PARAMS_AT_ONCE])

    def write(step: int, metrics: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        values = [Metric(name, value, now, step) for name, value in metrics.items()]
        client.log_batch(known, metrics=values)

    return Tracker("mlflow", write, lambda: client.set_terminated(known))


def _title(folder: Path) -> str:
    """Names a run by its workdir and its mode."""
    return f"{folder.parent.name}/{folder.name}"


def _remember(folder: Path, name: str, known: str) -> None:
    """Writes down by what name a tracker knows the run."""
    content = read_object(folder / _FILE) | {name: known}
    write_whole(folder / _FILE, json.dumps(content, indent=2) + "\n")
