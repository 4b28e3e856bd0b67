"""The commands that link another layout into the one that is read."""

import subprocess

from pix2rep_jax.data.nifti_folder import list_volumes
from tests.docs.pages import examples


def test_nnunets_layout_is_linked(tmp_path):
    """As the page says, by the shell; names may hold spaces."""
    (code,) = (x.code for x in examples() if "labelsTr" in x.code)
    for name in ("imagesTr/a 1_0000.nii.gz", "imagesTr/b_2_0000.nii.gz"):
        path = tmp_path / "DATASET" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "DATASET" / "labelsTr").mkdir()
    (tmp_path / "DATASET" / "labelsTr" / "b_2.nii.gz").touch()
    subprocess.run(["sh", "-c", code], cwd=tmp_path, check=True)
    volumes = list_volumes(tmp_path / "DATASET", patient_regex=".+")
    assert [each.patient for each in volumes] == ["a 1", "b_2"]
    assert [each.label_path is not None for each in volumes] == [False, True]
    assert all(each.image_path.exists() for each in volumes)
