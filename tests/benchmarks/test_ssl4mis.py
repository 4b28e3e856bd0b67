"""What the rows of the shared split publish."""

import json

import pytest

from benchmarks import rates, ssl4mis
from benchmarks.csv_file import read_rows, read_table, write_rows


@pytest.fixture
def called(monkeypatch):
    """The commands that a benchmark gives, none of which runs."""
    words = []
    monkeypatch.setattr(rates.subprocess, "run", lambda each, **_: words.append(each))
    return words


def scores(dice):
    parts = (*ssl4mis.CLASSES, "mean_foreground")
    return {key: dict.fromkeys(parts, dice) for key in ("dice", "hd95_mm")}


def test_both_checkpoints_and_the_course_of_each_row_are_listed(tmp_path):
    """The best step's scores are the last one's where no others are given."""
    for name, best in (
        ("none-supervised-1-0", {"best": scores(0.7), "best_step": 2}),
        ("pix2rep-unimatch-1-0", {}),
    ):
        place = tmp_path / name / "finetune"
        place.mkdir(parents=True)
        content = {**scores(0.6), "kept": "last", "scored_step": 4, **best}
        (place / "evaluation.json").write_text(json.dumps(content))
        (place.parent / "evaluate").mkdir()
        path = place.parent / "evaluate" / "evaluation.json"
        path.write_text(json.dumps(scores(0.65)))
        lines = [{"step": s, "val_dice": s / 10} for s in (2, 4)]
        text = "".join(json.dumps(x) + "\n" for x in ({"step": 1, "loss": 2.0}, *lines))
        (place / "metrics.jsonl").write_text(text)
    write_rows(tmp_path / ssl4mis.SCORES, ssl4mis.list_scores(tmp_path))
    found = [
        (x["pretraining"], x["method"], x["kept"], x["step"], float(x["dice_RV"]))
        for x in read_rows(tmp_path / ssl4mis.SCORES)
    ]
    assert found == [
        ("none", "supervised", "last", "4", 0.6),
        ("none", "supervised", "largest", "4", 0.65),
        ("none", "supervised", "best", "2", 0.7),
        ("pix2rep", "unimatch", "last", "4", 0.6),
        ("pix2rep", "unimatch", "largest", "4", 0.65),
        ("pix2rep", "unimatch", "best", "4", 0.6),
    ]
    rows = ssl4mis.table(read_rows(tmp_path / ssl4mis.SCORES)).splitlines()[2:]
    assert [row.split(" | ")[-1] for row in rows] == ["70.0 |", "60.0 |"]
    course = tmp_path / ssl4mis.COURSE
    write_rows(course, ssl4mis.list_course(tmp_path))
    assert [float(x["val_dice"]) for x in read_rows(course)] == [0.2, 0.4] * 2
    ssl4mis.draw_course(course, tmp_path / "course.png")
    assert (tmp_path / "course.png").stat().st_size > 1000


def test_rows_say_by_what_they_differ():
    row = ssl4mis.Row("pix2rep", "supervised", "1", "0")
    lines = []
    for each in (
        row,
        row._replace(pretraining="none"),
        row._replace(variant="level+ema"),
    ):
        for kept in ssl4mis.KEPT:
            line = {**each._asdict(), "kept": kept}
            for part in (*ssl4mis.CLASSES, "mean_foreground"):
                line |= {f"dice_{part}": "0.5", f"hd95_mm_{part}": "3"}
            lines.append(line)
    found = [
        line.split(" | ")[1::2][:2] for line in ssl4mis.table(lines).splitlines()[2:]
    ]
    default, *both = (ssl4mis.VARIANTS[x][0] for x in ("default", "level", "ema"))
    start = ssl4mis.STARTS["pix2rep"]
    assert found == [
        [ssl4mis.STARTS["none"], default],
        [start, default],
        [start, "; ".join(both)],
    ]


def test_the_page_shows_the_published_scores():
    scores = read_rows(ssl4mis.HERE / "results" / ssl4mis.SCORES)
    assert read_table(ssl4mis.PAGE, ssl4mis.MARK) == ssl4mis.table(scores)


def test_a_variant_wins_over_the_flags_of_its_method(tmp_path, called):
    options = {"num_labeled": 1, "seed": 0, "only": ["none-unimatch"]}
    ssl4mis.run(tmp_path, tmp_path, **options, variant="level+short+ema")
    train, evaluate = called
    steps = [word for word in train if "num_steps" in word]
    assert steps == ["--config.finetune.num_steps=5000"]
    assert "--config.finetune.unimatch.teacher=ema" in train
    assert "--config.finetune.backbone_learning_rate=3e-3" in train
    assert evaluate[-1] == "--mode=evaluate"


def test_other_pixels_have_a_pretraining_of_their_own(tmp_path, called):
    options = {"num_labeled": 1, "seed": 0, "only": ["pix2rep-unimatch"]}
    for variant in ("ema", "ema+fine"):
        ssl4mis.run(tmp_path, tmp_path, **options, variant=variant)
    size = "--config.data.size=96"
    assert [size in words for words in called] == [False] * 3 + [True] * 2 + [False]
    pretrain, train, _, fine_pretrain, fine_train, _ = called
    workdirs = set()
    for first, then in ((pretrain, train), (fine_pretrain, fine_train)):
        (workdir,) = [x for x in first if x.startswith("--workdir=")]
        assert workdir.replace("--workdir", "--config.init.checkpoint") in then
        workdirs.add(workdir)
    assert len(workdirs) == 2
