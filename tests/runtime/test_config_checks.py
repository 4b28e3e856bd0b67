"""Values that make no sense are refused before anything is read or written."""

import sys

import pytest
from absl import flags
from ml_collections import config_flags

from configs.pix2rep import SIZES, get_config
from pix2rep_jax.errors import InputError
from pix2rep_jax.runtime.config_checks import SECTIONS, check_settings, split_words
from tests.support.program import ROOT, refused, start


@pytest.mark.parametrize("variant", SIZES)
def test_the_projects_own_sizes_are_sound(variant):
    """Nothing that this repository ships is refused."""
    check_settings(get_config(variant))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("spatial.extent", ("a", "b"), "two numbers"),
        ("spatial.extent", (0.5,), "two numbers"),
        ("spatial.extent", (1.1, 0.5), "smaller number first"),
        ("spatial.extent", (0.0, 0.5), "above 0"),
        ("augment.spatial.max_shift", (1.0, 2.0, 3.0), "two numbers"),
        ("augment.spatial.max_shift", (-1.0, 2.0), "0 or more"),
        ("data.percentiles", (True, 99.0), "two numbers"),
        ("model.channels", (16, 32.0), "whole numbers"),
        ("model.channels", (16, 0), "above 0"),
        ("model.num_features", 0, "above 0"),
        ("projection.hidden", ("x",), "whole numbers"),
        ("intensity.noise_probability", 1.5, "between 0 and 1"),
        ("intensity.noise_probability", float("nan"), "finite"),
        ("spatial.elastic_grids", (5.0, 9), "whole numbers"),
        ("spatial.elastic_grids", (5, 1), "2 or more"),
        ("spatial.elastic_reach", (0.1, -0.1), "0 or more"),
        ("spatial.elastic_probability", 2.0, "between 0 and 1"),
        ("finetune.mean_teacher.ema_decay", 1.1, "between 0 and 1"),
        ("pretrain.temperature", 0.0, "above 0"),
        ("pretrain.learning_rate", float("inf"), "finite"),
        ("finetune.weight_decay", -0.1, "0 or more"),
        ("log.metrics_every", -1, "0 or more"),
        ("data.holdout_per_group", -1, "0 or more"),
        ("data.size", 0, "above 0"),
        ("simclr.batch_size", 0, "above 0"),
        ("probe.num_steps", -1, "0 or more"),
        ("seed", -1, "between 0 and 4294967295"),
        ("data.phantom_seed", 2**32, "between 0 and 4294967295"),
        ("finetune.schedule", "linear", "'constant' or 'cosine'"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name, value, wanted):
    """The sentence names the value as one would type it, and what it may be."""
    config = get_config("quick")
    config.update_from_flattened_dict({name: value})
    with pytest.raises(InputError, match=rf"^{name} is .*: it must be .*{wanted}"):
        check_settings(config)


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("p1", ("p1",)),
        ("p1,p2", ("p1", "p2")),
        ("p1, p2,", ("p1", "p2")),
        ("('p1','p2')", ("p1", "p2")),
        ("()", ()),
        ("101,102", ("101", "102")),
        ("('a, b','c')", ("a, b", "c")),
    ],
)
def test_words_are_written_like_numbers(monkeypatch, written, read):
    """By commas alone, or as a tuple of Python's."""
    argv = ["", "--config", str(ROOT / "configs" / "pix2rep.py")]
    argv += [f"--config.data.exclude={written}", "--config.model.channels=2,4"]
    monkeypatch.setattr(sys, "argv", argv)  # where the parser looks for settings
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    values(argv)
    split_words(holder.value)
    assert holder.value.data.exclude == read
    assert holder.value.model.channels == (2, 4)
    assert holder.value.data.patient_regex == r"^[^_]+"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_configuration_without_a_section_is_refused(section):
    """As one of one's own may be that was written from memory."""
    config = get_config("quick").to_dict()
    check_settings(config)
    del config[section]
    with pytest.raises(InputError, match=f"no section '{section}'.*configs/pix2rep.py"):
        check_settings(config)


def test_elastic_grids_and_their_reaches_are_as_many():
    """The sentence names both."""
    config = get_config("quick")
    config.augment.spatial.elastic_grids = (5,)
    with pytest.raises(
        InputError, match=r"augment\.spatial\.elastic_grids has 1 .* 2 n"
    ):
        check_settings(config)


def test_a_refused_command_leaves_the_workdir_free(tmp_path, cache):
    """So the corrected command is not taken for another run in that folder."""
    process = start("pretrain", tmp_path, cache, spatial__extent="a,b")
    assert "spatial.extent is a,b: it must be two numbers" in refused(process)
    assert not list(tmp_path.iterdir())
