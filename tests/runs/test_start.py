"""Which run a command starts from: the cases of `init.checkpoint`."""

import pytest

import configs.pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.start import (
    decide_start,
    find_all_runs,
    find_pretraining,
    find_segmenters,
)
from tests.support.run_folder import begin_run

CONFIG = configs.pix2rep.get_config("quick")


@pytest.fixture
def here(tmp_path):
    begin_run(tmp_path / "here" / "pretrain", CONFIG)
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path):
    begin_run(tmp_path / "there" / "pretrain", CONFIG)
    return tmp_path / "there"


@pytest.mark.parametrize("mode", ["pretrain", "probe", "finetune"])
def test_none_is_random_and_a_name_is_that_run(here, there, mode):
    """Whatever the workdir holds."""
    assert decide_start("none", here, mode) is None
    assert decide_start(str(there), here, mode) == there / "pretrain"
    assert decide_start(str(there / "pretrain"), here, mode) == there / "pretrain"
    with pytest.raises(InputError, match="nowhere"):
        decide_start(str(here / "nowhere"), here, mode)


def test_nothing_named_is_the_workdirs_own_pretraining(here, tmp_path):
    """Which for the pretraining itself is a random start, as is its own name."""
    for mode in ("probe", "finetune"):
        assert decide_start("", here, mode) == here / "pretrain"
        with pytest.raises(InputError, match="--mode pretrain"):
            decide_start("", tmp_path / "empty", mode)
    for name in ("", str(here), str(here / "pretrain"), f"{here}/../here"):
        assert decide_start(name, here, "pretrain") is None


def test_what_needs_a_network_does_not_start_without(here, there):
    """The sentence says who needs it and which setting names it."""
    for checkpoint, mode in (
        ("none", "probe"),
        ("", "pretrain"),
        (str(here), "pretrain"),
    ):
        with pytest.raises(InputError, match=r"somebody.*init(\.|__)checkpoint"):
            decide_start(checkpoint, here, mode, required_by="somebody")
    start = decide_start(str(there), here, "pretrain", required_by="somebody")
    assert start == there / "pretrain"


def test_runs_to_look_at_are_the_workdirs_first(here, there, tmp_path):
    """Then those of the run that is named."""
    assert find_pretraining(here, checkpoint=str(there)) == here / "pretrain"
    assert find_pretraining(tmp_path, checkpoint=str(there)) == there / "pretrain"
    for nothing in ("", "none"):
        with pytest.raises(InputError):
            find_pretraining(tmp_path, checkpoint=nothing)
    for mode in ("probe", "finetune"):
        begin_run(there / mode, CONFIG)
    both = [there / "finetune", there / "probe"]
    assert find_segmenters(there) == both
    assert find_segmenters(there / "probe") == [there / "probe"]
    assert find_segmenters(here, checkpoint=str(there)) == both
    with pytest.raises(InputError, match="--mode finetune"):
        find_segmenters(here, checkpoint="none")
    assert find_all_runs(there) == [there / "pretrain", *both]
    assert find_all_runs(here, checkpoint=str(there)) == [here / "pretrain", *both]
    with pytest.raises(InputError, match="--mode pretrain"):
        find_all_runs(tmp_path / "empty")
