"""Images in and out: the only place where a picture is decoded or encoded."""

import io
import warnings
from os import PathLike
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# 64 megapixels, about 200 MB once decoded: larger than any phone's photo, small
# enough that a decompression bomb is refused before it is unpacked.
MAX_PIXELS = 64_000_000

# Not everything that Pillow knows: for EPS, it would run a program on the file.
READ_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")

Source = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray


class ImageError(ValueError):
    """The input is not an image that can be used; the message says why."""


def decode(source: Source) -> np.ndarray:
    """Any picture as RGB uint8 [H, W, 3], upright, transparency over white.

    Takes a path, the bytes or open file of an encoded image, a PIL image, or an
    array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], either uint8 or float in
    [0, 1]. Grey, palette, CMYK and 16-bit images are converted; of an animation,
    the first frame is taken. Raises ImageError for anything else and for images
    of more than MAX_PIXELS; FileNotFoundError for a path that is not there.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and odd metadata; the limit below decides.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=READ_FORMATS) as image:
                return _to_rgb(image)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            "This file is not an image that can be read; use JPEG, PNG, WebP or GIF."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_many_pixels(str(error))) from error
    except ImageError:
        raise
    # Pillow's decoders report damage by many exception types.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError) as error:
        raise ImageError(f"This image is damaged or cut short ({error}).") from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, 3] scaled so that its shorter side is `size` pixels (LANCZOS).

    ImageError where that would take more than MAX_PIXELS, as for a long strip.
    """
    height, width = image.shape[:2]
    scale = size / min(height, width)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    if target == (width, height):
        return image
    if target[0] * target[1] > MAX_PIXELS:
        raise ImageError(
            f"A picture of {width} x {height} pixels would become {target[0]} x "
            f"{target[1]}; at most {MAX_PIXELS:,} pixels. Crop it first."
        )
    return np.asarray(
        Image.fromarray(image).resize(target, Image.Resampling.LANCZOS), np.uint8
    )


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The middle `size` x `size` pixels of an image at least that large."""
    height, width = image.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [0, 1]."""
    return image.astype(np.float32) / 255.0


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float in [0, 1] to uint8, rounded; values outside are clipped."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def encode(image: np.ndarray, image_format: str = "PNG") -> bytes:
    """uint8 [H, W, 3] as the bytes of a PNG, JPEG or WEBP file."""
    buffer = io.BytesIO()
    options = {} if image_format == "PNG" else {"quality": 92}
    Image.fromarray(image).save(buffer, image_format, **options)
    return buffer.getvalue()


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(
            "An image array has the shape [H, W], [H, W, 1], [H, W, 3] or "
            f"[H, W, 4]; this one has {list(array.shape)}."
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ImageError(
                "A float image has values from 0 to 1; "
                f"this one goes from {low:g} to {high:g}."
            )
        array = to_uint8(array)
    if array.dtype != np.uint8:
        raise ImageError(f"An image array is uint8 or float, not {array.dtype}.")
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        return _to_rgb(Image.fromarray(array))
    return np.ascontiguousarray(array)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_many_pixels(f"{image.width} x {image.height}"))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.array(image.convert("RGB"))


def _from_deep_grey(image: Image.Image) -> np.ndarray:
    """16-bit, 32-bit and float grey: Pillow's own conversion clips at 255.

    Only in the first is the range known; in the others the values tell.
    """
    values = np.asarray(image, np.float64)
    if image.mode.startswith("I;16") or values.max(initial=0.0) > 255.0:
        values = values / 257.0
    elif values.max(initial=0.0) <= 1.0:
        values = values * 255.0
    grey = np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _too_many_pixels(what: str) -> str:
    return (
        f"This image is too large ({what}): at most {MAX_PIXELS:,} pixels. "
        "Scale it down first."
    )
