"""Each format gives what the run's network gives, to 1e-4, on scans of any size."""

import errno
import importlib.util
import json
import os
import pathlib
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from pix2rep_jax.errors import InputError
from pix2rep_jax.formats.network import load_network
from pix2rep_jax.formats.write import FORMATS, write_export
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.given_scan import read_given
from pix2rep_jax.inference.segmenter import Segmenter
from pix2rep_jax.modes import export
from pix2rep_jax.runs.start import find_network
from pix2rep_jax.runs.weights_file import read_weights
from tests.formats.networks import numpy_unet, write_pretraining, write_segmenter
from tests.support.program import ROOT


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a pretraining and of a segmenter, both tiny and random."""
    folder = tmp_path_factory.mktemp("runs")
    write_pretraining(folder / "backbone")
    write_segmenter(folder / "segmenter")
    return folder


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    """All formats of both networks, by kind and format."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        (kind, format): write_export(
            load_network(find_network(runs / kind))[0],
            folder / kind / format,
            format=format,
        )
        for kind in ("backbone", "segmenter")
        for format in FORMATS
    }


@pytest.fixture(scope="module")
def expected(runs):
    """Images, and what each network gives for them, by kind."""
    draw = np.random.default_rng(0)
    shapes = (3, 16, 16, 1), (1, 10, 14, 1)
    images = [draw.random(shape).astype(np.float32) for shape in shapes]
    found = {}
    for kind in ("backbone", "segmenter"):
        apply = jax.jit(network_of(runs / kind).make_apply())
        found[kind] = [(image, np.asarray(apply(image))) for image in images]
    return found


def network_of(run):
    return load_network(find_network(run))[0]


def run_safetensors(path, network, images):
    params, batch_stats = read_weights(path)
    again = network._replace(params=params, batch_stats=batch_stats)
    return np.asarray(jax.jit(again.make_apply())(images))


def run_onnx(path, network, images):
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    session = onnxruntime.InferenceSession(path)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    (found,) = session.run([network.output], {"image": first})
    return found.transpose(0, 2, 3, 1)


def run_stablehlo(path, network, images):
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(images))


def run_numpy(path, network, images):
    """Stands in for PyTorch, which CI does not install."""
    found = numpy_unet(load_file(path), images.transpose(0, 3, 1, 2))
    return found.transpose(0, 2, 3, 1)


def run_pytorch(path, network, images):
    torch = pytest.importorskip("torch", reason="pip install torch")
    net = load_example("pytorch_unet").UNet.load(path.parent)
    with torch.no_grad():
        found = net(torch.tensor(images.transpose(0, 3, 1, 2)))
    return found.numpy().transpose(0, 2, 3, 1)


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WAYS = {
    "safetensors": run_safetensors,
    "onnx": run_onnx,
    "stablehlo": run_stablehlo,
    "numpy": run_numpy,
    "pytorch": run_pytorch,
}


@pytest.mark.parametrize("kind", ["backbone", "segmenter"])
@pytest.mark.parametrize("way", ["onnx", "stablehlo", "numpy", "pytorch"])
def test_a_format_gives_what_the_network_gives(runs, exported, expected, kind, way):
    """For batches and sides that it was not written with."""
    network = network_of(runs / kind)
    path = exported[kind, "pytorch" if way == "numpy" else way]
    assert network.side_multiple == 2
    for images, wanted in expected[kind]:
        assert np.ptp(wanted) > 0.5  # not all alike
        found = WAYS[way](path, network, images)
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["backbone", "segmenter"])
def test_safetensors_has_the_networks_own_arrays(runs, exported, kind):
    """Each bit of them, by dotted names."""
    network = network_of(runs / kind)
    found = read_weights(exported[kind, "safetensors"])
    wanted = network.params, network.batch_stats
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    names = load_file(exported[kind, "safetensors"])
    assert "backbone.encode_0.BatchNorm_1.mean" in names
    assert ("head.Dense_0.kernel" in names) == (kind == "segmenter")


@pytest.fixture(scope="module")
def on_a_scan(acdc_root, tmp_path_factory):
    """A network, the slices of a scan of ACDC as it sees them, and what it gives.

    `$PIX2REP_RUN` names a pretraining or a segmenter of these scans. Without it the
    weights are random.
    """
    run = os.environ.get("PIX2REP_RUN")
    if run is None:
        run = tmp_path_factory.mktemp("random")
        write_pretraining(run)
    network = network_of(run)
    apply = jax.jit(network.make_apply())
    loaded = (Backbone if network.kind == "backbone" else Segmenter).load(run)
    (scan, *_) = sorted(acdc_root.glob("training/patient017/*_frame??.nii.gz"))
    read = read_given(scan, None, loaded.rule, loaded.inputs)
    images, _ = loaded.preparation.prepare(read.array, spacing_mm=read.spacing_mm)
    return network, images, np.asarray(apply(images))


@pytest.mark.acdc
@pytest.mark.parametrize("way", ["safetensors", "onnx", "stablehlo", "pytorch"])
def test_a_format_gives_what_the_network_gives_on_a_real_scan(on_a_scan, way, tmp_path):
    network, images, expected = on_a_scan
    path = write_export(network, tmp_path / "out", format=way)
    found = WAYS[way](path, network, images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_export_is_the_network_that_the_program_itself_uses(runs):
    """Features are those of `Backbone`, and softmax of logits those of `Segmenter`."""
    image = np.random.default_rng(3).random((24, 20, 2)).astype(np.float32)
    backbone = Backbone.load(runs / "backbone")
    slices, _ = backbone.preparation.prepare(
        image[..., None, None], spacing_mm=(2.5, 2.5)
    )
    features = jax.jit(network_of(runs / "backbone").make_apply())(slices)
    found = backbone.embed(image, spacing_mm=(2.5, 2.5))
    np.testing.assert_allclose(found, features, atol=1e-4)
    segmenter = Segmenter.load(runs / "segmenter")
    logits = jax.jit(network_of(runs / "segmenter").make_apply())(slices)
    found = segmenter.predict_network(slices)
    np.testing.assert_allclose(found, jax.nn.softmax(logits), atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_the_description_says_how_to_use_the_file(exported, format):
    """Enough to prepare a scan without this program."""
    path = exported["segmenter", format]
    content = json.loads((path.parent / "config.json").read_text())
    assert content["file"] == path.name and content["format"] == format
    assert [each["name"] for each in content["classes"]] == ["BG", "RV", "MYO", "LV"]
    first = format in ("onnx", "pytorch")
    axes = ["batch", "channels", "height", "width"]
    axes = axes if first else [axes[0], *axes[2:], axes[1]]
    assert content["input"]["axes"] == content["output"]["axes"] == axes
    assert content["input"]["side_multiple"] == 2
    assert content["output"]["name"] == "logits"
    assert content["output"]["channels"] == 4
    how = content["preparation"]
    assert (how["spacing_mm"], how["size"], how["percentiles"]) == (2.5, 16, [1, 99])
    other = json.loads(
        (exported["backbone", format].parent / "config.json").read_text()
    )
    assert other["output"]["name"] == "features"
    assert other["output"]["channels"] == 4 and other["classes"] == []
    assert len(other["run"]["digest"]) == 16


def test_the_described_steps_give_the_networks_slices(exported, runs):
    """Percentiles, clipping and interpolation in NumPy, from config.json alone."""
    folder = exported["backbone", "onnx"].parent
    how = json.loads((folder / "config.json").read_text())["preparation"]
    draw = np.random.default_rng(0)
    image, spacing = 900 * draw.random((13, 19, 2)).astype(np.float32), (4.0, 2.5)
    low, high = np.percentile(image, how["percentiles"])
    scaled = np.clip((image - low) / (high - low), 0, 1)
    size = how["size"]
    expected = np.zeros((2, size, size))
    for slice_, i, j in np.ndindex(expected.shape):
        row = 6 + (i - 7.5) * how["spacing_mm"] / spacing[0]
        column = (19 - size) // 2 + j  # the scan's own columns
        first = int(np.floor(row))
        for near, weight in ((first, first + 1 - row), (first + 1, row - first)):
            if 0 <= near < 13:
                expected[slice_, i, j] += weight * scaled[near, column, slice_]
    preparation = Backbone.load(runs / "backbone").preparation
    found, _ = preparation.prepare(image[..., None, None], spacing_mm=spacing)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


def test_an_onnx_file_may_have_any_batch_and_sides(exported):
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    model = onnx.load(exported["segmenter", "onnx"])
    (image,), (logits,) = model.graph.input, model.graph.output
    for value, channels in ((image, 1), (logits, 4)):
        sides = value.type.tensor_type.shape.dim
        names = [each.dim_param or each.dim_value for each in sides]
        assert names == ["batch", channels, "height", "width"]


def test_stablehlo_is_for_every_platform(exported):
    data = bytearray(exported["backbone", "stablehlo"].read_bytes())
    loaded = jax.export.deserialize(data)
    assert {*loaded.platforms} == {"cpu", "cuda", "tpu"}
    assert "2*rows" in str(loaded.in_avals[0])


def test_a_folder_that_holds_something_else_is_kept(runs, tmp_path):
    """--overwrite replaces an export, and nothing else."""
    network = network_of(runs / "segmenter")
    out = tmp_path / "out"
    write_export(network, out, format="onnx")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        write_export(network, out, format="pytorch")
    write_export(network, out, format="pytorch", overwrite=True)
    names = {each.name for each in out.iterdir()}
    assert names == {"notes.txt", "config.json", "segmenter_pytorch.safetensors"}
    before = (runs / "segmenter/finetune/config.json").read_bytes()
    for folder in (runs / "segmenter/finetune", pathlib.Path(__file__)):
        with pytest.raises(InputError, match="--output"):
            write_export(network, folder, format="onnx", overwrite=True)
    assert (runs / "segmenter/finetune/config.json").read_bytes() == before


@pytest.mark.parametrize("format", ["safetensors", "onnx", "stablehlo", "pytorch"])
def test_a_full_disk_is_said_and_leaves_nothing(runs, tmp_path, monkeypatch, format):
    """The sentence names the file; no half of one, and no description, is there."""

    def fail(partial, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    network = network_of(runs / "backbone")
    with pytest.raises(InputError, match=r"backbone.*No space"):
        write_export(network, tmp_path / "out", format=format)
    assert list((tmp_path / "out").iterdir()) == []


def test_half_an_export_is_made_anew(runs, tmp_path, monkeypatch):
    """Both files appear together; what a killed process left is not in the way."""
    network, _ = load_network(find_network(runs / "backbone"))

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pix2rep_jax.formats.write.write_whole", stop)
        with pytest.raises(KeyboardInterrupt):
            write_export(network, tmp_path, format="safetensors")
    assert list(tmp_path.iterdir()) == []
    path = write_export(network, tmp_path, format="safetensors")
    path.unlink()  # as after a kill between the two
    write_export(network, tmp_path, format="safetensors")
    found = sorted(each.name for each in tmp_path.iterdir())
    assert found == ["backbone.safetensors", "config.json"]


def test_a_network_in_part_is_for_going_on_only(tmp_path):
    """Chaitanya's first stage trains the encoder: its features mean nothing."""
    write_pretraining(tmp_path, trained=("backbone.encode_0",))
    network = network_of(tmp_path)
    with pytest.raises(InputError, match="safetensors"):
        write_export(network, tmp_path / "out", format="onnx")
    path = write_export(network, tmp_path / "out", format="safetensors")
    content = json.loads((path.parent / "config.json").read_text())
    assert content["network"]["trained"] == ["backbone.encode_0"]


@pytest.mark.parametrize(
    ("package", "format"),
    [("onnx", "onnx"), ("safetensors", "pytorch"), ("flatbuffers", "stablehlo")],
)
def test_a_missing_package_is_named(runs, tmp_path, monkeypatch, package, format):
    """Before anything is made, or a network is looked for."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.numpy", None)
    with pytest.raises(InputError, match=rf"pip install {package}\b"):
        write_export(network_of(runs / "backbone"), tmp_path / "out", format=format)
    with pytest.raises(InputError, match=rf"pip install {package}\b"):
        export.run(ConfigDict(), tmp_path, output=tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()
