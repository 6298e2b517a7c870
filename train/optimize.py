"""Style transfer by optimising the picture itself (Gatys et al. 2015, arXiv
1508.06576): slow, without training, and the yardstick for the fast networks."""

import dataclasses
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image

from sfumato.images import resize, to_float, to_uint8
from sfumato.model import shares, tuples
from train import losses
from train.descent import OnStep, Outcome, Step, Terms, minimise
from train.methods import Pair, Stylize
from train.recipe import RECIPES, RecipeError, find
from train.run import TrainingError
from train.vgg import ACTIVATION_UNITS, POOLING, build_vgg16, build_vgg19
from train.winograd import WinogradConv2D

METHODS = RECIPES / "optimize"
NETWORKS = ("vgg16", "vgg19")
LOSSES = ("balanced", "squared")
OPTIMIZERS = ("lbfgs", "adam")
# A weight that float32 still holds.
LARGEST = 1e30
STARTS = ("photo", "noise")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class MemoryNeededError(TrainingError):
    """The picture is too large for this machine; the message says by how much."""


@dataclass(frozen=True)
class Method:
    """Everything that an optimised picture depends on but the images.

    network, pooling, weights: "vgg16" or "vgg19", "max" or "average", and the file
    with the weights of VGG-19. content_layers, style_layers: weights by name; the
    layers' terms are multiplied by them and by content_weight or style_weight.
    loss: "balanced" (losses.content_distance, style_distance) or "squared"
    (squared_content_loss, squared_style_loss, all in the units of pixels from 0 to
    255, as in the code they come from). start: "photo" or "noise". sizes:
    shorter sides in pixels, coarse to fine, with as many iterations each.
    learning_rate is Adam's. RecipeError for values that are none of these.
    """

    name: str
    network: str
    pooling: str
    loss: str
    content_weight: float
    style_weight: float
    total_variation: float
    start: str
    optimizer: str
    learning_rate: float
    sizes: tuple[int, ...]
    iterations: tuple[int, ...]
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    precision: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
        for field, known in {
            "network": NETWORKS,
            "pooling": POOLING,
            "loss": LOSSES,
            "start": STARTS,
            "optimizer": OPTIMIZERS,
            "precision": POLICIES,
        }.items():
            if getattr(self, field) not in known:
                raise RecipeError(
                    f"{self.name}: {field} must be one of {', '.join(known)}, not "
                    f"{getattr(self, field)!r}."
                )
        if not self.sizes or len(self.sizes) != len(self.iterations):
            raise RecipeError(
                f"{self.name}: each of the sizes {list(self.sizes)} needs its number "
                f"of iterations; there are {list(self.iterations)}."
            )
        numbers = [
            self.content_weight,
            self.style_weight,
            self.total_variation,
            self.learning_rate,
            *self.content_layers.values(),
            *self.style_layers.values(),
        ]
        if not all(0 <= number <= LARGEST for number in numbers):
            raise RecipeError(
                f"{self.name}: weights and rates are numbers from 0 to {LARGEST:g}; "
                f"received {numbers}."
            )

    @classmethod
    def load(cls, name: str) -> "Method":
        """A recipe of train/recipes/optimize by its name, or any TOML file."""
        path = find(name, METHODS)
        try:
            return cls(path.stem, **tuples(tomllib.loads(path.read_text())))
        except (tomllib.TOMLDecodeError, TypeError) as error:
            raise RecipeError(f"{path}: {error}") from error

    def features(self, layers: Iterable[str]) -> keras.Model:
        """The frozen network to these layers; RecipeError for an unknown one."""
        policy = POLICIES[self.precision]
        try:
            if self.network == "vgg19":
                return build_vgg19(layers, self.pooling, policy, self.weights)
            return build_vgg16(layers, self.pooling, policy)
        except KeyError as error:
            raise RecipeError(f"{self.network}: {error.args[0]}") from None


def transfer_terms(
    method: Method,
    photo: np.ndarray | None,
    styles: Sequence[tuple[np.ndarray, float]],
    wrap: int = 0,
) -> Terms:
    """The loss of an image that is to keep a photo's content and take on styles.

    photo, styles: uint8 [H, W, 3]; without photo or styles their terms are left
    out. Several styles are mixed by weight in their Gram matrices. wrap: the image
    is seen as if it went on at its opposite side for that many pixels.
    """
    content_layers = method.content_layers if photo is not None else {}
    style_layers = method.style_layers if styles else {}
    network = method.features({*content_layers, *style_layers})
    contents = {}
    if photo is not None:
        seen = network(to_float(photo)[None])
        contents = {layer: seen[layer] for layer in content_layers}
    grams = _style_targets(network, style_layers, styles)
    if method.loss == "balanced":
        content_loss, style_loss = losses.content_distance, losses.style_distance
        content_unit = style_unit = pixel_unit = 1.0
    else:
        content_loss, style_loss = (
            losses.squared_content_loss,
            losses.squared_style_loss,
        )
        unit = ACTIVATION_UNITS[method.network]
        content_unit, style_unit, pixel_unit = unit**2, unit**4, 255.0**2

    def terms(image: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = network(_wrapped(image, wrap))
        found = {}
        for layer, weight in content_layers.items():
            value = content_loss(seen[layer], contents[layer])[0]
            found[f"content {layer}"] = (
                content_unit * value * weight * method.content_weight
            )
        for layer, weight in style_layers.items():
            value = style_loss(losses.gram_matrix(seen[layer]), grams[layer])[0]
            found[f"style {layer}"] = style_unit * value * weight * method.style_weight
        if method.total_variation:
            value = losses.total_variation(image)[0]
            found["total variation"] = method.total_variation * pixel_unit * value
        return found

    return terms


def _style_targets(
    network: keras.Model,
    layers: Iterable[str],
    styles: Sequence[tuple[np.ndarray, float]],
) -> dict[str, tf.Tensor]:
    """By layer, the Gram matrices [1, C, C], averaged over the styles by their
    weights."""
    weights = shares(weight for _, weight in styles) if styles else np.array([])
    grams = dict.fromkeys(layers, 0.0)
    for (style, _), share in zip(styles, weights.tolist(), strict=True):
        seen = network(to_float(style)[None])
        for layer in grams:
            grams[layer] += share * losses.gram_matrix(seen[layer])
    return grams


def _wrapped(image: tf.Tensor, margin: int) -> tf.Tensor:
    for axis in (1, 2) if margin else ():
        size = image.shape[axis]
        positions = np.arange(-margin, size + margin) % size
        image = ops.take(image, positions, axis=axis)
    return image


@dataclass(frozen=True)
class Level:
    """One of the sizes, coarse to fine: [height, width] and the loss there; `tiled`:
    the image goes on at its opposite side."""

    shape: tuple[int, int]
    iterations: int
    terms: Callable[[], Terms]
    tiled: bool = False


@dataclass(frozen=True)
class State:
    """What an interrupted run goes on from: the image after `iterations` of all."""

    image: np.ndarray
    iterations: int

    def save(self, path: Path, description: dict[str, Any]) -> None:
        """Writes an .npz file, replaced in one step."""
        new = path.with_name(f"new-{path.name}")
        np.savez(
            new,
            image=self.image,
            iterations=self.iterations,
            description=json.dumps(description, sort_keys=True),
        )
        os.replace(new, path)

    @classmethod
    def load(cls, path: Path, description: dict[str, Any]) -> "State":
        """Raises TrainingError where there is none, or it is of another run."""
        try:
            with np.load(path) as values:
                state = cls(values["image"], int(values["iterations"]))
                found = json.loads(str(values["description"]))
        except FileNotFoundError:
            raise TrainingError(f"There is nothing to resume: no {path}.") from None
        except (ValueError, OSError, KeyError) as error:
            raise TrainingError(f"{path} is damaged: {error}") from error
        wanted = json.loads(json.dumps(description))
        changed = [key for key in wanted if found.get(key) != wanted[key]]
        if changed:
            raise TrainingError(
                f"{path} is of another run: it differs in {', '.join(changed)}. "
                "Give the same options, or start anew without --resume."
            )
        return state


def coarse_to_fine(
    method: Method,
    levels: Sequence[Level],
    start: np.ndarray,
    on_step: OnStep | None = None,
    state: State | None = None,
) -> Outcome:
    """Minimises at each level in turn, beginning with the result of the one before,
    enlarged. `start`: float [H, W, 3] in [0, 1]. A `state` is gone on from; L-BFGS
    and Adam then gather their estimates anew. on_step counts over all levels.
    Raises MemoryNeededError before anything is computed."""
    for level in levels:
        check_memory(method, level.shape)
    total = sum(level.iterations for level in levels)
    done, evaluations = 0, 0
    image = start if state is None else state.image
    outcome = Outcome(image, math.inf, {}, 0, 0, "done")
    for level in levels:
        skipped = min(
            level.iterations, max(0, (state.iterations if state else 0) - done)
        )
        done += skipped
        if skipped == level.iterations:
            continue
        before = done

        def counted(step: Step, before: int = before) -> bool | None:
            step = Step(
                before + step.iteration, total, step.loss, step.terms, step.best
            )
            return on_step(step) if on_step is not None else None

        try:
            outcome = minimise(
                level.terms(),
                scaled(image, level.shape, level.tiled),
                method.optimizer,
                level.iterations - skipped,
                method.learning_rate,
                counted,
            )
        except tf.errors.ResourceExhaustedError:
            raise _too_large(method, level.shape) from None
        image = outcome.image
        done += outcome.iterations
        evaluations += outcome.evaluations
        if outcome.ended != "done":
            break
        # Where L-BFGS converged early.
        done = before - skipped + level.iterations
    return Outcome(
        outcome.image, outcome.loss, outcome.terms, done, evaluations, outcome.ended
    )


def optimize(
    method: Method,
    photo: np.ndarray,
    styles: Sequence[tuple[np.ndarray, float]],
    start: np.ndarray | None = None,
    seed: int = 0,
    style_scale: float = 1.0,
    on_step: OnStep | None = None,
    state: State | None = None,
) -> Outcome:
    """The photo, uint8 [H, W, 3], in one or more weighted styles.

    start: an image to begin with, instead of the method's start; seed: of noise.
    style_scale: the styles' shorter side next to the photo's.
    """

    def level(size: int, iterations: int) -> Level:
        content = resize(photo, size)
        height, width = content.shape[:2]

        def terms() -> Terms:
            shown = [
                (resize(style, round(style_scale * size)), weight)
                for style, weight in styles
            ]
            return transfer_terms(method, content, shown)

        return Level((height, width), iterations, terms)

    levels = [
        level(size, iterations)
        for size, iterations in zip(method.sizes, method.iterations, strict=True)
    ]
    if start is not None:
        first = to_float(start)
    elif method.start == "photo":
        first = to_float(resize(photo, method.sizes[0]))
    else:
        first = noise(levels[0].shape, seed)
    return coarse_to_fine(method, levels, first, on_step, state)


def by_optimisation(method: Method, on_step: OnStep | None = None) -> Stylize:
    """Pictures by a method, at the size of the photo given, by all its iterations."""

    def stylize(pair: Pair, photo: np.ndarray, painting: np.ndarray) -> np.ndarray:
        at_once = dataclasses.replace(
            method, sizes=(min(photo.shape[:2]),), iterations=(sum(method.iterations),)
        )
        outcome = optimize(at_once, photo, [(painting, 1.0)], on_step=on_step)
        return to_uint8(outcome.image)

    return stylize


def noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Seeded white noise about grey, float32 [height, width, 3] from 0.4 to 0.6. Full
    contrast would have Gram matrices so large that the balanced distance is flat."""
    random = np.random.default_rng(seed).random((*shape, 3), np.float32)
    return 0.4 + 0.2 * random


def scaled(
    image: np.ndarray, shape: tuple[int, int], tiled: bool = False
) -> np.ndarray:
    """A float image [H, W, 3] in [0, 1] brought to another [height, width]; a tiled
    one so that its borders still meet."""
    if image.shape[:2] == shape:
        return image
    if tiled:
        larger = scaled(np.tile(image, (3, 3, 1)), (3 * shape[0], 3 * shape[1]))
        return larger[shape[0] : 2 * shape[0], shape[1] : 2 * shape[1]]
    larger = ops.image.resize(image, shape, interpolation="bicubic", antialias=True)
    return np.clip(ops.convert_to_numpy(larger), 0.0, 1.0)


def keep_colours(picture: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """The picture's lightness under the photo's colours, uint8 [H, W, 3] of the
    picture's size: its Y with the photo's Cb and Cr (luminance transfer of Gatys
    et al. 2016, arXiv 1606.05897, applied to the result)."""
    height, width = picture.shape[:2]
    lightness, _, _ = Image.fromarray(picture).convert("YCbCr").split()
    colours = Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS)
    _, blue, red = colours.convert("YCbCr").split()
    return np.asarray(Image.merge("YCbCr", (lightness, blue, red)).convert("RGB"))


def memory_needed(method: Method, shape: tuple[int, int]) -> int:
    """About how many bytes an iteration on a picture [height, width] takes, by the
    features that are kept for the way back, Winograd's kernels, and what L-BFGS
    remembers."""
    layers = {*method.content_layers, *method.style_layers}
    height, width = shape
    values = kernels = 0
    for layer in method.features(layers).layers:
        if isinstance(layer, tuple(POOLING.values())):
            height, width = height // 2, width // 2
        if isinstance(layer, WinogradConv2D):
            kernels += layer.memory
        values += height * width * layer.output.shape[-1]
    size = 2 if method.precision == "bfloat16" else 4
    features = int(COPIES * values * size)
    return kernels + features + HISTORY * 8 * 3 * shape[0] * shape[1]


# How often the features are in memory at once, gradients and scratch included
# (measured), and how many numbers a variable costs SciPy's L-BFGS-B.
COPIES = 3.0
HISTORY = 40


def check_memory(method: Method, shape: tuple[int, int]) -> None:
    """MemoryNeededError where a picture [height, width] needs more than is free; on
    a graphics card, only TensorFlow knows, and says so when it comes to it."""
    free = _free_memory()
    if free is not None and memory_needed(method, shape) > free:
        largest = int(min(shape) * math.sqrt(free / memory_needed(method, shape)))
        raise _too_large(
            method,
            shape,
            f"{free / 1e9:.1f} GB are free: a size of {largest // 16 * 16} fits",
        )


def _too_large(
    method: Method, shape: tuple[int, int], what: str = "the device has less"
) -> MemoryNeededError:
    needed = memory_needed(method, shape)
    return MemoryNeededError(
        f"A picture of {shape[1]} x {shape[0]} pixels needs about "
        f"{needed / 1e9:.1f} GB of memory and {what}."
    )


def _free_memory() -> int | None:
    """What Linux can still give to this process; None where that is unknown."""
    path = Path("/proc/meminfo")
    if tf.config.list_physical_devices("GPU") or not path.is_file():
        return None
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None
