"""What the compiler plans for the paper's own size, which no test can run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from configs import pix2rep as configs
from pix2rep_jax.methods.pretraining import load_method
from pix2rep_jax.training.step import compile_step, make_update

pytestmark = pytest.mark.slow

NUM_SLICES = 1500
"""More than ACDC's training split has at the ends of its contractions."""


def test_the_papers_recipe_fits_16_gb():
    """A step with all it holds, over all pixels, where the paper samples 1,000: the
    largest of its forms.

    The plan is that of a CPU, which computes its bfloat16 convolutions in float32: a
    device that need not do so has smaller ones.
    """
    config = configs.get_config("paper")
    config.pretrain.num_points = "all"
    method, recipe, size = load_method(config), config.pretrain, config.data.size
    updates = []

    def begin(key):
        variables = method.net.init(key, jnp.zeros((1, size, size, 1)), train=False)
        state, update = make_update(
            method.loss_fn,
            variables["params"],
            variables["batch_stats"],
            recipe=recipe,
            rates=dict.fromkeys(method.trained, recipe.learning_rate),
            key=key,
            num_steps=10,
        )
        updates.append(update)
        return state

    state = jax.eval_shape(begin, jax.random.key(0))  # the shapes alone
    step = compile_step(updates[0], mesh=Mesh(np.asarray(jax.devices()[:1]), ("data",)))
    image = jax.ShapeDtypeStruct((recipe.batch_size, size, size, 1), jnp.float32)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert 130e6 < num_parameters < 140e6
    # The plan is the same without the optimisation of the code, which takes minutes.
    box = jax.ShapeDtypeStruct((recipe.batch_size, 4), jnp.int32)
    compiled = step.lower(state, {"image": image, "box": box}).compile(
        {"xla_backend_optimization_level": 0}
    )
    plan = compiled.memory_analysis()
    if plan is None:
        pytest.skip("this backend does not tell how much memory a program takes")
    # The new state takes the place of the old one.
    assert plan.alias_size_in_bytes > 0.99 * plan.output_size_in_bytes
    slices = 4 * NUM_SLICES * size**2
    held = slices + plan.argument_size_in_bytes + plan.temp_size_in_bytes
    assert 3 * 4 * num_parameters < held < 16e9
