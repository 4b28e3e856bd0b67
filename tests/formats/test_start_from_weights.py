"""A run starts from a file of weights, a folder or the hub as it does from a run."""

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pix2rep_jax.data.hidden_names import hide_names, reveal_names
from pix2rep_jax.errors import InputError
from pix2rep_jax.formats.network import load_network
from pix2rep_jax.formats.write import write_export
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.runs import weights_file
from pix2rep_jax.runs.checkpoint_reader import restore_params
from pix2rep_jax.runs.checkpoint_steps import unfinished
from pix2rep_jax.runs.data_checks import check_unseen
from pix2rep_jax.runs.find_weights import find_weights, hub_name
from pix2rep_jax.runs.manifest import read_config
from pix2rep_jax.runs.pretrained_backbone import other_images_note, read_backbone
from pix2rep_jax.runs.remembered import inherited_settings
from pix2rep_jax.runs.run_record import read_run, record_from_dict, record_to_dict
from pix2rep_jax.runs.start import decide_start, find_network
from pix2rep_jax.runs.weights_file import write_tensors
from tests.formats.networks import write_pretraining, write_segmenter
from tests.inference.test_segmenter import CONFIG
from tests.support.program import ROOT, environment, start, succeed
from tests.support.run_folder import make_run_record, make_split_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pretraining's folder."""
    folder = tmp_path_factory.mktemp("run")
    write_pretraining(folder)
    return folder / "pretrain"


@pytest.fixture
def file(run, tmp_path):
    """The file of its export, which a test may change."""
    out = tmp_path / "export"
    return write_export(load_network(run)[0], out, format="safetensors")


def started(named, workdir):
    model = ConfigDict(CONFIG).model
    model.last_hidden = 3
    return read_backbone(model, decide_start(str(named), workdir, "finetune"))


def test_weights_are_those_of_the_run(run, file, tmp_path):
    """From the file and from its folder, each bit of them, and their digest."""
    before = started(run, tmp_path)
    for named in (file, file.parent):
        found = started(named, tmp_path)
        jax.tree.map(np.testing.assert_array_equal, found.params, before.params)
        jax.tree.map(
            np.testing.assert_array_equal, found.batch_stats, before.batch_stats
        )
        assert found.origin.digest == before.origin.digest
        assert found.origin.step == before.origin.step
        assert found.origin.run == found.origin.weights == str(file)
        assert before.origin.weights == ""


def test_what_a_start_takes_over_is_that_of_the_run(run, file):
    """Spacing, intensities and the slices' axis, and the notes."""
    data = ConfigDict(CONFIG).data
    with data.ignore_type():
        data.spacing_mm, data.percentiles, data.slice_axis = 1.0, (0.0, 100.0), "auto"
    taken, _ = inherited_settings(data, str(run), "finetune", told=())
    found, place = inherited_settings(data, str(file), "finetune", told=())
    assert found == taken and place == file
    assert found["spacing_mm"] == 2.5 and found["percentiles"] == (1.0, 99.0)
    names = ("slice_axis", "inputs", "trained", "num_steps")
    for name in names:
        assert getattr(read_run(file), name) == getattr(read_run(run), name)
    assert "data.spacing_mm=2.5" in other_images_note(data, file)
    assert unfinished(file, 10).endswith(unfinished(run, 10).partition(str(run))[2])


def test_a_file_says_nothing_of_places_and_patients(run, file):
    """No name, no folder and no command; digests of scans are kept."""
    text = file.read_bytes()[:50_000].decode("utf-8", "replace")
    assert "patient001" not in text and str(run.parent) not in text
    assert read_run(file).command == "" and read_config(file)["data"]["root"] == ""
    (scans,) = read_run(file).split.scans.values()
    assert [*scans.values()] == ["a1"]


def test_a_file_says_nothing_of_services(tmp_path):
    """Their addresses may hold a password."""
    write_pretraining(tmp_path)
    config = tmp_path / "pretrain" / "config.json"
    content = json.loads(config.read_text())
    log = {"wandb": "secret-a", "mlflow": "http://me:secret-b@host"}
    content["log"] = content.get("log", {}) | log
    config.write_text(json.dumps(content))
    out = tmp_path / "out"
    path = write_export(load_network(config.parent)[0], out, format="safetensors")
    written = path.read_bytes() + (out / "config.json").read_bytes()
    assert b"secret" not in written
    assert read_config(path)["log"] | log == content["log"]


def test_a_test_patient_that_pretrained_is_found_by_the_hash_of_its_name(run):
    """By name within one set, by name and scan across sets; others pass."""
    hidden = hide_names(make_split_of())
    hidden = type(hidden).from_dict(json.loads(json.dumps(hidden.to_dict())))
    assert hide_names(hidden).pretrain_patients == hidden.pretrain_patients
    assert reveal_names(hidden, ["patient001"]).pretrain_patients == ("patient001",)
    tested = {"test_patients": ("patient001",), "pretrain_patients": ()}
    for source in ("phantom", "elsewhere"):
        now = make_split_of(**tested, source=source)
        with pytest.raises(InputError, match="patient001"):
            check_unseen(now, hidden, run)
    check_unseen(make_split_of(), hidden, run)
    other = {"patient001": {"patient001_ED": "z9"}}
    check_unseen(make_split_of(**tested, source="elsewhere", scans=other), hidden, run)


def test_features_are_those_of_the_run(run, file):
    """For --mode embed and in Python; the projection is not in the file."""
    image = np.random.default_rng(0).random((20, 20, 1)).astype(np.float32)
    places = (run, file, str(file.parent))
    one, *others = (
        Backbone.load(each).embed(image, spacing_mm=(2, 2)) for each in places
    )
    for each in others:
        np.testing.assert_array_equal(each, one)
    with pytest.raises(InputError, match="projection"):
        Backbone.load(file, embedding="projection")
    assert load_network(find_network(file))[0].kind == "backbone"


def test_changed_weights_are_refused(run, file, tmp_path):
    """By the SHA-256 beside the file, and by the one of its arrays without that."""
    data = bytearray(file.read_bytes())
    data[-3] ^= 1  # one bit of one weight
    other = tmp_path / "alone" / "other.safetensors"
    other.parent.mkdir()
    other.write_bytes(data)
    with pytest.raises(InputError, match="get the file again"):
        restore_params(find_weights(other))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    other.with_name("other.safetensors.sha256").write_text(f"{digest}  x\n")
    with pytest.raises(InputError, match="SHA-256"):
        find_weights(other)
    file.write_bytes(data)
    with pytest.raises(InputError, match="SHA-256"):
        started(file.parent, tmp_path)


KERNEL = "backbone.encode_0.Conv_0.kernel"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: {KERNEL: x[KERNEL][..., :1]}, "encode_0.Conv_0.kernel"),
        (lambda x: {KERNEL: np.nan * x[KERNEL]}, "encode_0.Conv_0.kernel"),
        (lambda x: {KERNEL: x[KERNEL].astype(np.float16)}, "float16"),
        (lambda x: {KERNEL: None}, "encode_0.Conv_0.kernel"),
        (lambda x: {f"{KERNEL}.deep": x[KERNEL]}, "encode_0.Conv_0.kernel"),
        (lambda x: dict.fromkeys(x), "backbone"),
    ],
    ids=["shape", "not finite", "half", "missing", "nested", "empty"],
)
def test_arrays_that_do_not_fit_the_settings_are_refused(
    run, file, tmp_path, change, named
):
    """Also where whoever wrote the file has hashed them too."""
    tensors = load_file(file)
    tensors |= change(tensors)
    tensors = {name: x for name, x in tensors.items() if x is not None}
    write_tensors(file, tensors, hashed(file, tensors))
    (file.parent / "config.json").unlink()
    with pytest.raises(InputError, match=named):
        started(file, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "-3"},
        {"config": "[]"},
        {"run": "[]"},
        {"run": {"trained": ["backbone.encode_9"]}},
        {"run": {"trained": ["head"]}},
        {"run": {"inputs": {"channels": 3}}},
        {"config": {"model": {"channels": "x"}}},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_arrays_are_refused(file, tmp_path, changes):
    tensors = load_file(file)
    metadata = hashed(file, tensors)
    for name, change in changes.items():
        if isinstance(change, dict):
            content = json.loads(metadata[name])
            for key, value in change.items():
                both = isinstance(value, dict)
                content[key] = content[key] | value if both else value
            change = json.dumps(content)
        metadata[name] = change
    write_tensors(file, tensors, metadata)
    (file.parent / "config.json").unlink()
    with pytest.raises(InputError, match=r"safetensors|model\.channels"):
        started(file, tmp_path)


def hashed(file, tensors):
    """The metadata of a file, with the digest of these tensors."""
    with safe_open(file, "np") as opened:
        return opened.metadata() | {"tensors_sha256": weights_file._digest(tensors)}


def test_other_files_are_refused(file, tmp_path):
    """Damaged ones, those of other programs and of segmenters, and other formats."""
    damaged, foreign = (tmp_path / f"{name}.safetensors" for name in ("d", "f"))
    damaged.write_bytes(file.read_bytes()[:-100])
    save_file(load_file(file), foreign)
    write_segmenter(tmp_path)
    network, _ = load_network(find_network(tmp_path))
    segmenter = write_export(network, tmp_path / "segmenter", format="safetensors")
    onnx = write_export(network, tmp_path / "onnx", format="onnx").parent
    named = (damaged, foreign, segmenter, onnx, tmp_path / "no.safetensors")
    for each in named:
        with pytest.raises(InputError):
            find_weights(str(each))
    content = json.loads((file.parent / "config.json").read_text())
    content["file"] = f"../{file.parent.name}/{file.name}"
    (file.parent / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="does not hold"):
        find_weights(file.parent)


def test_the_record_says_where_weights_came_from(run, file, tmp_path):
    """A run that started before there were files of weights says nothing."""
    for named, weights in ((file, str(file)), (run, "")):
        record = make_run_record(origin=started(named, tmp_path).origin)
        content = json.loads(json.dumps(record_to_dict(record)))
        assert content["origin"]["weights"] == weights
        assert record_from_dict(content).origin == record.origin
    del content["origin"]["weights"]
    assert record_from_dict(content).origin == record.origin


def test_finetuning_from_a_file_is_finetuning_from_the_run(workdir, cache, tmp_path):
    """The whole way by the command line: the trained networks are equal."""
    out = tmp_path / "weights"
    place = workdir / "pretrain"
    succeed(start("export", place, cache, f"--output={out}", "--format=safetensors"))
    said = succeed(
        start("finetune", tmp_path / "new", cache, init__checkpoint=str(out))
    )
    assert f"{out / 'backbone.safetensors'}" in said
    both = tmp_path / "new", workdir
    ours, theirs = (restore_params(each / "finetune") for each in both)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    origin = json.loads((tmp_path / "new/finetune/run.json").read_text())["origin"]
    assert origin["weights"] == str(out / "backbone.safetensors")
    before = json.loads((workdir / "finetune/run.json").read_text())["origin"]
    assert origin["digest"] == before["digest"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves a folder as the hub serves the files of owner/name."""

    folder: Path
    commit = "c" * 40

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        parts = self.path.split("/")  # /owner/name/resolve/REVISION/FILE
        path = self.folder / parts[-1]
        if parts[1:4] != ["owner", "name", "resolve"] or not path.is_file():
            self.send_response(404)
            known = parts[1:3] == ["owner", "name"]
            self.send_header(
                "X-Error-Code", "EntryNotFound" if known else "RepoNotFound"
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(file, tmp_path):
    """A local server that stands in for the hub, and the variables that name it."""
    pytest.importorskip("huggingface_hub", reason="pip install huggingface-hub")
    handler = type("Handler", (Hub,), {"folder": file.parent})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    server.shutdown()
    server.server_close()


FROM_HUB = """
import sys
from pix2rep_jax.errors import InputError
from pix2rep_jax.runs.manifest import find_run, read_config
from pix2rep_jax.runs.pretrained_backbone import read_backbone
from ml_collections import ConfigDict

for named in sys.argv[1:]:
    try:
        run = find_run(named, "pretrain")
        model = ConfigDict(read_config(run)["model"])
        origin = read_backbone(model, run, named=named).origin
        print(origin.weights, origin.digest, run.name)
    except InputError as error:
        print("refused:", " ".join(str(error).split()))
"""


def from_hub(hub, tmp_path, *names):
    done = subprocess.run(
        [sys.executable, "-c", FROM_HUB, *names],
        cwd=tmp_path,
        env=environment() | hub | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_weights_come_from_the_hub_by_name(run, file, hub, tmp_path):
    """With and without hf://, once more from its cache; the record names the hub."""
    digest = started(run, tmp_path).origin.digest
    names = ("hf://owner/name", "owner/name", "owner/name@main", "owner/missing")
    *found, missing = from_hub(hub, tmp_path, *names)
    for line, name in zip(found, names[:3], strict=True):
        expected = name if name.startswith("hf://") else f"hf://{name}"
        assert line.split() == [expected, digest, file.name]
    assert missing.startswith("refused:") and "owner/missing" in missing
    # Without the server: what was fetched before is enough.
    offline = hub | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    (again,) = from_hub(offline, tmp_path, "owner/name")
    assert again.split()[1] == digest


def test_weights_of_the_hub_are_checked(file, hub, tmp_path):
    """What arrives must have the SHA-256 that config.json names."""
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    (said,) = from_hub(hub, tmp_path, "owner/name")
    assert said.startswith("refused:") and "SHA-256" in said


def test_a_folder_comes_before_the_hub(tmp_path, monkeypatch):
    """A name is one of the hub only where no such folder can be meant."""
    monkeypatch.chdir(tmp_path)
    assert hub_name("owner/name") == "hf://owner/name"
    (tmp_path / "owner").mkdir()
    assert hub_name("owner/name") == ""
    assert hub_name("hf://owner/name") == "hf://owner/name"
    for other in ("name", "a/b/c", "/owner/name", "runs/x.safetensors", "none", ""):
        assert hub_name(other) == ""
    with pytest.raises(InputError, match="hf://"):
        hub_name("hf://name")


def test_the_hubs_client_is_optional(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install"):
        find_weights("owner/name")
