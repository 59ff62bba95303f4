"""Draws the textures of the service addon's browse window: a white square and a white dot, which the window tints.

They are in the repository; run this after a change: ``python tools/draw_browse_textures.py``.
"""

import struct
import zlib
from pathlib import Path

MEDIA = Path(__file__).resolve().parent.parent / "addon_service/resources/skins/Default/media"
DOT = 32  # pixels across
STEPS = 4  # looks in each direction of a pixel, for a smooth edge


def png(alphas):
    """A white picture with these rows of opacities."""
    height, width = len(alphas), len(alphas[0])
    lines = b"".join(b"\0" + b"".join(bytes((255, 255, 255, alpha)) for alpha in row) for row in alphas)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def square(width):
    """All of it."""
    return [[255] * width for _ in range(width)]


def dot(width):
    """A disc as wide as the picture."""

    def alpha(x, y):
        spots = [(x + (i + 0.5) / STEPS, y + (j + 0.5) / STEPS) for i in range(STEPS) for j in range(STEPS)]
        middle = width / 2
        inside = sum((a - middle) ** 2 + (b - middle) ** 2 <= middle**2 for a, b in spots)
        return 255 * inside // len(spots)

    return [[alpha(x, y) for x in range(width)] for y in range(width)]


def main():
    """Write the files."""
    MEDIA.mkdir(parents=True, exist_ok=True)
    (MEDIA / "ipcdatastore-white.png").write_bytes(png(square(8)))
    (MEDIA / "ipcdatastore-dot.png").write_bytes(png(dot(DOT)))


if __name__ == "__main__":
    main()
