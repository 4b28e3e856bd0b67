"""--mode embed writes what `Backbone.embed` gives, in three formats."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from pix2rep_jax.errors import InputError
from pix2rep_jax.inference.backbone import Backbone
from pix2rep_jax.inference.principal_components import find_colours
from pix2rep_jax.modes import embed
from tests.inference.test_backbone import backbone
from tests.inference.test_segmenter import CONFIG, scan, store


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Two scans, one with its slices stored first, and a network of three values."""
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    store(folder / "a.nii.gz", (0, 1, 2))
    store(folder / "deep" / "b.nii.gz", (2, 0, 1))
    monkeypatch.setattr(embed, "load_backbone", lambda *x: (tmp_path, backbone()))
    return folder


def run(scans, **options):
    output = scans.parent / "out"
    status = embed.run(
        ConfigDict(CONFIG), scans.parent, input=scans, output=output, **options
    )
    return output, status


@pytest.mark.parametrize("grid", ["network", "scan"])
def test_npz_is_the_embedding_in_half_floats(scans, grid):
    """With the place of its pixels in each slice; what is there is kept."""
    output, status = run(scans, grid=grid)
    assert status == 0
    for name in ("a", "deep/b"):
        found = np.load(output / f"{name}_embedding.npz")
        expected = backbone().embed(scans / f"{name}.nii.gz", grid=grid)
        assert found["embedding"].dtype == np.float16
        np.testing.assert_array_equal(found["embedding"], expected.astype(np.float16))
        # 40 mm as 32 px of 1.25 mm, in the middle of 40 x 50 px
        origin = (4, 9) if grid == "network" else (0, 0)
        np.testing.assert_allclose(found["origin_px"], origin)
        np.testing.assert_allclose(found["spacing_mm"], 1.25)
    before = (output / "a_embedding.npz").stat().st_mtime_ns
    assert run(scans, grid=grid)[1] == 0
    assert (output / "a_embedding.npz").stat().st_mtime_ns == before


def test_nifti_overlays_its_scan_with_the_channels_last(scans):
    """Whatever axis the slices are stored along; all that is lost is rounding."""
    output, _ = run(scans, format="nifti")
    for name in ("a", "deep/b"):
        source = nib.load(scans / f"{name}.nii.gz")
        found = nib.load(output / f"{name}_embedding.nii.gz")
        assert found.shape == (*source.shape, 3)
        np.testing.assert_array_equal(found.affine, source.affine)
        expected = backbone().embed(source, grid="scan")
        turned = expected if name == "deep/b" else np.moveaxis(expected, 0, 2)
        np.testing.assert_allclose(found.get_fdata(), turned, atol=2e-3)


def test_colours_are_the_principal_components_of_all_scans(scans):
    """The same embedding has the same colour in both scans."""
    output, _ = run(scans, format="rgb")
    first, second = (
        nib.load(output / f"{name}_rgb.nii.gz") for name in ("a", "deep/b")
    )
    assert first.shape == (40, 50, 3) and first.get_data_dtype().names == tuple("RGB")
    one, other = np.asarray(first.dataobj), np.asarray(second.dataobj)
    np.testing.assert_array_equal(np.moveaxis(other, 0, 2), one)
    assert len(np.unique(one["R"])) > 100
    assert one["R"][0, 0].max() == 0  # outside of the field of view


def test_principal_components_are_those_of_an_svd():
    draw = np.random.default_rng(0)
    pixels = draw.normal(size=(200, 5)) * [5, 4, 3, 2, 1]
    colours = find_colours([pixels[:50], pixels[50:]])
    _, _, axes = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(colours.axes), np.abs(axes[:3].T), atol=1e-9)
    painted = colours.paint(pixels)
    assert painted.min() == 0 and painted.max() == 1
    assert 0.005 < (painted == 0).mean() < 0.03
    assert find_colours([pixels[:, :2]]).paint(pixels[:, :2]).shape == (200, 3)


def test_one_bad_scan_costs_no_other(scans, capsys):
    """It is named, and the exit status says so."""
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    output, status = run(scans)
    assert status == 1 and "bad.nii.gz" in capsys.readouterr().err
    assert len(list(output.rglob("*.npz"))) == 2


def test_colours_need_one_scan_that_can_be_read(scans, monkeypatch):
    """Whatever else is raised over the others; without any the error names one."""
    read = Backbone.read

    def fail_for(names):
        def read_or_fail(backbone, path):
            if path.name in names:
                raise RuntimeError("a defect")
            return read(backbone, path)

        monkeypatch.setattr(Backbone, "read", read_or_fail)

    fail_for(["b.nii.gz"])
    output, status = run(scans, format="rgb")
    assert status == 1 and (output / "a_rgb.nii.gz").exists()
    fail_for(["a.nii.gz", "b.nii.gz"])
    with pytest.raises(InputError, match=r"b\.nii\.gz.*a defect"):
        run(scans, format="rgb", overwrite=True)


def test_what_makes_no_sense_is_refused(scans, tmp_path):
    for options in ({"format": "png"}, {"grid": "own"}):
        with pytest.raises(InputError, match=r"--format|--grid"):
            run(scans, **options)
    with pytest.raises(InputError, match="--grid"):
        run(scans, format="rgb", grid="network")
    with pytest.raises(InputError, match="--input"):
        embed.run(ConfigDict(CONFIG), tmp_path, input=None, output="out")
    with pytest.raises(InputError, match="folder"):
        embed.run(ConfigDict(CONFIG), tmp_path, input=scans, output="out.npz")


def test_a_picture_is_npz_only(scans, capsys):
    """NIfTI would need a place in the body."""
    pictures = scans.parent / "pictures"
    pictures.mkdir()
    grey = (scan()[..., 0] / 4).astype(np.uint8)
    Image.fromarray(grey).save(pictures / "p.png")
    (pictures / "pixel_sizes.csv").write_text("p.png,1\n")  # the run had NIfTI
    assert run(pictures, format="nifti")[1] == 1
    assert "p.png" in capsys.readouterr().err
    output, status = run(pictures, grid="scan")
    assert status == 0
    found = np.load(output / "p_embedding.npz")["embedding"]
    assert found.shape[1:] == (*grey.shape[::-1], 3)


@pytest.mark.parametrize("format", ["npz", "nifti", "rgb"])
def test_anonymised_files_have_no_name_of_a_scan(tmp_path, monkeypatch, format):
    """Nor anything else of its header than affine and shape."""
    folder = tmp_path / "scans" / "Jane-Doe"
    folder.mkdir(parents=True)
    store(folder / "Jane-Doe.nii.gz", (2, 0, 1))
    image = nib.load(folder / "Jane-Doe.nii.gz")
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"Jane-Doe"
    image.header["toffset"] = 1955
    image.to_filename(folder / "Jane-Doe.nii.gz")
    monkeypatch.setattr(embed, "load_backbone", lambda *x: (tmp_path, backbone()))
    output, status = run(folder.parent, format=format, anonymise=True)
    assert status == 0
    (file,) = (each for each in output.rglob("*") if each.is_file())
    assert file.name.startswith("scan-001_") and file.parent == output
    written = file.read_bytes()
    if format != "npz":
        found = nib.load(file)
        assert found.shape[:3] == image.shape
        np.testing.assert_array_equal(found.affine, image.affine)
        written += gzip.decompress(written)
        assert found.header["toffset"] == 0 and not found.header.extensions
    assert b"Jane" not in written
    with pytest.raises(InputError, match="--overwrite"):
        run(folder.parent, format=format, anonymise=True)
