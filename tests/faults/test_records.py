"""Files of a run in which a part is of another shape than it was written with."""

import json

import pytest

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import check_begun, read_config
from pix2rep_jax.runs.plan_file import read_plan
from pix2rep_jax.runs.run_record import Origin, read_run
from pix2rep_jax.study.job_record import Record, read_record
from pix2rep_jax.study.jobs import Job
from tests.runs.test_manifest import make_config
from tests.support.run_folder import begin_run

SHAPES = ({}, 5, {"scans": 5}, [1], "x", None, [], [[]], -1, 1.5, True, {"a": {"b": 1}})


def places(content, place=()):
    """The place of every part of a JSON object, itself first."""
    yield place
    if isinstance(content, dict):
        for name, part in content.items():
            yield from places(part, (*place, name))


def with_part(content, place, part):
    """A copy with another part at a place."""
    if not place:
        return part
    copy = json.loads(json.dumps(content))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = part
    return copy


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "pretrain"
    begin_run(folder, make_config(), origin=Origin("/elsewhere", 6, "1f"))
    return folder


@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_a_part_of_another_shape_is_one_sentence(run, name):
    """Or it is a part on which nothing depends; never another exception."""
    whole = json.loads((run / name).read_text())
    settings = json.loads((run / "config.json").read_text())
    refused = 0
    for place in places(whole):
        for shape in SHAPES:
            content = with_part(whole, place, shape)
            (run / name).write_text(json.dumps(content))
            try:
                read_run(run), check_begun(run, settings)
            except InputError:
                refused += 1
    assert refused > len(list(places(whole)))


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        (("split", "scans"), 5),
        (("split", "scans", "patient001"), {"patient001_ED": 5}),
        (("split", "source"), 5),
        (("split", "left_out"), {"scans": 5}),
        (("trained",), [1]),
        (("trained",), {"backbone": 1}),
        (("one_piece",), "RV"),
        (("one_piece_foreground",), "yes"),
        (("command",), {}),
        (("environment", "numerics"), 5),
        (("inputs", "sizes"), "no"),
        (("inputs", "label_values"), [True]),
        (("origin", "digest"), 5),
    ],
)
def test_what_a_run_depends_on_must_have_its_type(run, place, shape):
    """Nothing is turned into a text or a list of its own accord."""
    path = run / "run.json"
    content = with_part(json.loads(path.read_text()), place, shape)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"run\.json"):
        read_run(run)


@pytest.mark.parametrize("shape", [5, [1], "x", None])
@pytest.mark.parametrize("section", ["data", "model", "augment", "predict"])
def test_a_section_that_holds_no_settings_is_refused(run, section, shape):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {section: shape}))
    with pytest.raises(InputError, match=r"config\.json.*" + section):
        read_config(run)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plan_of_another_shape_is_refused(tmp_path, shape):
    (tmp_path / "plan.json").write_text(json.dumps(shape))
    with pytest.raises(InputError, match=r"plan\.json"):
        read_plan(tmp_path, make_config().data)


@pytest.mark.parametrize("name", ["status", "seconds", "ended", "reason"])
@pytest.mark.parametrize("shape", [{}, [1], None, True])
def test_a_record_of_a_study_of_another_shape_starts_anew(tmp_path, name, shape):
    """As if there were none."""
    job = Job("probe", make_config(), "k", "d", tmp_path)
    content = vars(Record("failed", 2.0, "out of memory")) | {name: shape}
    (tmp_path / "record.json").write_text(json.dumps(content))
    assert read_record(job) == Record()
