"""``python tools/artwork.py``: draw the icon and the fanart of both addons.

The idea: three programs, one shared block of memory, and one cell in it that all three know. The two addons are
siblings and differ in the colour of that cell. Needs Pillow, here and nowhere else. The pictures are committed, since
another release of Pillow may smooth or compress them differently; the same one draws the same bytes.

Everything is drawn several times too large and scaled down, which is the smoothing. What lies on the block is drawn
flat first, as a square seen from above, and then laid down (`Ground.lay`).
"""

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
ACCENTS = {"addon_module": (45, 226, 200), "addon_service": (255, 178, 62)}

NIGHT, DEEP, SEA = (7, 19, 38), (9, 28, 49), (19, 74, 98)
TOP, CELL, LEFT, RIGHT, EDGE = (23, 68, 98), (52, 128, 166), (17, 52, 78), (12, 38, 60), (92, 168, 200)
PAPER, TEXT = (226, 240, 248), (122, 158, 182)

SLOPE = math.tan(math.radians(30))  # of the block's edges
COARSE = 8  # a blur needs no detail, and is slow on a large picture
FILTERED = 1  # zlib's strategy for small differences, which gradients are: a fifth less


# --- colour and light --------------------------------------------------------------------------------
def mixed(one, other, share):
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other))


def darker(colour):
    """A shadow of `colour` that is no less vivid."""
    return mixed(tuple(round(255 * (value / 255) ** 2.2) for value in colour), DEEP, 0.2)


def levels(function):
    """The table for `Image.point` that makes of each value what `function` does."""
    return [max(0, min(255, round(function(value)))) for value in range(256)]


def backdrop(size):
    """Deep sea: night above, some light below."""
    column = Image.new("RGB", (1, size[1]))
    for y in range(size[1]):
        column.putpixel((0, y), mixed(NIGHT, SEA, (1 - math.cos(math.pi * y / size[1])) / 2))
    return column.resize(size)


def paint(image, mask, colour, strength=1.0):
    """Cover what is white in `mask` with `colour`."""
    image.paste(colour, (0, 0, *image.size), mask.point(levels(lambda value: value * strength)))


def blurred(mask, radius):
    small = mask.resize((mask.width // COARSE, mask.height // COARSE), Image.BOX)
    return small.filter(ImageFilter.GaussianBlur(radius / COARSE)).resize(mask.size, Image.BICUBIC)


def glow(image, mask, colour, radius, strength):
    """Let what is white in `mask` shine, in `colour`, on all around it."""
    light = blurred(mask, radius).point(levels(lambda value: value * strength))
    image.paste(ImageChops.screen(image, Image.new("RGB", image.size, colour)), (0, 0), light)


# --- the things --------------------------------------------------------------------------------------
class Ground:
    """A square of side 1 that lies there, its far corner at `far` and its near one `depth` pixels below that."""

    def __init__(self, size, far, depth):
        self.size, self.far, self.depth = size, far, depth

    def place(self, x, y, height=0.0):
        """Where the point (x, y), so high above the ground, is in the picture."""
        half = self.depth / 2
        return (self.far[0] + (x - y) * half / SLOPE, self.far[1] + (x + y) * half - height * self.depth)

    def flat(self):
        """An empty mask of the ground as seen from above."""
        return Image.new("L", (min(4096, round(self.depth * 1.5)),) * 2, 0)

    def lay(self, flat, height=0.0):
        """The mask `flat` as it lies so high above the ground: a mask of the whole picture."""
        left, top = self.place(0, 0, height)
        across, down = SLOPE * flat.width / self.depth, flat.width / self.depth
        # The inverse of `place`, as the six numbers that lead from a pixel of the picture to one of `flat`.
        inverse = (across, down, -across * left - down * top, -across, down, across * left - down * top)
        return flat.transform(self.size, Image.AFFINE, inverse, Image.BICUBIC)


def square(flat, x, y, side, rounding, value=255):
    box = [part * flat.width for part in (x, y, x + side, y + side)]
    ImageDraw.Draw(flat).rounded_rectangle(box, rounding * flat.width, fill=round(value))


def cells(ground, count, gap, strength):
    """A mask of `count` x `count` cells, each as bright as `strength(column, row)` says; and the side of one."""
    flat = ground.flat()
    side = (1 - gap * (count + 1)) / count
    for row in range(count):
        for column in range(count):
            x, y = (gap + place * (side + gap) for place in (column, row))
            square(flat, x, y, side, side * 0.12, 255 * strength(column, row))
    return ground.lay(flat), side


def prism(image, ground, corner, side, heights, colours):
    """A box that stands on the ground: its left side, its right side, its top."""
    x, y = corner
    low, high = heights
    far, right = ground.place(x, y, high), ground.place(x + side, y, high)
    near, left = ground.place(x + side, y + side, high), ground.place(x, y + side, high)
    below = [ground.place(x + a * side, y + b * side, low) for a, b in ((0, 1), (1, 1), (1, 0))]
    draw = ImageDraw.Draw(image)
    draw.polygon([left, near, below[1], below[0]], fill=colours[0])
    draw.polygon([right, near, below[1], below[2]], fill=colours[1])
    draw.polygon([far, right, near, left], fill=colours[2])


def beam(image, start, end, colour, width, strength=1.0):
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).line([start, end], fill=255, width=round(width))
    paint(image, mask, colour, strength)


def window(image, centre, width, accent, strength=1.0):
    """A program: a small window with a title bar and two lines of text."""
    height, rounding = width * 0.74, width * 0.13
    x, y = centre[0] - width / 2, centre[1] - height / 2

    def part(left, top, right, bottom, corners):
        mask = Image.new("L", image.size, 0)
        box = [x + left * width, y + top * height, x + right * width, y + bottom * height]
        ImageDraw.Draw(mask).rounded_rectangle(box, corners, fill=255)
        return mask

    paint(image, blurred(part(0, 0.1, 1, 1.1, rounding), width * 0.1), NIGHT, 0.6 * strength)
    card = part(0, 0, 1, 1, rounding)
    # A dim window is a blue one: grey would look like one that is switched off.
    paint(image, card, mixed(DEEP, mixed(EDGE, PAPER, strength**2), strength))
    paint(image, ImageChops.multiply(card, part(0, 0, 1, 0.3, 0)), mixed(DEEP, accent, strength))
    for middle, end in ((0.5, 0.77), (0.74, 0.57)):
        paint(image, part(0.15, middle - 0.05, end, middle + 0.05, height * 0.05), mixed(DEEP, TEXT, strength**2))


def shared_cell(image, ground, corner, side, height, accent):
    """The cell that all know; returns the point that their beams lead to."""
    flat = ground.flat()
    square(flat, *corner, side, side * 0.12)
    glow(image, ground.lay(flat), accent, side * ground.depth * 0.62, 1.9)
    prism(image, ground, corner, side, (0, height), (accent, darker(accent), mixed(accent, PAPER, 0.35)))
    return ground.place(corner[0] + side / 2, corner[1] + side / 2, height)


# --- the pictures ------------------------------------------------------------------------------------
def icon(accent):
    size, scale = (512, 512), 4
    image = backdrop([scale * length for length in size])
    ground = Ground(image.size, (256 * scale, 186 * scale), 244 * scale)

    flat = ground.flat()
    square(flat, 0, 0, 1, 0.05)
    paint(image, blurred(ground.lay(flat, -0.3), 18 * scale), NIGHT, 0.8)
    prism(image, ground, (0, 0), 1, (-0.2, 0), (LEFT, RIGHT, TOP))
    for corner in ((0, 1), (1, 0)):
        beam(image, ground.place(*corner), ground.place(1, 1), EDGE, 2.5 * scale, 0.7)
    gap = 0.045
    mask, side = cells(ground, 3, gap, lambda column, row: 1 - 0.1 * (column + row))
    paint(image, mask, CELL)

    end = shared_cell(image, ground, (side + 2 * gap,) * 2, side, 0.16, accent)
    for x, y in ((104, 150), (256, 92), (408, 150)):
        start = (x * scale, y * scale)
        beam(image, start, end, mixed(accent, PAPER, 0.2), 8 * scale)
        window(image, start, 108 * scale, accent)
    small = image.resize(size, Image.LANCZOS)
    # Neighbouring shades look the same, and half as many make a smaller file.
    return small.point(levels(lambda value: value & ~1) * 3)


def fanart(accent):
    """A wide field of cells in the dark: Kodi writes on it, mostly on the left."""
    size, scale = (1920, 1080), 2
    image = backdrop([scale * length for length in size])
    paint(image, Image.new("L", image.size, 255), NIGHT, 0.5)
    count, gap = 14, 0.011
    lit = (8, 6)
    ground = Ground(image.size, (1230 * scale, -360 * scale), 1880 * scale)

    def strength(column, row):
        away = math.hypot(column - lit[0], row - lit[1])
        return 0.42 * math.exp(-((away / 4.2) ** 2)) + 0.03

    mask, side = cells(ground, count, gap, strength)
    paint(image, mask, CELL)
    corner = tuple(gap + place * (side + gap) for place in lit)
    end = shared_cell(image, ground, corner, side, 0.035, mixed(accent, DEEP, 0.15))
    for x, y in ((1156, 236), (1460, 150), (1764, 236)):
        start = (x * scale, y * scale)
        beam(image, start, end, accent, 4 * scale, 0.5)
        window(image, start, 132 * scale, accent, 0.6)
    return grained(image.resize(size, Image.LANCZOS))


def grained(image):
    """`image` with a grain nobody sees, without which dark gradients show as bands on a television."""
    pixels = image.width * image.height
    noise = random.Random(1).getrandbits(8 * pixels).to_bytes(pixels, "little")
    grain = Image.frombytes("L", image.size, noise).point(levels(lambda value: value % 3))
    return ImageChops.add(image, Image.merge("RGB", [grain] * 3))


def main():
    for folder, accent in ACCENTS.items():
        resources = ROOT / folder / "resources"
        resources.mkdir(exist_ok=True)
        icon(accent).save(resources / "icon.png", compress_level=9, compress_type=FILTERED)
        fanart(accent).save(resources / "fanart.jpg", quality=88, optimize=True, subsampling=0)
        for path in (resources / "icon.png", resources / "fanart.jpg"):
            print(f"{path.relative_to(ROOT).as_posix():<36} {path.stat().st_size:>9,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
