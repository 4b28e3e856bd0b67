"""What a run's numbers depend on: one answer for every setting there is."""

import json
import pkgutil

import pytest
from ml_collections import ConfigDict

import configs.ablation
import configs.pix2rep
import configs.study
import configs.worth
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods import pretraining
from pix2rep_jax.runs import dependencies
from pix2rep_jax.runs.dependencies import (
    TABLE,
    answer,
    changed_settings,
    relevant_settings,
    settings_of_all_hosts,
    settings_of_images,
)
from pix2rep_jax.runs.manifest import open_run
from pix2rep_jax.runtime.config_checks import effective, walk
from tests.support.run_folder import make_run_record

MODES = ("pretrain", "probe", "finetune")
METHODS = {each.name for each in pkgutil.iter_modules(pretraining.__path__)}
WORDS = {
    getattr(dependencies, name)
    for name in (
        "IMAGES",
        "DATA",
        "PRETRAINING",
        "DOWNSTREAM",
        "BOTH",
        "PLACE",
        "LABELS",
    )
} | {dependencies.NOTHING}
CONFIG = configs.pix2rep.get_config("quick")


@pytest.mark.parametrize(
    "file", [configs.pix2rep, configs.study, configs.ablation, configs.worth]
)
@pytest.mark.parametrize("size", configs.pix2rep.SIZES)
def test_every_setting_has_an_answer(file, size):
    """From the table, or as the own setting of a pretraining method."""
    for name, _ in walk(file.get_config(size)):
        section = name.partition(".")[0]
        assert section in {x.partition(".")[0] for x in TABLE} or section in METHODS
        assert answer(name) in WORDS


def test_every_entry_is_a_setting_or_a_section():
    """A setting that goes leaves the table too, and nothing is listed twice."""
    names = {name for name, _ in walk(configs.study.get_config())}
    for entry in TABLE:
        assert any(name == entry or name.startswith(f"{entry}.") for name in names)
        above = entry.rpartition(".")[0]
        assert not above or above not in TABLE or answer(above) != TABLE[entry]


def changed(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}-" if isinstance(value, str) else (*value, 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_goes_on_with_settings_that_it_does_not_depend_on(tmp_path, mode):
    """With any other it is refused by the setting's name."""
    folder, record = tmp_path / mode, make_run_record()
    open_run(folder, CONFIG, record, begun=True)
    relevant = {*relevant_settings(CONFIG, mode), "data.normalization"}
    relevant |= {"data.fourth_axis", "data.split", "data.num_unlabeled"}
    if mode == "pretrain":
        relevant |= {"spatial.upright", "intensity.convolution_probability"}
    else:
        relevant |= {"data.labeled", "data.ignore", "augment.spatial.upright"}
        relevant |= {"augment.intensity.convolution_probability"}
    if mode == "finetune":
        relevant |= {"finetune.warmup_share"}
    for name, value in walk(CONFIG):
        other = ConfigDict(json.loads(CONFIG.to_json_best_effort()))
        other.update_from_flattened_dict({name: value})
        with other.unlocked(), other.ignore_type():
            section, _, leaf = name.rpartition(".")
            node = other
            for part in filter(None, section.split(".")):
                node = node[part]
            node[leaf] = changed(value)
        if name in relevant:
            with pytest.raises(InputError, match=rf"\b{name}: "):
                open_run(folder, other, record, begun=True)
        else:
            assert open_run(folder, other, record, begun=True) == record


def test_the_answers_that_matter_most():
    """Independent of the table: what each mode must and must not depend on."""
    relevant = {mode: set(relevant_settings(CONFIG, mode)) for mode in MODES}
    for mode in MODES:
        assert {"seed", "data.crop", "data.name", "model.channels"} <= relevant[mode]
        assert not relevant[mode] & {
            *("variant", "data.root", "data.cache_dir", "data.device_budget_mb"),
            *("init.checkpoint", "log.metrics_every", "simclr.temperature"),
        }
    labels = {"data.num_labeled", "data.draw", "data.val_fraction"}
    assert not relevant["pretrain"] & labels
    labels |= {"data.classes", "data.label_values"}
    assert not relevant["pretrain"] & labels
    assert labels <= relevant["probe"] & relevant["finetune"]
    config = CONFIG.copy_and_resolve_references()
    config.data.crop = "mask_box"
    crops = {"data.classes", "data.label_values"}
    assert set(relevant_settings(config, "pretrain")) - relevant["pretrain"] == crops
    assert "probe.learning_rate" in relevant["probe"] - relevant["finetune"]
    assert "pretrain.loss" in relevant["pretrain"] - relevant["probe"]
    assert "log.validate_every" in relevant["probe"] - relevant["pretrain"]
    assert "init.recalibrate" in relevant["finetune"] - relevant["pretrain"]
    assert set(settings_of_images(CONFIG.data)) == {
        f"data.{name}"
        for name in (
            *("crop", "spacing_mm", "crop_px", "size", "interpolation", "percentiles"),
            *("slice_axis", "orientation"),
        )
    }


def test_a_methods_own_settings_count_where_it_is_named():
    """And of them those of this method alone."""
    config = configs.pix2rep.get_config("quick")
    config.pretrain.method = "simclr"
    names = set(relevant_settings(config, "pretrain"))
    assert "simclr.temperature" in names and "byol.momentum" not in names
    assert "simclr.temperature" not in relevant_settings(config, "finetune")
    (only,) = changed_settings(CONFIG, config, "pretrain")
    assert only == "pretrain.method: pix2rep -> simclr"


def test_a_setting_that_came_or_went_is_named():
    """So that a run is never continued by default values."""
    before = json.loads(CONFIG.to_json_best_effort())
    del before["pretrain"]["temperature"]
    (only,) = changed_settings(before, CONFIG, "pretrain")
    assert only.startswith("pretrain.temperature: missing -> ")


def test_a_change_shows_the_values_that_a_user_gave():
    """Also a value that has no effect, as upright=False, which is not compared."""
    before = CONFIG.copy_and_resolve_references()
    with before.ignore_type():
        before.spatial.upright = True
    (only,) = changed_settings(before, CONFIG, "pretrain")
    assert only == "spatial.upright: True -> False"


def test_a_change_of_method_does_not_list_what_stayed():
    """Settings that another method reads have an effect now, and their old values."""
    config = CONFIG.copy_and_resolve_references()
    config.finetune.method = "unimatch"
    (only,) = changed_settings(CONFIG, config, "finetune")
    assert only == "finetune.method: supervised -> unimatch"
    config.finetune.unimatch.threshold = 0.9
    assert len(changed_settings(CONFIG, config, "finetune")) == 2


def test_hosts_differ_in_places_alone():
    """They save and log together, so the pace of a run must be alike."""
    alike, everything = settings_of_all_hosts(CONFIG), effective(CONFIG)
    assert set(everything) - set(alike) == {
        *("data.root", "data.cache_dir", "init.checkpoint"),
    }
