"""The files of a release: what the card says is so, and a run starts from them."""

import hashlib
import json

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.find_weights import find_weights
from release.weights import ACDC, Source, describe_results, make_release
from tests.formats.networks import write_pretraining
from tests.support.program import ROOT
from tests.support.run_folder import make_split_of

DATA = Source("a phantom", "cc0-1.0", "nobody")


def test_a_release_is_what_its_card_says(tmp_path):
    """Checksum, licence and recipe; `init.checkpoint` takes the folder."""
    write_pretraining(tmp_path / "run", num_steps=0)
    out = tmp_path / "out"
    file = make_release(tmp_path / "run", out, name="tiny", source=DATA)
    assert {each.name for each in out.iterdir()} == {
        "README.md",
        "config.json",
        "backbone.safetensors",
        "backbone.safetensors.sha256",
    }
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.with_name(f"{file.name}.sha256").read_text().split()[0] == sha256
    card = (out / "README.md").read_text()
    head = card.split("---")[1]
    assert "license: cc0-1.0" in head and "# tiny" in card
    assert sha256 in card and "3 slices of 1 patient." in card
    assert "| channels | 4, 8 |" in card and "{" not in card.replace("{}", "")
    assert find_weights(out) == file
    assert json.loads((out / "config.json").read_text())["sha256"] == sha256


def test_what_is_not_finished_or_not_named_is_not_released(tmp_path):
    """A run of other data cannot have ACDC's licence by default."""
    write_pretraining(tmp_path / "begun")
    with pytest.raises(InputError, match="finished"):
        make_release(tmp_path / "begun", tmp_path / "out", name="x", source=DATA)
    write_pretraining(tmp_path / "run", num_steps=0)
    with pytest.raises(InputError, match="--licence"):
        make_release(tmp_path / "run", tmp_path / "out", name="x", source=ACDC)
    split = make_split_of(source="acdc")
    write_pretraining(tmp_path / "acdc", num_steps=0, split=split)
    make_release(tmp_path / "acdc", tmp_path / "out", name="x", source=ACDC)
    assert "cc-by-nc-sa-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_the_numbers_are_means_of_the_studys_rows(tmp_path):
    """By labelled patients, of fine-tuned runs that have finished."""
    path = tmp_path / "study.csv"
    names = "method,mode,num_labeled,status,dice_mean_foreground,pretrained_digest"
    rows = [
        "proposed,finetune,1,finished,0.5,aa",
        "proposed,finetune,1,finished,0.7,aa",
        "proposed,probe,1,finished,0.1,aa",
        "proposed,finetune,1,failed,,",
        "baseline,finetune,1,finished,0.25,",
        "baseline,finetune,5,finished,0.8,",
    ]
    path.write_text("\n".join([names, *rows]) + "\n")
    said = describe_results(path, "aa")
    assert "| 1 | 0.600 | 0.250 | 2 and 1 |" in said and "| 5 |" not in said
    assert describe_results(path, "bb") != said  # other networks of the recipe
    path.write_text("\n".join([names, *rows[:4]]) + "\n")
    with pytest.raises(InputError, match="baseline"):
        describe_results(path, "aa")
    published = ROOT / "results" / "study_cpu_3.csv"
    assert describe_results(published, "").count("\n| ") == 3
