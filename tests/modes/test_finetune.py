"""What follows a fine-tuning."""

import pytest

from pix2rep_jax.modes.finetune import unused_scans
from tests.support.run_folder import make_split_of


@pytest.mark.parametrize(
    "labeled, others",
    [
        (1, 10),
        (3, 1),
        (4, 10),  # masks enough
        (1, 0),  # nothing is left
    ],
)
def test_scans_that_took_no_part_are_counted(labeled, others):
    """Where few patients have masks."""
    names = [f"p{number}" for number in range(labeled + others)]
    split = make_split_of(
        pretrain_patients=tuple(names), labeled_patients=tuple(names[:labeled])
    )
    said = unused_scans(split)
    if labeled <= 3 and others:
        assert f" {others} more patient" in said and "unimatch" in said
    else:
        assert said == ""
