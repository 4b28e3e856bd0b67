"""The name of a cache's file."""

from pix2rep_jax.data.slices import slice_cache
from pix2rep_jax.data.slices.volume import VolumeFile


def name_of(*paths):
    volumes = [
        VolumeFile("scan", "p", "training", "", "", image_path=path, label_path=None)
        for path in paths
    ]
    return slice_cache.find_path(paths[0].parent.parent, {}, volumes).name


def test_links_lead_to_the_same_cache(tmp_path):
    """Links to a file and to its folder are followed; a copy is another file."""
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    (real / "a.nii.gz").write_bytes(b"scan")
    (other / "a.nii.gz").symlink_to(real / "a.nii.gz")
    (tmp_path / "linked").symlink_to(real)
    (other / "b.nii.gz").write_bytes(b"scan")
    name = name_of(real / "a.nii.gz")
    assert name_of(other / "a.nii.gz") == name
    assert name_of(tmp_path / "linked" / "a.nii.gz") == name
    assert name_of(other / "b.nii.gz") != name


def test_each_folder_is_resolved_once(tmp_path, monkeypatch):
    """However many scans lie in it: over a network each look takes its time."""
    paths = [tmp_path / f"{i}.nii.gz" for i in range(9)]
    for path in paths:
        path.write_bytes(b"scan")
    seen, resolve = [], type(tmp_path).resolve

    def counted(path):
        seen.append(path)
        return resolve(path)

    monkeypatch.setattr(slice_cache.Path, "resolve", counted)
    name_of(*paths)
    assert seen == [tmp_path]
