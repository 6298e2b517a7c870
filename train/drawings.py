"""Styles drawn at random: flat colours, clear lines and regular patterns, as posters,
prints and drawings have them and collections of paintings hardly do."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

# Drawn so many times larger and scaled down, for smooth edges.
OVERSAMPLING = 2
OUTLINE = (0.0, 0.0, 0.0)


def drawing(size: int, random: np.random.Generator) -> np.ndarray:
    """A drawing, uint8 [size, size, 3]: one to three patterns over one another, in
    two to six colours, at times with grain. Two of five show much of a ground of one
    colour, half of these of paper; in half of them the later patterns fill the first
    one's shapes and leave the ground free, as leaves and feathers on a print do."""
    side = OVERSAMPLING * size
    palette = _palette(random)
    canvas = np.zeros((side, side, 3))
    first, ground = 0, None
    if random.random() < 0.4:
        paper = random.uniform(0.85, 1.0, 3)
        canvas += _bytes(paper if random.random() < 0.5 else palette[0]) / 255.0
        first = PATTERNS.index(_stripes)
        ground = canvas if random.random() < 0.5 else None
    else:
        canvas = _bands(canvas, palette, random)
    chosen = random.permutation(np.arange(first, len(PATTERNS)))
    for number, pattern in enumerate(chosen[: random.integers(1, 4)]):
        painted = PATTERNS[pattern](canvas, palette, random)
        if ground is not None and number:
            free = (canvas == ground).all(axis=-1, keepdims=True)
            painted = np.where(free, ground, painted)
        canvas = painted
    picture = Image.fromarray(_bytes(canvas)).reduce(OVERSAMPLING)
    if random.random() < 0.5:
        return np.asarray(picture)
    grain = random.normal(0.0, random.uniform(0.0, 0.05), (size, size, 1))
    return _bytes(np.asarray(picture) / 255.0 + grain)


def cut_out(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The image, uint8 [size, size, 3], within shapes, strokes, stripes or areas, into
    whose ground it may fade: one colour, half of the time that of paper, or one third
    of the time two that pass into one another. So things lie on paper, and buildings
    stand before a sky."""
    side = OVERSAMPLING * len(image)
    pattern = (_bands, _stripes, _shapes, _strokes)[random.integers(4)]
    # Areas take turns between both; the others draw on what is 0.
    shares = np.array([[0.0] * 3, [1.0] * 3])[0 if pattern is _bands else 1 :]
    place = pattern(np.zeros((side, side, 3)), shares, random)
    place = np.asarray(Image.fromarray(_bytes(place)).reduce(OVERSAMPLING)) / 255.0
    ground = random.uniform(0.85, 1.0, 3) if random.random() < 0.5 else random.random(3)
    if random.random() < 1 / 3:
        share = _field(len(image), random)[..., None]
        ground = ground + share * (random.random(3) - ground)
    return _bytes(ground + place * (image / 255.0 - ground))


def _palette(random: np.random.Generator) -> np.ndarray:
    """Colours [N, 3] in [0, 1]: of any hue, or shades of a single one."""
    count = int(random.integers(2, 7))
    if random.random() < 0.7:
        return random.random((count, 3)) ** random.uniform(0.5, 2.0)
    shades = np.linspace(random.uniform(0.0, 0.3), random.uniform(0.7, 1.0), count)
    return shades[:, None] * random.uniform(0.7, 1.0, 3)


def _field(side: int, random: np.random.Generator) -> np.ndarray:
    """A smooth field, float64 [side, side] in [0, 1]: a sum of plane waves."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    total = np.zeros((side, side))
    for _ in range(random.integers(1, 6)):
        angle, phase = random.uniform(0.0, 2.0 * np.pi, 2)
        waves = 2.0 ** random.uniform(0.0, 5.0)
        total += np.sin(waves * (x * np.cos(angle) + y * np.sin(angle)) + phase) / waves
    total -= total.min()
    return total / (total.max() + 1e-9)


def _bands(canvas, palette, random):
    """Areas of one colour each between the contours of a field, or its gradient."""
    place = _field(len(canvas), random) * (len(palette) - 1)
    if random.random() < 0.3:
        lower = np.minimum(place.astype(int), len(palette) - 2)
        share = (place - lower)[..., None]
        return (1.0 - share) * palette[lower] + share * palette[lower + 1]
    return palette[(place * random.uniform(1.0, 4.0)).astype(int) % len(palette)]


def _stripes(canvas, palette, random):
    """Lines, straight or bent by a field, as thick as another field is high."""
    side = len(canvas)
    y, x = np.mgrid[0:side, 0:side] / side
    angle = random.uniform(0.0, np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    across += random.choice([0.0, random.uniform(0.0, 0.6)]) * _field(side, random)
    wave = np.sin(2.0 * np.pi * across * 2.0 ** random.uniform(2.0, 5.5))
    drawn = wave > 1.6 * _field(side, random) - 0.8
    return np.where(drawn[..., None], palette[random.integers(len(palette))], canvas)


def _cells(canvas, palette, random):
    """What lies nearest to each of some points in one colour, like leaded glass."""
    side = len(canvas)
    points = random.uniform(0, side, (int(2.0 ** random.uniform(3.0, 7.0)), 2))
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    first = np.full((side, side), np.inf, np.float32)
    second, nearest = first.copy(), np.zeros((side, side), int)
    for index, (row, column) in enumerate(points.astype(np.float32)):
        distance = np.hypot(y - row, x - column)
        second = np.minimum(second, np.maximum(first, distance))
        nearest = np.where(distance < first, index, nearest)
        first = np.minimum(first, distance)
    colours = palette[random.integers(len(palette), size=len(points))]
    lead = second - first < random.choice([0.0, random.uniform(1.0, 8.0)])
    return np.where(lead[..., None], OUTLINE, colours[nearest])


def _shapes(canvas, palette, random):
    """Discs, boxes and triangles, few and large to many and small, at times long."""
    side = len(canvas)
    picture = Image.fromarray(_bytes(canvas))
    draw = ImageDraw.Draw(picture)
    radius = side * 2.0 ** random.uniform(-6.0, -2.0)
    outline = _colour(OUTLINE) if random.random() < 0.3 else None
    corners = random.choice([3, 4, 6, 30])
    stretch = random.choice([1.0, random.uniform(1.0, 4.0)])
    for _ in range(int(random.uniform(0.3, 1.5) * (side / radius) ** 2 / 6)):
        centre = complex(*random.uniform(0, side, 2))
        turn = random.choice([np.pi / 4, random.uniform(0.0, 2.0 * np.pi)])
        angles = turn + np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False)
        ring = np.cos(angles) + 1j * np.sin(angles) / stretch
        ring *= np.exp(1j * random.uniform(0.0, np.pi))
        points = centre + radius * random.uniform(0.5, 1.5) * ring
        fill = _colour(palette[random.integers(len(palette))])
        draw.polygon(points.view(float).tolist(), fill, outline, width=OVERSAMPLING)
    return np.asarray(picture) / 255.0


def _strokes(canvas, palette, random):
    """Strokes of one length that follow a field's contours, or one direction."""
    side = len(canvas)
    picture = Image.fromarray(_bytes(canvas))
    draw = ImageDraw.Draw(picture)
    rows, columns = np.gradient(_field(side, random))
    turns = np.arctan2(-columns, rows)
    if random.random() < 0.3:
        turns = np.full_like(turns, random.uniform(0.0, np.pi))
    tones = _field(side, random) * len(palette)
    length = side * 2.0 ** random.uniform(-5.0, -2.5)
    width = max(1.0, length * random.uniform(0.08, 0.5))
    for _ in range(min(3000, int(random.uniform(0.3, 2.0) * side**2 / length / width))):
        row, column = random.uniform(0, side, 2)
        at = int(row), int(column)
        tone = int(tones[at] + random.uniform(-0.5, 0.5)) % len(palette)
        angle = turns[at] + random.normal(0.0, 0.15)
        across, down = 0.5 * length * np.cos(angle), 0.5 * length * np.sin(angle)
        draw.line(
            [column - across, row - down, column + across, row + down],
            _colour(palette[tone]),
            round(width),
        )
    return np.asarray(picture) / 255.0


PATTERNS: tuple[Callable[..., np.ndarray], ...] = (
    _bands,
    _cells,
    # These leave a part of the canvas as it is.
    _stripes,
    _shapes,
    _strokes,
)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255.0 * values.clip(0.0, 1.0)).astype(np.uint8)


def _colour(values) -> tuple[int, ...]:
    return tuple(_bytes(np.asarray(values)).tolist())
