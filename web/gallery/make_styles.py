"""Makes the gallery's style images: original, procedural, the same on every run.

python web/gallery/make_styles.py
python web/gallery/make_styles.py night-wind 20 FOLDER   (others of one style)
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 384
# Drawn larger and scaled down: Pillow's shapes have no smooth edges of their own.
SCALE = 2
CANVAS = SIZE * SCALE
FOLDER = Path(__file__).parents[1] / "public" / "gallery"

Random = np.random.Generator


def palette(*colours: str) -> np.ndarray:
    """Hexadecimal colours as uint8 [N, 3]."""
    return np.array([list(bytes.fromhex(colour)) for colour in colours])


def noise(random: Random, cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise [CANVAS, CANVAS] in [0, 1]; `cells` bumps a side, then finer."""
    total = np.zeros((CANVAS, CANVAS))
    for octave in range(octaves):
        count = cells * 2**octave
        grid = random.random((count + 3, count + 3)).astype(np.float32)
        layer = Image.fromarray(grid).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 2**octave
    total -= total.min()
    return total / total.max()


def jitter(random: Random, colour: np.ndarray, amount: float) -> tuple[int, ...]:
    shifted = colour + random.normal(0, amount, 3) + random.normal(0, amount / 2)
    return tuple(int(value) for value in np.clip(shifted, 0, 255))


def pick(colours: np.ndarray, position: float) -> np.ndarray:
    """The colour at a position in [0, 1] along the palette, blended."""
    place = np.clip(position, 0, 1) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    return colours[low] + (colours[low + 1] - colours[low]) * (place - low)


def stroke(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    angle_at: Callable[[float, float], float],
    steps: int,
    width: int,
    colour: tuple[int, ...],
) -> None:
    """A brush stroke that follows a field of directions."""
    x, y = start
    points = [(x, y)]
    for _ in range(steps):
        angle = angle_at(x, y)
        x, y = x + 4 * np.cos(angle), y + 4 * np.sin(angle)
        points.append((x, y))
    draw.line(points, fill=colour, width=width, joint="curve")
    for x, y in (points[0], points[-1]):
        radius = width / 2
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


def sample(field: np.ndarray, x: float, y: float) -> float:
    column, row = (int(np.clip(value, 0, CANVAS - 1)) for value in (x, y))
    return float(field[row, column])


def night_wind(random: Random) -> Image.Image:
    """Thick strokes round swirling lights."""
    colours = palette("0b1d4f", "173f8a", "2f73b8", "7fb7cf", "f2e6a0", "f5b82e")
    image = Image.new("RGB", (CANVAS, CANVAS), "#12306b")
    draw = ImageDraw.Draw(image)
    lights = random.random((6, 2)) * CANVAS
    drift = noise(random, 2, 2)

    def pull(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        offsets = np.array([x, y]) - lights
        return np.exp(-((offsets**2).sum(1)) / (CANVAS / 7) ** 2), offsets

    def angle_at(x: float, y: float) -> float:
        force, offsets = pull(x, y)
        vector = np.array([np.cos(a := sample(drift, x, y) * 3), np.sin(a)]) * 0.35
        for strength, (dx, dy) in zip(force, offsets, strict=True):
            vector += strength * np.array([-dy, dx]) / (np.hypot(dx, dy) + 1)
        return float(np.arctan2(vector[1], vector[0]))

    for width in (22, 14, 9):
        for _ in range(1500):
            x, y = random.random(2) * CANVAS
            glow = pull(x, y)[0].max()
            tone = (
                0.55 * sample(drift, x, y) + 0.75 * glow**1.5 + random.normal(0, 0.08)
            )
            stroke(
                draw,
                (x, y),
                angle_at,
                int(random.integers(6, 20)),
                width,
                jitter(random, pick(colours, tone), 14),
            )
    return image


def dots_at_noon(random: Random) -> Image.Image:
    """Points of pure colour, in complementary pairs."""
    image = Image.new("RGB", (CANVAS, CANVAS), "#efe2c0")
    draw = ImageDraw.Draw(image)
    field, light = noise(random, 3, 2), noise(random, 2, 1)
    bands = [
        palette("1f6fb5", "5fb3d9", "e88b3a"),
        palette("2f8f4e", "a7c93f", "d9472f"),
        palette("e8b92e", "f2d974", "7a4fa3"),
        palette("c94f6d", "f0a1a8", "3a9a8f"),
    ]
    for _ in range(16000):
        x, y = random.random(2) * CANVAS
        band = bands[int(sample(field, x, y) * 3.999)]
        colour = band[random.choice(3, p=[0.5, 0.35, 0.15])]
        radius = 4.5 + 4 * sample(light, x, y) + random.normal(0, 0.6)
        box = [x - radius, y - radius, x + radius, y + radius]
        draw.ellipse(box, fill=jitter(random, colour, 12))
    return image


def ink_hills(random: Random) -> Image.Image:
    """Washes of ink, ridge behind ridge, on warm paper."""
    paper = np.array([240, 232, 214.0])
    picture = paper + (noise(random, 48, 2)[..., None] - 0.5) * 16
    columns = np.arange(CANVAS) / CANVAS
    rows = np.arange(CANVAS)[:, None] / CANVAS
    bleed = noise(random, 10, 4)
    for ridge in range(7):
        depth = ridge / 6
        ripples = np.zeros(CANVAS)
        for frequency in (1, 2.3, 4.7, 9.1):
            phase = random.random() * 7
            ripples += np.sin(columns * 2 * np.pi * frequency + phase) / frequency
        outline = 0.22 + 0.11 * ridge + 0.1 * (1 - depth * 0.4) * ripples
        below = rows - outline[None] + (bleed - 0.5) * 0.05
        wash = 1 / (1 + np.exp(-below * 160)) * np.exp(-np.clip(below, 0, 1) * 9)
        ink = np.array([34, 38, 46]) if ridge % 3 else np.array([62, 52, 48])
        strength = (0.25 + 0.7 * depth) * (0.6 + 0.7 * bleed)
        cover = np.clip(wash * strength, 0, 1)[..., None]
        picture = picture * (1 - cover) + ink * cover
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(90):
        x, y = random.random() * CANVAS, CANVAS * (0.55 + 0.45 * random.random())
        blade = partial(bent, lean=random.normal(-1.4, 0.25), root=y)
        stroke(
            draw,
            (x, y),
            blade,
            int(random.integers(8, 30)),
            int(random.integers(2, 7)),
            jitter(random, np.array([30, 32, 38]), 8),
        )
    draw.ellipse([560, 70, 640, 150], fill=(196, 58, 42))
    return image


def bent(x: float, y: float, lean: float, root: float) -> float:
    """The direction of a blade of grass, which droops towards its tip."""
    return lean + (root - y) * 0.004


def woodcut(random: Random) -> Image.Image:
    """Black lines cut along a relief, thick where it is dark, and one red ink."""
    relief = noise(random, 3, 2)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS]
    slant = columns * 0.35 + rows + relief * 330
    cross = columns - rows * 0.45 + relief * 210
    wobble = (noise(random, 40, 2) - 0.5) * 0.5
    lines = np.sin(slant * 2 * np.pi / 19) + wobble
    hatch = np.sin(cross * 2 * np.pi / 23) + wobble
    dark = lines > (relief * 2.6 - 1.15)
    dark |= (relief < 0.42) & (hatch > 0.35)
    red = np.abs(relief - 0.62) < 0.07
    picture = np.full((CANVAS, CANVAS, 3), (238, 226, 200), np.uint8)
    picture[red] = (190, 54, 38)
    picture[dark] = (26, 22, 24)
    return Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1))


def stained_glass(random: Random) -> Image.Image:
    """Panes of coloured glass in lead."""
    points = random.random((150, 2)) * CANVAS
    colours = palette(
        "b3202c", "1d4e9e", "e3a51a", "1f7a4d", "6b2d83", "e2672a", "2ba6b8", "f1e3b0"
    )
    panes = colours[random.integers(0, len(colours), len(points))]
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS]
    nearest = np.full((2, CANVAS, CANVAS), np.inf)
    owner = np.zeros((CANVAS, CANVAS), int)
    for index, (x, y) in enumerate(points):
        distance = np.hypot(columns - x, rows - y)
        closer = distance < nearest[0]
        nearest[1] = np.where(closer, nearest[0], np.minimum(nearest[1], distance))
        nearest[0] = np.where(closer, distance, nearest[0])
        owner[closer] = index
    light = 0.72 + 0.5 * noise(random, 4, 4) * (0.6 + 0.4 * noise(random, 30, 2))
    picture = panes[owner] * light[..., None]
    edge = nearest[1] - nearest[0]
    picture[edge < 9] = (24, 22, 26)
    glint = (edge >= 9) & (edge < 13)
    picture[glint] = picture[glint] * 0.6
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def paper_waves(random: Random) -> Image.Image:
    """Rows of scallops, as printed on cloth."""
    image = Image.new("RGB", (CANVAS, CANVAS), "#f3ead6")
    draw = ImageDraw.Draw(image)
    colours = palette("123a5a", "1f6a8c", "3f9aa8", "8cc7c1")
    radius = 64
    for row in range(-1, CANVAS // 24 + 4):
        for column in range(-1, CANVAS // (2 * radius) + 2):
            x = column * 2 * radius + (row % 2) * radius
            y = row * 26
            colour = jitter(random, colours[(row + column) % len(colours)], 7)
            for ring, size in enumerate(range(radius, 8, -11)):
                box = [x - size, y - size, x + size, y + size]
                draw.ellipse(box, fill=colour if ring % 2 == 0 else (243, 234, 214))
            if random.random() < 0.12:
                draw.ellipse([x - 9, y - 9, x + 9, y + 9], fill=(222, 92, 62))
    grain = noise(random, 90, 1)[..., None] * 26 - 13
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def crayon(random: Random) -> Image.Image:
    """Scribbled wax crayon over rough paper."""
    image = Image.new("RGB", (CANVAS, CANVAS), "#f7f3ea")
    colours = palette(
        "e23b2e", "f08a1d", "f4cf2b", "3fa34d", "2b74c9", "8a3fa0", "e5679b"
    )
    tooth = Image.fromarray(((noise(random, 150, 2) > 0.4) * 255).astype(np.uint8))
    for _ in range(46):
        layer = Image.new("L", image.size, 0)
        draw = ImageDraw.Draw(layer)
        x, y = random.random(2) * CANVAS
        angle, reach = random.random() * np.pi, random.uniform(60, 150)
        across = np.array([-np.sin(angle), np.cos(angle)])
        along = np.array([np.cos(angle), np.sin(angle)])
        points = []
        for turn in range(int(random.integers(14, 30))):
            side = reach * (1 if turn % 2 else -1) * random.uniform(0.8, 1.1)
            point = np.array([x, y]) + along * side + across * (turn * 8 - 110)
            points.append(tuple(point + random.normal(0, 4, 2)))
        draw.line(points, fill=215, width=int(random.integers(6, 11)), joint="curve")
        colour = jitter(random, colours[random.integers(0, len(colours))], 10)
        image.paste(colour, mask=ImageChops.multiply(layer, tooth))
    return image


def squares_and_circles(random: Random) -> Image.Image:
    """Flat geometry, divided again and again."""
    image = Image.new("RGB", (CANVAS, CANVAS), "#ece4d4")
    draw = ImageDraw.Draw(image)
    colours = palette(
        "d63a2a", "f0b323", "1b4b8f", "1d1d1f", "f4eee0", "2f8f83", "e88fa2"
    )

    def fill(x: float, y: float, width: float, height: float, depth: int) -> None:
        if depth > 0 and (depth > 2 or random.random() < 0.75):
            cut = random.uniform(0.33, 0.67)
            if width > height:
                fill(x, y, width * cut, height, depth - 1)
                fill(x + width * cut, y, width * (1 - cut), height, depth - 1)
            else:
                fill(x, y, width, height * cut, depth - 1)
                fill(x, y + height * cut, width, height * (1 - cut), depth - 1)
            return
        back, front = random.choice(len(colours), 2, replace=False)
        box = [x, y, x + width, y + height]
        draw.rectangle(box, fill=tuple(colours[back]), outline=(29, 29, 31), width=4)
        shape = random.integers(0, 5)
        inner = min(width, height) * 0.4
        cx, cy = x + width / 2, y + height / 2
        disc = [cx - inner, cy - inner, cx + inner, cy + inner]
        if shape == 0:
            draw.ellipse(disc, fill=tuple(colours[front]))
        elif shape == 1:
            draw.pieslice(disc, 180, 360, fill=tuple(colours[front]))
        elif shape == 2:
            corners = [(x, y + height), (x + width, y + height), (x + width, y)]
            draw.polygon(corners, fill=tuple(colours[front]))
        elif shape == 3:
            for line in range(0, int(height), 18):
                draw.line([x, y + line, x + width, y + line], tuple(colours[front]), 6)

    fill(0, 0, CANVAS, CANVAS, 6)
    return image


def embers(random: Random) -> Image.Image:
    """Palette-knife slabs of hot colour."""
    colours = palette("2a0f1c", "7a1630", "c7331f", "ee7a1c", "f8c64a", "fff1c9")
    image = Image.new("RGB", (CANVAS, CANVAS), "#3a1020")
    heat = noise(random, 2, 3)
    tilt = noise(random, 2, 1)
    for _ in range(1500):
        x, y = random.random(2) * CANVAS
        length, width = random.uniform(40, 130), random.uniform(14, 34)
        angle = sample(tilt, x, y) * 2.4 - 0.4 + random.normal(0, 0.12)
        along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        across = np.array([-np.sin(angle), np.cos(angle)]) * width / 2
        centre = np.array([x, y])
        tone = sample(heat, x, y) * 1.15 - 0.08 + random.normal(0, 0.05)
        draw = ImageDraw.Draw(image)
        for rib in np.linspace(-1, 1, 7):
            colour = jitter(random, pick(colours, tone + rib * 0.05), 9)
            offset = centre + across * rib
            draw.line(
                [tuple(offset - along), tuple(offset + along)], colour, int(width / 5)
            )
    return image


STYLES = (
    night_wind,
    dots_at_noon,
    ink_hills,
    woodcut,
    stained_glass,
    paper_waves,
    crayon,
    squares_and_circles,
    embers,
)


def save(make: Callable[[Random], Image.Image], seed: int, path: Path) -> None:
    image = make(np.random.default_rng(seed))
    image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    image.save(path, quality=82, optimize=True)


def main() -> None:
    styles = {make.__name__.replace("_", "-"): make for make in STYLES}
    if len(sys.argv) == 1:
        for seed, (name, make) in enumerate(styles.items(), start=1):
            save(make, seed, FOLDER / f"{name}.jpg")
        return
    name, count, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for index in range(int(count)):
        # Seeds that none of the gallery's has.
        save(styles[name], 1000 + index, Path(folder) / f"{name}-{index:02}.jpg")


if __name__ == "__main__":
    main()
