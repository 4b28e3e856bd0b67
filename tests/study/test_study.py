"""A study's runs and what it writes, with modes that only pretend to train."""

import contextlib
import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import study
from pix2rep_jax.data.dataset import load_dataset
from pix2rep_jax.data.splits import make_split
from pix2rep_jax.errors import InputError
from pix2rep_jax.evaluation.report import write_evaluation
from pix2rep_jax.evaluation.volume_score import VolumeScore
from pix2rep_jax.modes import finetune, pretrain, probe
from pix2rep_jax.runs.lock import hold
from pix2rep_jax.study import command as study_mode
from pix2rep_jax.study import runner
from pix2rep_jax.study.command import time_left
from pix2rep_jax.study.data_identity import read_scans
from pix2rep_jax.study.job_record import Record, read_record, write_record
from pix2rep_jax.study.jobs import list_cells
from pix2rep_jax.study.report.results import Result
from pix2rep_jax.study.report.run_table import read_runs
from tests.support.plans import CLASSES, TESTED, finish_by_hand, plan, plan_config
from tests.support.program import TINY

PATIENTS = ("a", "b", "c")


@pytest.fixture
def calls(monkeypatch, cache):
    """Replaces the modes by ones that note their runs; `calls.fail` names some."""
    monkeypatch.setenv("HOME", str(cache))  # where the phantom is drawn

    class Calls(list):
        fail = ()
        stop = ()
        loss = 0.5
        patients = ()

    calls = Calls()

    def fake(mode):
        def run(config, workdir):
            place = mode, config.data.num_labeled, config.data.draw
            calls.append(place)
            print("said by", mode)
            if place in calls.fail or mode in calls.fail:
                raise InputError("the scans are upside down: turn them")
            if place in calls.stop:
                raise KeyboardInterrupt
            folder = workdir / mode
            folder.mkdir(parents=True)
            losses = json.dumps({"step": 1, "loss": calls.loss})
            (folder / "metrics.jsonl").write_text(losses + "\n")
            quality = config.data.num_labeled / 10 + (mode == "probe") / 100
            mean_teacher = config.finetune.method == "mean_teacher"
            scores = [
                VolumeScore(
                    f"{patient}_ED",
                    patient,
                    "ED",
                    "",
                    resolution,
                    np.full(4, quality + index / 1000),
                    **more,
                )
                for index, patient in enumerate(calls.patients or TESTED)
                for resolution, more in (
                    (
                        "native",
                        {"hd95_mm": np.full(4, 5.0), "assd_mm": np.full(4, 2.0)},
                    ),
                    ("network", {"soft_dice": np.full(4, quality / 2)}),
                )
            ]
            write_evaluation(
                folder,
                scores,
                classes=CLASSES,
                details={"test_patients": list(calls.patients or TESTED)},
                others={"student": scores} if mean_teacher else {},
            )

        return run

    for module in (pretrain, probe, finetune):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(module, "run", fake(name))
    return calls


def read_csv(workdir):
    with open(workdir / "study" / "study.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_runs_each_job_once(calls, tmp_path, capsys):
    """Twice the same command, then a larger plan: only what is new is run."""
    config = plan_config("baseline", "proposed_probe", "proposed")
    assert study_mode.run(config, tmp_path) == 0
    assert calls.count(("pretrain", 5, 0)) == 1 and len(calls) == 1 + 3 * 4
    lines = read_csv(tmp_path)
    assert {line["status"] for line in lines} == {"finished"} and len(lines) == 12
    assert "said by" not in capsys.readouterr().out  # it is in output.txt
    before = len(calls)
    assert study_mode.run(config, tmp_path) == 0
    assert len(calls) == before
    config.study.labeled = (1, 2, 3)
    study_mode.run(config, tmp_path)
    assert [place[1] for place in calls[before:]] == [3] * 6


def test_a_further_seed_has_a_pretraining_of_its_own(calls, tmp_path, capsys):
    """What the first one had is not run again; tables average over both, and the
    difference says what each seed has of it."""
    config = plan_config("baseline", "proposed", labeled=(1,))
    assert study_mode.run(config, tmp_path) == 0
    alone, before = list_cells(config, tmp_path / "study"), len(calls)
    config.study.seeds = 2
    cells = list_cells(config, tmp_path / "study")
    assert cells[:4] == alone and [cell.seed for cell in cells] == [0] * 4 + [1] * 4
    assert len({cell.pretraining.key for cell in cells if cell.pretraining}) == 2
    for cell in cells[4:]:
        runs = [cell.job, *([cell.pretraining] if cell.pretraining else [])]
        assert all(run.config.seed == 1 for run in runs)
    assert study_mode.run(config, tmp_path) == 0
    # A pretraining has the configuration's own number of labelled patients.
    assert sorted(calls[before:]) == [
        *([("finetune", 1, 0)] * 2),
        *([("finetune", 1, 1)] * 2),
        ("pretrain", 5, 0),
    ]
    lines = read_csv(tmp_path)
    assert [line["seed"] for line in lines] == ["0"] * 4 + ["1"] * 4
    document = (tmp_path / "study" / "tables.md").read_text()
    assert "seeds 0 to 1. A row has one pretraining per seed" in document
    assert "| Proposed | +0.0 [+0.0, +0.0] (+0.0, +0.0) |" in document
    config.study.dry_run = True
    capsys.readouterr()
    assert study_mode.run(config, tmp_path) == 0
    assert "draws 2 x seeds 2 = 8 cells, from 2" in capsys.readouterr().out


def test_a_failed_cell_is_shown_and_stops_no_other(calls, tmp_path):
    """With its reason in both files; the next start tries it again, and it alone."""
    config = plan_config("baseline", "proposed")
    calls.fail = [("finetune", 2, 1)]
    assert study_mode.run(config, tmp_path) == 1
    failed = [line for line in read_csv(tmp_path) if line["status"] == "failed"]
    assert [(x["method"], x["num_labeled"], x["draw"]) for x in failed] == [
        ("baseline", "2", "1"),
        ("proposed", "2", "1"),
    ]
    assert failed[0]["reason"] == "the scans are upside down: turn them"
    document = (tmp_path / "study" / "tables.md").read_text()
    assert "Baseline (U-Net), 2 labelled, draw 1, seed 0: failed" in document
    assert "[1 of 2 runs]" in document
    calls.fail, before = (), len(calls)
    assert study_mode.run(config, tmp_path) == 0
    assert calls[before:] == [("finetune", 2, 1)] * 2


def test_a_second_pretraining_goes_on_from_the_first(calls, tmp_path):
    """Two rows share the first one; what starts from the second is fine-tuned after
    both, and has a key that follows either."""
    config = plan_config("chaitanya", "chaitanya_global", labeled=(1,), draws=1)
    cells = list_cells(config, tmp_path / "study")
    second, alone = (cell.pretraining for cell in cells)
    assert second.start == alone and alone.start is None
    assert second.config.init.checkpoint == str(alone.workdir)
    assert second.config.chaitanya.stage == "local"
    assert cells[0].job.config.init.checkpoint == str(second.workdir)
    assert cells[0].job.config.chaitanya.stage == "global"

    assert study_mode.run(config, tmp_path) == 0
    assert [mode for mode, *_ in calls] == ["pretrain"] * 2 + ["finetune"] * 2
    write_record(second, Record("finished", 60.0))
    write_record(alone, Record("finished", 100.0))
    study_mode.run(config, tmp_path)
    names = ("pretraining_seconds", "first_stage_seconds")
    by_method = {x["method"]: [x[name] for name in names] for x in read_csv(tmp_path)}
    assert by_method == {
        "chaitanya": ["160.0", "100.0"],
        "chaitanya_global": ["100.0", ""],
    }
    document = (tmp_path / "study" / "tables.md").read_text()
    assert "02:4" in document.splitlines()[-1]  # the shared stage counts once
    published = read_runs(tmp_path / "study" / "study.csv", cells)
    assert published[cells[0].job.key].stage_seconds == (100.0, 60.0)

    config.chaitanya.temperature *= 2
    changed = list_cells(config, tmp_path / "study")[0].pretraining
    assert changed.key != second.key and changed.start.key != alone.key


def test_a_failed_first_pretraining_fails_what_goes_on_from_it(calls, tmp_path):
    """It is tried once, and the second one not at all."""
    calls.fail = ("pretrain",)
    config = plan_config("chaitanya", "chaitanya_global", labeled=(1,), draws=1)
    assert study_mode.run(config, tmp_path) == 1
    assert [mode for mode, *_ in calls] == ["pretrain"]
    lines = read_csv(tmp_path)
    assert [line["status"] for line in lines] == ["failed"] * 2
    assert all("its pretraining failed" in line["reason"] for line in lines)


def test_a_failed_pretraining_fails_its_cells_and_is_tried_once(calls, tmp_path):
    """The baseline, which needs none, is scored."""
    calls.fail = ["pretrain"]
    config = plan_config("baseline", "proposed", draws=1)
    assert study_mode.run(config, tmp_path) == 1
    assert [place[0] for place in calls] == ["finetune", "finetune", "pretrain"]
    states = [(line["method"], line["status"]) for line in read_csv(tmp_path)]
    assert states == [*[("baseline", "finished")] * 2, *[("proposed", "failed")] * 2]


def test_a_stopped_study_goes_on_where_it_was(calls, tmp_path):
    """Status 130, its files up to date, and nothing that had ended is run again."""
    config = plan_config("baseline", draws=1, labeled=(1, 2, 3))
    calls.stop = [("finetune", 2, 0)]
    with pytest.raises(SystemExit) as stopped:
        study_mode.run(config, tmp_path)
    assert stopped.value.code == 130
    states = [line["status"] for line in read_csv(tmp_path)]
    assert states == ["finished", "interrupted", "pending"]
    assert "- 2 cells" in (tmp_path / "study" / "tables.md").read_text()
    calls.stop = ()
    assert study_mode.run(config, tmp_path) == 0
    assert [place[1] for place in calls] == [1, 2, 2, 3]


def test_the_csv_has_a_line_a_run_with_its_scores(calls, tmp_path):
    """Dice a structure, distances, times and hashes, as evaluation.json has them."""
    calls.patients = PATIENTS
    config = plan_config("proposed_probe", draws=1)
    study_mode.run(config, tmp_path)
    line = read_csv(tmp_path)[1]
    assert line["protocol"] == "center" and line["mode"] == "probe"
    assert float(line["dice_LV"]) == pytest.approx(0.211)
    assert float(line["hd95_mm_mean_foreground"]) == 5
    assert "soft_dice_LV" not in line
    cell = list_cells(config, tmp_path / "study")[1]
    assert line["key"] == cell.job.key
    assert line["pretraining_key"] == cell.pretraining.key
    assert float(line["patient:b"]) == pytest.approx(0.211)
    assert line["hardware"].startswith("4 x ")


def test_the_two_protocols_never_meet(calls, tmp_path):
    """Soft Dice at the network's size with the mask's box, and not in one folder."""
    calls.patients = PATIENTS
    config = plan_config("baseline", draws=1)
    study_mode.run(config, tmp_path / "honest")
    config.data.crop = "mask_box"
    with pytest.raises(InputError, match=r"data(\.|__)crop=center"):
        study_mode.run(config, tmp_path / "honest")
    study_mode.run(config, tmp_path / "released")
    documents = {
        name: (tmp_path / name / "study" / "tables.md").read_text()
        for name in ("honest", "released")
    }
    assert "soft Dice at 16 x 16" in documents["released"]
    assert "HD95" not in documents["released"] and "| 5.0 " in documents["released"]
    assert "HD95" in documents["honest"] and "| 10.1 " in documents["honest"]


def test_a_damaged_record_is_none(tmp_path):
    """A job whose record cannot be read is run again."""
    (cell, *_) = plan("baseline", folder=tmp_path)
    cell.job.workdir.mkdir(parents=True)
    (cell.job.workdir / "record.json").write_text('{"status": "fin')
    assert read_record(cell.job) == Record()


@pytest.mark.parametrize("lost", ["evaluation.json", "per_volume.csv"])
def test_a_cell_without_scores_is_run_again(calls, tmp_path, lost):
    """Whatever its record says: shown as failed meanwhile, with the reason."""
    config = plan_config("baseline", labeled=(1,))
    study_mode.run(config, tmp_path)
    cell = list_cells(config, tmp_path / "study")[1]
    folder = cell.job.workdir / "finetune"
    if lost == "evaluation.json":
        (folder / lost).write_text('{"dice": ')
    else:
        (folder / lost).unlink()
    config.study.tables_only = True
    assert study_mode.run(config, tmp_path) == 1
    assert [line["status"] for line in read_csv(tmp_path)] == ["finished", "failed"]
    config.study.tables_only = False
    shutil.rmtree(folder)
    calls.clear()
    assert study_mode.run(config, tmp_path) == 0
    assert calls == [("finetune", 1, 1)]
    assert {line["status"] for line in read_csv(tmp_path)} == {"finished"}


def test_a_run_is_not_finished_while_it_runs(calls, tmp_path, monkeypatch):
    """Not even a pretraining that had a record, and whose network is gone."""
    config = plan_config("proposed", labeled=(1,), draws=1)
    (cell,) = list_cells(config, tmp_path / "study")
    cell.pretraining.workdir.mkdir(parents=True)
    write_record(cell.pretraining, Record("finished", 60.0))
    seen, run = [], pretrain.run

    def watched(config, workdir):
        seen.append(read_record(cell.pretraining))
        run(config, workdir)

    monkeypatch.setattr(pretrain, "run", watched)
    study_mode.run(config, tmp_path)
    assert [record.status for record in seen] == ["interrupted"]
    assert read_record(cell.pretraining).status == "finished"


def test_what_failed_in_another_process_waits_for_the_next_start(
    calls, tmp_path, monkeypatch
):
    """Two that share a study try a job that fails once, and each says that it did."""
    config = plan_config("baseline", "proposed", draws=1)
    calls.fail = ["finetune", "pretrain"]
    cells = list_cells(config, tmp_path / "study")
    both = [runner.run_cells(cells), runner.run_cells(cells)]
    with monkeypatch.context() as patch:
        patch.setattr(runner.time, "time", lambda: 0.0)  # both have started long since
        for number in range(4):  # cell by cell, in turn
            for one in both if number % 2 else both[::-1]:
                next(one)
        assert all(next(one, None) is None for one in both)
    assert sorted(calls) == [("finetune", 1, 0), ("finetune", 2, 0), ("pretrain", 5, 0)]
    assert {read_record(cell.job).status for cell in cells} == {"failed"}
    assert study_mode.run(config, tmp_path) == 1
    assert len(calls) == 6


def test_a_reader_is_told_what_a_table_does_not_show(calls, tmp_path):
    """Runs of one row that come from two pretraining runs, and patients that a copy of
    the scores lacks."""
    config = plan_config("baseline", "proposed", labeled=(1,))
    calls.patients = PATIENTS
    assert study_mode.run(config, tmp_path) == 0
    cells = list_cells(config, tmp_path / "study")[2:]
    document = (tmp_path / "study" / "tables.md").read_text()
    assert "## Notes" not in document and "patients |" not in document
    for cell, digest in zip(cells, ("1f", "2e"), strict=True):
        path = cell.job.workdir / "finetune" / "evaluation.json"
        content = json.loads(path.read_text()) | {"pretrained_digest": digest}
        path.write_text(json.dumps(content))
    path = cells[0].job.workdir / "finetune" / "per_volume.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("c_ED")))
    config.study.tables_only = True
    study_mode.run(config, tmp_path)
    document = (tmp_path / "study" / "tables.md").read_text()
    assert "- Proposed: its runs of one seed come from 2 " in document
    assert "| Proposed | +0.0 [+0.0, +0.0], 2 of 3 patients |" in document


def test_what_another_process_has_in_hand_is_left_to_it(
    calls, tmp_path, monkeypatch, capsys
):
    """First everything else, then a wait; nothing is run twice."""
    config = plan_config("baseline", "proposed", labeled=(1,))
    cells = list_cells(config, tmp_path / "study")
    busy = cells[0].job, cells[2].pretraining
    with contextlib.ExitStack() as stack:
        for job in busy:
            assert stack.enter_context(hold(job.workdir))

        def end(seconds):
            """The other process ends one of its runs, and only then the other."""
            assert len(calls) == 1 + len(waits)
            waits.append(seconds)
            if len(waits) == 1:
                finish_by_hand(busy[0])
                calls.append("elsewhere")
            else:
                stack.close()

        waits = []
        monkeypatch.setattr(runner.time, "sleep", end)
        assert study_mode.run(config, tmp_path) == 0
    assert calls[:2] == [("finetune", 1, 1), "elsewhere"] and len(waits) == 2
    assert calls[2:] == [("pretrain", 5, 0), ("finetune", 1, 0), ("finetune", 1, 1)]
    assert capsys.readouterr().err.count("another process") == 1
    with hold(tmp_path) as mine, hold(tmp_path) as theirs:
        assert mine and not theirs


def test_the_scans_of_a_study_may_be_moved_and_not_exchanged(calls, tmp_path):
    """Finished cells count wherever the data lie, and for no other data."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    study_mode.run(config, tmp_path)
    assert len(calls) == 1
    root = next(Path(config.data.cache_dir).expanduser().glob("phantom-*"))
    config.data.root = str(shutil.copytree(root, tmp_path / "moved"))
    config.study.draws = 2
    study_mode.run(config, tmp_path)
    assert [draw for *_, draw in calls] == [0, 1]
    scan = next((tmp_path / "moved" / "training").glob("*/*_frame01.nii.gz"))
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(2 * image.get_fdata(), image.affine), scan)
    config.study.draws = 3
    with pytest.raises(
        InputError, match=rf"{scan.parent.name}_E.*data(\.|__)root=.*/moved"
    ):
        study_mode.run(config, tmp_path)
    assert len(calls) == 2
    config.data.exclude = ("patient001",)  # other settings are another set of cells
    study_mode.run(config, tmp_path)
    assert len(read_scans(tmp_path / "study")) == 2


def test_a_study_that_was_only_named_may_have_other_scans(calls, tmp_path):
    """A start on the wrong folder that ran nothing binds nobody."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    study_mode.run(config, tmp_path)
    scans = json.loads((tmp_path / "study" / "scans.json").read_text())
    ((key, (*_, patient)),) = ((key, own) for key, own in scans.items())
    scans[key][patient] = dict.fromkeys(scans[key][patient], "other")
    (tmp_path / "study" / "scans.json").write_text(json.dumps(scans))
    config.study.draws = 2
    with pytest.raises(InputError, match=f"{patient}_"):
        study_mode.run(config, tmp_path)
    shutil.rmtree(tmp_path / "study" / "cells")
    assert study_mode.run(config, tmp_path) == 0


def test_a_row_may_have_data_of_its_own(calls, tmp_path):
    """Neither its pretraining nor its cells are another's, and its scans are known."""
    config = plan_config("proposed", labeled=(1,), draws=1)
    root = next(Path(config.data.cache_dir).expanduser().glob("phantom-*"))
    more = str(shutil.copytree(root, tmp_path / "more"))
    for name, stage in (("wide", "pretraining"), ("late", "downstream")):
        row = config.study.rows.proposed.copy_and_resolve_references()
        row[stage] = ConfigDict({"data": {"root": more}})
        config.study.rows[name] = row
    config.study.methods = ("proposed", "wide", "late")
    cells = list_cells(config, tmp_path / "study")
    assert len({cell.pretraining.key for cell in cells}) == 2
    assert len({cell.job.key for cell in cells}) == 3
    study_mode.run(config, tmp_path)
    assert [mode for mode, *_ in calls].count("finetune") == 3
    assert len(read_scans(tmp_path / "study")) == 2


def test_scores_of_other_test_patients_are_never_in_one_table(calls, tmp_path):
    """Neither added to finished ones, as when testing/ has come since, nor shown."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    calls.patients = PATIENTS
    study_mode.run(config, tmp_path)
    config.study.draws = 2
    with pytest.raises(InputError, match=r"data(\.|__)root="):
        study_mode.run(config, tmp_path)
    assert len(calls) == 1
    dataset = load_dataset(config.data)
    split = make_split(dataset, config.data, draw_labeled=False)
    calls.patients = split.test_patients
    other = list_cells(config, tmp_path / "study")[1].job
    finetune.run(other.config, other.workdir)
    write_record(other, Record("finished", 1.0))
    config.study.tables_only = True
    with pytest.raises(InputError, match="--workdir"):
        study_mode.run(config, tmp_path)
    shutil.rmtree(tmp_path / "study" / "cells")
    config.study.tables_only = False
    assert study_mode.run(config, tmp_path) == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_study_without_its_data_ends_before_it_begins(calls, tmp_path, dry_run):
    """In the sentence that the mode would give, instead of a table of failures."""
    config = plan_config("baseline", "proposed")
    config.data.update({"name": "acdc", "root": str(tmp_path / "ACDC")})
    config.study.dry_run = dry_run
    with pytest.raises(InputError, match=r"no folder .*ACDC/training"):
        study_mode.run(config, tmp_path)
    assert not calls and not (tmp_path / "study").exists()
    config.study.dry_run, config.study.tables_only = False, True
    assert study_mode.run(config, tmp_path) == 0


def test_a_study_needs_patients_to_score(calls, tmp_path):
    """With none held out every cell would be trained and none scored."""
    config = plan_config("baseline")
    config.data.update({"phantom_testing": 0, "holdout_per_group": 0})
    with pytest.raises(InputError, match=r"data(\.|__)holdout_per_group"):
        study_mode.run(config, tmp_path)
    assert not calls


def test_a_collapse_is_said_beside_the_numbers(calls, tmp_path):
    """A pretraining that learned nothing ends well otherwise."""
    config = plan_config("simclr", "byol", labeled=(1,), draws=1)
    calls.loss = float(np.log(2 * config.simclr.batch_size - 1))
    assert study_mode.run(config, tmp_path) == 0
    document = (tmp_path / "study" / "tables.md").read_text()
    assert document.count("collapsed") == 1
    assert "- SimCLR pretraining: simclr has collapsed" in document


def test_both_networks_of_mean_teacher_are_shown(calls, tmp_path):
    """The result in the tables, the other one in a table of its own and in the csv."""
    calls.patients = PATIENTS
    config = plan_config("baseline", "mean_teacher", labeled=(1,), draws=1)
    study_mode.run(config, tmp_path)
    baseline, mean_teacher = read_csv(tmp_path)
    assert baseline["student_dice_LV"] == ""
    assert float(mean_teacher["student_dice_LV"]) == pytest.approx(0.101)
    assert float(mean_teacher["student_hd95_mm_LV"]) == 5
    document = (tmp_path / "study" / "tables.md").read_text()
    table = document.partition("## Mean Teacher's student")[2].partition("##")[0]
    assert "| Mean Teacher | 10.1 |" in table and "Baseline" not in table


def test_a_study_counts_the_records_of_another(calls, tmp_path):
    """What a file of runs holds is not run again; a pretraining of which it holds the
    runs is run as soon as a further cell needs it, and not before."""
    config = plan_config("baseline", "proposed", draws=1)
    study_mode.run(config, tmp_path / "there")
    calls.clear()
    config.study.records = str(tmp_path / "there" / "study" / "study.csv")
    study_mode.run(config, tmp_path / "here")
    assert not calls
    for name in ("study.csv", "tables.md"):
        there, here = (tmp_path / x / "study" / name for x in ("there", "here"))
        assert there.read_text() == here.read_text()
    config.study.labeled = (1, 2, 3)
    study_mode.run(config, tmp_path / "here")
    assert calls == [("finetune", 3, 0), ("pretrain", 5, 0), ("finetune", 3, 0)]
    # Other settings have other runs.
    config.finetune.num_steps += 1
    with pytest.raises(InputError, match=r"study\.records="):
        study_mode.run(config, tmp_path / "other")
    config.study.records = str(tmp_path / "there" / "study" / "tables.md")
    with pytest.raises(InputError, match=r"study\.records="):
        study_mode.run(config, tmp_path / "other")


def test_records_of_other_scans_are_refused(calls, tmp_path):
    """A file of runs says by a digest which scans they used."""
    config = plan_config("baseline", labeled=(1,), draws=1)
    study_mode.run(config, tmp_path)
    path = tmp_path / "study" / "study.csv"
    (line,) = read_csv(tmp_path)
    path.write_text(path.read_text().replace(line["scans"], "0123456789ab"))
    config.study.update(draws=2, records=str(path))
    with pytest.raises(InputError, match=r"data(\.|__)root="):
        study_mode.run(config, tmp_path / "elsewhere")


def test_the_time_left_is_guessed_from_finished_runs():
    """The closest ones: the same method and patients, the method, the mode."""
    cells = plan("baseline", "proposed", draws=1)
    results = [Result(cell, "pending") for cell in cells]
    assert "4 of unknown length" in time_left(results)
    results[0] = Result(cells[0], "finished", seconds=60.0)
    assert "3 cells left, about 3 min" in time_left(results)
    results[1] = Result(cells[1], "finished", seconds=40.0)
    results[2] = Result(cells[2], "finished", seconds=20.0)
    assert "1 cell left, about 20 s" in time_left(results)


def test_a_tiny_study_runs_to_its_end(cache, tmp_path, capsys):
    """With the real modes: a baseline and a probe, tables, figure; then nothing."""
    config = study.get_config("quick")
    tiny = {name: _parse(value) for name, value in TINY.items()}
    config.update_from_flattened_dict(tiny | {"data.cache_dir": str(cache)})
    config.study.update(methods=("baseline", "proposed_probe"), labeled=(2,), draws=1)
    config.study.update(figure3=("baseline", "proposed_probe"), resamples=20)
    assert study_mode.run(config, tmp_path) == 0
    lines = read_csv(tmp_path)
    assert [line["status"] for line in lines] == ["finished"] * 2
    for line, cell in zip(lines, list_cells(config, tmp_path / "study"), strict=True):
        folder = cell.job.workdir / line["mode"]
        scores = json.loads((folder / "evaluation.json").read_text())
        assert float(line["dice_LV"]) == pytest.approx(scores["dice"]["LV"], abs=1e-6)
        assert (cell.job.workdir / "output.txt").read_text()
    (network,) = {line["pretrained_digest"] for line in lines} - {""}
    assert len(network) == 16
    for name in ("study.csv", "tables.md", "figure3.png", "figure3.pdf"):
        assert (tmp_path / "study" / name).stat().st_size
    before = [(tmp_path / "study" / "study.csv").read_text()]
    capsys.readouterr()
    assert study_mode.run(config, tmp_path) == 0
    assert [(tmp_path / "study" / "study.csv").read_text()] == before
    config.study.update(labeled=(9,), methods=("baseline",))  # there are five patients
    assert study_mode.run(config, tmp_path) == 1
    assert "9" in read_csv(tmp_path)[0]["reason"]


def _parse(value):
    """A value of TINY as a configuration holds it."""
    if isinstance(value, str) and "," in value:
        return tuple(int(part) for part in value.split(",") if part)
    return value
