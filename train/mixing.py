"""Measures how smoothly a model goes from one style to another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.images import to_float
from sfumato.model import IMAGE, StyleModel, compiled, mix
from train import losses
from train.evaluate import (
    SIZE,
    VGG_CONTENT,
    VGG_STYLE,
    Pair,
    grams,
    number,
    square,
    style_distances,
)
from train.vgg import build_vgg16

STEPS = 11
# What the model card asks of a smooth mix.
LARGEST_RISE = 0.10
LARGEST_REVERSAL = 0.05


@dataclass(frozen=True)
class Walk:
    """From one style to another in equal steps of the mix, one photo painted at
    each: its content distance, and its style distance to either end's style."""

    name: str
    content: np.ndarray
    to_first: np.ndarray
    to_second: np.ndarray

    @property
    def content_rise(self) -> float:
        """How far the content distance rises above that of both ends, as a share
        of the larger one; 0 if it does not."""
        ends = max(self.content[0], self.content[-1])
        return max(0.0, float(self.content.max() / ends) - 1.0)

    @property
    def reversal(self) -> float:
        """How far the style distance to an end falls back on the way from it, as a
        share of what it was; 0 where both are monotonic."""
        return max(_largest_fall(self.to_first), _largest_fall(self.to_second[::-1]))

    @property
    def smooth(self) -> bool:
        return self.content_rise <= LARGEST_RISE and self.reversal <= LARGEST_REVERSAL


def _largest_fall(distances: np.ndarray) -> float:
    return float(np.max(1.0 - distances / np.maximum.accumulate(distances)))


def walks(
    model: StyleModel, pairs: list[Pair], root: Path, size: int = SIZE
) -> Iterator[tuple[Walk, Walk]]:
    """For each pair, two walks that end at its painting: from the next pair's
    painting (mixing), and from the photo seen as a style (strength)."""
    vgg = compiled(build_vgg16(VGG_STYLE), IMAGE)

    def walk(name: str, photo: np.ndarray, first: np.ndarray, second: np.ndarray):
        ends = [model.embed(style, size=size) for style in (first, second)]
        targets = [grams(vgg, style, VGG_STYLE) for style in (first, second)]
        photo_features = vgg(to_float(photo)[None])[VGG_CONTENT]
        content, distances = [], []
        for share in np.linspace(0.0, 1.0, STEPS):
            embedding = mix(zip(ends, (1.0 - share, share), strict=True))
            features = vgg(to_float(model.stylize(photo, embedding))[None])
            content.append(
                number(losses.content_distance(features[VGG_CONTENT], photo_features))
            )
            distances.append(
                [
                    np.mean(style_distances(features, VGG_STYLE, target))
                    for target in targets
                ]
            )
        return Walk(name, np.array(content), *np.array(distances).T)

    for index, (content_name, style_name) in enumerate(pairs):
        other_name = pairs[(index + 1) % len(pairs)][1]
        photo = square(root / "content" / content_name, size)
        painting, other = (
            square(root / "style" / name, size) for name in (style_name, other_name)
        )
        yield (
            walk(f"{other_name} to {style_name}", photo, other, painting),
            walk(f"{content_name} to {style_name}", photo, photo, painting),
        )


def table(found: list[tuple[Walk, Walk]]) -> str:
    """The walks as a Markdown table, a row for each kind."""
    lines = [
        f"| {len(found)} pairs, {STEPS} steps | smooth | content rise: mean, largest "
        "| style reversal: mean, largest |",
        "|---|---|---|---|",
    ]
    for kind, of_kind in zip(
        ("mixing", "strength"), zip(*found, strict=True), strict=True
    ):
        rise = [walk.content_rise for walk in of_kind]
        reversal = [walk.reversal for walk in of_kind]
        lines.append(
            f"| {kind} | {sum(walk.smooth for walk in of_kind)} "
            f"| {np.mean(rise):.1%}, {max(rise):.1%} "
            f"| {np.mean(reversal):.1%}, {max(reversal):.1%} |"
        )
    return "\n".join(lines)
