"""Style embeddings drawn towards their mean: the truncation trick.

Karras et al. 2019, "A Style-Based Generator" (arXiv 1812.04948), section 3, after Brock
et al. 2019 (arXiv 1809.11096): w' = w̄ + ψ (w − w̄). There w comes from a mapping
network, here from the predictor, whose last layer takes it up: the model costs what it
did. Embeddings that lie far out overshoot their style, and a little of another one then
brings the picture nearer to it; drawn in, they mix evenly. It trades style for content.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sfumato.model import StyleModel
from train.inherit import inherit

# Paintings drawn at random from a folder, that the command takes the mean of.
STYLES = 500


def truncate(folder: Path, styles: Iterable[np.ndarray], psi: float) -> StyleModel:
    """The model of the folder with its embeddings at `psi` of their distance from the
    mean, which is that of the embeddings of `styles`, images uint8 [H, W, 3].

    The card's `training` says `truncation`, over all truncations so far. ValueError for
    a psi that is not finite and above 0.
    """
    if not (math.isfinite(psi) and psi > 0.0):
        raise ValueError(f"psi must be finite and above 0, not {psi}.")
    before = StyleModel.load(folder)
    mean = np.mean([before.embed(style) for style in styles], axis=0)
    kernel, bias = before.predictor.get_layer("embedding").get_weights()
    training = before.manifest.get("training", {})
    so_far = training.get("truncation", 1.0)
    model = StyleModel.untrained(
        before.manifest,
        {"training": training | {"truncation": round(psi * so_far, 6)}},
    )
    inherit(model, before)
    model.predictor.get_layer("embedding").set_weights(
        [psi * kernel, mean + psi * (bias - mean)]
    )
    return model
