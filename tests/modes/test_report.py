"""--mode report: what the page says of runs, with and without their scans."""

import base64
import csv
import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import configs.pix2rep
from pix2rep_jax.errors import InputError
from pix2rep_jax.modes import report_scans
from pix2rep_jax.modes.report import check_target
from pix2rep_jax.modes.report_names import (
    Names,
    baseline_command,
    command_part,
    hide_words,
)
from pix2rep_jax.modes.report_numbers import (
    answer_part,
    dice_part,
    patient_part,
    run_part,
)
from pix2rep_jax.modes.report_scans import Doubted, doubt_part
from pix2rep_jax.modes.reported_runs import find_baseline, find_gain, find_reported
from tests.support.program import finish, start, succeed
from tests.support.run_folder import begin_run, make_split_of

PATIENTS = tuple(f"Jane{i}" for i in range(8))
SPLIT = make_split_of(test_patients=PATIENTS)


class Reader(HTMLParser):
    """Collects the words and pictures of a page, and finds tags that do not close."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words, self.pictures = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        if tag not in ("meta", "img", "line", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            assert tag in ("line", "path", "circle")

    def handle_data(self, data):
        self.words += data.split() if self.open[-1:] != ["style"] else []


def read_page(path):
    page = path.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:image/png)|https?:|url\(', page)
    return page, Reader(page)


def score(folder, dice):
    """Writes a per_volume.csv with one volume per patient."""
    names = ["volume_id", "patient", "resolution", "dice_RV", "dice_mean_foreground"]
    with open(folder / "per_volume.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for patient, value in zip(PATIENTS, dice, strict=True):
            writer.writerow([f"{patient}_ED", patient, "native", value, value])


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """A workdir with both arms of two seeds, by name; nothing was trained."""
    workdir = tmp_path_factory.mktemp("arms")
    draw = np.random.default_rng(0)
    for seed in (0, 1):
        config = configs.pix2rep.get_config("quick")
        config.seed = seed
        for name, origin, gain in (("a", True, 0.05), ("a/scratch", None, 0)):
            place = workdir / str(seed) / name / "finetune"
            own = config.copy_and_resolve_references()
            own.init.checkpoint = "" if origin else "none"
            begin_run(place, own, origin=origin, split=SPLIT)
            score(place, draw.uniform(0.5, 0.6, 8) + gain)
    return workdir


@pytest.mark.parametrize("doubts", [[0.0] * 10, [0.1 * i for i in range(10)]])
def test_doubt_is_compared_with_dice_where_it_differs(monkeypatch, doubts):
    """The rank correlation of equal numbers is not defined."""
    monkeypatch.setattr(report_scans, "_doubted_picture", lambda *args: "")
    volumes = [SimpleNamespace(volume_id=f"v{i}") for i in range(10)]
    scans = [Doubted(i, doubt, 0, np.zeros(())) for i, doubt in enumerate(doubts)]
    part = doubt_part(
        scans,
        SimpleNamespace(volumes=volumes),
        {f"v{i}": 0.9 - 0.05 * i for i in range(10)},
        classes=("BG", "LV"),
        names=Names((), hidden=False),
    )
    assert ("-1.00" in part) == (doubts[0] != doubts[1])


def test_both_arms_are_found_and_compared_over_all_seeds(arms):
    """By pairs of patient and seed; the sentence has the mean of the plain formula."""
    runs = find_reported([arms / "0" / "a", arms / "1" / "a"])
    assert [run.is_pretrained for run in runs] == [True, False, True, False]
    main = runs[0]
    baseline = find_baseline(main, runs)
    assert baseline.folder == arms / "0" / "a" / "scratch" / "finetune"
    gain = find_gain(main, baseline, runs)
    values = [[run.patients[x]["mean_foreground"] for x in PATIENTS] for run in runs]
    expected = np.mean(values[0::2]) - np.mean(values[1::2])
    assert gain.mean == pytest.approx(expected)
    assert gain.num_runs == 2 and gain.num_patients == 8
    page = answer_part(main, baseline, runs, command="")
    assert f"gains {100 * expected:.1f} points" in page
    assert "8 test patients" in page and "2 pairs" in page
    assert (page + dice_part(runs)).count("bootstrap") == 2
    # There are no intervals to explain with so few patients.
    few = [
        run._replace(patients={x: run.patients[x] for x in PATIENTS[:4]})
        for run in runs
    ]
    page = answer_part(few[0], few[1], few, command="") + dice_part(few)
    assert "bootstrap" not in page and page.count("5 test patients") == 2
    alone = answer_part(main, None, runs[:1], command="the command")
    assert "not known" in alone and "the command" in alone
    assert find_baseline(baseline, runs) is None


def test_folders_are_not_named_where_names_are_hidden(arms, tmp_path):
    """Their names may be those of patients."""
    shutil.copytree(arms / "0" / "a", tmp_path / "Jane-Doe")
    workdirs = [tmp_path / "Jane-Doe", arms / "1" / "a"]
    for hidden in (True, False):
        runs = find_reported(workdirs, hidden=hidden)
        page = run_part(None, runs, names=Names(PATIENTS, hidden=hidden))
        assert ("Jane" in page) == (not hidden)
        assert len({run.title for run in runs}) == 4


def test_the_baseline_is_the_run_that_is_most_alike(arms, tmp_path):
    """In whatever order workdirs are named; the sentence says if it is not alike."""
    shutil.copytree(arms, tmp_path, dirs_exist_ok=True)
    for name in ("other", "unscored"):
        shutil.copytree(tmp_path / "0" / "a" / "scratch", tmp_path / name)
    config = tmp_path / "other" / "finetune" / "config.json"
    content = json.loads(config.read_text())
    content["finetune"]["num_steps"] = 7
    config.write_text(json.dumps(content))
    (tmp_path / "unscored" / "finetune" / "per_volume.csv").unlink()
    workdirs = [tmp_path / x for x in ("unscored", "other", "1/a", "0/a")]
    runs = find_reported(workdirs)
    main = next(run for run in runs if run.folder.parts[-3:-1] == ("0", "a"))
    baseline = find_baseline(main, runs)
    assert baseline.folder == tmp_path / "0" / "a" / "scratch" / "finetune"
    page = answer_part(main, baseline, runs, command="")
    assert "more than their start" not in page
    unlike = runs[1]
    page = answer_part(main, unlike, [main, unlike], command="")
    assert "more than their start" in page and "finetune.num_steps" in page


def test_workdirs_of_one_name_are_told_apart(arms):
    """Curves and legends go by the titles."""
    workdirs = [arms / seed / "a" for seed in ("0", "1")]
    titles = [run.title for run in find_reported(workdirs)]
    assert len(set(titles)) == 4
    for title, seed in zip(titles, "0011", strict=True):
        assert title.endswith(str(Path(seed, "a")))


def test_an_unreadable_run_costs_no_other(arms, tmp_path):
    """Only the one that the page is about must be readable."""
    workdirs = [tmp_path / seed / "a" for seed in ("0", "1")]
    shutil.copytree(arms, tmp_path, dirs_exist_ok=True)
    broken = workdirs[0] / "scratch" / "finetune"
    (broken / "run.json").write_text("{")
    skipped = []
    runs = find_reported(workdirs, skip=lambda *x: skipped.append(x))
    assert [run.is_pretrained for run in runs] == [True, True, False]
    assert [folder for folder, _ in skipped] == [broken]
    with pytest.raises(InputError):
        find_reported(workdirs)
    (workdirs[0] / "finetune" / "run.json").write_text("{")
    with pytest.raises(InputError):
        find_reported(workdirs, skip=lambda *x: None)


def test_a_run_without_scores_is_not_taken_for_one_without_test_patients(
    arms, tmp_path
):
    shutil.copytree(arms / "0", tmp_path, dirs_exist_ok=True)
    (tmp_path / "a" / "scratch" / "finetune" / "per_volume.csv").unlink()
    main, baseline = find_reported([tmp_path / "a"])
    page = answer_part(main, baseline, [main, baseline], command="the command")
    assert "no scores yet" in page and "the command" in page
    main = main._replace(patients={})
    unscored = answer_part(main, None, [main], command="")
    assert "no scores yet" in unscored and "held out" not in unscored
    split = main.record.split
    record = main.record._replace(split=dataclasses.replace(split, test_volumes=()))
    main = main._replace(record=record)
    assert "held out" in answer_part(main, None, [main], command="")


def test_classes_of_any_name_are_shown_as_they_are(arms):
    """A data set names them, and a page may come from others' data."""
    found = find_reported([arms / "0" / "a"])
    name = "<img src=x onerror=alert(1)>"
    runs = []
    for run in found:
        data = dict(run.config["data"], classes=["BG", name])
        patients = {x: {**own, name: own["RV"]} for x, own in run.patients.items()}
        config = {**run.config, "data": data}
        runs.append(run._replace(config=config, patients=patients, title="<u>"))
    names = Names(PATIENTS, hidden=False)
    page = "".join(
        [
            answer_part(*runs, runs, command="<i>"),
            dice_part(runs),
            patient_part(*runs, names=names),
            run_part(None, runs, names=names),
        ]
    )
    assert not re.search("<(img|i|u)[ >]", page.replace("<i class", ""))
    assert "&lt;img src=x" in page and "&lt;u&gt;" in page


def test_a_run_that_has_not_finished_says_how_far_it_is(arms):
    (main, *_) = find_reported([arms / "0" / "a"])
    names = Names(PATIENTS, hidden=False)
    assert "done yet" not in run_part(None, [main], names=names)
    half = main._replace(newest_step=3)
    assert "only 3 are done yet" in run_part(None, [half], names=names)


def test_other_labelled_patients_or_scans_are_not_compared(arms, tmp_path):
    """A difference would then not be that of the start."""
    config = configs.pix2rep.get_config("quick")
    (main, *_) = find_reported([arms / "0" / "a"])
    for index, changes in enumerate(
        (
            {"labeled_patients": ("someone",)},
            {"test_patients": PATIENTS[:-1]},
            {"scans": {"patient002": {"patient002_ED": "c2 d2"}}},
        )
    ):
        place = tmp_path / str(index) / "finetune"
        split = make_split_of(**({"test_patients": PATIENTS} | changes))
        begin_run(place, config, split=split)
        score(place, [0.5] * 8)
        assert find_baseline(main, find_reported([place])) is None
    changed = configs.pix2rep.get_config("quick")
    changed.finetune.num_steps += 1
    begin_run(tmp_path / "more" / "finetune", changed, split=SPLIT)
    score(tmp_path / "more" / "finetune", [0.5] * 8)
    (other,) = find_reported([tmp_path / "more"])
    assert find_baseline(main, [other]) is other
    page = answer_part(main, other, [main, other], command="")
    assert "finetune.num_steps" in page


def test_patients_are_listed_from_the_worst_on(arms):
    """With the Dice of both networks and the difference."""
    runs = find_reported([arms / "0" / "a"])
    names = Names(PATIENTS, hidden=True)
    page = patient_part(runs[0], runs[1], names=names) + dice_part(runs)
    assert "Jane" not in page
    rows = re.findall(r"<th>(patient-\d+)</th>", page)
    dice = [runs[0].patients[x]["mean_foreground"] for x in PATIENTS]
    assert rows == [f"patient-{i + 1:03d}" for i in np.argsort(dice)]
    worst = 100 * np.array(
        [min(dice), runs[1].patients[PATIENTS[np.argmin(dice)]]["RV"]]
    )
    assert f"{worst[0]:.1f}" in page and f"{worst[0] - worst[1]:+.1f}" in page


def test_hidden_commands_have_no_name_and_no_folder():
    """The options stay, and so do numbers and switches."""
    line = (
        "/home/Jane/main.py --config /home/Jane/own.py:small --mode finetune --workdir="
        "/data/Jane --config.data.root '/data/Jane x' --config.data.labeled=101,102 "
        "--config.data.draw=3 --config.finetune.compare_scratch=True --overwrite"
    )
    hidden = hide_words(line)
    assert not re.search("Jane|data/|home|10[12]", hidden)
    for kept in ("--mode finetune", "draw=3", "compare_scratch=True", "--overwrite"):
        assert kept in hidden
    line = "main.py --workdir 1234 --config.init.checkpoint=1234 --output=1234"
    assert "1234" not in hide_words(f"{line} --config.data.split=1234 --input 1234")
    assert "=none" in hide_words("main.py --config.init.checkpoint=none")
    folder = "/data/Jane/finetune"
    main = SimpleNamespace(folder=Path(folder))
    for hide, shown in ((True, False), (False, True)):
        names = Names((), hidden=hide)
        line = baseline_command(main, ["main.py", "--mode", "report"], names=names)
        assert ("/data/Jane" in line) == shown
        assert "--mode finetune" in line and line.endswith("compare_scratch=True")
    part = command_part(None, [], line.split(), names=Names((), hidden=True))
    assert "Jane" not in part


def test_another_file_is_not_replaced(tmp_path):
    """A report is, and any file with --overwrite."""
    own, other = tmp_path / "own.html", tmp_path / "other.html"
    other.write_text("<p>mine</p>")
    check_target(own, overwrite=False)
    check_target(other, overwrite=True)
    for path in (other, tmp_path, tmp_path / "a.pdf"):
        with pytest.raises(InputError, match="--output"):
            check_target(path, overwrite=False)


def test_a_whole_page_is_made_of_a_workdir(workdir, cache, tmp_path):
    """With pictures of its scans, and again without a single name."""
    folder = tmp_path / "Jane-Doe"
    for mode in ("pretrain", "finetune", "probe"):
        shutil.copytree(workdir / mode, folder / mode)
    shutil.copytree(workdir / "probe", folder / "scratch" / "finetune")
    record = folder / "scratch" / "finetune" / "run.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"origin": None}))
    succeed(start("report", folder, cache))
    page, read = read_page(folder / "report" / "report.html")
    split = json.loads((folder / "finetune" / "run.json").read_text())["split"]
    for patient in (*split["labeled_patients"], *split["test_patients"]):
        assert patient in page
    # Two ranks of expert and both networks, and three lists of up to five scans.
    lists = len(read.pictures) - 2 * 3
    assert 0 < lists <= 15
    for picture in read.pictures:
        content = base64.b64decode(picture.partition(",")[2])
        assert content.startswith(b"\x89PNG")
    assert "curve" in page and "finished" not in page
    hidden = tmp_path / "hidden.html"
    flags = ("--anonymise", f"--output={hidden}")
    result = finish(start("report", folder, cache, *flags))
    assert result.returncode == 0 and "images of patients" in result.stderr
    page, read = read_page(hidden)
    names = {*split["pretrain_patients"], *split["test_patients"], "Jane", str(cache)}
    names.add(str(tmp_path.parent))
    assert [name for name in names if name in page] == []
    assert len(read.pictures) == 6 + lists


def test_a_page_without_scans_has_the_numbers(workdir, cache, tmp_path):
    """And says why it has no pictures; a pretraining alone has its curve."""
    shutil.copytree(workdir / "finetune", tmp_path / "a" / "finetune")
    config = tmp_path / "a" / "finetune" / "config.json"
    content = json.loads(config.read_text())
    content["data"] |= {"name": "acdc", "root": str(tmp_path / "gone")}
    config.write_text(json.dumps(content))
    gone = {"data__name": "acdc", "data__root": tmp_path / "gone"}
    shutil.copytree(workdir / "pretrain", tmp_path / "b" / "pretrain")
    succeed(start("report", tmp_path / "b", cache))
    page, read = read_page(tmp_path / "b" / "report" / "report.html")
    assert "curve" in page and read.pictures == []
    shutil.copytree(workdir / "probe", tmp_path / "a" / "probe")
    (tmp_path / "a" / "probe" / "run.json").write_text("{")
    process = finish(start("report", tmp_path / "a", cache, **gone))
    assert process.returncode == 0, process.stderr
    page, read = read_page(tmp_path / "a" / "report" / "report.html")
    assert page.count("Left out") == 2 and "Dice by class" in page
    assert str(tmp_path / "a" / "probe" / "run.json") in process.stderr
