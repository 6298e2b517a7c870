"""Texture synthesis: a picture with a source's Gram matrices and nothing else of it
(Gatys et al. 2015, arXiv 1505.07376)."""

from collections.abc import Sequence

import numpy as np

from sfumato.images import resize
from train.descent import OnStep, Outcome
from train.optimize import (
    Level,
    Method,
    State,
    coarse_to_fine,
    noise,
    transfer_terms,
)

# What can be matched, from fine to coarse.
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# By default; the first four are what styles are scored by.
MATCHED = 4
ITERATIONS = (150, 100)
# Of a seamless texture: how far beyond its borders it is seen, no less than the
# features of relu4_3 reach.
WRAP = 48


def texture_method(
    layers: int = MATCHED,
    sizes: Sequence[int] = (256,),
    iterations: Sequence[int] = (200,),
    precision: str = "float32",
) -> Method:
    """The balanced style distance summed over the first `layers` of LAYERS."""
    return Method(
        name="texture",
        network="vgg16",
        pooling="max",
        loss="balanced",
        content_weight=0.0,
        style_weight=1.0,
        total_variation=0.0,
        start="noise",
        optimizer="lbfgs",
        learning_rate=0.02,
        sizes=tuple(sizes),
        iterations=tuple(iterations),
        content_layers={},
        style_layers=dict.fromkeys(LAYERS[:layers], 1.0),
        precision=precision,
    )


def texture(
    source: np.ndarray,
    shape: tuple[int, int],
    layers: int = MATCHED,
    seed: int = 0,
    seamless: bool = False,
    iterations: tuple[int, int] = ITERATIONS,
    on_step: OnStep | None = None,
    state: State | None = None,
) -> Outcome:
    """A texture like the source, uint8 [H, W, 3], of any size [height, width].

    It grows from noise at half the size, the source halved with it, and then at the
    whole: what is coarser than the features can see is so found as well. seamless:
    its copies, laid side by side, show no seam.
    """
    height, width = shape
    halved = (max(16, height // 2), max(16, width // 2))
    method = texture_method(layers, (min(halved), min(shape)), iterations)

    def level(shape: tuple[int, int], shorter: int, iterations: int) -> Level:
        def terms():
            styles = [(resize(source, shorter), 1.0)]
            return transfer_terms(method, None, styles, WRAP if seamless else 0)

        return Level(shape, iterations, terms, tiled=seamless)

    shorter = min(source.shape[:2])
    levels = [
        level(halved, max(16, shorter // 2), iterations[0]),
        level(shape, shorter, iterations[1]),
    ]
    return coarse_to_fine(method, levels, noise(halved, seed), on_step, state)
