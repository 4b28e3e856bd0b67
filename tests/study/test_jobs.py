"""Which runs a study needs, and by which keys they are known."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import ablation, pix2rep, study, worth
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.dependencies import relevant_settings
from pix2rep_jax.study import command as study_mode
from pix2rep_jax.study.jobs import list_cells
from pix2rep_jax.study.report.paper_numbers import find_number
from pix2rep_jax.training.optimizer import count_steps
from tests.support.plans import plan, plan_config


def test_cells_share_a_pretraining_where_they_can():
    """One a distinct pretraining, whoever is labelled and whatever follows it."""
    cells = plan("baseline", "proposed_plain", "proposed_probe", "proposed", "v2")
    assert len(cells) == 5 * 2 * 2
    keys = {
        m: {c.pretraining and c.pretraining.key for c in cells if c.method == m}
        for m in ("baseline", "proposed_plain", "proposed_probe", "proposed", "v2")
    }
    assert keys["baseline"] == {None}
    assert keys["proposed_probe"] == keys["proposed"]
    assert all(len(own) == 1 for own in keys.values())
    assert len(set.union(*keys.values())) == 4
    assert len({cell.job.workdir for cell in cells}) == len(cells)


def test_overrides_reach_their_stage_and_nothing_else():
    """Pretraining's are not downstream's; what both need stands in `shared`."""
    config = plan_config("proposed", draws=1, labeled=(1,))
    row = config.study.rows.proposed
    row.shared = ConfigDict({"model": {"num_features": 5}})
    row.pretraining = ConfigDict({"pretrain": {"num_points": "all"}})
    row.downstream = ConfigDict({"finetune": {"num_steps": 7}})
    (cell,) = list_cells(config, Path("/nowhere"))
    for job in (cell.pretraining, cell.job):
        assert job.config.model.num_features == 5 and "study" not in job.config
    assert cell.pretraining.config.pretrain.num_points == "all"
    assert cell.pretraining.config.finetune.num_steps == config.finetune.num_steps
    assert cell.job.config.pretrain.num_points == config.pretrain.num_points
    assert cell.job.config.finetune.num_steps == 7
    assert cell.job.config.init.checkpoint == str(cell.pretraining.workdir)


def test_keys_follow_what_changes_the_numbers_and_nothing_else():
    """Another step count is another run; another cache or place is not. Equal rows
    under two names are one job."""
    base = plan("proposed", draws=1)
    config = plan_config("proposed", draws=1)
    config.data.cache_dir, config.log.checkpoint_every = "/elsewhere", 7
    config.probe.num_steps = 9  # of another mode
    moved = list_cells(config, Path("/other/place"))
    assert [x.job.key for x in moved] == [x.job.key for x in base]
    config.finetune.num_steps = 9
    changed = list_cells(config, Path("/nowhere"))
    assert not {x.job.key for x in changed} & {x.job.key for x in base}
    assert changed[0].pretraining.key == base[0].pretraining.key
    config.pretrain.temperature = 0.7
    assert list_cells(config, Path("/x"))[0].pretraining.key != base[0].pretraining.key
    config.study.rows.twin = config.study.rows.proposed
    config.study.methods = ("proposed", "twin")
    cells = list_cells(config, Path("/x"))
    assert cells[0].job.workdir == cells[2].job.workdir


def test_runs_that_keep_their_best_have_the_keys_of_before():
    """Which is what they kept. Scored at the last step they are other runs, of the
    same pretraining."""
    keys = {}
    for keep in ("last", "best"):
        config = plan_config("proposed", "proposed_context", draws=1, labeled=(1,))
        config.segmentation.keep = keep
        tuned, context = list_cells(config, Path("/nowhere"))
        keys[keep] = [tuned.job.key, context.job.key, tuned.pretraining.key]
        settings = relevant_settings(tuned.job.config, "finetune")
        assert "segmentation.keep" not in settings
    assert [a == b for a, b in zip(*keys.values(), strict=True)] == [False, True, True]


@pytest.mark.parametrize("variant", pix2rep.SIZES)
def test_the_plans_that_are_shipped_name_the_papers_rows(variant):
    """Every row of the paper's tables finds its number there."""
    for config in (x.get_config(variant) for x in (study, ablation, worth)):
        config.study.draws = 1
        assert list_cells(config, Path("/nowhere"))
        for row in config.study.rows.values():
            found = find_number(row.table, row.title, num_labeled=5)
            assert bool(found) == (row.table != 0), row.title
    rows = ablation.get_config(variant).study.rows
    widths = {name: row.shared.model.num_features for name, row in rows.items()}
    assert widths["defaults"] == widths["epochs"] < widths["width"]


def test_a_least_number_of_steps_counts_where_epochs_decide():
    """A setting without effect makes no other run of a finished one."""

    def key(**recipe):
        config = plan_config("baseline", labeled=(1,), draws=1)
        config.finetune.update(recipe)
        (cell,) = list_cells(config, Path("/x"))
        return cell.job.key

    assert key(min_steps=7) == key()
    assert key(num_steps=0, min_steps=0) != key()
    keys = {key(num_steps=0, min_steps=steps) for steps in (0, 7, 8)}
    assert len(keys) == 3


def test_a_row_may_pretrain_from_a_run_outside_the_study():
    """Its key says from which; random weights have the key that they always had."""

    def pretraining(checkpoint):
        config = plan_config("proposed", labeled=(1,), draws=1)
        overrides = {"init": {"checkpoint": checkpoint}}
        config.study.rows.proposed.pretraining = ConfigDict(overrides)
        (cell,) = list_cells(config, Path("/x"))
        assert cell.job.config.init.checkpoint == str(cell.pretraining.workdir)
        return cell.pretraining

    assert pretraining("none").key == pretraining("").key
    assert pretraining("runs/a").config.init.checkpoint == "runs/a"
    assert len({pretraining(x).key for x in ("", "runs/a", "runs/b")}) == 3


def test_no_method_lacks_steps_at_the_papers_size():
    """With few patients 100 epochs are too short for the network from scratch."""
    config = study.get_config("paper")
    config.study.update(labeled=(1,), draws=1)
    for cell in list_cells(config, Path("/x")):
        recipe = cell.job.config[cell.job.mode]
        assert recipe.schedule == "cosine"
        least = {"probe": 1000, "finetune": 2000}[cell.job.mode]
        assert count_steps(recipe, num_samples=20) == least
        assert count_steps(recipe, num_samples=400) == 5000


@pytest.mark.parametrize(
    ("rows", "section", "setting"),
    [
        (("separate_batch_norm", "joint_batch_norm"), "pretrain", "joint_batch_norm"),
        (("dense_last_block", "sparse_last_block"), "model", "sparse_last_block"),
    ],
)
def test_rows_with_the_defaults_value_share_its_runs(
    cache, tmp_path, capsys, rows, section, setting
):
    """One of the two rows is Proposed itself."""
    config = plan_config(*(f"{x}{y}" for x in rows for y in ("_probe", "")))
    config.study.update(labeled=(1, 5), draws=1, seeds=2, dry_run=True)
    config.data.cache_dir = str(cache)
    assert study_mode.run(config, tmp_path) == 0
    assert "= 16 cells, from 4 pretrained networks" in capsys.readouterr().out
    keys = {name: {cell.job.key for cell in plan(name)} for name in (*rows, "proposed")}
    assert not keys[rows[0]] & keys[rows[1]]
    default = rows[bool(config[section][setting])]
    assert keys[default] == keys["proposed"]


def test_the_main_rows_of_both_protocols_are_planned(cache, tmp_path, capsys):
    """18 cells from one pretraining each, and not one of them in common."""
    keys = []
    for overrides in ({}, {"crop": "mask_box", "interpolation": "nearest"}):
        config = plan_config("proposed_probe", "proposed", "baseline")
        config.study.update(labeled=(1, 5), draws=3, dry_run=True)
        config.data.update({"cache_dir": str(cache)} | overrides)
        assert study_mode.run(config, tmp_path) == 0
        assert "= 18 cells, from 1 pretrained network\n" in capsys.readouterr().out
        keys.append({cell.job.key for cell in list_cells(config, tmp_path)})
    assert len(keys[0]) == len(keys[1]) == 18 and not keys[0] & keys[1]


def test_a_mistaken_plan_is_refused_in_a_sentence():
    """Names that are not there, with the nearest; a checkpoint for all rows."""
    config = plan_config("proposed")
    config.study.rows.proposed.pretraining = ConfigDict({"pretrain": {"temprature": 1}})
    with pytest.raises(InputError, match=r"pretrain(\.|__)temperature"):
        list_cells(config, Path("/x"))
    with pytest.raises(InputError, match="simklr"):
        plan("simklr")
    for labeled in ((0, 1), ("a", 1), (1.5,), ()):
        with pytest.raises(InputError, match=r"study\.labeled"):
            plan("proposed", labeled=labeled)
    for draws in (0, -1):
        with pytest.raises(InputError, match=r"study\.draws"):
            plan("proposed", draws=draws)
    config = plan_config("proposed")
    config.study.rows.proposed.mode = "predict"
    with pytest.raises(InputError, match=r"proposed\.mode"):
        list_cells(config, Path("/x"))
    config = plan_config("proposed")
    config.init.checkpoint = "/some/run"
    with pytest.raises(InputError, match=r"init(\.|__)checkpoint"):
        list_cells(config, Path("/x"))
    config = plan_config("proposed")
    config.study.rows.proposed.shared = ConfigDict({"data": {"crop": "mask_box"}})
    with pytest.raises(InputError, match=r"proposed.*data(\.|__)crop"):
        list_cells(config, Path("/x"))
    config = plan_config("proposed")
    config.study.rows.proposed.downstream = ConfigDict({"seed": 7})
    with pytest.raises(InputError, match=r"proposed.*--config\.seed"):
        list_cells(config, Path("/x"))
    with pytest.raises(InputError, match=r"study\.labeled=\(1, 1\)"):
        plan("proposed", labeled=(1, 1))
    with pytest.raises(InputError, match=r"study\.methods="):
        plan("proposed", "proposed")
    config = ConfigDict({"init": {}})
    with pytest.raises(InputError, match="study"):
        study_mode.run(config, Path("/x"))


@pytest.mark.parametrize("name", ["draws", "seeds", "resamples"])
def test_more_runs_than_anyone_has_time_for_are_refused(name):
    """At once: to list a billion of them takes minutes and all memory."""
    config = plan_config("baseline")
    config.study[name] = 10**9
    with pytest.raises(InputError, match=rf"study\.{name} is 1000000000"):
        list_cells(config, Path("/x"))


@pytest.mark.parametrize(
    ("data", "changes", "setting"),
    [
        ({"split": "ssl4mis"}, {"draws": 2, "labeled": (1,)}, "study.draws"),
        ({"split": "ssl4mis"}, {"draws": 1, "labeled": (1, 8)}, "data.num_labeled"),
        ({"labeled": ("patient001",)}, {"draws": 1, "labeled": (2,)}, "study.labeled"),
        ({"labeled": ("patient001",)}, {"draws": 2, "labeled": (1,)}, "study.draws"),
    ],
)
def test_patients_who_are_named_are_not_drawn(data, changes, setting):
    """A plan that would count them twice, or others, is refused before any run."""
    config = plan_config("baseline", **changes)
    config.data.update(data)
    with pytest.raises(InputError, match=setting.replace(".", r"\.")):
        list_cells(config, Path("/x"))


def test_named_patients_are_runs_of_their_own():
    """Numbers of labelled patients are rows of the split, and names one number."""
    config = plan_config("proposed", draws=1, labeled=(1, 3, 7))
    drawn = list_cells(config, Path("/x"))
    config.data.split = "ssl4mis"
    named = list_cells(config, Path("/x"))
    assert [x.num_labeled for x in named] == [1, 3, 7]
    assert not {x.job.key for x in drawn} & {x.job.key for x in named}
    assert drawn[0].pretraining.key != named[0].pretraining.key
    config.data.labeled = ("patient004",)
    config.study.labeled = (1,)
    (cell,) = list_cells(config, Path("/x"))
    assert cell.job.key != named[0].job.key
    assert cell.pretraining.key == named[0].pretraining.key
