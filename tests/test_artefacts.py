"""The default model's pictures: no borders, checkerboard, spots or colour fringes.

Every measure is shown to catch what it is for on a picture spoilt on purpose.
"""

from collections.abc import Callable

import numpy as np
import pytest
from browser import GALLERY
from PIL import Image, ImageFilter

from sfumato.images import decode, resize, to_float
from sfumato.model import StyleModel
from train.inherit import inherit
from train.losses import checkerboard

SIZE = 256
STYLES = (
    "crayon.jpg",
    "dots-at-noon.jpg",
    "embers.jpg",
    "ink-hills.jpg",
    "night-wind.jpg",
    "paper-waves.jpg",
    "squares-and-circles.jpg",
    "stained-glass.jpg",
    "woodcut.jpg",
)
# The decoder doubles the resolution twice: what it repeats shows at these periods.
PERIODS = (2, 4)
# What counts as the border of a picture, and by how much larger, on each side, the
# picture is that it is compared with; in pixels.
RING = 12
BEYOND = 64

Painter = Callable[[str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def paint(default_model: StyleModel) -> Painter:
    """paint(style, photo): a uint8 photo as the default model paints it, in [0, 1]."""
    return painter(default_model)


@pytest.fixture(scope="module")
def paint_beyond(default_model: StyleModel) -> Painter:
    """As `paint`, of a photo that begins BEYOND pixels further out, in the same grain:
    in other grain the strokes of a smooth photo lie elsewhere."""
    model = StyleModel.untrained(default_model.manifest)
    inherit(model, default_model)
    grain = model.transformer.encoder.get_layer("grain")
    lines = np.roll(grain.lines(), BEYOND, axis=1)
    grain.lines = lambda: lines
    return painter(model)


def painter(model: StyleModel) -> Painter:
    embeddings = {name: model.embed(GALLERY / name) for name in STYLES}
    return lambda style, photo: to_float(model.stylize(photo, embeddings[style]))


def flat(grey: int = 128) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), grey, np.uint8)


def gradient(size: int = SIZE) -> np.ndarray:
    """A smooth diagonal ramp between two colours."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    share = ((x + y) / 2)[..., None]
    return np.rint((1 - share) * [40, 60, 110] + share * [240, 220, 190]).astype(
        np.uint8
    )


def grainy(size: int = SIZE) -> np.ndarray:
    """The same as a camera sees it, whose noise hides that values are whole numbers."""
    noise = np.random.default_rng(0).normal(0.0, 2.0, (size, size, 3))
    return np.rint(gradient(size) + noise).clip(0, 255).astype(np.uint8)


def sky(size: int = SIZE) -> np.ndarray:
    """A photo of which most is empty sky."""
    return resize(decode(GALLERY / "rocket.jpg"), size)[:size, -size:]


PHOTOS = {"gradient": gradient, "sky": sky}


def upsampling_wave(picture: np.ndarray) -> float:
    """The amplitude of the strongest regular wave at an upsampling period, along
    either axis, above what the frequencies beside it hold; in [0, 1]."""
    window = np.outer(np.hanning(SIZE), np.hanning(SIZE))
    grey = picture.mean(axis=-1)
    spectrum = np.abs(np.fft.fft2((grey - grey.mean()) * window))
    amplitude = 2 * spectrum / window.sum()
    waves = []
    for axis in (0, 1):
        # Where the other axis varies slowly: stripes and grids, not texture.
        along = np.moveaxis(amplitude, axis, 0)[:, :8].max(axis=1)
        for period in PERIODS:
            at = SIZE // period
            beside = np.r_[along[at - 12 : at - 3], along[at + 4 : at + 13]]
            waves.append(along[at - 1 : at + 2].max() - np.median(beside))
    return float(max(waves))


def spots(picture: np.ndarray) -> float:
    """The share of pixels that differ from the median of the 15 x 15 around them by
    more than 0.4: blobs, dots and burnt-out specks."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    around = to_float(np.asarray(image.filter(ImageFilter.MedianFilter(15))))
    return float((np.abs(picture - around).max(axis=-1) > 0.4).mean())


def chroma(picture: np.ndarray) -> float:
    """The 99th percentile of a pixel's largest difference between channels."""
    return float(np.percentile(np.ptp(picture, axis=-1), 99))


def is_border(picture: np.ndarray) -> np.ndarray:
    """[H, W], true in the ring along the border of a picture."""
    ring = np.ones(picture.shape[:2], bool)
    ring[RING:-RING, RING:-RING] = False
    return ring


def border_excess(framed: np.ndarray, inner: np.ndarray) -> float:
    """How much more the ring along the border of a picture differs from the same
    place of a picture that goes on beyond it than the rest does, in [0, 1]."""
    error = np.abs(inner - framed).mean(axis=-1)
    ring = is_border(framed)
    return float(error[ring].mean() - error[~ring].mean())


def corner_excess(framed: np.ndarray, inner: np.ndarray) -> float:
    """By how much further the colour of the worst corner, RING x RING pixels, is off
    that of the same place of a picture that goes on beyond than that of all but one in
    a hundred of such squares inside, in [0, 1]: in a texture, any square is a little
    off. What the whole picture is off by is not the corner's: a larger photo has other
    means to normalise by."""
    error = inner - framed
    error -= error[~is_border(framed)].mean(axis=0)
    count = SIZE // RING
    start = (SIZE - count * RING) // 2
    whole = error[start:, start:][: count * RING, : count * RING]
    squares = np.abs(whole.reshape(count, RING, count, RING, 3).mean(axis=(1, 3)))
    sides = (slice(None, RING), slice(-RING, None))
    shifts = [
        np.abs(error[rows, columns].mean(axis=(0, 1))).mean()
        for rows in sides
        for columns in sides
    ]
    inside = squares.mean(axis=-1)[1:-1, 1:-1]
    return float(max(shifts) - np.percentile(inside, 99))


def frame(picture: np.ndarray) -> float:
    """By how much the colour of the ring along the border of a painted `gradient` is
    off what the rest has on the same diagonals, where the photo is alike: the mean
    of the ring's squares of RING x RING pixels, in [0, 1]. Its corners lie on
    diagonals that nothing else has, and are left out."""
    diagonal = np.indices(picture.shape[:2]).sum(axis=0)
    inside = ~is_border(picture)
    count = np.bincount(diagonal[inside], minlength=diagonal.max() + 1)
    off = np.full_like(picture, np.nan)
    for channel in range(3):
        total = np.bincount(
            diagonal[inside], picture[inside, channel], minlength=count.size
        )
        mean = np.divide(total, count, np.full(count.size, np.nan), where=count > 0)
        off[..., channel] = picture[..., channel] - mean[diagonal]
    strips = [
        side[rows]
        for side in (off, off.swapaxes(0, 1))
        for rows in (slice(None, RING), slice(-RING, None))
    ]
    squares = [
        np.nanmean(square, axis=(0, 1))
        for strip in strips
        for square in np.array_split(strip[:, RING:-RING], SIZE // RING - 2, axis=1)
    ]
    return float(np.abs(squares).mean())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_a_flat_photo_stays_flat(paint: Painter, style: str, grey: int) -> None:
    painted = paint(style, flat(grey))
    assert np.ptp(painted, axis=(0, 1)).max() <= 2 / 255


@pytest.mark.parametrize("photo", PHOTOS)
def test_no_checkerboard(paint: Painter, photo: str) -> None:
    for style in STYLES:
        painted = paint(style, PHOTOS[photo]())
        assert upsampling_wave(painted) < 4 / 255, style
        assert float(checkerboard(painted[None])[0]) < 6e-4, style


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("photo", PHOTOS)
def test_no_spots(paint: Painter, style: str, photo: str) -> None:
    source = to_float(resize(decode(GALLERY / style), SIZE))
    assert spots(paint(style, PHOTOS[photo]())) < spots(source) + 0.01


@pytest.mark.parametrize("photo", [gradient, grainy, sky])
def test_no_borders(
    paint: Painter, paint_beyond: Painter, photo: Callable[[int], np.ndarray]
) -> None:
    """Not even of a smooth photo, on which it shows most that the margin is made up:
    beside what is painted where the photo truly goes on."""
    outer = photo(SIZE + 2 * BEYOND)
    inside = slice(BEYOND, -BEYOND)
    for style in STYLES:
        framed = paint(style, outer[inside, inside])
        cut = paint_beyond(style, outer)[inside, inside]
        assert border_excess(framed, cut) < 0.09, style
        assert corner_excess(framed, cut) < 0.07, style
        if photo is not sky:
            assert frame(framed) < frame(cut) + 0.01, style
        if photo is gradient:
            assert frame(framed) < 0.07, style


@pytest.mark.parametrize("photo", ["black-canyon.jpg", "nagasaki-boats.jpg"])
def test_no_colour_fringes(default_model: StyleModel, photo: str) -> None:
    """A grey photo in a grey style stays nearly grey."""

    def grey(name: str) -> np.ndarray:
        picture = resize(decode(GALLERY / name), SIZE)
        return np.repeat(picture.mean(axis=-1, keepdims=True), 3, -1).astype(np.uint8)

    for style in ("woodcut.jpg", "ink-hills.jpg", "crayon.jpg"):
        embedding = default_model.embed(grey(style))
        painted = to_float(default_model.stylize(grey(photo), embedding))
        assert chroma(painted) < 0.25, style


def test_the_measures_catch_what_they_are_for(paint: Painter) -> None:
    painted = paint("ink-hills.jpg", gradient())
    for period in PERIODS:
        stripes = np.where(np.arange(SIZE) % period < period / 2, 0.03, -0.03)
        for pattern in (stripes[:, None], stripes[:, None, None]):
            assert upsampling_wave(painted + pattern) > 4 / 255
            assert float(checkerboard((painted + pattern)[None])[0]) > 6e-4

    blobs = painted.copy()
    for y, x in np.random.default_rng(0).integers(0, SIZE - 5, (60, 2)):
        blobs[y : y + 5, x : x + 5] = 1.0 if blobs[y, x].mean() < 0.5 else 0.0
    assert spots(blobs) > spots(painted) + 0.01

    dark = painted.copy()
    dark[:RING] *= 0.6
    dark[-RING:] *= 0.6
    assert border_excess(dark, painted) > 0.09
    assert frame(dark) > max(0.07, frame(painted) + 0.01)

    corner = painted.copy()
    corner[:RING, -RING:] *= 0.6
    assert corner_excess(corner, painted) > 0.07

    fringed = np.repeat(painted.mean(axis=-1, keepdims=True), 3, -1)
    shifted = np.roll(fringed[..., 0], 3, axis=1)
    assert chroma(fringed) == 0
    fringed[..., 0] = shifted
    assert chroma(np.clip(fringed, 0, 1)) > 0
