"""Figures with their units, for people."""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes.

    >>> size(512), size(65536), size(1 << 30), size(3 << 39)
    ('512 bytes', '64 KiB', '1 GiB', '1.5 TiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if number >= 100 or number == int(number) else f"{number:.1f} {unit}"


def span(seconds: float) -> str:
    """A time, to its two largest units.

    >>> span(59.4), span(3700), span(200000)
    ('59 s', '1 h 1 min', '2 d 7 h')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def about(seconds: float) -> str:
    """A time in its largest unit.

    >>> about(59.4), about(3700), about(200000)
    ('59 s', '1 h', '2 d')
    """
    return " ".join(span(seconds).split()[:2])


def rate(per_second: float) -> str:
    """Events per second; three digits are all that a rate is good for.

    >>> rate(0), rate(0.25), rate(12.5), rate(1_234_567)
    ('0', '0.25', '12.5', '1,230,000')
    """
    if per_second < 100:
        return f"{per_second:.3g}"
    return f"{round(per_second, 3 - len(str(int(per_second)))):,.0f}"


def brief(seconds: float) -> str:
    """A time that may be very short, to two digits.

    >>> brief(0.0000123), brief(0.00456), brief(0.25), brief(75)
    ('12 µs', '4.6 ms', '250 ms', '75 s')
    """
    unit, number = "s", seconds
    for smaller in ("ms", "µs"):
        if number >= 1:
            break
        unit, number = smaller, number * 1000
    return f"{number:.1f} {unit}" if number < 10 else f"{float(f'{number:.2g}'):.0f} {unit}"
