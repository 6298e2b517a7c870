"""How far a fast network is from the limit: how many iterations of L-BFGS on the
picture itself reach its loss."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sfumato.images import to_float
from sfumato.model import StyleModel
from train.descent import Step, minimise
from train.evaluate import SIZE, square
from train.methods import Pair, by_model
from train.optimize import Method, transfer_terms
from train.recipe import Loss, Recipe

# Whose loss is to be reached: the published models were trained with it.
RECIPE = "default"
# Where a pair gives up.
MOST = 500


@dataclass(frozen=True)
class Reached:
    """`loss` is the fast network's; `iterations` of L-BFGS from the photo go below
    it, None where MOST do not. `start` is the loss of the photo itself."""

    pair: Pair
    loss: float
    start: float
    iterations: int | None


def limit(
    model: StyleModel, pairs: list[Pair], root: Path, size: int = SIZE, most: int = MOST
) -> Iterator[Reached]:
    """Walks the pairs, as evaluate.evaluate does, by the loss of RECIPE but its
    checkerboard term, which only a network needs."""
    method = method_of(Recipe.load(RECIPE).loss)
    stylize = by_model(model)
    for pair in pairs:
        photo, painting = (
            square(root / kind / name, size)
            for kind, name in zip(("content", "style"), pair, strict=True)
        )
        terms = transfer_terms(method, photo, [(painting, 1.0)])

        def value(image: np.ndarray, terms=terms) -> float:
            return sum(map(float, terms(to_float(image)[None]).values()))

        fast = value(stylize(pair, photo, painting))

        def reached(step: Step, fast: float = fast) -> bool:
            return step.loss <= fast

        outcome = minimise(terms, to_float(photo), "lbfgs", most, on_step=reached)
        yield Reached(
            pair,
            fast,
            value(photo),
            outcome.iterations if outcome.loss <= fast else None,
        )


def method_of(loss: Loss) -> Method:
    """The loss of a training recipe as one to optimise a picture by."""
    return replace(
        Method.load("balanced"),
        content_weight=loss.content,
        style_weight=loss.style,
        total_variation=loss.total_variation,
        content_layers={loss.content_layer: 1.0},
        style_layers=dict.fromkeys(loss.style_layers, 1.0),
    )


def table(found: list[Reached]) -> str:
    """A row for each pair and the median, in Markdown."""
    lines = [
        "| pair | photo's loss | network's loss | iterations |",
        "|---|--:|--:|--:|",
    ]
    for row in found:
        count = f"> {MOST}" if row.iterations is None else str(row.iterations)
        name = " in ".join(Path(part).stem for part in row.pair)
        lines.append(f"| {name} | {row.start:.3f} | {row.loss:.3f} | {count} |")
    counts = [math.inf if r.iterations is None else r.iterations for r in found]
    lines.append(f"| median | | | {np.median(counts):g} |")
    return "\n".join(lines)
