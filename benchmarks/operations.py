"""Counts the floating-point operations of a program's products and convolutions.

XLA's own count is not there on every backend, takes a library's convolutions for
nothing once they are compiled, and counts one turn of a loop.
"""

import math
from collections.abc import Iterator
from typing import Any

__all__ = ["count_operations"]


def count_operations(program: Any, *arguments: Any) -> int:
    """Counts multiplications and additions, without running or compiling anything.

    Args:
        program: What `jax.jit` made.
        arguments: Its arguments, or their shapes.

    Returns:
        Two a term of every sum in matrix products and convolutions (terms of a border
        included), in each turn of a loop. Elementwise work is left out.
    """
    return _count(program.trace(*arguments).jaxpr.jaxpr)


def _count(jaxpr: Any) -> int:
    """The operations of an expression and of all inside it."""
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (summed, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += 2 * _size(equation) * math.prod(shape[axis] for axis in summed)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * _size(equation) * math.prod(kernel) // outputs
        else:
            inner = sum(_count(each) for each in _expressions(params.values()))
            total += inner * (params["length"] if name == "scan" else 1)
    return total


def _size(equation: Any) -> int:
    """Elements of the result."""
    return math.prod(equation.outvars[0].aval.shape)


def _expressions(values: Any) -> Iterator[Any]:
    """Finds the expressions among an equation's parameters."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _expressions(value)
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value
