"""A split as runs record it: who pretrains, is labelled and is tested."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pix2rep_jax.errors import plain_text

__all__ = ["Split"]


@dataclasses.dataclass(frozen=True)
class Split:
    """Which patients, slices and volumes of a data set pretrain, train and test.

    Attributes:
        pretrain_patients: Patients whose slices pretrain, with or without masks.
        labeled_patients: Patients among them whose masks are used, in the order drawn.
        test_patients: Patients to score; none of them is among the above.
        left_out: Why a patient takes no part, by name.
        pretrain_slices: Indices into the data set's slices, like the next two.
        train_slices: Annotated slices of labelled patients that train.
        val_slices: Annotated slices that validate.
        test_volumes: Indices into the data set's volumes; each volume has a mask.
        source: The data set's name. Patients' names mean something within it alone.
        scans: Digests of the scans that take part, as `list_scans` returns them.
        val_patients: Patients who do nothing but validate. Without any,
            slices of labelled patients do.
    """

    pretrain_patients: tuple[str, ...]
    labeled_patients: tuple[str, ...]
    test_patients: tuple[str, ...]
    left_out: Mapping[str, str]
    pretrain_slices: np.ndarray
    train_slices: np.ndarray
    val_slices: np.ndarray
    test_volumes: tuple[int, ...]
    source: str = ""
    scans: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    val_patients: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the split as JSON would hold it."""
        fields = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Split":
        """Makes the split that `to_dict` has written down.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: If the fields are not
                those of a split.
        """
        scans = {
            plain_text(patient): {
                plain_text(name): digests
                for name, digests in _texts(volumes, f"scans.{patient}").items()
            }
            for patient, volumes in fields["scans"].items()
        }
        if not isinstance(fields["source"], str):
            raise ValueError("source is not a text")
        return cls(
            pretrain_patients=tuple(_listed(fields, "pretrain_patients", str)),
            labeled_patients=tuple(_listed(fields, "labeled_patients", str)),
            test_patients=tuple(_listed(fields, "test_patients", str)),
            left_out={
                plain_text(name): why
                for name, why in _texts(fields["left_out"], "left_out").items()
            },
            pretrain_slices=np.array(_listed(fields, "pretrain_slices", int), int),
            train_slices=np.array(_listed(fields, "train_slices", int), int),
            val_slices=np.array(_listed(fields, "val_slices", int), int),
            test_volumes=tuple(_listed(fields, "test_volumes", int)),
            source=fields["source"],
            scans=scans,
            # Earlier runs lack it.
            val_patients=tuple(
                _listed({"val_patients": [], **fields}, "val_patients", str)
            ),
        )


def _texts(fields: Any, name: str) -> dict[str, str]:
    """Texts by name; raises ValueError where it is another thing."""
    if not isinstance(fields, dict):
        raise ValueError(f"{name} is not an object")
    if not all(isinstance(value, str) for value in fields.values()):
        raise ValueError(f"{name} holds something else than texts")
    return dict(fields)


def _listed(fields: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """A list of one type of entries; raises ValueError where it is another thing."""
    entries = fields[name]
    if not isinstance(entries, list) or not all(type(x) is kind for x in entries):
        raise ValueError(f"{name} is not a list of {kind.__name__}")
    return list(map(plain_text, entries)) if kind is str else entries
