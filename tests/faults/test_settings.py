"""Settings that a program could train with, and that no one can have meant."""

import pytest
from ml_collections import ConfigDict

import configs.pix2rep
import configs.study
from pix2rep_jax.data.preparation import check_preparation
from pix2rep_jax.errors import InputError
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.modes.setting_notes import setting_notes
from pix2rep_jax.modes.settings import check_settings
from pix2rep_jax.runtime.config_checks import walk


def make_config(**changes) -> ConfigDict:
    config = configs.pix2rep.get_config("quick")
    with config.ignore_type():
        for name, value in changes.items():
            config.update_from_flattened_dict({name: value})
    return config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pretrain.temperature", 1e-30),
        ("pretrain.temperature", 1e9),
        ("simclr.temperature", 1e-30),
        ("chaitanya.temperature", 1e-3),
        ("pretrain.off_diagonal_weight", 1e6),
        ("barlow_twins.off_diagonal_weight", 1e6),
        ("spatial.max_rotation", 15.0),
        ("augment.spatial.max_rotation", 180.0),
        ("spatial.max_shift", (1.0, 0.0)),
        ("augment.spatial.max_shift", (0.0, 6.0)),
        ("spatial.extent", (1e-9, 1.0)),
        ("spatial.extent", (0.5, 1e9)),
        ("spatial.elastic_reach", (8.0, 2.5)),
        ("spatial.elastic_grids", (5000, 9)),
        ("intensity.max_blur", 1e5),
        ("intensity.max_noise", 90.0),
        ("augment.intensity.max_gamma", 1e3),
        ("finetune.unimatch.intensity.max_brightness", 90.0),
        ("pretrain.learning_rate", 1e10),
        ("finetune.head_learning_rate", 1e3),
        ("probe.weight_decay", 1e10),
        ("data.crop_px", 100_000),
        ("data.size", 100_000),
        ("finetune.batch_size", 1_000_000),
    ],
)
def test_a_value_out_of_all_proportion_is_refused(name, value):
    """By its name, with what it may be."""
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        check_settings(make_config(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pretrain.temperature", 0.01),  # CLIP's smallest, Radford et al. 2021
        ("simclr.temperature", 0.07),  # MoCo
        ("pretrain.off_diagonal_weight", 0.0078125),  # Barlow Twins, on other data
        ("pretrain.weight_decay", 0.3),  # ViT
        ("spatial.extent", (0.08, 1.0)),  # torchvision's crops
        ("intensity.max_contrast", 0.75),  # nnU-Net
        ("finetune.mean_teacher.ema_decay", 0.999),
        ("data.window", (-1000.0, 1000.0)),  # lungs
        ("data.size", 512),
    ],
)
def test_a_published_value_is_taken(name, value):
    """The ranges are for mistakes."""
    check_settings(make_config(**{name: value}))


@pytest.mark.parametrize(
    "weights",
    [
        ("segmentation.cross_entropy_weight", "segmentation.dice_weight"),
        ("finetune.unimatch.supervised_weight", "finetune.unimatch.unlabeled_weight"),
    ],
)
def test_weights_of_a_loss_are_not_all_zero(weights):
    """Each of them alone may be."""
    for name in weights:
        check_settings(make_config(**{name: 0.0}))
    with pytest.raises(InputError, match=weights[0].replace(".", r"\.")):
        check_settings(make_config(**dict.fromkeys(weights, 0.0)))


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("pix2rep", {"pretrain.num_points": 1, "pretrain.batch_size": 1}),
        ("simclr", {"simclr.batch_size": 1}),
        ("barlow_twins", {"barlow_twins.batch_size": 1}),
        ("byol", {"byol.batch_size": 1}),
    ],
)
def test_one_pair_in_a_step_is_refused(method, changes):
    """It has nothing that it differs from."""
    config = make_config(**{"pretrain.method": method}, **changes)
    check_settings(config)
    with pytest.raises(InputError, match="pair"):
        load_method(config)
    more = dict.fromkeys(changes, 2)
    load_method(make_config(**{"pretrain.method": method}, **more))


def test_a_view_wider_than_any_scan_is_refused():
    """Each of its settings may be right by itself."""
    config = make_config(**{"data.crop_px": 16_000, "data.spacing_mm": 3.0})
    check_settings(config)
    with pytest.raises(InputError, match=r"data(\.|__)crop_px"):
        check_preparation(config.data)


OWN_RATE = {
    "finetune.method": "unimatch",
    "finetune.unimatch.pretrained_learning_rate": 3e-3,
}


@pytest.mark.parametrize(
    ("mode", "changes", "told", "named"),
    [
        ("pretrain", {}, "pretrain.off_diagonal_weight", True),
        ("pretrain", {}, "pretrain.temperature", False),
        (
            "pretrain",
            {"pretrain.loss": "cross_correlation"},
            "pretrain.temperature",
            True,
        ),
        ("finetune", {}, "finetune.unimatch.threshold", True),
        (
            "finetune",
            {"finetune.method": "unimatch"},
            "finetune.unimatch.threshold",
            False,
        ),
        (
            "finetune",
            {"finetune.method": "unimatch"},
            "finetune.mean_teacher.noise_std",
            True,
        ),
        ("finetune", {}, "finetune.head_learning_rate", False),
        (
            "finetune",
            {"init.checkpoint": "none"},
            "finetune.head_learning_rate",
            True,
        ),
        ("finetune", OWN_RATE, "finetune.head_learning_rate", True),
        ("finetune", OWN_RATE, "finetune.warmup_share", False),
        (
            "finetune",
            {**OWN_RATE, "init.checkpoint": "none"},
            "finetune.unimatch.pretrained_learning_rate",
            True,
        ),
        ("finetune", {"augment.recipe": "released"}, "augment.spatial.extent", True),
        ("probe", {}, "augment.intensity.max_blur", True),
        ("probe", {"augment.recipe": "released"}, "augment.intensity.max_blur", False),
        ("probe", {}, "probe.num_epochs", True),
        ("probe", {"probe.num_steps": 0}, "probe.num_epochs", False),
        ("pretrain", {}, "spatial.elastic_reach", True),
        ("pretrain", {"intensity.blur_probability": 0.0}, "intensity.max_blur", True),
        ("check", {}, "data.window", True),
        ("check", {"data.normalization": "window"}, "data.window", False),
        ("check", {"data.labeled": ("patient001",)}, "data.draw", True),
        ("check", {}, "data.fold", True),
    ],
)
def test_a_setting_that_nothing_reads_is_named(mode, changes, told, named):
    """If the command line gives it, and only then."""
    config = make_config(**changes)
    assert any(told in note for note in setting_notes(config, mode, told={told})) == (
        named
    )
    assert not any(told in note for note in setting_notes(config, mode, told=()))


@pytest.mark.parametrize(
    ("mode", "changes", "named"),
    [
        ("pretrain", {"pretrain.learning_rate": 0.0}, "pretrain.learning_rate"),
        ("pretrain", {"pretrain.num_points": 2}, "pretrain.num_points"),
        (
            "pretrain",
            {
                name: 0.0
                for name, _ in walk(configs.pix2rep.get_config("quick"))
                if name.endswith("_probability")
            },
            "every probability",
        ),
        (
            "pretrain",
            {"pretrain.method": "byol", "byol.momentum": 1.0},
            "byol.momentum",
        ),
        (
            "finetune",
            {
                "finetune.backbone_learning_rate": 0.0,
                "finetune.head_learning_rate": 0.0,
            },
            "finetune.head_learning_rate",
        ),
        (
            "finetune",
            {"finetune.method": "mean_teacher", "finetune.mean_teacher.ema_decay": 1.0},
            "finetune.mean_teacher.ema_decay",
        ),
    ],
)
def test_what_someone_may_mean_is_a_note(mode, changes, named):
    """It is allowed; and the usual settings are not noted."""
    config = make_config(**changes)
    check_settings(config)
    assert any(named in note for note in setting_notes(config, mode, told=()))
    assert setting_notes(make_config(), mode, told=()) == []


@pytest.mark.parametrize(
    ("methods", "told", "counts"),
    [
        (("proposed", "proposed_unimatch"), "finetune.method", "other rows alone"),
        (("unimatch", "baseline"), "init.checkpoint", "no row"),
        (("proposed", "baseline"), "finetune.method", ""),
    ],
)
def test_a_setting_that_rows_of_a_study_set_is_named(methods, told, counts):
    """It holds for the rows that run and do not set it."""
    config = configs.study.get_config()
    config.study.methods = methods
    notes = setting_notes(config, "study", told={told, "seed"})
    assert [counts in note and told in note for note in notes] == [True] * bool(counts)


@pytest.mark.parametrize("size", configs.pix2rep.SIZES)
@pytest.mark.parametrize("mode", ["pretrain", "probe", "finetune", "check"])
def test_no_size_of_the_configuration_is_noted(size, mode):
    assert setting_notes(configs.pix2rep.get_config(size), mode, told=()) == []
