"""--mode export and its function: which network they take, and what they refuse."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from pix2rep_jax.api import Run, export
from pix2rep_jax.errors import InputError
from pix2rep_jax.formats.network import load_network
from pix2rep_jax.modes import embed
from pix2rep_jax.modes import export as mode
from pix2rep_jax.runs.checkpoint_writer import Checkpoints
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.training.optimizer import make_optimizer, make_schedule
from pix2rep_jax.training.state import create_state
from tests.formats.networks import write_pretraining, write_segmenter
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
    with pytest.raises(InputError, match="overwrite=True"):
        export(both, tmp_path / "two")
    export(both, tmp_path / "two", format="pytorch", overwrite=True)


def test_a_segmenters_checkpoint_is_the_one_that_it_keeps(tmp_path):
    """Unless another one is asked for: here the best comes before the last."""
    _, variables = write_segmenter(tmp_path)
    rates = {"backbone": 1e-3, "head": 1e-3}
    tx = make_optimizer(rates, make_schedule("constant", num_steps=1, warmup_steps=0))
    later = jax.tree.map(lambda x: x + 1, variables["params"])
    state = create_state(
        later, variables["batch_stats"], tx, jax.random.key(0), trainable=tuple(rates)
    ).replace(step=np.asarray(3, np.int32))
    folder = tmp_path / "finetune"
    with Checkpoints(folder / "checkpoints", best_metric="val_dice") as checkpoints:
        checkpoints.save(state, metrics={"val_dice": 0.25})
    steps = {}
    for keep in ("", "last", "best"):
        network, _ = load_network(folder, keep=keep)
        steps[keep] = network.step
        wanted = later if network.step else variables["params"]
        jax.tree.map(np.testing.assert_array_equal, network.params, wanted)
    own = read_config(folder)["segmentation"]["keep"]
    assert steps == {"last": 3, "best": 0, "": 3 if own == "last" else 0}


def test_each_mode_refuses_the_formats_of_the_other(both, tmp_path):
    """The flag is one, and its default depends on the mode."""
    with pytest.raises(InputError, match="--format"):
        mode.run(config(), both, output=tmp_path / "out", format="npz")
    with pytest.raises(InputError, match="--format"):
        embed.run(config(), both, input=both, output=both / "out", format="onnx")
    with pytest.raises(InputError, match="--output"):
        mode.run(config(), both, output=None)
    assert not (tmp_path / "out").exists()
