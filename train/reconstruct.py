"""What a network keeps of a picture: images from its content features at one layer,
and from its style at the first layers (figure 1 of Gatys et al. 2015, arXiv
1508.06576; Mahendran & Vedaldi 2015, arXiv 1412.0035)."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from train.descent import OnStep, Outcome, Terms
from train.optimize import (
    Level,
    Method,
    coarse_to_fine,
    noise,
    transfer_terms,
)
from train.texture import texture_method

ITERATIONS = 200


def from_content(
    image: np.ndarray,
    layer: str,
    seed: int = 0,
    iterations: int = ITERATIONS,
    on_step: OnStep | None = None,
) -> Outcome:
    """From noise, an image with the features of `image`, uint8 [H, W, 3], at a layer
    of VGG-16. RecipeError for an unknown layer."""
    method = dataclasses.replace(
        texture_method(), content_weight=1.0, content_layers={layer: 1.0}
    )
    return _descend(
        method,
        lambda: transfer_terms(method, image, []),
        noise(image.shape[:2], seed),
        iterations,
        on_step,
    )


def from_style(
    image: np.ndarray,
    layers: int,
    seed: int = 0,
    iterations: int = ITERATIONS,
    on_step: OnStep | None = None,
) -> Outcome:
    """From noise, an image with the Gram matrices of `image` at the first `layers`
    of texture.LAYERS."""
    method = texture_method(layers)
    return _descend(
        method,
        lambda: transfer_terms(method, None, [(image, 1.0)]),
        noise(image.shape[:2], seed),
        iterations,
        on_step,
    )


def _descend(
    method: Method,
    terms: Callable[[], Terms],
    start: np.ndarray,
    iterations: int,
    on_step: OnStep | None,
) -> Outcome:
    height, width, _ = start.shape
    return coarse_to_fine(
        method, [Level((height, width), iterations, terms)], start, on_step
    )


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    """The peak signal-to-noise ratio of two images uint8 [H, W, 3], in dB."""
    error = np.mean(np.square(image.astype(np.float64) - other))
    return 10 * math.log10(255**2 / error) if error else math.inf
