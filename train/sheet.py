"""A comparison sheet: photos down the side, styles along the top, results between."""

import numpy as np

from sfumato.model import StyleModel


def sheet(
    model: StyleModel, photos: list[np.ndarray], styles: list[np.ndarray]
) -> np.ndarray:
    """Images uint8 [S, S, 3], all of one size, to a sheet
    [(1 + photos) S, (1 + styles) S, 3] with every photo in every style."""
    embeddings = [model.embed(style) for style in styles]
    rows = [np.hstack([np.full_like(photos[0], 255), *styles])]
    for photo in photos:
        painted = [model.stylize(photo, embedding) for embedding in embeddings]
        rows.append(np.hstack([photo, *painted]))
    return np.vstack(rows)
