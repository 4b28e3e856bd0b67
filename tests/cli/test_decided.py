"""Flags that would change what a trained network has decided."""

import pytest

from configs.pix2rep import get_config
from pix2rep_jax.cli.complete import complete
from pix2rep_jax.errors import InputError
from tests.support.run_folder import begin_run

USING = ("predict", "evaluate", "embed", "explore", "figures", "export")


@pytest.fixture
def work(tmp_path):
    """A fine-tuning with a window, and the pretraining of other pixels."""
    config = get_config("small")
    config.data.update(normalization="window", window=(-160, 240), classes=("BG", "A"))
    with config.data.ignore_type():
        config.data.update(name="nifti", root=str(tmp_path), spacing_mm=2.0)
        begin_run(tmp_path / "work" / "finetune", config)
        config.data.spacing_mm = 3.0
        begin_run(tmp_path / "work" / "pretrain", config)
    return tmp_path / "work"


def use(work, mode, *flags, start="", **changes):
    """Completes the command of a mode with changed settings of the data."""
    config = get_config("small")
    config.init.checkpoint = str(start)
    with config.data.ignore_type(), config.model.ignore_type():
        for name, value in changes.items():
            section, _, leaf = name.partition("__")
            config[section][leaf] = value
    words = [f"--config.{name.replace('__', '.')}=x" for name in changes]
    complete(config, work, mode, command=("main.py", "--config=x", *words, *flags))


@pytest.mark.parametrize("mode", USING)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data__normalization", "percentiles"),
        ("data__window", (0, 100)),
        ("data__size", 17),
        ("data__slice_axis", 0),
        ("model__channels", (4, 8)),
    ],
)
def test_what_a_network_was_trained_with_cannot_be_changed(work, mode, name, value):
    """The sentence names the flag; also where `init.checkpoint` names the network."""
    flag = f"--config.{name.replace('__', '.')}"
    for place, start in ((work, ""), (work.parent / "new", work)):
        with pytest.raises(InputError) as refused:
            use(place, mode, start=start, **{name: value})
        assert flag in str(refused.value) and str(work) in str(refused.value)


def test_several_flags_are_one_sentence(work):
    with pytest.raises(InputError) as refused:
        use(work, "predict", data__window=(0, 1), data__normalization="percentiles")
    for word in ("window=0,1", "normalization=percentiles", "window=-160,240"):
        assert word in str(refused.value)


def test_what_a_network_has_may_be_said(work):
    """So may what a plan decides, and the classes of masked scans."""
    use(work, "predict", data__window=(-160, 240), data__spacing_mm=2.0)
    use(work, "embed", data__spacing_mm=3.0)  # of the pretraining
    use(work, "predict", data__normalization="auto", predict__mirror=False)
    use(work, "predict", "--support=x", data__classes=("BG", "B"))
    with pytest.raises(InputError, match="classes"):
        use(work, "predict", data__classes=("BG", "B"))
    with pytest.raises(InputError, match="spacing_mm"):
        use(work, "predict", data__spacing_mm=3.0)  # it uses the fine-tuning
