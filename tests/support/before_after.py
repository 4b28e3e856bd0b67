"""The section of docs/results/small.md that compares two versions of the program.

`python -m tests.support.before_after` writes it into the page.
"""

from pathlib import Path

from benchmarks.csv_file import put_table
from configs import study
from pix2rep_jax.evaluation.paired_bootstrap import paired_difference
from pix2rep_jax.study.jobs import list_cells
from pix2rep_jax.study.report.difference_table import difference_text, patient_scores
from pix2rep_jax.study.report.results import read_results
from pix2rep_jax.study.report.run_table import read_runs
from pix2rep_jax.study.report.tables import cell_text, values_of
from tests.support.published import MAIN_ROWS, RESULTS

PAGE = RESULTS.parent / "docs" / "results" / "small.md"
BEFORE, AFTER = RESULTS / "study_cpu.csv", RESULTS / "study_cpu_3.csv"
MARK = "<!-- before and after -->\n"
"""Stands above and below the section in the page."""

TEXT = f"""\
## Before and after version 3

"Before" is version 2 ([results/{BEFORE.name}](../../results/{BEFORE.name})) at the best
step by validation slices. "After" is version 3
([results/{AFTER.name}](../../results/{AFTER.name})) at the
[last step](notes.md#which-checkpoint-is-kept). All runs are on CPU cores, and each
version has one pretraining. "Proposed" is Pix2Rep, fine-tuned, in the paper's words.
Another pretraining moves its lead by
[1 to 2 points](notes.md#the-chance-of-one-pretraining). "After" has an
[augmentation](notes.md#augmentation-of-labelled-slices) that keeps most slices upright.

"""

LABELED = (1, 5)
DRAWS = 3


def before_and_after(before=BEFORE, after=AFTER):
    """The table in Markdown; foreground Dice in %, and the paired difference."""
    files = {"before": before, "after": after}
    results = {name: results_of(path) for name, path in files.items()}
    columns = [(number, name) for number in LABELED for name in files]
    titles = [f"{number}, {name}" for number, name in columns]
    lines = [
        f"| labelled patients | {' | '.join(titles)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    rows = study.get_config("small").study.rows
    for method in MAIN_ROWS:
        cells = [
            cell_text(
                values_of(results[name], "dice_mean_foreground")[method, number],
                runs=DRAWS,
                scale=100.0,
            )
            for number, name in columns
        ]
        lines.append(f"| {rows[method].title} | {' | '.join(cells)} |")
    cells = [lead(results[name], number) for number, name in columns]
    lines.append(f"| Proposed - Baseline | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def results_of(path):
    """The results of the main rows in a file, whichever version they are of."""
    config = study.get_config("small")
    config.data.root = "ACDC"
    config.study.update(methods=MAIN_ROWS, labeled=LABELED, draws=DRAWS)
    cells = list_cells(config, Path("/nowhere"))
    return read_results(cells, published=read_runs(path, cells))


def lead(results, num_labeled):
    """How far Proposed is before the baseline, with its interval."""
    scores, plan = patient_scores(results), study.get_config("small").study
    difference = paired_difference(
        scores["proposed", num_labeled],
        scores["baseline", num_labeled],
        confidence=plan.confidence,
        resamples=plan.resamples,
    )
    return difference_text(difference, runs=DRAWS, seeds=1, patients=20)


def section():
    """What stands between the two marks of the page, once there are both files."""
    return f"{TEXT}{before_and_after()}" if AFTER.exists() else ""


if __name__ == "__main__":
    put_table(PAGE, MARK, section())
