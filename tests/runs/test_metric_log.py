"""metrics.jsonl and TensorBoard events."""

import io
import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.proto.types_pb2 import DT_STRING
from tensorboardX.record_writer import masked_crc32c

from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.metric_log import MetricWriter, read_metrics
from pix2rep_jax.runs.tensorboard_events import (
    image_event,
    masked_checksum,
    restart_event,
    scalar_event,
    text_event,
)
from pix2rep_jax.runs.trackers import Tracker


def read(folder):
    return [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]


def read_events(folder):
    """The events of all files, by TensorBoard's record format."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def test_each_line_is_one_step(tmp_path):
    """Every line is a JSON object with its step; what is not finite is null."""
    with MetricWriter(tmp_path) as log:
        log.write(1, {"loss": 2.5})
        log.write(2, {"loss": math.nan, "norm": math.inf})
    assert read(tmp_path) == [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": None, "norm": None},
    ]


def test_tensorboard_has_the_same_values(tmp_path):
    """And is told from which step a run goes on."""
    for first_step in (1, 4):
        with MetricWriter(tmp_path, first_step=first_step) as log:
            log.write(first_step, {"loss": first_step / 4, "norm": math.nan})
    events = read_events(tmp_path)
    assert sorted(
        (x.step, v.tag, v.simple_value) for x in events for v in x.summary.value
    ) == [(1, "loss", 0.25), (4, "loss", 1.0)]
    starts = [x.step for x in events if x.session_log.status == SessionLog.START]
    assert sorted(starts) == [1, 4]
    assert sum(x.file_version == "brain.Event:2" for x in events) == 2


def test_an_event_is_encoded_as_protobuf_does():
    """Byte for byte, with both checksums; long names and large steps too."""
    names = {"loss": 0.1, "größe/" + 200 * "x": -3e38, "tiny": 1e-45, "zero": 0.0}
    for step in (1, 127, 128, 70_000, 2**40):
        for name, value in names.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            check_record(scalar_event(step, name, value), step=step, summary=summary)
        start = SessionLog(status=SessionLog.START)
        check_record(restart_event(step), step=step, session_log=start)
    for content in (b"", b"123456789", bytes(range(256))):
        assert masked_checksum(content) == masked_crc32c(content)


def test_pictures_and_texts_are_encoded_as_protobuf_does():
    """As TensorBoard's plugins for images and texts read them."""
    for size in (3, 200):
        png = bytes(range(size))
        image = Summary.Image(
            height=size, width=7, colorspace=3, encoded_image_string=png
        )
        summary = Summary(value=[Summary.Value(tag="views", image=image)])
        record = image_event(130, "views", png, height=size, width=7)
        check_record(record, step=130, summary=summary)
        text = size * "größe "
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        metadata = SummaryMetadata(plugin_data=plugin)
        value = Summary.Value(tag="config", tensor=tensor, metadata=metadata)
        record = text_event(2, "config", text)
        check_record(record, step=2, summary=Summary(value=[value]))


def test_a_picture_comes_back_as_it_was(tmp_path):
    """With its size beside it."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    with MetricWriter(tmp_path) as log:
        log.write_image(3, "predictions", pixels)
    (image,) = [v.image for x in read_events(tmp_path) for v in x.summary.value]
    assert (image.height, image.width, image.colorspace) == (5, 8, 3)
    found = Image.open(io.BytesIO(image.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(found), pixels)


def test_a_tracker_that_fails_is_left_out(tmp_path, caplog):
    """The files go on, and so do other trackers; all are closed at the end."""
    told, closed = [], []

    def fail(step, metrics):
        raise ConnectionError("no network")

    trackers = [
        Tracker("one", fail, lambda: closed.append("one")),
        Tracker("two", lambda *x: told.append(x), lambda: closed.append("two")),
    ]
    with MetricWriter(tmp_path, trackers=trackers) as log:
        log.write(1, {"loss": 2.5, "norm": math.nan})
        log.write(2, {"loss": 1.5})
    assert told == [(1, {"loss": 2.5}), (2, {"loss": 1.5})]
    assert closed == ["two"] and len(read(tmp_path)) == 2
    assert [x.getMessage().count("no network") for x in caplog.records] == [1]


def check_record(record, **fields):
    """The record holds that event, in protobuf's own bytes."""
    size, content = record[:8], record[12:-4]
    wall_time = Event.FromString(content).wall_time
    assert content == Event(wall_time=wall_time, **fields).SerializeToString()
    assert int.from_bytes(size, "little") == len(content)
    assert int.from_bytes(record[8:12], "little") == masked_crc32c(size)
    assert int.from_bytes(record[-4:], "little") == masked_crc32c(content)


def test_a_value_beyond_float32_is_infinite():
    """It is a whole number of bytes all the same."""
    (value,) = Event.FromString(scalar_event(1, "x", 1e39)[12:-4]).summary.value
    assert value.simple_value == math.inf


def test_a_run_that_goes_on_only_appends(tmp_path):
    """Half a line of a killed run stays as it is; readers pass it over, and take the
    last value of a step."""
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 0.5 * step}) for step in range(1, 6)]
    before = "\n".join(lines) + '\n{"step": 6, "lo'
    path.write_text(before)
    with MetricWriter(tmp_path, first_step=4) as log:
        log.write(4, {"loss": 9.0})
    assert path.read_text() == before + '\n{"step": 4, "loss": 9.0}\n'
    assert read_metrics(path) == {"loss": ([1, 2, 3, 4, 5], [0.5, 1.0, 1.5, 9.0, 2.5])}


def test_only_finite_numbers_are_read(tmp_path):
    """Whatever else a line holds, curves can be drawn of what comes back."""
    path = tmp_path / "metrics.jsonl"
    values = ("NaN", "Infinity", "1e999", '"x"', "true", "[1]", "null", "1e308", "2")
    lines = [f'{{"step": {i}, "loss": {x}}}' for i, x in enumerate(values)]
    lines += ["[1]", "3", '{"step": "x", "loss": 1}', '{"step": 1e999, "loss": 1}']
    path.write_text("\n".join(lines))
    assert read_metrics(path) == {"loss": ([7, 8], [1e308, 2])}


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    """A missing folder is one sentence that names the file."""
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        MetricWriter(tmp_path / "missing")


@pytest.mark.parametrize("full", ["metrics", "events"])
def test_a_full_disk_is_said(tmp_path, monkeypatch, full):
    """Whichever of the files has no room, at once or at the end."""
    path_open = pathlib.Path.open

    def open_full(path, *arguments, **options):
        is_full = path.name.startswith(full)
        return path_open(
            pathlib.Path("/dev/full") if is_full else path, *arguments, **options
        )

    monkeypatch.setattr(pathlib.Path, "open", open_full)
    with (
        pytest.raises(InputError, match=str(tmp_path)),
        MetricWriter(tmp_path) as log,
    ):
        for step in range(1000):
            log.write(step, {"loss": 1.0})
