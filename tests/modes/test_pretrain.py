"""What follows a pretraining."""

from pix2rep_jax.modes.pretrain import describe_next
from tests.support.patients import make_volumes


def test_without_masks_no_training_on_nothing_is_proposed():
    """First come masks; with one mask the command is all."""
    volumes = make_volumes([1, 2], masks=False)
    said = describe_next("COMMAND", volumes)
    assert said.index("masks") < said.index("COMMAND")
    volumes += make_volumes([3])
    assert describe_next("COMMAND", volumes) == "next: COMMAND"
