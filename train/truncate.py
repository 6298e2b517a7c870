"""Style embeddings drawn towards their mean: the truncation trick.

Karras et al. 2019, "A Style-Based Generator" (arXiv 1812.04948), section 3, after Brock
et al. 2019 (arXiv 1809.11096): w' = w̄ + ψ (w − w̄). There w comes from a mapping
network, here from the predictor, whose last layer takes it up: the model costs what it
did. Embeddings that lie far out overshoot their style, and a little of another one then
brings the picture nearer to it; drawn in, they mix evenly. It trades style for content.

Beyond that paper, psi may differ along the principal axes of the embeddings: along some
of them all that overshoots lies, along others nothing does.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sfumato.model import StyleModel
from train.inherit import inherit

# Paintings drawn at random from a folder, that the command takes the axes of.
STYLES = 500


def truncate(
    folder: Path, styles: Iterable[np.ndarray], psi: Sequence[float]
) -> StyleModel:
    """The model of the folder with its embeddings drawn towards their mean.

    styles: images uint8 [H, W, 3]; mean and principal axes are those of their
    embeddings.
    psi: what is left of the distance from the mean along each axis, the one of the
    largest variance first; the last one is that of all further axes.

    The card's `training` says `truncation`, a list of psi for each truncation so far.
    ValueError for a psi that is not finite and above 0, or more of them than axes.
    """
    before = StyleModel.load(folder)
    size = before.manifest["embedding_size"]
    wrong = [share for share in psi if not (np.isfinite(share) and share > 0.0)]
    if wrong:
        raise ValueError(f"psi must be finite and above 0, not {wrong[0]}.")
    if not 1 <= len(psi) <= size:
        raise ValueError(f"psi is for 1 to {size} axes, not {len(psi)}.")
    embeddings = np.stack([before.embed(style) for style in styles])
    mean = embeddings.mean(axis=0)
    _, axes = np.linalg.eigh((embeddings - mean).T @ (embeddings - mean))
    along = np.pad(np.asarray(psi), (0, size - len(psi)), mode="edge")[::-1]
    drawn = ((axes * along) @ axes.T).astype(np.float32)
    kernel, bias = before.predictor.get_layer("embedding").get_weights()
    training = before.manifest.get("training", {})
    so_far = training.get("truncation", [])
    model = StyleModel.untrained(
        before.manifest,
        {"training": training | {"truncation": [*so_far, list(psi)]}},
    )
    inherit(model, before)
    model.predictor.get_layer("embedding").set_weights(
        [kernel @ drawn, mean + (bias - mean) @ drawn]
    )
    return model
