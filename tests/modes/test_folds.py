"""--mode folds proposes to go on with all networks; no training runs here."""

import shlex
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import folds


@pytest.fixture
def trained(monkeypatch):
    """What was trained, and where; each fold is scored by nothing."""
    calls = []
    for name in ("pretrain", "finetune"):

        def run(config, workdir, *, command, propose, name=name):
            calls.append((name, workdir.name, config.data.fold))
            assert not propose

        monkeypatch.setattr(getattr(folds, name), "run", run)
    split = SimpleNamespace(test_patients=(), test_volumes=())
    monkeypatch.setattr(folds, "read_config", lambda run: {})
    monkeypatch.setattr(folds, "take_recorded", lambda config, recorded: config)
    monkeypatch.setattr(folds, "load_dataset", lambda data: None)
    monkeypatch.setattr(folds, "make_split", lambda *x, **options: split)
    monkeypatch.setattr(folds, "load_predictors", lambda run: {})
    monkeypatch.setattr(folds, "evaluate_networks", lambda *x, **options: {"": []})
    monkeypatch.setattr(folds, "write_evaluation", lambda *x, **options: "")
    return calls


@pytest.mark.parametrize("given", [True, False])
def test_the_next_command_takes_all_folds(trained, tmp_path, capsys, given):
    """Whether the workdir was named or is the usual one; it is said once."""
    data = {"folds": 2, "fold": 0, "classes": ("BG", "LV"), "crop": "center"}
    data["labeled"] = ()
    config = ConfigDict({"data": data, "init": {"checkpoint": ""}})
    words = ["main.py", "--config=configs/pix2rep.py", "--mode=folds"]
    words += [f"--workdir={tmp_path}"] if given else []
    folds.run(config, tmp_path, command=words)
    names = ("pretrain", "finetune")
    assert trained == [(name, f"fold{x}", x) for x in (0, 1) for name in names]
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "next: " in x]
    proposed = " ".join(shlex.split(line)).replace("--workdir=", "--workdir ")
    assert f"--workdir {tmp_path} " in f"{proposed} " and "--mode=predict" in proposed


def test_named_labelled_patients_are_refused_before_any_training(trained, tmp_path):
    """Each is tested in one fold, whose training would fail after all others."""
    data = {"folds": 3, "fold": 0, "labeled": ("p1",), "classes": ("BG", "LV")}
    config = ConfigDict({"data": data, "init": {"checkpoint": ""}})
    with pytest.raises(InputError, match=r"data\.labeled"):
        folds.run(config, tmp_path)
    assert trained == [] and not [*tmp_path.iterdir()]
