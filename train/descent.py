"""Lowers a loss of an image by changing the image, whatever the loss is."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import scipy.fft
import scipy.optimize
import tensorflow as tf
from keras import ops

from train.run import TrainingError

# Images [1, H, W, 3] in [0, 1] to the weighted terms of a loss, scalars by name.
Terms = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class NotFiniteError(TrainingError):
    """A loss or gradient became NaN or infinite; nothing of it was kept."""


@dataclass(frozen=True)
class Step:
    """How far a descent is: `iteration` of `of`; the loss and its weighted terms
    there, and the best image so far, float32 [H, W, 3] in [0, 1]."""

    iteration: int
    of: int
    loss: float
    terms: dict[str, float]
    best: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """The best image met, float32 [H, W, 3] in [0, 1], with its loss and terms.

    iterations, evaluations: how many were taken; a line search may evaluate the
    loss more than once in an iteration. ended: "done", "stopped" by on_step, or
    "not finite".
    """

    image: np.ndarray
    loss: float
    terms: dict[str, float]
    iterations: int
    evaluations: int
    ended: str


# Called after each iteration; True ends the descent.
OnStep = Callable[[Step], bool | None]


def minimise(
    terms: Terms,
    start: np.ndarray,
    optimizer: str,
    iterations: int,
    learning_rate: float = 0.02,
    on_step: OnStep | None = None,
) -> Outcome:
    """Lowers the sum of `terms` from the image `start`, float [H, W, 3] in [0, 1].

    optimizer: "lbfgs", SciPy's L-BFGS-B (Byrd et al. 1995, doi 10.1137/0916069)
    over the numbers of an EvenedImage, which need no bounds; or "adam", Keras' with
    this learning rate, clipped to [0, 1] after each step. One graph serves all
    iterations.
    """
    descent = _Descent(terms, start, iterations, on_step)
    run = descent.lbfgs if optimizer == "lbfgs" else descent.adam
    ended = "done"
    try:
        run(learning_rate)
    except NotFiniteError:
        ended = "not finite"
    except StopIteration:
        ended = "stopped"
    return Outcome(
        descent.best,
        descent.best_loss,
        descent.best_terms,
        descent.iteration,
        descent.evaluations,
        ended,
    )


class EvenedImage:
    """Images [H, W, 3] in [0, 1] as as many numbers without bounds, of which the slow
    and the fast frequencies weigh more alike: angles whose sines are the image, from
    -1 for 0 to 1 for 1, their spectrum times the square root of the frequency.

    The angles keep the bounds as in MINUIT (James & Roos 1975, doi
    10.1016/0010-4655(75)90039-9); unlike logits they lead back from 0 and 1. The
    frequencies are evened after Mordvintsev et al. 2018 (doi 10.23915/distill.00012),
    who take the frequency itself and decorrelate the colours, too: L-BFGS came further
    with the square root and the colours as they are.
    """

    def __init__(self, height: int, width: int):
        self.shape = (height, width, 3)
        frequency = np.hypot(
            scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)
        )
        scale = np.maximum(frequency, 1.0 / max(height, width)) ** -0.5
        self.scale = (scale / scale.mean())[..., None].astype(np.float32)

    def values(self, image: np.ndarray) -> np.ndarray:
        """The numbers [H W 3] of an image; DARKEST and its counterpart stand for
        what is darker or lighter."""
        angles = np.arcsin(2.0 * np.clip(image, DARKEST, 1.0 - DARKEST) - 1.0)
        return self._filtered(angles.astype(np.float64), 1.0 / self.scale).ravel()

    def image(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The image of the numbers, and its slope by the angles, float32 [H, W, 3]
        both."""
        numbers = values.reshape(self.shape).astype(np.float32)
        angles = self._filtered(numbers, self.scale)
        return 0.5 + 0.5 * np.sin(angles), 0.5 * np.cos(angles)

    def gradient(self, by_image: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """By the numbers, [H W 3], from that by the image, [H, W, 3]."""
        # The filter is its own transpose.
        return self._filtered(by_image * slope, self.scale).ravel()

    def _filtered(self, image: np.ndarray, scale: np.ndarray) -> np.ndarray:
        axes = (0, 1)
        spectrum = scipy.fft.rfft2(image, axes=axes, workers=-1) * scale
        return scipy.fft.irfft2(spectrum, s=self.shape[:2], axes=axes, workers=-1)


# Where the sine is flat, an angle would not start to move. Half a level of 8 bits.
DARKEST = 0.5 / 255.0
# How many steps L-BFGS remembers: with SciPy's 10 it comes less far.
CORRECTIONS = 16


class _Descent:
    """The loss of an image and its gradient, compiled once; the best so far."""

    def __init__(
        self, terms: Terms, start: np.ndarray, iterations: int, on_step: OnStep | None
    ):
        self.start = np.asarray(start, np.float32)
        self.iterations = iterations
        self.on_step = on_step
        self.iteration = self.evaluations = 0
        self.best, self.best_loss = self.start, math.inf
        self.best_terms: dict[str, float] = {}
        self.loss = math.inf
        self.terms: dict[str, float] = {}

        @tf.function(
            input_signature=[tf.TensorSpec((1, *self.start.shape))], autograph=False
        )
        def differentiate(image):
            with tf.GradientTape() as tape:
                tape.watch(image)
                parts = terms(image)
                loss = tf.add_n(list(parts.values()))
            return loss, tape.gradient(loss, image), parts

        self.differentiate = differentiate

    def evaluate(self, image: np.ndarray) -> np.ndarray:
        """The gradient at an image float32 [H, W, 3]."""
        loss, gradient, parts = self.differentiate(image[None])
        self.loss, gradient = float(loss), gradient.numpy()[0]
        self.evaluations += 1
        if not (math.isfinite(self.loss) and np.isfinite(gradient).all()):
            raise NotFiniteError
        self.terms = {name: float(value) for name, value in parts.items()}
        if self.loss < self.best_loss:
            self.best, self.best_loss = image.copy(), self.loss
            self.best_terms = self.terms
        return gradient

    def end_iteration(self) -> None:
        self.iteration += 1
        step = Step(self.iteration, self.iterations, self.loss, self.terms, self.best)
        if self.on_step is not None and self.on_step(step):
            raise StopIteration

    def lbfgs(self, learning_rate: float) -> None:
        evened = EvenedImage(*self.start.shape[:2])

        def evaluate(values: np.ndarray) -> tuple[float, np.ndarray]:
            image, slope = evened.image(values)
            gradient = self.evaluate(image)
            return self.loss, evened.gradient(gradient, slope)

        stopped = False

        def after_iteration(intermediate_result: Any) -> None:
            nonlocal stopped
            try:
                self.end_iteration()
            except StopIteration:
                stopped = True
                raise

        while self.iteration < self.iterations:
            before = self.iteration
            scipy.optimize.minimize(
                evaluate,
                evened.values(self.best),
                jac=True,
                method="L-BFGS-B",
                callback=after_iteration,
                options={
                    "maxiter": self.iterations - before,
                    "maxfun": np.inf,
                    "ftol": 0.0,
                    "gtol": 0.0,
                    "maxcor": CORRECTIONS,
                },
            )
            # SciPy takes StopIteration for itself.
            if stopped:
                raise StopIteration
            # Rounding in float32 can end a line search early: it goes on with a
            # fresh estimate of the curvature, unless that finds no way down either.
            if self.iteration <= before + 1:
                return

    def adam(self, learning_rate: float) -> None:
        optimizer = keras.optimizers.Adam(learning_rate)
        image = keras.Variable(self.start)
        while self.iteration < self.iterations:
            gradient = self.evaluate(ops.convert_to_numpy(image))
            optimizer.apply([gradient], [image])
            image.assign(ops.clip(image, 0.0, 1.0))
            self.end_iteration()
