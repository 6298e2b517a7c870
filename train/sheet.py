"""Comparison sheets: photos, styles and stylized pictures in one picture."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sfumato.model import StyleModel
from train.methods import Stylize

LABEL_HEIGHT = 28


def sheet(
    model: StyleModel, photos: list[np.ndarray], styles: list[np.ndarray]
) -> np.ndarray:
    """Images uint8 [S, S, 3], all of one size, to a sheet
    [(1 + photos) S, (1 + styles) S, 3] with every photo in every style."""
    size = photos[0].shape[0]
    embeddings = [model.embed(style, size=size) for style in styles]
    rows = [np.hstack([np.full_like(photos[0], 255), *styles])]
    for photo in photos:
        painted = [model.stylize(photo, embedding) for embedding in embeddings]
        rows.append(np.hstack([photo, *painted]))
    return np.vstack(rows)


def comparison(
    methods: dict[str, Stylize],
    photos: dict[str, np.ndarray],
    styles: dict[str, np.ndarray],
) -> np.ndarray:
    """Images uint8 [S, S, 3], all of one size, by their names, to a sheet with a row
    for every photo in every style: the photo, the style, and what each method makes
    of them, under a line with the methods' names."""
    size = next(iter(photos.values())).shape[0]
    rows = [labels(["photo", "style", *methods], size)]
    for photo_name, photo in photos.items():
        for style_name, style in styles.items():
            pair = photo_name, style_name
            painted = [method(pair, photo, style) for method in methods.values()]
            rows.append(np.hstack([photo, style, *painted]))
    return np.vstack(rows)


def labels(names: list[str], width: int) -> np.ndarray:
    """Names in black on white, one above each column: uint8 [LABEL_HEIGHT, W, 3]."""
    line = Image.new("RGB", (width * len(names), LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(line)
    size = 0.6 * LABEL_HEIGHT
    longest = max(map(ImageFont.load_default(size).getlength, names))
    font = ImageFont.load_default(size * min(1.0, 0.92 * width / longest))
    for index, name in enumerate(names):
        middle = ((index + 0.5) * width, LABEL_HEIGHT / 2)
        draw.text(middle, name, fill="black", font=font, anchor="mm")
    return np.asarray(line)
