"""--mode export and its function: which network they take, and what they refuse."""

import json

import pytest
from ml_collections import ConfigDict

from pix2rep_jax.api import Run, export
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import embed
from pix2rep_jax.modes import export as mode
from tests.export.networks import write_pretraining, write_segmenter
from tests.inference.test_segmenter import CONFIG


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A workdir with a pretraining and a segmenter, neither of them finished."""
    folder = tmp_path_factory.mktemp("both")
    write_pretraining(folder)
    write_segmenter(folder)
    return folder


def config(checkpoint=""):
    return ConfigDict(CONFIG | {"init": CONFIG["init"] | {"checkpoint": checkpoint}})


def kind_of(folder):
    return json.loads((folder / "config.json").read_text())["network"]["kind"]


def test_the_segmenter_comes_before_the_pretraining(both, tmp_path, capsys):
    """The folder of a mode says which one; init.checkpoint comes last."""
    places = {
        "whole": (both, "", "segmenter"),
        "pretrain": (both / "pretrain", "", "backbone"),
        "finetune": (both / "finetune", "", "segmenter"),
        "named": (tmp_path / "new", str(both / "pretrain"), "backbone"),
    }
    for name, (workdir, checkpoint, kind) in places.items():
        out = tmp_path / name
        mode.run(config(checkpoint), workdir, output=out)
        assert kind_of(out) == kind
        assert (out / f"{kind}.safetensors").is_file()  # the default format
    assert "note" in capsys.readouterr().err  # these runs have not finished


def test_the_function_takes_what_training_returns(both, tmp_path):
    """A run stands for its own folder, not for all that its workdir has."""
    path = export(Run(both, both / "pretrain"), tmp_path / "one", format="onnx")
    assert path == tmp_path / "one" / "backbone.onnx"
    assert export(both, tmp_path / "two").name == "segmenter.safetensors"
    with pytest.raises(InputError, match="--overwrite"):
        export(both, tmp_path / "two")
    export(both, tmp_path / "two", format="pytorch", overwrite=True)


def test_each_mode_refuses_the_formats_of_the_other(both, tmp_path):
    """The flag is one, and its default depends on the mode."""
    with pytest.raises(InputError, match="--format"):
        mode.run(config(), both, output=tmp_path / "out", format="npz")
    with pytest.raises(InputError, match="--format"):
        embed.run(config(), both, input=both, output=both / "out", format="onnx")
    with pytest.raises(InputError, match="--output"):
        mode.run(config(), both, output=None)
    assert not (tmp_path / "out").exists()
