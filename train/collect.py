"""What VGG-16 sees in styles, in photos and in painted photos, kept in a folder for a
surrogate to learn from (train/surrogate.py)."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from rich.progress import track

from sfumato.images import to_float
from sfumato.model import StyleModel
from train import losses
from train.data import StyleTransferDataset
from train.fit import compiler
from train.recipe import Loss, VariedPhase
from train.run import TrainingError, stop_on_signal
from train.vgg import build_vgg16

# A Gram matrix is kept as so many coordinates: in the basis of the principal components
# of those of so many styles.
COMPONENTS = 512
BASIS_STYLES = 1600
BATCH = 16
# Batches in a file: what is lost where a collection is stopped.
IN_FILE = 25
# Of the styles that photos are painted in every so many-th is the photo's own, and the
# one before it is for the same photo: a mix of both is what a lower strength paints.
OWN = 6
# Each photo is painted again under another embedding, moved by up to so much of the
# difference between those of two styles: where a predictor may go.
MOVED = 0.4

KEPT = "collection.json"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class CollectedPhase(VariedPhase):
    """A VariedPhase whose images are collected before: `styles` and `photos` crops,
    and `painted` of these photos, each under an embedding of its own."""

    styles: int
    photos: int
    painted: int


class Look(keras.Model):
    """Images [B, H, W, 3] in [0, 1] to {"content": features [B, h, w, C]} and, by
    each style layer's name, their Gram matrices as vectors [B, C (C + 1) / 2]: upper
    triangles with √2 off the diagonal, so that inner products are the matrices'."""

    def __init__(self, loss: Loss):
        super().__init__(name="look")
        self.layers_of = loss
        vgg = build_vgg16({*loss.style_layers, loss.content_layer})
        self.features = lambda images: vgg(images)
        self.compile(jit_compile=compiler())

    def call(self, images):
        return self.look(images)

    def look(self, images):
        features = self.features(images)
        return {"content": features[self.layers_of.content_layer]} | {
            layer: _vectors(losses.gram_matrix(features[layer]))
            for layer in self.layers_of.style_layers
        }


class PaintedLook(Look):
    """{"photo" [B, H, W, 3] in [0, 1], "embedding" [B, E], "features" of the photo's
    window} to a Look at the painted photo's, with the measured content [B] as its
    "content", "total_variation" and "checkerboard"."""

    def __init__(self, loss: Loss, transformer: keras.Model, beyond: int):
        super().__init__(loss)
        self.beyond = beyond
        # A closure: what is painted with is not this model's own.
        self.paint = lambda *inputs: transformer([*inputs], training=False)

    def call(self, inputs):
        painted = window(self.paint(inputs["photo"], inputs["embedding"]), self.beyond)
        seen = self.look(painted)
        return seen | {
            "content": losses.content_distance(seen["content"], inputs["features"]),
            "total_variation": losses.total_variation(painted),
            "checkerboard": losses.checkerboard(painted),
        }


def window(images: Any, beyond: int) -> Any:
    """Images [B, H, W, 3] without a rim, `beyond` pixels in width and in height: what
    is looked at."""
    inner = slice(beyond // 2, images.shape[1] - (beyond - beyond // 2))
    return images[:, inner, inner]


def _vectors(grams: Any) -> Any:
    channels = grams.shape[-1]
    rows, columns = np.triu_indices(channels)
    flat = ops.reshape(grams, (-1, channels * channels))
    scale = np.where(rows == columns, 1.0, np.sqrt(2.0)).astype(np.float32)
    return ops.take(flat, rows * channels + columns, axis=1) * scale


class Stopped(Exception):
    """The collection was stopped; what it wrote is there for the next time."""


class Collection:
    """A folder with looks at styles, photos and painted photos, as arrays by name.

    Of each image: "coordinates" float32 [L, K], its Gram matrices' in the basis, and
    "squares" float32 [L], the whole matrices' square norms. Of styles and photos also
    "images", uint8 [H, W, 3]. Of painted photos "content", "total_variation",
    "checkerboard" and "embedding" [E]; "photo" and "style", their numbers, the style's
    among the photos' where it is the photo's "own"; "mix", how much of the next image's
    style it has, within BATCH images; and whether it was "moved" from there.

    model: its transformer paints, its predictor says under which embeddings. data: the
    crops, BATCH a step; steps are those of this class alone.

    Files are written whole and once: what is there is not made again, so that a
    collection goes on where it was stopped, and one of more images, or under another
    predictor's embeddings, adds to what is there. TrainingError where the folder holds
    looks at other images or by another transformer.
    """

    def __init__(
        self,
        folder: Path,
        model: StyleModel,
        loss: Loss,
        phase: CollectedPhase,
        data: StyleTransferDataset,
    ):
        self.folder = folder
        self.model = model
        self.loss = loss
        self.phase = phase
        self.data = data
        self.stop_training = False
        predictor = model.predictor
        self.predictor = keras.Model(predictor.inputs, predictor.outputs)
        self.predictor.compile(jit_compile=compiler())
        self._open(
            {
                "layers": [loss.content_layer, *loss.style_layers],
                "size": phase.size,
                "beyond": phase.beyond,
                "mixed": phase.mixed,
                "drawn": phase.drawn,
                "photos": phase.photos,
                "seed": data.seed,
                "images": [len(data.content.paths), len(data.style.paths)],
                "transformer": _digest(model.transformer),
            }
        )

    def _open(self, kept: dict[str, Any]) -> None:
        path = self.folder / KEPT
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(kept, indent=1) + "\n")
        earlier = json.loads(path.read_text())
        for name, value in kept.items():
            if earlier.get(name) != value:
                raise TrainingError(
                    f"{self.folder} was collected with {name} {earlier.get(name)}, not "
                    f"{value}; name another folder."
                )

    def collect(self) -> None:
        """Makes what is missing, with progress. Stopped, on Ctrl-C and SIGTERM."""
        look = Look(self.loss)
        with stop_on_signal(self):
            basis = self._basis(look)

            def looks(crops: Callable[[int], np.ndarray]) -> Callable[[int], Arrays]:
                def make(step: int) -> Arrays:
                    images = crops(step)
                    seen = look.predict_on_batch(
                        to_float(window(images, len(images[0]) - self.phase.size))
                    )
                    return {"images": images} | self._coordinates(seen, basis)

                return make

            self._write("styles", self.phase.styles, looks(self._styles))
            self._write("photos", self.phase.photos, looks(self._photos))
            self.embeddings = {
                name: self._embed(self.load(name)["images"])
                for name in ("styles", "photos")
            }
            self._write(self._own, self.phase.painted, self._painting(look, basis))

    @property
    def _own(self) -> str:
        """Where photos lie that were painted under this predictor's embeddings."""
        return f"painted/{_digest(self.model.predictor)}"

    def unmoved(self) -> Arrays:
        """What was painted under this predictor's own embeddings and their mixes."""
        painted = self.load(self._own)
        return {name: values[~painted["moved"]] for name, values in painted.items()}

    def load(self, name: str) -> Arrays:
        """All that was collected of "styles", "photos" or "painted"."""
        return _joined(
            _read(path) for path in sorted((self.folder / name).rglob("*.npz"))
        )

    def _basis(self, look: Look) -> Arrays:
        """By layer: the directions [C (C + 1) / 2, K] that styles' Gram matrices of
        norm 1 are longest in. Not centred, so that inner products of matrices are
        those of their coordinates."""
        path = self.folder / "basis.npz"
        if not path.exists():
            steps = range(-(-min(BASIS_STYLES, self.phase.styles) // BATCH))
            seen = [
                look.predict_on_batch(to_float(self._styles(step)))
                for step in self._steps(steps, "basis")
            ]
            basis = {}
            for layer in self.loss.style_layers:
                grams = np.concatenate([batch.pop(layer) for batch in seen])
                grams /= np.linalg.norm(grams, axis=1, keepdims=True)
                _, vectors = np.linalg.eigh(grams @ grams.T)
                directions = grams.T @ vectors[:, ::-1][:, :COMPONENTS]
                basis[layer] = directions / np.linalg.norm(directions, axis=0)
            _save(path, basis)
        return _read(path)

    def _coordinates(self, seen: Arrays, basis: Arrays) -> Arrays:
        layers = self.loss.style_layers
        return {
            "coordinates": np.stack([seen[name] @ basis[name] for name in layers], 1),
            "squares": np.stack([np.square(seen[name]).sum(1) for name in layers], 1),
        }

    def _painting(self, look: Look, basis: Arrays) -> Callable[[int], Arrays]:
        """What makes looks at painted photos."""
        photos = self.load("photos")["images"]
        styles, own = self.embeddings["styles"], self.embeddings["photos"]
        inner = window(photos, self.phase.beyond)

        @functools.cache
        def features() -> np.ndarray:
            seen = [
                look.predict_on_batch(to_float(inner[at : at + BATCH]))["content"]
                for at in range(0, len(inner), BATCH)
            ]
            return np.concatenate(seen).astype(np.float16)

        painted = PaintedLook(self.loss, self.model.transformer, self.phase.beyond)
        seed = int(_digest(self.model.predictor), 16)

        def make(step: int) -> Arrays:
            # Each batch is followed by the same one moved.
            random = np.random.default_rng([seed, self.data.seed, step // 2])
            photo = random.integers(0, len(photos), BATCH)
            style, some, others = random.integers(0, len(styles), (3, BATCH))
            is_own = np.arange(BATCH) % OWN == 1
            photo[is_own] = photo[np.roll(is_own, -1)]
            style[is_own] = photo[is_own]
            mix = random.random(BATCH, np.float32)
            mix[random.random(BATCH) >= self.phase.mixed] = 0.0
            mix[-1] = 0.0
            embedding = np.where(is_own[:, None], own[photo], styles[style * ~is_own])
            embedding += mix[:, None] * (np.roll(embedding, -1, axis=0) - embedding)
            if step % 2:
                share = MOVED * random.random((BATCH, 1), np.float32)
                embedding += share * (styles[some] - styles[others])
            seen = painted.predict_on_batch(
                {
                    "photo": to_float(photos[photo]),
                    "embedding": embedding,
                    "features": features()[photo].astype(np.float32),
                }
            )
            terms = ("content", "total_variation", "checkerboard")
            return (
                {"embedding": embedding, "photo": photo, "style": style, "mix": mix}
                | {"own": is_own, "moved": np.full(BATCH, bool(step % 2))}
                | {term: seen[term] for term in terms}
                | self._coordinates(seen, basis)
            )

        return make

    def _write(self, name: str, count: int, make: Callable[[int], Arrays]) -> None:
        """At least `count` images, as many as fill files; make: of a step's batch."""
        batches = -(-count // BATCH)
        in_file = min(IN_FILE, batches)
        paths = {
            first: self.folder / name / f"{first:06d}.npz"
            for first in range(0, batches, in_file)
        }
        missing = [
            (path, step)
            for first, path in paths.items()
            if not path.exists()
            for step in range(first, first + in_file)
        ]
        made: list[Arrays] = []
        for path, step in self._steps(missing, name):
            made.append(make(step))
            if len(made) == in_file:
                path.parent.mkdir(parents=True, exist_ok=True)
                _save(path, _joined(made))
                made = []

    def _embed(self, images: np.ndarray) -> np.ndarray:
        """The predictor's embeddings [n, E] of images uint8 [n, H, W, 3]."""
        inner = window(images, images.shape[1] - self.phase.size)
        steps = range(0, len(images), BATCH)
        return np.concatenate(
            [
                self.predictor.predict_on_batch(to_float(inner[at : at + BATCH]))
                for at in self._steps(steps, "embedding")
            ]
        )

    def _steps(self, steps: Sequence[Any], what: str) -> Iterator[Any]:
        for step in track(steps, what, disable=not steps):
            if self.stop_training:
                raise Stopped
            yield step

    def _styles(self, step: int) -> np.ndarray:
        return np.stack(self.data.styles(step, self._random(step)))

    def _photos(self, step: int) -> np.ndarray:
        return np.stack(self.data.photos(step, self._random(step)))

    def _random(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.data.seed, step])


def _digest(network: keras.Model) -> str:
    weights = b"".join(weight.tobytes() for weight in network.get_weights())
    return hashlib.sha256(weights).hexdigest()[:12]


def _joined(parts: Iterable[Arrays]) -> Arrays:
    parts = list(parts)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _read(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def _save(path: Path, arrays: Arrays) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(new, path)
