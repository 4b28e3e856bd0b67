"""Values that make no sense are refused before anything is read or written."""

import pytest

from configs import ablation, pix2rep, study, worth
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes.settings import (
    CHECKS,
    OPTIONAL,
    REQUIRED,
    SECTIONS,
    check_settings,
)
from pix2rep_jax.runtime.config_checks import walk
from pix2rep_jax.study import jobs
from tests.support.program import refused, start


@pytest.mark.parametrize("size", pix2rep.SIZES)
@pytest.mark.parametrize("file", [pix2rep, study, ablation, worth])
def test_the_projects_own_sizes_are_sound(file, size):
    """Nothing that this repository ships is refused."""
    check_settings(file.get_config(size))


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_every_setting_is_declared_by_the_module_that_uses_it(size):
    """A new setting needs a check; a row of a study repeats others' settings."""
    declared = {*CHECKS, *(f"study.{name}" for name in jobs.SETTINGS)}
    settings = {name for name, _ in walk(study.get_config(size))}
    rows = {name for name in settings if name.startswith("study.rows.")}
    assert settings - rows <= declared


def test_every_declared_setting_is_in_the_configuration():
    """A method's section may leave out what it does not override."""
    overriding = ("simclr", "byol", "barlow_twins", "chaitanya", "mae")
    settings = {name for name, _ in walk(pix2rep.get_config())}
    declared = {name for name in CHECKS if name.partition(".")[0] not in overriding}
    # `min_steps` is for the paper's epochs of few slices; the rates are fine-tuning's.
    absent = {"pretrain.min_steps", "finetune.learning_rate"}
    assert declared - settings == absent
    assert all(section in SECTIONS for section in overriding)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spatial.extent", ("a", "b")),
        ("spatial.extent", (0.5,)),
        ("spatial.extent", (1.1, 0.5)),
        ("spatial.extent", (0.0, 0.5)),
        ("augment.spatial.max_shift", (0.1, 0.2, 0.3)),
        ("augment.spatial.max_shift", (-0.1, 0.2)),
        ("spatial.max_shift", (6.0, 6.0)),
        ("augment.recipe", "mild"),
        ("intensity.grey_levels", 0.0),
        ("data.percentiles", (True, 99.0)),
        ("data.percentiles", (1.0, float("nan"))),
        ("model.channels", (16, 32.0)),
        ("model.channels", (16, 0)),
        ("model.num_features", 0),
        ("projection.hidden", ("x",)),
        ("intensity.noise_probability", 1.5),
        ("intensity.noise_probability", float("nan")),
        ("spatial.elastic_grids", (5.0, 9)),
        ("spatial.elastic_grids", (5, 1)),
        ("spatial.elastic_reach", (0.1, -0.1)),
        ("spatial.elastic_probability", 2.0),
        ("finetune.mean_teacher.ema_decay", 1.1),
        ("pretrain.temperature", 0.0),
        ("pretrain.learning_rate", float("inf")),
        ("finetune.weight_decay", -0.1),
        ("finetune.scratch_learning_rate", -0.1),
        ("log.metrics_every", -1),
        ("data.holdout_per_group", -1),
        ("data.size", 0),
        ("simclr.batch_size", 0),
        ("byol.momentum", 1.1),
        ("mae.masked_fraction", 1.1),
        ("data.split", "other"),
        ("data.crop", "centre"),
        ("data.interpolation", "cubic"),
        ("data.name", "ACDC"),
        ("chaitanya.spatial.extent", (1.1, 0.5)),
        ("chaitanya.stage", "third"),
        ("probe.num_steps", -1),
        ("seed", -1),
        ("data.phantom_seed", 2**32),
        ("data.draw", 2**32),
        ("data.draw", -1),
        ("data.slice_axis", True),
        ("finetune.schedule", "linear"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name, value):
    """The sentence begins with the name as one would type it."""
    config = pix2rep.get_config("quick")
    config.update_from_flattened_dict({name: value})
    with pytest.raises(InputError) as refusal:
        check_settings(config)
    assert str(refusal.value).startswith(f"{name} is ")


def test_a_method_may_override_any_setting_of_pretrain():
    """It is then checked in the method's section too."""
    config = pix2rep.get_config("quick")
    config.simclr.warmup_steps = -1
    with pytest.raises(InputError, match=r"simclr\.warmup_steps"):
        check_settings(config)


@pytest.mark.parametrize("section", REQUIRED)
def test_a_configuration_without_a_section_is_refused(section):
    """As one of one's own may be that was written from memory."""
    config = pix2rep.get_config("quick").to_dict()
    check_settings(config)
    del config[section]
    with pytest.raises(InputError, match=f"'{section}'"):
        check_settings(config)


@pytest.mark.parametrize("name", ["seed", "data.draw", "chaitanya.stage"])
def test_a_configuration_without_a_setting_is_refused(name):
    """A method's section may leave out what `pretrain` has."""
    config = pix2rep.get_config("quick").to_dict()
    section, _, leaf = name.rpartition(".")
    del (config[section] if section else config)[leaf]
    if section == "chaitanya":
        check_settings(config)
        return
    with pytest.raises(InputError, match=f"'{name}'"):
        check_settings(config)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_may_be_left_out_is_not_asked_for(name):
    """Each has a default where it is read."""
    config = {"": pix2rep.get_config("quick").to_dict()}
    *sections, leaf = ("", *name.split("."))
    node = config
    for section in sections:
        node = node[section]
    node.pop(leaf, None)
    check_settings(config[""])


def test_elastic_grids_and_their_reaches_are_as_many():
    """The sentence names both."""
    config = pix2rep.get_config("quick")
    config.augment.spatial.elastic_grids = (5,)
    with pytest.raises(InputError, match=r"augment\.spatial\.elastic_grids") as refusal:
        check_settings(config)
    assert "augment.spatial.elastic_reach" in str(refusal.value)


def test_a_refused_command_leaves_the_workdir_free(tmp_path, cache):
    """So the corrected command is not taken for another run in that folder."""
    process = start("pretrain", tmp_path, cache, spatial__extent="a,b")
    assert "spatial.extent is a,b" in refused(process)
    assert not list(tmp_path.iterdir())
