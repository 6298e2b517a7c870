"""The weighted mean of several models' weights: one model.

Wortsman et al. 2022, "Model soups" (arXiv 2203.05482). Models that were trained on from
one another, under other loss weights or at other sizes, lie close enough together for
that; their mean trades content against style as no single one of them need do.
"""

from pathlib import Path

import numpy as np

from sfumato.model import BundleError, StyleModel, shares


def average(parts: list[tuple[Path, float]]) -> StyleModel:
    """The model whose every weight is the mean of what the model folders hold.

    Each part is a folder and its weight, as for `sfumato.model.mix`. The card's
    `training` is that of the first part and `averaged`, the share and the training of
    each. ValueError for weights that have no mean, BundleError for models of different
    architectures.
    """
    weights = shares(weight for _, weight in parts)
    models = [StyleModel.load(folder) for folder, _ in parts]
    cards = [model.manifest for model in models]
    for (folder, _), card in zip(parts, cards, strict=True):
        for network in ("predictor", "transformer"):
            if card[network] != cards[0][network]:
                raise BundleError(
                    f"The {network} in {folder} is {card[network]}, that in "
                    f"{parts[0][0]} is {cards[0][network]}: only models of one "
                    "architecture have a mean."
                )
    mean = StyleModel.untrained(cards[0])
    for name in ("predictor", "transformer"):
        values = zip(*(getattr(m, name).get_weights() for m in models), strict=True)
        getattr(mean, name).set_weights(
            [np.average(of_all, axis=0, weights=weights) for of_all in values]
        )
    trained = [card.get("training", {}) for card in cards]
    mean.manifest["training"] = trained[0] | {
        "averaged": [
            {"share": round(share, 6)} | training
            for share, training in zip(weights.tolist(), trained, strict=True)
        ]
    }
    return mean
