"""Scores stylized pictures: how much of the photo is kept, how much of the
painting is taken, as two independent pretrained networks see it."""

import csv
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sfumato.images import center_crop, decode, resize, to_float
from sfumato.model import IMAGE, compiled
from train import losses
from train.methods import Pair, Stylize
from train.vgg import ALEXNET_LAYERS, build_alexnet, build_vgg16

VGG_CONTENT = "relu3_3"
VGG_STYLE = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
ALEXNET_CONTENT = "relu3"
# The size that pairs are scored at, shorter side and then centre crop.
SIZE = 256


class EvaluationError(ValueError):
    """The pairs or pictures cannot be scored; the message says why."""


@dataclass(frozen=True)
class PairScore:
    """Distances of one stylized picture: content in [0, 2], style in [0, 1], by
    VGG-16 and by their AlexNet twins; `layers` are the style distances by layer."""

    content_name: str
    style_name: str
    content: float
    style: float
    layers: tuple[float, ...]
    alexnet_content: float
    alexnet_style: float


def read_pairs(path: Path) -> list[Pair]:
    """The rows of a CSV with the columns `content` and `style`: file names."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"content", "style"} <= set(reader.fieldnames or ()):
            raise EvaluationError(
                f"{path} needs the columns content and style; "
                f"it has {reader.fieldnames}."
            )
        return [(row["content"], row["style"]) for row in reader]


def evaluate(
    pairs: list[Pair], root: Path, stylize: Stylize, size: int = SIZE
) -> Iterator[PairScore]:
    """Scores each pair in turn: photos are ROOT/content/NAME, paintings
    ROOT/style/NAME, both brought to size x size."""

    @functools.cache
    def image(kind: str, name: str) -> np.ndarray:
        return square(root / kind / name, size)

    vgg = compiled(build_vgg16(VGG_STYLE), IMAGE)
    alexnet = compiled(build_alexnet(ALEXNET_LAYERS), IMAGE)

    @functools.cache
    def painting(name: str) -> tuple[list, list]:
        return grams(vgg, image("style", name), VGG_STYLE), grams(
            alexnet, image("style", name), ALEXNET_LAYERS
        )

    @functools.cache
    def photo(name: str) -> tuple:
        batch = to_float(image("content", name))[None]
        return vgg(batch)[VGG_CONTENT], alexnet(batch)[ALEXNET_CONTENT]

    for pair in pairs:
        content_name, style_name = pair
        stylized = stylize(
            pair, image("content", content_name), image("style", style_name)
        )
        if stylized.shape != (size, size, 3):
            raise EvaluationError(
                f"The stylized {content_name} in {style_name} has the shape "
                f"{list(stylized.shape)}; expected {[size, size, 3]}."
            )
        batch = to_float(stylized)[None]
        vgg_features, alexnet_features = vgg(batch), alexnet(batch)
        vgg_content, alexnet_content = photo(content_name)
        vgg_grams, alexnet_grams = painting(style_name)
        layers = style_distances(vgg_features, VGG_STYLE, vgg_grams)
        yield PairScore(
            content_name,
            style_name,
            number(losses.content_distance(vgg_features[VGG_CONTENT], vgg_content)),
            float(np.mean(layers)),
            layers,
            number(
                losses.content_distance(
                    alexnet_features[ALEXNET_CONTENT], alexnet_content
                )
            ),
            float(
                np.mean(
                    style_distances(alexnet_features, ALEXNET_LAYERS, alexnet_grams)
                )
            ),
        )


def summarise(scores: list[PairScore]) -> dict[str, float]:
    """Means over the pairs, and the spread of the style distance."""
    style = [score.style for score in scores]
    summary = {
        "content": float(np.mean([score.content for score in scores])),
        "style": float(np.mean(style)),
    }
    for index, layer in enumerate(VGG_STYLE):
        summary[f"style_{layer}"] = float(
            np.mean([score.layers[index] for score in scores])
        )
    summary["style_p10"], summary["style_p90"] = (
        float(np.percentile(style, percent)) for percent in (10, 90)
    )
    for twin in ("alexnet_content", "alexnet_style"):
        summary[twin] = float(np.mean([getattr(score, twin) for score in scores]))
    return summary


def table(rows: dict[str, dict[str, float]]) -> str:
    """The summaries as a Markdown table, a row each."""
    lines = [
        "| | content ↓ | style ↓ | per layer 1_2 / 2_2 / 3_3 / 4_3 | p10 – p90 "
        "| AlexNet content | AlexNet style |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        layers = " / ".join(f"{row[f'style_{layer}']:.3f}" for layer in VGG_STYLE)
        lines.append(
            f"| {name} | {row['content']:.4f} | {row['style']:.4f} | {layers} "
            f"| {row['style_p10']:.3f} – {row['style_p90']:.3f} "
            f"| {row['alexnet_content']:.4f} | {row['alexnet_style']:.4f} |"
        )
    return "\n".join(lines)


def distances(
    picture: np.ndarray, photo: np.ndarray, painting: np.ndarray
) -> tuple[float, float]:
    """The content distance to the photo, brought to the picture's size, and the mean
    style distance to the painting, brought to its shorter side; all uint8 [H, W, 3]."""
    shorter = min(picture.shape[:2])
    vgg = build_vgg16(VGG_STYLE)
    seen = vgg(to_float(picture)[None])
    photo_seen = vgg(to_float(resize(photo, shorter))[None])
    targets = grams(vgg, resize(painting, shorter), VGG_STYLE)
    return (
        number(losses.content_distance(seen[VGG_CONTENT], photo_seen[VGG_CONTENT])),
        float(np.mean(style_distances(seen, VGG_STYLE, targets))),
    )


def square(path: Path, size: int) -> np.ndarray:
    """A picture as it is scored: shorter side scaled to `size`, centre crop."""
    return center_crop(resize(decode(path), size), size)


def grams(
    network: Callable[[Any], Any], image: np.ndarray, layers: tuple[str, ...]
) -> list:
    """The Gram matrices of an image uint8 [H, W, 3], one for each layer."""
    features = network(to_float(image)[None])
    return [losses.gram_matrix(features[layer]) for layer in layers]


def style_distances(
    features: dict, layers: tuple[str, ...], targets: list
) -> tuple[float, ...]:
    """The style distance of one picture's features to target Gram matrices, by
    layer."""
    return tuple(
        number(losses.style_distance(losses.gram_matrix(features[layer]), target))
        for layer, target in zip(layers, targets, strict=True)
    )


def number(value: Any) -> float:
    """What a loss gives for a batch of one."""
    return float(keras.ops.convert_to_numpy(value)[0])
