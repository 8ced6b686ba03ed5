"""What fitted thresholds do, on held-out images of the preset `digits`: `python benchmarks/thresholds.py`.

The network was trained on the scans of ten forms. Thresholds are fitted on images of two of the other four forms and
measured on images of the other two, then the other way around. So neither the network nor the fit saw a scan of the
measured images. It needs the extras `export` and `dev`, and half a minute.
"""

import json
from dataclasses import asdict, dataclass

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from exporter import Samples, load_classifier
from exporter.presets.digits.images import LABELS, Scans, compose, load_scans
from exporter.presets.digits.train import CAP, THRESHOLD, keep_largest, measure, unit
from exporter.thresholds import ThresholdFit, fit_thresholds

# The row of load_digits at which the thirteenth of the forms starts.
THIRTEENTH = 1545
FITTED_PICTURES, FITTED_SEED = 4_000, 3
MEASURED_IMAGES, MEASURED_SEED = 4_000, 2
RULES = ("f1", "precision=0.99", "recall=0.99")


@dataclass(frozen=True)
class Measured:
    """How well answers call the labels of held-out images.

    Attributes:
        forms: the forms of the measured images.
        answers: what was called.
        exact_match: the share of images whose labels are all right.
        f1_micro: the F1 over all decisions.
        precision: how many of the called labels are true.
        recall: how many of the true labels are called.
    """

    forms: str
    answers: str
    exact_match: float
    f1_micro: float
    precision: float
    recall: float


def chosen(scans: Scans, places: npt.NDArray[np.bool_]) -> Scans:
    return Scans(scans.pixels[places], scans.digits[places], scans.rows[places])


def measure_all() -> tuple[list[Measured], list[ThresholdFit]]:
    """Fit on the images of two forms and measure on those of two others, in both directions."""
    held_out, model = load_scans()[1], load_classifier("digits").model
    early = held_out.rows < THIRTEENTH
    results: list[Measured] = []
    fits = []
    for forms, fitted_on in (("13 and 14", early), ("11 and 12", ~early)):
        fitted = compose(chosen(held_out, fitted_on), FITTED_PICTURES, FITTED_SEED)
        measured = compose(chosen(held_out, ~fitted_on), MEASURED_IMAGES, MEASURED_SEED)
        to_fit, dense = (model.predict(unit(each.pixels), batch_size=500, verbose=0) for each in (fitted, measured))
        samples = Samples({"images": unit(fitted.pixels)}, truth=fitted.labels.astype(bool))
        capped = keep_largest(dense, CAP)
        called = {f"dense, from {THRESHOLD}": dense >= THRESHOLD, f"k = {CAP}, from {THRESHOLD}": capped >= THRESHOLD}
        for rule in RULES:
            fits.append(fit_thresholds(rule, LABELS, samples, to_fit))
            called[f"k = {CAP}, {rule}"] = capped >= np.array(fits[-1].thresholds, np.float32)
        results += [_judged(forms, answers, each, measured.labels) for answers, each in called.items()]
    return results, fits


def _judged(forms: str, answers: str, called: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint8]) -> Measured:
    truth, figures = labels.astype(bool), measure(called.astype(np.float32), labels)
    hits = (called & truth).sum()
    return Measured(
        forms,
        answers,
        figures["exact_match"],
        figures["f1_micro"],
        float(hits / called.sum()),
        float(hits / truth.sum()),
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(as_json: bool) -> None:
    """Fit thresholds on held-out images, and measure them on others."""
    results, fits = measure_all()
    if as_json:
        print(json.dumps({"results": [asdict(result) for result in results], "fits": [asdict(fit) for fit in fits]}))
        return
    table = Table("measured on forms", "answers", "exact match", "F1 micro", "precision", "recall")
    for result in results:
        figures = (result.exact_match, result.f1_micro, result.precision, result.recall)
        table.add_row(result.forms, result.answers, *(f"{figure:.4f}" for figure in figures))
    console = Console()
    console.print(table)
    for fit in fits:
        each = ", ".join(f"{one.label}: {one.threshold:.3f} ({one.positives})" for one in fit.labels if one.threshold)
        console.print(f"{fit.rule}, on {fit.samples} images, thresholds (positives): {each}", highlight=False)


if __name__ == "__main__":
    main()
