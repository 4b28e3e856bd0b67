"""The configurations: the paper's recipe, and what the sizes change of it."""

import pytest

from configs import ablation, pix2rep, study
from pix2rep_jax.runtime.config_checks import walk


def test_the_base_is_the_papers_recipe():
    """The numbers that section 4 of the paper gives."""
    config = pix2rep.get_config("paper")
    assert config.variant == "paper" and config.data.size == 128
    assert config.model.num_features == 1024
    assert config.model.scratch_num_features == 128
    assert config.model.channels[-5:] == (128, 256, 512, 1024, 2048)
    pretrain, finetune = config.pretrain, config.finetune
    assert (pretrain.num_points, pretrain.num_epochs) == (1000, 200)
    assert (pretrain.batch_size, pretrain.learning_rate) == (8, 5e-4)
    assert (config.probe.learning_rate, config.probe.num_epochs) == (1e-2, 100)
    assert finetune.backbone_learning_rate == 5e-5
    assert (finetune.head_learning_rate, finetune.num_epochs) == (1e-2, 100)


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_all_sizes_have_the_same_settings_of_the_same_types(size):
    """A size changes values; it adds no setting and drops none."""
    paper = dict(walk(pix2rep.get_config("paper")))
    own = dict(walk(pix2rep.get_config(size)))
    assert list(own) == list(paper)
    assert {n: type(x) for n, x in own.items()} == {
        n: type(x) for n, x in paper.items()
    }


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_a_size_means_one_number_of_pretraining_steps(size):
    """In a run by hand as in a study's row; 7,000 at `small`, as published."""
    sections = ("pretrain", "simclr", "byol", "barlow_twins", "chaitanya")
    alone, planned = pix2rep.get_config(size), study.get_config(size)
    assert [alone[x].num_steps for x in sections] == [
        planned[x].num_steps for x in sections
    ]
    assert ablation.get_config(size).pretrain.num_steps == alone.pretrain.num_steps
    if size == "small":
        assert alone.pretrain.num_steps == 7000


@pytest.mark.parametrize("size", pix2rep.SIZES)
def test_labelled_slices_are_augmented_as_in_pretraining_but_never_reversed(size):
    """Each in values of its own, which an override of the other leaves alone."""
    config = pix2rep.get_config(size)
    expected = config.intensity.to_dict() | {"reversal_probability": 0.0}
    assert config.augment.intensity.to_dict() == expected
    assert config.augment.spatial == config.spatial
    config.spatial.extent = (1.0, 1.0)
    assert config.augment.spatial.extent != (1.0, 1.0)


@pytest.mark.parametrize("file", [pix2rep, study, ablation])
def test_another_size_is_refused_with_those_that_there_are(file):
    """The sentence is what the command line prints."""
    name = file.__name__.rpartition(".")[2]
    with pytest.raises(ValueError, match=rf"'huge'.*{name}\.py:small"):
        file.get_config("huge")


def test_the_number_of_points_is_a_number_or_a_word():
    """At every size, though the sizes set it anew."""
    for size in pix2rep.SIZES:
        config = pix2rep.get_config(size)
        config.pretrain.num_points = "all"
        assert config.pretrain.num_points == "all"
