"""Weights & Biases and MLflow: stand-ins with the real names, and the packages."""

import importlib.util
import json
import os
import sys
import types

import pytest

import configs.pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.trackers import check_trackers, open_trackers


def config_with(**log):
    config = configs.pix2rep.get_config("quick")
    config.log.update(log)
    return config


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package, which records what it is told."""
    module = types.ModuleType("wandb")
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)
    module.runs = []

    class Run:
        def __init__(self, **options):
            self.options, self.logged, self.metrics, self.ended = options, [], [], False

        def define_metric(self, name, step_metric=None):
            self.metrics.append((name, step_metric))

        def log(self, values):
            self.logged.append(values)

        def finish(self):
            self.ended = True

    def init(*, project, id, resume, name, dir, config, settings):
        module.runs.append(Run(project=project, id=id, resume=resume, config=config))
        return module.runs[-1]

    module.init = init
    module.Settings = lambda *, console: {"console": console}
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch):
    """A stand-in for the package, whose server keeps runs in a dict."""
    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    module.__spec__ = importlib.util.spec_from_loader("mlflow", None)
    module.entities, module.server = entities, {}
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)

    class MlflowClient:
        def __init__(self, *, tracking_uri):
            if tracking_uri == "http://nowhere":
                raise ConnectionError("refused")

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment_id, *, run_name):
            key = f"run{len(module.server)}"
            module.server[key] = {"params": [], "metrics": [], "status": "RUNNING"}
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=key))

        def log_batch(self, run_id, metrics=(), params=()):
            assert len(params) <= 100
            module.server[run_id]["metrics"] += metrics
            module.server[run_id]["params"] += params

        def update_run(self, run_id, *, status):
            module.server[run_id]["status"] = status

        def set_terminated(self, run_id):
            module.server[run_id]["status"] = "FINISHED"

    module.MlflowClient = MlflowClient
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return module


def test_nothing_is_opened_unless_it_is_asked_for(tmp_path):
    """Not even imported."""
    assert open_trackers(tmp_path, config_with()) == []
    assert list(tmp_path.iterdir()) == []


def test_wandb_is_told_steps_settings_and_that_a_run_goes_on(tmp_path, wandb):
    """The same run by its id, and steps as a metric of their own."""
    for step in (3, 2):  # a killed run logs a step again
        (tracker,) = open_trackers(tmp_path, config_with(wandb="hearts"))
        tracker.write(step, {"loss": 0.5})
        tracker.close()
    first, second = wandb.runs
    assert first.options["id"] == second.options["id"]
    assert first.options["project"] == "hearts" and first.options["resume"] == "allow"
    assert first.options["config"]["data.num_labeled"] == 5
    assert second.logged == [{"loss": 0.5, "step": 2}] and second.ended
    assert ("*", "step") in first.metrics


def test_mlflow_is_told_once_of_settings_and_goes_on(tmp_path, mlflow):
    """In batches that it takes."""
    for step in (3, 4):
        (tracker,) = open_trackers(tmp_path, config_with(mlflow="file:/x"))
        (run,) = mlflow.server.values()
        assert run["status"] == "RUNNING"
        tracker.write(step, {"loss": step / 4, "val_dice": 0.5})
        tracker.close()
    assert run["status"] == "FINISHED"
    assert ("loss", 0.75, 3) in run["metrics"] and len(run["metrics"]) == 4
    params = dict(run["params"])
    assert len(params) == len(run["params"]) > 100
    assert params["model.channels"] == "(8, 16, 32, 64)"


def test_mlflow_begins_anew_where_the_run_is_not_known(tmp_path, mlflow):
    """At another service; one that was deleted names the file that remembers it."""
    for uri in ("file:/x", "file:/y", "file:/y"):
        (tracker,) = open_trackers(tmp_path, config_with(mlflow=uri))
        tracker.close()
    assert len(mlflow.server) == 2
    assert all(run["params"] for run in mlflow.server.values())
    mlflow.server.clear()
    with pytest.raises(InputError, match=r"log\.mlflow.*trackers\.json"):
        open_trackers(tmp_path, config_with(mlflow="file:/y"))


def test_a_missing_package_or_service_is_one_sentence(tmp_path, monkeypatch, mlflow):
    """With the command that installs it; before any work."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"log\.wandb.*pip install wandb"):
        check_trackers(config_with(wandb="hearts").log)
    with pytest.raises(InputError, match=r"log\.mlflow.*pip install mlflow"):
        check_trackers(config_with(mlflow="file:/x").log)
    monkeypatch.undo()
    check_trackers(config_with().log)


def test_a_service_that_refuses_is_one_sentence(tmp_path, mlflow):
    """And names the setting."""
    with pytest.raises(InputError, match=r"log\.mlflow=http://nowhere.*refused"):
        open_trackers(tmp_path, config_with(mlflow="http://nowhere"))


@pytest.mark.filterwarnings("ignore")
def test_the_package_wandb_takes_it(tmp_path, monkeypatch):
    """Offline, which leaves a file."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    for step in (1, 2):
        (tracker,) = open_trackers(tmp_path, config_with(wandb="hearts"))
        tracker.write(step, {"loss": 0.5})
        tracker.close()
    (known,) = json.loads((tmp_path / "trackers.json").read_text()).values()
    found = list((tmp_path / "wandb").glob(f"offline-run-*-{known}/*.wandb"))
    assert found and all(os.path.getsize(path) > 100 for path in found)


@pytest.mark.filterwarnings("ignore")
def test_the_package_mlflow_takes_it(tmp_path, monkeypatch):
    """In a store of files, which is read back."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    for step in (1, 2):
        (tracker,) = open_trackers(tmp_path, config_with(mlflow=uri))
        tracker.write(step, {"loss": step / 4})
        tracker.close()
    known = json.loads((tmp_path / "trackers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(known)
    assert run.data.params["data.num_labeled"] == "5"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(known, "loss")
    assert [(x.step, x.value) for x in history] == [(1, 0.25), (2, 0.5)]
