"""Training images: any two folders, at any depth, cropped and augmented."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from sfumato.images import ImageError, decode, resize, to_float
from train.drawings import cut_out, drawing

# Smaller images hold too little of a style or a scene to learn from.
SMALLEST = 64


class ImageFolder:
    """The images below a folder, in a fixed order; what cannot be used is named
    once in `skipped` and never drawn again.

    size: pixels that the shorter side is scaled down to where it is larger; such
    images are kept in memory, for small folders of large pictures.
    """

    def __init__(self, folder: str | os.PathLike[str], size: int | None = None):
        folder = Path(folder)
        self.read = decode if size is None else functools.cache(_reader(size))
        if not folder.is_dir():
            raise ImageError(f"{folder} is not a folder.")
        self.skipped: dict[Path, str] = {}
        self.paths = []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            reason = _unusable(path)
            if reason:
                self.skipped[path] = reason
            else:
                self.paths.append(path)
        if not self.paths:
            raise ImageError(
                f"{folder} holds no image of at least {SMALLEST} x {SMALLEST} pixels "
                f"({len(self.skipped)} other files)."
            )

    def report_skipped(self) -> None:
        for path, reason in self.skipped.items():
            print(f"Skipping {path}: {reason}")

    def hold_out(self, count: int, random: np.random.Generator) -> list[np.ndarray]:
        """`count` random images, which `draw` does not return from now on (unless
        the folder has too few to spare)."""
        indices = random.permutation(len(self.paths))[:count].tolist()
        images = [self.read(self.paths[index]) for index in indices]
        if len(self.paths) > 10 * count:
            held_out = set(indices)
            self.paths = [p for i, p in enumerate(self.paths) if i not in held_out]
        return images

    def draw(self, number: int, seed: int) -> np.ndarray:
        """The number-th image of an endless sequence that shows every image once
        before any twice, uint8 [H, W, 3]. A file that turns out to be damaged is
        replaced by the one after it in the folder."""
        round_, position = divmod(number, len(self.paths))
        index = _permutation(len(self.paths), seed, round_)[position]
        for offset in range(len(self.paths)):
            path = self.paths[(index + offset) % len(self.paths)]
            if path in self.skipped:
                continue
            try:
                return self.read(path)
            except (ImageError, OSError) as error:
                self.skipped[path] = str(error)
                print(f"Skipping {path}: {error}", flush=True)
        raise ImageError("Every image of the folder is damaged.")


class StyleTransferDataset(keras.utils.PyDataset):
    """Batches {"content", "style"} of images [batch, size, size, 3] in [0, 1].

    With `mixed`, that share of the batches has styles to be mixed: "mix", float32
    [batch], is how much of the next image's style each is to take on, 0 where none.
    In half of these batches every second photo and style is the photo before it, so
    that the style is mixed with the photo's own, as a lower strength does, and the
    photo is painted in its own style alone, as strength 0 does.

    In the share `drawn` of the styles, half are drawings and half are cut out of the
    folder's; so it is, with the photos, where these are painted in their own style.

    With `beyond`, photos are so many pixels larger, and "window", int32 [batch, 2],
    says at which row and column of each the size x size pixels begin that the loss is
    to look at: the same for all of a batch.

    With `psi`, two numbers, "psi", float32 [batch], lies between them: at what share
    of its distance from the mean each style's embedding is to be.

    With `jitter`, "jitter", float32 [batch], lies between it and its negative: what
    share of the way between the embeddings of two other styles each one's is off.

    Step n of a training run always holds the same crops, whatever the phase that
    it falls into and wherever the run was interrupted: everything random comes
    from the seed and the step's number. Item i is step first_step + i.
    """

    def __init__(
        self,
        content: ImageFolder,
        style: ImageFolder,
        size: int,
        batch: int,
        first_step: int,
        steps: int,
        seed: int,
        mixed: float = 0.0,
        drawn: float = 0.0,
        beyond: int = 0,
        *,
        psi: tuple[float, float] = (1.0, 1.0),
        jitter: float = 0.0,
    ):
        super().__init__(workers=2, max_queue_size=8)
        self.mixed = mixed
        self.drawn = drawn
        self.beyond = beyond
        self.psi = psi
        self.jitter = jitter
        self.content = content
        self.style = style
        self.size = self.style_size = size
        self.batch = batch
        self.first_step = first_step
        self.steps = steps
        self.seed = seed
        # When each item was ready, by time.perf_counter(): see fit.Progress.
        self.ready_at: dict[int, float] = {}

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        batch = self.images(self.first_step + index)
        self.ready_at[index] = time.perf_counter()
        return (batch,)

    def images(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a training step."""
        random = np.random.default_rng([self.seed, step])
        content, style = self.photos(step, random), self.styles(step, random)
        images: dict[str, np.ndarray] = {}
        top, left = random.integers(0, self.beyond, 2, endpoint=True)
        if self.beyond:
            images["window"] = np.full((self.batch, 2), (top, left), np.int32)
        if self.mixed:
            images["mix"] = mix = np.zeros(self.batch, np.float32)
            if random.random() < self.mixed:
                mix[:] = random.random(self.batch)
                if random.random() < 0.5:
                    pairs = self.batch // 2 * 2
                    for photo in range(0, pairs, 2):
                        if random.random() < self.drawn:
                            content[photo] = _drawn(content[photo], random)
                    content[1::2] = content[:pairs:2]
                    rows, columns = (slice(at, at + self.size) for at in (top, left))
                    style[1::2] = [photo[rows, columns] for photo in content[1::2]]
                    mix[1::2] = 0.0
        if self.psi != (1.0, 1.0):
            images["psi"] = random.uniform(*self.psi, self.batch).astype(np.float32)
        if self.jitter:
            shares = random.uniform(-self.jitter, self.jitter, self.batch)
            images["jitter"] = shares.astype(np.float32)
        return images | {
            "content": to_float(np.stack(content)),
            "style": to_float(np.stack(style)),
        }

    def numbers(self, step: int) -> range:
        """Which images of a folder's sequence the batch of a step takes."""
        return range(step * self.batch, (step + 1) * self.batch)

    def photos(self, step: int, random: np.random.Generator) -> list[np.ndarray]:
        """The photos of a step's batch."""
        return [
            soften(
                crop(
                    self.content.draw(number, self.seed),
                    self.size + self.beyond,
                    random,
                ),
                random,
            )
            for number in self.numbers(step)
        ]

    def styles(self, step: int, random: np.random.Generator) -> list[np.ndarray]:
        """The paintings of a step's batch."""
        return [self.painting(number, random) for number in self.numbers(step)]

    def painting(self, number: int, random: np.random.Generator) -> np.ndarray:
        """The number-th style, or a drawing in its place or of it."""
        image = crop(self.style.draw(number, self.seed + 1), self.style_size, random)
        if self.drawn and random.random() < self.drawn:
            return _drawn(image, random)
        return recolour(restyle(image, random), random)


def _drawn(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Something cut out of an image, or a drawing of its size."""
    if random.random() < 0.5:
        return cut_out(image, random)
    return drawing(len(image), random)


def _reader(size: int) -> Callable[[Path], np.ndarray]:
    def read(path: Path) -> np.ndarray:
        image = decode(path)
        return image if min(image.shape[:2]) <= size else resize(image, size)

    return read


def crop(image: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """A random square of the image, scaled to [size, size, 3], flipped half the
    time. Its side is drawn between `size` and the image's shorter side, more often
    near the latter: people paint whole pictures, and scaled down ones, which are
    sharper than what a large one, or one that was compressed, has at its own scale."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    least = min(size, shorter)
    side = round(least * (shorter / least) ** (random.random() ** 0.5))
    top = random.integers(0, height - side, endpoint=True)
    left = random.integers(0, width - side, endpoint=True)
    square = Image.fromarray(image[top : top + side, left : left + side])
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(square)


def soften(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One time in three, the photo blurred, from slightly to hardly more than a
    gradient: skies, mist and blurred backgrounds are where a network that lacks
    texture to work with leaves a pattern of its own. One time in twelve, without its
    colours, where those of the network's own would show."""
    picture = Image.fromarray(image)
    if random.random() < 1 / 3:
        picture = picture.filter(ImageFilter.GaussianBlur(40.0 ** random.random()))
    if random.random() < 1 / 12:
        picture = picture.convert("L").convert("RGB")
    return np.asarray(picture)


def restyle(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Half of the time, another style made of the image: of few flat colours, of
    sharper strokes, with colours in each other's place, of the widest contrast, in the
    colours of a print, or much lighter or darker. What people bring to be painted in is
    less like the folder than its images are like one another."""
    if random.random() < 0.5:
        return image
    changes = (_flatten, _sharpen, _swap, _stretch, _tint, _expose)
    change = changes[random.integers(len(changes))]
    return np.asarray(change(Image.fromarray(image), random))


def _flatten(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """3 to 18 colours, most of the time without what is finer than a few pixels."""
    if random.random() < 0.7:
        picture = picture.filter(ImageFilter.MedianFilter(random.choice((3, 5, 7))))
    colours = round(3.0 * 6.0 ** random.random())
    return picture.quantize(colours, dither=Image.Dither.NONE).convert("RGB")


def _sharpen(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    radius, percent = random.uniform(0.7, 2.5), int(random.integers(80, 300))
    return picture.filter(ImageFilter.UnsharpMask(radius, percent, threshold=0))


def _swap(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Red, green and blue in any order, two times in five as a negative."""
    bands = picture.split()
    picture = Image.merge("RGB", [bands[band] for band in random.permutation(3)])
    return ImageOps.invert(picture) if random.random() < 0.4 else picture


def _stretch(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    if random.random() < 0.5:
        return ImageOps.equalize(picture)
    return ImageOps.autocontrast(picture, cutoff=random.uniform(1.0, 15.0))


def _tint(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Brightness in three colours from ink to paper, all or some of the way there."""
    colours = sorted(random.integers(0, 256, (3, 3)).tolist(), key=sum)
    ink, middle, paper = (tuple(colour) for colour in colours)
    print_ = ImageOps.colorize(picture.convert("L"), ink, paper, middle)
    return Image.blend(picture, print_, random.uniform(0.3, 1.0))


def _expose(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Values to a power of a third to three."""
    power = 3.0 ** random.uniform(-1.0, 1.0)
    curve = [round(255 * (value / 255) ** power) for value in range(256)]
    return picture.point(curve * 3)


def recolour(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Half of the time, another brightness, contrast, saturation and hue: more
    palettes than the folder holds. One time in twelve, none but grey."""
    picture = Image.fromarray(image)
    if random.random() < 1 / 12:
        return np.asarray(picture.convert("L").convert("RGB"))
    if random.random() < 0.5:
        return image
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(random.uniform(0.5, 1.6))
    hue, saturation, value = picture.convert("HSV").split()
    shift = int(random.integers(-40, 40, endpoint=True))
    hue = Image.fromarray(((np.asarray(hue, np.int16) + shift) % 256).astype(np.uint8))
    return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB"))


def _unusable(path: Path) -> str:
    """Why a file is of no use, by its header alone; empty where it is."""
    try:
        with Image.open(path) as image:
            if min(image.size) < SMALLEST:
                return f"{image.width} x {image.height} pixels is too small"
    except Exception as error:  # Pillow's readers raise nearly anything.
        return f"not an image ({type(error).__name__})"
    return ""


@functools.lru_cache(maxsize=8)
def _permutation(count: int, seed: int, round_: int) -> np.ndarray:
    return np.random.default_rng([seed, round_]).permutation(count)
