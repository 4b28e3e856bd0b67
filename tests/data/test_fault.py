"""What is wrong with a file, and with which others."""

from pathlib import Path

import pytest

from pix2rep_jax.data.fault import group_faults, make_fault


@pytest.mark.parametrize("turned", [False, True])
def test_faults_differ_in_more_than_files(turned):
    """A scan and its mask may have one name, and lie in folders of any length."""
    faults = []
    for name in ("p1.png", "p22.png"):
        paths = [Path("/s/images") / name, Path("/s/labels") / name]
        for said in (f"{paths[1]} holds 7", f"{paths[0]} has no size: add {name},0.25"):
            faults.append(make_fault(said, paths[::-1] if turned else paths))
    assert [each.name for each in faults] == ["p1.png", "p1.png", "p22.png", "p22.png"]
    assert not any("p1" in x.kind or "p22" in x.kind or "/s" in x.kind for x in faults)
    groups = group_faults(faults)
    assert [len(group) for group in groups] == [2, 2]
    assert [each.sentence[:9] for each in groups[0]] == ["/s/labels"] * 2
