"""What the last digits of a run depend on, and the warning where that has changed."""

import json
import os

import jax
import pytest

from pix2rep_jax.runs.environment import environment_warning, numeric_environment


def test_the_environment_can_be_stored_and_compared():
    """The same process gives the same facts, also after JSON."""
    facts = numeric_environment()
    assert json.loads(json.dumps(facts)) == facts
    assert environment_warning(facts, numeric_environment()) == ""
    assert facts["jax"] == jax.__version__
    assert facts["devices"] == jax.device_count() == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_the_threads_are_the_cores_granted_unless_nproc_is_set(monkeypatch):
    """As XLA sizes its pool."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    for named, threads in ((None, 3), ("7", 7), ("", 3), ("0", 3)):
        monkeypatch.delenv("NPROC", raising=False)
        if named is not None:
            monkeypatch.setenv("NPROC", named)
        assert numeric_environment()["threads"] == threads


def test_the_warning_names_each_fact_that_differs():
    """With both values, and nothing that is the same."""
    recorded = {"threads": 2, "jax": "0.7.2", "cpu": "A"}
    warning = environment_warning(recorded, recorded | {"threads": 1, "jax": "0.10.2"})
    for part in ("threads", "NPROC=2", "1", "jax", "0.7.2", "0.10.2"):
        assert part in warning
    assert "cpu" not in warning
    assert len(warning.splitlines()) == 1


def test_facts_that_were_not_recorded_are_not_compared():
    """A newer version may record more; a fact that is gone differs."""
    assert environment_warning({}, {"threads": 1}) == ""
    assert "threads" in environment_warning({"threads": 2}, {})
