"""Scores stylized pictures: how much of the photo is kept, how much of the
painting is taken, as two independent pretrained networks see it."""

import csv
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sfumato.images import center_crop, decode, resize, to_float, to_uint8
from sfumato.model import StyleModel
from train import losses
from train.vgg import ALEXNET_LAYERS, build_alexnet, build_vgg16

VGG_CONTENT = "relu3_3"
VGG_STYLE = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
ALEXNET_CONTENT = "relu3"
# The size that pairs are scored at, shorter side and then centre crop.
SIZE = 256

# The file names of a photo and a painting.
Pair = tuple[str, str]
# A pair, its photo and its painting, uint8 [S, S, 3], to the stylized uint8 [S, S, 3].
Stylize = Callable[[Pair, np.ndarray, np.ndarray], np.ndarray]


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

    vgg = build_vgg16(VGG_STYLE)
    alexnet = build_alexnet(ALEXNET_LAYERS)

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


def by_model(model: StyleModel) -> Stylize:
    """Pictures by one of our models."""
    return lambda pair, photo, painting: model.stylize(photo, model.embed(painting))


def by_images(folder: Path) -> Stylize:
    """Pictures that are already there, as FOLDER/PHOTO_PAINTING.png, after the
    stems of the pair's file names."""

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        path = folder / ("_".join(Path(name).stem for name in pair) + ".png")
        try:
            return decode(path)
        except FileNotFoundError:
            raise EvaluationError(f"{path} is missing.") from None

    return stylize


def by_tflite(folder: Path) -> Stylize:
    """Pictures by a TensorFlow Lite pair in the layout of Magenta's: FOLDER holds
    predict.tflite (style image to embedding) and transfer.tflite (photo and
    embedding to picture)."""
    for name in ("predict.tflite", "transfer.tflite"):
        if not (folder / name).is_file():
            raise EvaluationError(f"{folder / name} is missing.")
    predict = tflite_interpreter(folder / "predict.tflite")
    predict.allocate_tensors()
    transfer = tflite_interpreter(folder / "transfer.tflite")
    style_size = predict.get_input_details()[0]["shape"][1]

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        style = center_crop(resize(painting, style_size), style_size)
        predict.set_tensor(
            predict.get_input_details()[0]["index"], to_float(style)[None]
        )
        predict.invoke()
        embedding = predict.get_tensor(predict.get_output_details()[0]["index"])
        content_input, embedding_input = transfer.get_input_details()
        transfer.resize_tensor_input(content_input["index"], (1, *photo.shape))
        transfer.allocate_tensors()
        transfer.set_tensor(content_input["index"], to_float(photo)[None])
        transfer.set_tensor(embedding_input["index"], embedding)
        transfer.invoke()
        return to_uint8(
            transfer.get_tensor(transfer.get_output_details()[0]["index"])[0]
        )

    return stylize


def tflite_interpreter(path: Path) -> Any:
    """A TensorFlow Lite network, on all cores."""
    import tensorflow as tf

    with warnings.catch_warnings():
        # It is to move to a package of its own.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter")
        return tf.lite.Interpreter(str(path), num_threads=os.cpu_count())


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


def square(path: Path, size: int) -> np.ndarray:
    """A picture as it is scored: shorter side scaled to `size`, centre crop."""
    return center_crop(resize(decode(path), size), size)


def grams(network: keras.Model, image: np.ndarray, layers: tuple[str, ...]) -> list:
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
