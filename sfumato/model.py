"""The whole model on the server: load a bundle, embed styles, mix, stylize."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sfumato.images import ImageError, Source, decode, resize, to_float, to_uint8
from sfumato.predictor import PredictorConfig, build_predictor
from sfumato.transformer import (
    MIN_SIZE,
    SIZE_MULTIPLE,
    Transformer,
    TransformerConfig,
)

MANIFEST = "manifest.json"
FILES = (MANIFEST, "predictor.weights.h5", "transformer.weights.h5")
FORMAT = 3
# At this many pixels, the size that the networks are trained and scored at, photo and
# style are seen equally large.
STYLE_SIZE = 256
# A style is not seen larger than this, in pixels: a long strip would grow huge.
MOST_SEEN = 2**22
# The shape of a batch of one picture, of any size.
IMAGE = (1, None, None, 3)


class BundleError(ValueError):
    """A model folder that is missing, damaged or of another format."""


class StyleModel:
    """A predictor and a transformer that were trained together.

    `manifest` is the model card: the networks' configurations and sizes and, in
    a published bundle, its scores, parity, files, data and licence.
    """

    def __init__(
        self,
        predictor_config: PredictorConfig,
        transformer_config: TransformerConfig,
        manifest: dict[str, Any] | None = None,
    ):
        self.predictor = build_predictor(predictor_config)
        self.transformer = Transformer(transformer_config)
        self.transformer.build(
            [(None, None, None, 3), (None, transformer_config.embedding_size)]
        )
        self._predict = compiled(
            lambda style: self.predictor(style, training=False), IMAGE
        )
        self._paint = compiled(
            lambda content, style: self.transformer([content, style], training=False),
            IMAGE,
            (1, transformer_config.embedding_size),
        )
        self.manifest = (manifest or {}) | {
            "format": FORMAT,
            "embedding_size": transformer_config.embedding_size,
            "style_size": STYLE_SIZE,
            "size_multiple": SIZE_MULTIPLE,
            "min_size": MIN_SIZE,
            "predictor": asdict(predictor_config),
            "transformer": asdict(transformer_config),
        }

    @classmethod
    def untrained(
        cls, card: dict[str, Any], manifest: dict[str, Any] | None = None
    ) -> "StyleModel":
        """Random weights in the architecture that another model's card names."""
        return cls(
            PredictorConfig(**tuples(card["predictor"])),
            TransformerConfig(**tuples(card["transformer"])),
            manifest,
        )

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> "StyleModel":
        """Reads a folder that `save` or export/convert.py wrote; BundleError if it
        is none."""
        folder = Path(folder)
        for name in FILES:
            if not (folder / name).is_file():
                raise BundleError(f"{folder} is not a model: {name} is missing.")
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            if manifest["format"] != FORMAT:
                raise BundleError(
                    f"{folder} has the bundle format {manifest['format']}; this "
                    f"version reads format {FORMAT}. Use the version that wrote it."
                )
            model = cls.untrained(manifest, manifest)
            for name, network in model._networks().items():
                network.load_weights(folder / f"{name}.weights.h5")
        except (KeyError, TypeError, json.JSONDecodeError, OSError) as error:
            raise BundleError(f"The model in {folder} is damaged: {error}") from error
        return model

    def save(self, folder: str | PathLike[str]) -> None:
        """Writes manifest.json, predictor.weights.h5 and transformer.weights.h5."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, network in self._networks().items():
            network.save_weights(folder / f"{name}.weights.h5")
        self.save_manifest(folder)

    def save_manifest(self, folder: Path) -> None:
        (folder / MANIFEST).write_text(json.dumps(self.manifest, indent=1) + "\n")

    def embed(
        self, style: Source, scale: float = 1.0, size: int | None = None
    ) -> np.ndarray:
        """Any picture to its style embedding, float32 [embedding_size]; `scale` and
        `size` as for `seen`."""
        image = to_float(self.seen(decode(style), scale, size))
        return keras.ops.convert_to_numpy(self._predict(image[None]))[0]

    def seen(
        self, style: np.ndarray, scale: float = 1.0, size: int | None = None
    ) -> np.ndarray:
        """A picture uint8 [H, W, 3] as the predictor sees it: a style's strokes are to
        grow with what is painted, if less than that does.

        size: the shorter side, in pixels, of what is to be painted (default:
        style_size); where that is four times as large, a style is seen twice as large.
        scale: how large it is seen beside that; beyond 1 its details weigh more.
        """
        style_size = self.manifest["style_size"]
        seen = scale * math.sqrt(style_size * (size or style_size))
        shorter, longer = sorted(style.shape[:2])
        return resize(style, round(min(seen, math.sqrt(MOST_SEEN * shorter / longer))))

    def stylize(
        self, content: Source, embedding: np.ndarray, strength: float = 1.0
    ) -> np.ndarray:
        """The photo repainted, uint8 [H, W, 3] of exactly the photo's size.

        strength: 0 paints under the photo's own embedding, 1 under the one given,
        beyond 1 exaggerates. Raises ImageError below min_size pixels a side,
        ValueError for an embedding of another size or a strength not finite.
        """
        image = decode(content)
        if min(image.shape[:2]) < self.manifest["min_size"]:
            height, width = image.shape[:2]
            raise ImageError(
                f"The photo has {width} x {height} pixels; "
                f"each side needs at least {self.manifest['min_size']}."
            )
        embedding = np.asarray(embedding, np.float32)
        if embedding.shape != (self.manifest["embedding_size"],):
            raise ValueError(
                f"An embedding has {self.manifest['embedding_size']} numbers; "
                f"this one has the shape {list(embedding.shape)}."
            )
        if not (math.isfinite(strength) and np.isfinite(embedding).all()):
            raise ValueError("The strength and the embedding must be finite numbers.")
        if strength != 1.0:
            own = self.embed(image, size=min(image.shape[:2]))
            embedding = own + np.float32(strength) * (embedding - own)
        picture = self._paint(to_float(image)[None], embedding[None])
        return to_uint8(keras.ops.convert_to_numpy(picture)[0])

    def _networks(self) -> dict[str, keras.Model]:
        return {"predictor": self.predictor, "transformer": self.transformer}


def mix(styles: Iterable[tuple[np.ndarray, float]]) -> np.ndarray:
    """The mean of (embedding, weight) pairs, float32, weighted as by `shares`."""
    pairs = list(styles)
    weights = shares(weight for _, weight in pairs)
    return (weights @ np.stack([one for one, _ in pairs])).astype(np.float32)


def shares(weights: Iterable[float]) -> np.ndarray:
    """Weights, float64 and divided by their sum.

    They are finite, not negative and not all 0; they need not sum to 1. ValueError
    otherwise.
    """
    given = np.array(list(weights), np.float64)
    largest = given.max(initial=0.0)
    if not (np.isfinite(given).all() and (given >= 0).all() and largest > 0):
        raise ValueError(
            "Weights must be finite, not negative and not all 0; "
            f"received {given.tolist()}."
        )
    # Scaled first: the sum of large weights would overflow.
    given /= largest
    return given / given.sum()


def tuples(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration read from JSON or TOML, its lists as tuples."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config.items()
    }


def compiled(
    function: Callable[..., Any], *shapes: tuple[int | None, ...]
) -> Callable[..., Any]:
    """In TensorFlow, one graph for pictures of all sizes: there, unlike eagerly,
    each layer's output is freed once used, and a picture does not depend on the
    sizes painted before it. Elsewhere the function as it is."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, input_signature=[tf.TensorSpec(s) for s in shapes])
