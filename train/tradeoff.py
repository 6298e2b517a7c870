"""A grid of content against style weight, as one figure."""

import dataclasses
import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from sfumato.images import to_uint8
from train.descent import OnStep
from train.optimize import Method, optimize

# What is said of a picture: its content and its style distance.
Distances = tuple[float, float]


def grid(
    method: Method,
    photo: np.ndarray,
    style: np.ndarray,
    content_weights: Sequence[float],
    style_weights: Sequence[float],
    on_step: OnStep | None = None,
) -> Iterator[np.ndarray]:
    """The photo in the style, uint8 [H, W, 3], for each content weight in turn with
    every style weight."""
    for content_weight in content_weights:
        for style_weight in style_weights:
            weighted = dataclasses.replace(
                method, content_weight=content_weight, style_weight=style_weight
            )
            outcome = optimize(weighted, photo, [(style, 1.0)], on_step=on_step)
            yield to_uint8(outcome.image)


def figure(
    pictures: Sequence[np.ndarray],
    distances: Sequence[Distances],
    content_weights: Sequence[float],
    style_weights: Sequence[float],
) -> bytes:
    """What `grid` painted as a PNG: a row for each content weight, a column for each
    style weight, each picture over its distances."""
    rows, columns = len(content_weights), len(style_weights)
    height, width = pictures[0].shape[:2]
    tall = 2.2 * height / width + 0.35
    drawn = Figure(figsize=(2.2 * columns + 0.4, tall * rows + 0.3))
    drawn.set_layout_engine("constrained")
    axes = drawn.subplots(rows, columns, squeeze=False)
    for index, (picture, (content, style)) in enumerate(
        zip(pictures, distances, strict=True)
    ):
        row, column = divmod(index, columns)
        ax = axes[row][column]
        ax.imshow(picture)
        ax.set(xticks=[], yticks=[])
        ax.set_xlabel(f"content {content:.2f}, style {style:.3f}", fontsize=8)
        if row == 0:
            ax.set_title(f"style weight {style_weights[column]:g}", fontsize=9)
        if column == 0:
            ax.set_ylabel(f"content weight {content_weights[row]:g}", fontsize=9)
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=110)
    return file.getvalue()
