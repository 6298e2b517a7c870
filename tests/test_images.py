"""Images: whatever people drop on the page comes out as upright RGB, or is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from sfumato.images import (
    MAX_PIXELS,
    ImageError,
    decode,
    encode,
    resize,
    to_float,
    to_uint8,
)

RGB = picture(12, 20)
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


def file_of(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims this size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(bytes(1000))),
            chunk(b"IEND", b""),
        ]
    )


def over_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., None] / 255.0
    return values * weight + 255.0 * (1.0 - weight)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = file_of(Image.fromarray(RGB), image_format, exif=exif, **options)
    np.testing.assert_array_equal(decode(data), UPRIGHT[orientation](RGB))


def test_transparency_shows_white_paper():
    alpha = np.tile(np.linspace(0, 255, 20).astype(np.uint8), (12, 1))
    image = Image.fromarray(np.dstack([RGB, alpha]))
    expected = over_white(RGB, alpha)
    for data in (image, file_of(image, "PNG"), np.asarray(image)):
        np.testing.assert_allclose(decode(data), expected, atol=1)


def test_grey_with_transparency():
    grey = RGB[..., 0]
    alpha = RGB[..., 1]
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = over_white(np.dstack([grey] * 3), alpha)
    np.testing.assert_allclose(decode(file_of(image, "PNG")), expected, atol=1)


def test_palette_with_and_without_a_transparent_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    for image_format in ("PNG", "GIF"):
        plain = file_of(image, image_format)
        assert decode(plain).tolist() == [[[10, 20, 30], [200, 100, 50]]]
        pierced = file_of(image, image_format, transparency=0)
        assert decode(pierced).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_cmyk():
    inks = np.array(
        [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]]], np.uint8
    )
    image = Image.frombytes("CMYK", (4, 1), inks.tobytes())
    expected = [[[255, 255, 255], [0, 255, 255], [255, 255, 0], [0, 0, 0]]]
    assert decode(file_of(image, "TIFF")).tolist() == expected
    # JPEG stores the inks inverted, as Adobe does.
    large = image.resize((64, 16), Image.Resampling.NEAREST)
    np.testing.assert_allclose(
        decode(file_of(large, "JPEG", quality=95))[8, 8::16], expected[0], atol=6
    )


@pytest.mark.parametrize("brightest", [65535, 4000, 200])
def test_16_bit_grey_is_scaled_whatever_its_brightest_value(brightest):
    values = np.linspace(0, brightest, 240).astype(np.uint16).reshape(12, 20)
    expected = np.dstack([np.rint(values / 257)] * 3)
    for image_format in ("PNG", "TIFF"):
        data = file_of(Image.fromarray(values), image_format)
        np.testing.assert_array_equal(decode(data), expected)


def test_grey_and_one_bit():
    grey = Image.fromarray(RGB[..., 0])
    np.testing.assert_array_equal(
        decode(file_of(grey, "PNG")), np.dstack([RGB[..., 0]] * 3)
    )
    bits = grey.convert("1")
    np.testing.assert_array_equal(
        decode(file_of(bits, "PNG")), np.dstack([np.asarray(bits) * 255] * 3)
    )


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(image_format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = file_of(
        frames[0], image_format, save_all=True, append_images=frames[1:], **options
    )
    # Raises if there is no third frame.
    Image.open(io.BytesIO(data)).seek(2)
    np.testing.assert_array_equal(decode(data), np.full((6, 8, 3), [255, 0, 0]))


def test_every_kind_of_source_gives_the_same(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encode(RGB))
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, Image.open(path)]
        sources += [RGB, RGB / 255.0, (RGB / 255.0).astype(np.float32)]
        for source in sources:
            image = decode(source)
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image, RGB)
    grey = RGB[..., 1]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(decode(array), np.dstack([grey] * 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image"),
        (b"photo of my cat", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encode(picture(64, 64))[:300], "damaged or cut short"),
        (encode(picture(64, 64), "JPEG")[:300], "damaged or cut short"),
        (encode(picture(64, 64), "WEBP")[:300], "damaged or cut short"),
        # Pillow itself only warns of the first and refuses the second.
        (png_header(10_000, 10_000), "too large"),
        (png_header(60_000, 60_000), "too large"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(data, message):
    with pytest.raises(ImageError, match=message):
        decode(data)


def test_the_pixel_limit_is_exact():
    with pytest.raises(ImageError, match="damaged"):
        decode(png_header(MAX_PIXELS // 1000, 1000))
    with pytest.raises(ImageError, match="too large"):
        decode(png_header(MAX_PIXELS // 1000 + 1, 1000))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_damage_never_raises_anything_but_image_error(image_format):
    data = file_of(Image.fromarray(picture(40, 56)), image_format)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)])
        for position in random.integers(0, len(damaged), random.integers(0, 4)):
            damaged[position] = random.integers(0, 256)
        try:
            image = decode(bytes(damaged))
        except ImageError:
            refused += 1
        else:
            assert image.ndim == 3
            assert image.shape[2] == 3
    assert refused > 50


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(9, np.uint8), r"\[9\]"),
        (np.zeros((4, 4, 2), np.uint8), r"\[4, 4, 2\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), 1.5), "to 1.5"),
        (np.full((4, 4, 3), -0.5), "from -0.5"),
        (np.full((4, 4, 3), np.nan), "nan"),
    ],
)
def test_arrays_that_are_no_image(array, message):
    with pytest.raises(ImageError, match=message):
        decode(array)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "nowhere.png")


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((100, 200), 50, (50, 100)),
        ((200, 100), 50, (100, 50)),
        ((10, 11), 100, (100, 110)),
        ((64, 64), 64, (64, 64)),
        ((3, 1000), 1, (1, 333)),
    ],
)
def test_resize_sets_the_shorter_side(shape, size, expected):
    assert resize(picture(*shape), size).shape == (*expected, 3)


def test_resize_refuses_strips_that_would_grow_huge():
    with pytest.raises(ImageError, match="256 x 15360000"):
        resize(np.zeros((60_000, 1, 3), np.uint8), 256)


def test_float_and_back_is_exact():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    floats = to_float(levels)
    assert floats.dtype == np.float32
    assert (floats.min(), floats.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(to_uint8(floats), levels)
    assert to_uint8(np.array([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0])).tolist() == [
        0,
        0,
        1,
        255,
    ]


@pytest.mark.parametrize(
    ("image_format", "tolerance"), [("PNG", 0), ("JPEG", 3), ("WEBP", 4)]
)
def test_encoded_pictures_come_back(image_format, tolerance):
    image = picture(80, 60)
    data = encode(image, image_format)
    assert Image.open(io.BytesIO(data)).format == image_format
    assert np.abs(decode(data).astype(int) - image).mean() <= tolerance
