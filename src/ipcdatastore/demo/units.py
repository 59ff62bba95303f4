"""Figures with their units, for people."""

from __future__ import annotations


def count(number: float) -> str:
    """A number with its thousands apart.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,.0f}"


def several(number: int, thing: str) -> str:
    """A number of things.

    >>> several(1, "writer"), several(1200, "writer")
    ('1 writer', '1,200 writers')
    """
    return f"{number:,} {thing}{'' if number == 1 else 'es' if thing.endswith('s') else 's'}"


def size(number: float) -> str:
    """Bytes.

    >>> size(512), size(2_500_000)
    ('512 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def rate(per_second: float) -> str:
    """Three digits are all that a rate is good for.

    >>> rate(990.4), rate(756_201), rate(1_234_567)
    ('990/s', '756,000/s', '1,230,000/s')
    """
    digits = len(str(int(per_second)))
    return f"{round(per_second, min(0, 3 - digits)):,.0f}/s"


def micro(ns: float) -> str:
    """Nanoseconds, as µs or ms.

    >>> micro(950), micro(12_345), micro(12_345_678)
    ('0.95 µs', '12.3 µs', '12.3 ms')
    """
    if ns >= 1e6:
        return f"{ns / 1e6:.1f} ms"
    return f"{ns / 1e3:.2f} µs" if ns < 1e4 else f"{ns / 1e3:.1f} µs"


def duration(seconds: float) -> str:
    """Seconds, or ms.

    >>> duration(0.0421), duration(8.04)
    ('42 ms', '8.0 s')
    """
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.1f} s"


def share(part: float) -> str:
    """Never rounded up to all of it.

    >>> share(0.4217), share(0.99987), share(1)
    ('42.2 %', '99.98 %', '100 %')
    """
    if part == 1:
        return "100 %"
    percent = part * 100
    return f"{int(percent * 100) / 100:.2f} %" if percent > 99 else f"{percent:.1f} %"
