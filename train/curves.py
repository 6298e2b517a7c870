"""Draws what a training run logged, and how its model's scores went."""

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from train.fit import HISTORY
from train.run import LOG, TrainingError

# The width of the running mean over logged intervals.
SMOOTHED = 9


def curves(runs: list[Path], scores: Path | None = None) -> bytes:
    """A PNG: the loss terms of `runs`, which followed each other, by step; beside
    them, from a CSV of `evaluate --csv`, the mean content and style distance of each
    model in their histories, and as lines across those of the other methods."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2) if scores else (figure.subplots(), None)
    starts = _draw_losses(left, runs)
    if scores is not None:
        _draw_scores(right, starts, scores)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _draw_losses(axes, runs: list[Path]) -> dict[Path, int]:
    """Draws; the step at which each run begins, counted from the first run's."""
    starts, step = {}, 0
    steps: list[int] = []
    values: dict[str, list[float]] = {}
    for run in runs:
        rows = _rows(run / LOG)
        # The style terms are called by their layers.
        terms = [name for name in rows[0] if name.startswith(("content", "relu"))]
        starts[run] = step
        steps += [step + int(row["step"]) for row in rows]
        for term in terms:
            values.setdefault(term, []).extend(float(row[term]) for row in rows)
        step = steps[-1]
    for term, numbers in values.items():
        axes.plot(steps, _smooth(numbers), label=term)
    axes.set(xlabel="step", ylabel="distance on training crops", yscale="log")
    axes.set_title("Loss terms, running mean")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    return starts


def _draw_scores(axes, starts: dict[Path, int], scores: Path) -> None:
    by_method: dict[str, list[dict[str, str]]] = {}
    for row in _rows(scores):
        by_method.setdefault(row["method"], []).append(row)
    histories = {(run / HISTORY).resolve(): start for run, start in starts.items()}
    for measure, colour in (("content", "C0"), ("style", "C3")):
        points = []
        for method, rows in by_method.items():
            mean = np.mean([float(row[measure]) for row in rows])
            start = histories.get(Path(method).resolve().parent)
            if start is not None:
                points.append((start + int(Path(method).name), mean))
            else:
                label = f"{measure}, {Path(method).name}"
                axes.axhline(mean, color=colour, linestyle=":", label=label)
        axes.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=measure)
    axes.set(xlabel="step", yscale="log")
    axes.set_title("Mean distances on unseen pairs")
    axes.legend()
    axes.grid(alpha=0.3, which="both")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise TrainingError(f"{path} has no rows to draw.")
    return rows


def _smooth(values: list[float]) -> np.ndarray:
    width = min(SMOOTHED, len(values))
    padded = np.pad(values, (width // 2, (width - 1) // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")
