"""The picture of a data set: a few patients' slices with the expert's outlines."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from pix2rep_jax.data.dataset import Dataset
from pix2rep_jax.data.split_record import Split
from pix2rep_jax.figures import selection
from pix2rep_jax.figures.drawing import (
    add_class_legend,
    draw_outlines,
    new_sheet,
    show_image,
)
from pix2rep_jax.figures.panels import Panel, scan_panels

__all__ = ["draw_patients", "patient_rows"]

Row = tuple[str, Sequence[Panel]]
"""What to call a patient, and the patient's slices."""


def patient_rows(
    dataset: Dataset, split: Split, *, num_classes: int, number: int = 5
) -> list[Row]:
    """Takes a few patients' slices, first to last of those that show a structure.

    Args:
        dataset: All slices.
        split: Patients of the pretraining come first, or test patients if it has none.
        num_classes: Classes of the masks, background included.
        number: How many patients, at most.

    Raises:
        InputError: If a scan cannot be read.
    """
    patients = split.pretrain_patients or split.test_patients
    volumes = selection.first_volumes(
        dataset, patients, labeled=True
    ) or selection.first_volumes(dataset, patients, labeled=False)
    rows: list[Row] = []
    for index in selection.by_group(dataset, volumes, number=number):
        first = dataset.volumes[index]
        own = [
            volume
            for volume in dataset.volumes
            if volume.patient == first.patient and volume.label_path is not None
        ]
        panels: list[Panel] = []
        for record in own[:2] or [first]:
            panels += scan_panels(record, num_classes=num_classes)
        rows.append((f"{first.patient}\n{first.group}".strip(), panels))
    return rows


def draw_patients(rows: Sequence[Row], *, classes: Sequence[str]) -> Figure:
    """Draws patients, one row each.

    Args:
        rows: For each patient a name and the slices; each patient has as many slices.
            The titles of the first patient's slices stand above the columns.
        classes: Names of the classes, background first.
    """
    columns = max(len(panels) for _, panels in rows)
    figure, axes = new_sheet(len(rows), columns, panel_in=1.35, extra_in=0.3)
    for row_axes, (name, panels) in zip(axes, rows, strict=True):
        row_axes[0].set_ylabel(name, fontsize=9)
        for ax, panel in zip(row_axes, panels, strict=False):
            show_image(ax, panel.image, spacing=panel.spacing, box=panel.box)
            if panel.label is not None:
                draw_outlines(ax, panel.label, num_classes=len(classes), width=0.9)
    for ax, panel in zip(axes[0], rows[0][1], strict=False):
        ax.set_title(panel.title, fontsize=9)
    add_class_legend(figure, classes)
    return figure
