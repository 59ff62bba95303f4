"""Percentiles of very many durations in a small list, to about 3 %: what HdrHistogram does, with 5 bits."""

from __future__ import annotations

from typing import Any, Dict, List

BUCKETS = 1184  # up to 2**40 ns, 18 minutes


def bucket_of(ns: int) -> int:
    """The bucket of a duration: one for each ns up to 63, then 32 for each power of two.

    >>> bucket_of(63), bucket_of(64), bucket_of(65), bucket_of(66)
    (63, 64, 64, 65)
    """
    if ns < 64:
        return max(ns, 0)
    shift = ns.bit_length() - 6
    return min(32 * shift + (ns >> shift), BUCKETS - 1)


def middle_of(bucket: int) -> int:
    """The duration in the middle of a bucket, in ns."""
    if bucket < 64:
        return bucket
    shift = bucket // 32 - 1
    return ((bucket - 32 * shift) << shift) + (1 << shift >> 1)


class Histogram:
    """Durations in ns. Pickles, and adds up across processes.

    >>> h = Histogram()
    >>> for ns in range(1, 1001):
    ...     h.add(ns)
    >>> h.count, h.max, 480 < h.quantile(0.5) < 520, 960 < h.quantile(0.99) <= 1000
    (1000, 1000, True, True)
    """

    __slots__ = ("count", "counts", "max")

    def __init__(self) -> None:
        self.counts: List[int] = [0] * BUCKETS
        self.count = 0
        self.max = 0

    def add(self, ns: int) -> None:
        """Count one duration."""
        self.counts[bucket_of(ns)] += 1
        self.count += 1
        self.max = max(self.max, ns)

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` has counted."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts)]
        self.count += other.count
        self.max = max(self.max, other.max)

    def quantile(self, share: float) -> int:
        """The duration in ns that so great a share of all does not exceed; 0 if there are none."""
        left = share * self.count
        for bucket, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return min(middle_of(bucket), self.max)
        return self.max

    def as_dict(self) -> Dict[str, Any]:
        """Percentiles in µs."""
        return {
            "samples": self.count,
            "p50_us": self.quantile(0.5) / 1000,
            "p99_us": self.quantile(0.99) / 1000,
            "max_us": self.max / 1000,
        }
