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
RING = 12

Painter = Callable[[str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def paint(default_model: StyleModel) -> Painter:
    """paint(style, photo): a uint8 photo as the default model paints it, in [0, 1]."""
    embeddings = {name: default_model.embed(GALLERY / name) for name in STYLES}
    return lambda style, photo: to_float(
        default_model.stylize(photo, embeddings[style])
    )


def flat(grey: int = 128) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), grey, np.uint8)


def gradient() -> np.ndarray:
    """A smooth diagonal ramp between two colours."""
    y, x = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]
    share = ((x + y) / 2)[..., None]
    return np.rint((1 - share) * [40, 60, 110] + share * [240, 220, 190]).astype(
        np.uint8
    )


def sky() -> np.ndarray:
    """A photo of which most is empty sky."""
    return resize(decode(GALLERY / "rocket.jpg"), SIZE)[:SIZE, -SIZE:]


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


def border_excess(framed: np.ndarray, inner: np.ndarray) -> float:
    """How much more the ring along the border of a picture differs from the same
    place of a picture that goes on beyond it than the rest does, in [0, 1]."""
    error = np.abs(inner - framed).mean(axis=-1)
    ring = np.ones_like(error, bool)
    ring[RING:-RING, RING:-RING] = False
    return float(error[ring].mean() - error[~ring].mean())


def corner_shift(framed: np.ndarray, inner: np.ndarray) -> float:
    """By how much the colour of the worst corner, RING x RING pixels, is off that of
    the same place of a picture that goes on beyond, in [0, 1]."""
    sides = (slice(None, RING), slice(-RING, None))
    shifts = [
        np.abs((inner - framed)[rows, columns].mean(axis=(0, 1))).mean()
        for rows in sides
        for columns in sides
    ]
    return float(max(shifts))


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


@pytest.mark.parametrize("photo", PHOTOS)
def test_no_borders(paint: Painter, photo: str) -> None:
    inner = PHOTOS[photo]()
    beyond = 32
    outer = np.pad(inner, [(beyond, beyond), (beyond, beyond), (0, 0)], mode="reflect")
    for style in STYLES:
        framed = paint(style, inner)
        cut = paint(style, outer)[beyond:-beyond, beyond:-beyond]
        assert border_excess(framed, cut) < 0.02, style
        assert corner_shift(framed, cut) < 0.06, style


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
    painted = paint("paper-waves.jpg", gradient())
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
    assert border_excess(dark, painted) > 0.02
    assert corner_shift(dark, painted) > 0.06

    fringed = np.repeat(painted.mean(axis=-1, keepdims=True), 3, -1)
    shifted = np.roll(fringed[..., 0], 3, axis=1)
    assert chroma(fringed) == 0
    fringed[..., 0] = shifted
    assert chroma(np.clip(fringed, 0, 1)) > 0
