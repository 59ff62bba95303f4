"""What the demo measures. Every field says its unit; the processes report these objects through the board."""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass, field
from typing import Any, Dict, List

from .histogram import Histogram

MOST_NAMED = 20  # so many failures and changed files are named; all are counted


@dataclass
class Gathering:
    """The gatherer: files found and stored, and what it read for that."""

    total: int = 0
    files: int = 0
    bytes: int = 0
    unreadable: int = 0
    seconds: float = 0.0
    done: bool = False


@dataclass
class Reading:
    """One reader: look-ups, how many of them the cache could not answer, and how long some took."""

    reads: int = 0
    uncached_reads: int = 0
    pairs_compared: int = 0
    seconds: float = 0.0
    recent_per_second: float = 0.0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def per_second(self) -> float:
        """Look-ups per second."""
        return self.reads / self.seconds if self.seconds else 0.0

    @property
    def cache_hit_share(self) -> float:
        """The part of all look-ups that one load of a shared word confirmed, 0 to 1."""
        return 1 - self.uncached_reads / self.reads if self.reads else 0.0


def total_of(readings: List[Reading]) -> Reading:
    """All readers as one: counts added up, time that of the longest."""
    whole = Reading()
    for one in readings:
        whole.reads += one.reads
        whole.uncached_reads += one.uncached_reads
        whole.pairs_compared += one.pairs_compared
        whole.seconds = max(whole.seconds, one.seconds)
        whole.recent_per_second += one.recent_per_second
        whole.latency.merge(one.latency)
    return whole


@dataclass
class Rewriting:
    """The writer that rewrites records while they are read; `latency` is of its writes."""

    writes: int = 0
    transactions: int = 0
    seconds: float = 0.0
    recent_per_second: float = 0.0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def per_second(self) -> float:
        """Writes per second."""
        return self.writes / self.seconds if self.seconds else 0.0


@dataclass
class Verification:
    """The fresh process that compares every record with the disk."""

    total: int = 0
    matching: int = 0
    changed: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    changed_files: List[str] = field(default_factory=list)
    failures: List[str] = field(default_factory=list)
    done: bool = False

    @property
    def records(self) -> int:
        """How many were compared so far."""
        return self.matching + self.changed + self.failed


@dataclass
class Killing:
    """A writer killed in mid-work, again and again."""

    wanted: int = 0
    kills: int = 0
    inside: int = 0  # left an operation half-done, which was then repaired
    acknowledged: int = 0
    unacknowledged: int = 0  # done, and killed before it could say so
    pairs: int = 0
    seconds: float = 0.0
    failures: List[str] = field(default_factory=list)


@dataclass
class Comparison:
    """The same look-ups, by as many processes, in the store and in a manager's dict."""

    processes: int = 0
    records: int = 0
    store_reads: int = 0
    store_us: float = 0.0
    manager_reads: int = 0
    manager_us: float = 0.0
    seconds: float = 0.0

    @property
    def ratio(self) -> float:
        """How many look-ups in the store fit into one of the manager's."""
        return self.manager_us / self.store_us if self.store_us else 0.0


@dataclass
class Report:
    """Everything, and whether it was right. Grows while the demo runs; a display may look at any time."""

    folder: str
    phase: str = ""
    seconds: float = 0.0
    gathering: Gathering = field(default_factory=Gathering)
    readers: List[Reading] = field(default_factory=list)
    rewriting: Rewriting = field(default_factory=Rewriting)
    verification: Verification = field(default_factory=Verification)
    killing: Killing = field(default_factory=Killing)
    comparison: Comparison = field(default_factory=Comparison)
    store: Dict[str, Any] = field(default_factory=dict)
    problems: List[str] = field(default_factory=list)
    finished: bool = False

    @property
    def verified(self) -> bool:
        """Whether every step was made and nothing was wrong."""
        return self.finished and not self.problems

    def as_dict(self) -> Dict[str, Any]:
        """All figures, for JSON. Units are in the names; plain counts have none."""
        return {
            "verified": self.verified,
            "problems": self.problems,
            "folder": self.folder,
            "seconds": self.seconds,
            "machine": machine(),
            "gather": dataclasses.asdict(self.gathering),
            "readers": [_reading(one) for one in self.readers],
            "all_readers": _reading(total_of(self.readers)),
            "rewrite": {
                **_plain(self.rewriting),
                "writes_per_second": self.rewriting.per_second,
                "latency": self.rewriting.latency.as_dict(),
            },
            "verify": {**dataclasses.asdict(self.verification), "records": self.verification.records},
            "kill": dataclasses.asdict(self.killing),
            "compare": {**dataclasses.asdict(self.comparison), "ratio": self.comparison.ratio},
            "store": self.store,
        }


def machine() -> Dict[str, Any]:
    """Where the figures were measured."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def _plain(figures: Any) -> Dict[str, Any]:
    return {name: value for name, value in vars(figures).items() if name not in ("latency", "recent_per_second")}


def _reading(one: Reading) -> Dict[str, Any]:
    return {
        **_plain(one),
        "reads_per_second": one.per_second,
        "cache_hit_share": one.cache_hit_share,
        "latency": one.latency.as_dict(),
    }
