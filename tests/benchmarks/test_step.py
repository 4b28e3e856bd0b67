"""The steps that benchmarks.step measures are those of the program."""

import jax
import numpy as np
import pytest

from benchmarks.operations import count_operations
from benchmarks.step import FINETUNING, get_config, make_step


@pytest.mark.parametrize("loss", FINETUNING)
def test_a_step_of_finetuning_has_the_batch_and_the_terms_of_its_method(loss):
    """UniMatch sees 8 labelled slices, and as many without masks; a step takes several
    times the operations, and further terms some more."""
    config = get_config("quick", loss)
    step, state, batch = make_step(config, loss)
    _, metrics = jax.eval_shape(step, state, batch)
    terms = {"affinity_loss", "prototype_loss"}
    assert terms & {*metrics} == (terms if loss == "terms" else set())
    assert ("strong_loss" in metrics) == (loss != "finetune")
    shapes = [np.shape(x) for x in jax.tree.leaves(batch)]
    numbers = {shape[0] for shape in shapes}
    assert numbers == {8}
    plain = make_step(get_config("quick", "finetune"), "finetune")
    times = count_operations(step, state, batch) / count_operations(*plain)
    low, high = {"finetune": (1, 1), "unimatch": (3, 7), "terms": (4, 12)}[loss]
    assert low <= times <= high
