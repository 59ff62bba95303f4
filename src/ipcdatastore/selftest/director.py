"""Runs the steps, one after the other, each in regions of its own; one that fails ends nothing but itself."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import basics, calls, crowd, damage, disk, limits, notice
from .bench import Bench, SelfTestError, scratch

# What each step proves, as a person would say it. Some start processes: not with `quick`.
STEPS: Dict[str, Callable[[Bench], str]] = {
    "values of every kind come back": basics.values,
    "versions only grow": basics.versions,
    "compare-and-set lets one win": basics.compare_and_set,
    "transactions are all or nothing": basics.transactions,
    "keys expire": basics.expiry,
    "namespaces are apart": basics.namespaces,
    "a cached value never lies": basics.cache,
    "threads lose no update": basics.threads,
    "a waiter is woken": notice.waiting,
    "a watch misses nothing": notice.watching,
    "a named lock has one holder": notice.lock,
    "objects can be called": calls.one_process,
    "a region grows in use": limits.growth,
    "a full one refuses, or evicts": limits.full,
    "processes see each other": crowd.two_processes,
    "a killed writer harms nobody": crowd.killed_writer,
    "a killed server's callers are told": calls.other_process,
    "damage is found and repaired": damage.region,
    "a flushed store comes back": disk.images,
    "a damaged backup is refused": disk.damaged,
}
WITH_PROCESSES = (crowd.two_processes, crowd.killed_writer, calls.other_process)


class Step(NamedTuple):
    """One thing that was tried. `detail` says what was seen, or what was wrong."""

    name: str
    ok: bool
    seconds: float
    detail: str


class Report(NamedTuple):
    """All of them."""

    steps: List[Step]

    @property
    def ok(self) -> bool:
        """Whether every step proved what it should."""
        return all(step.ok for step in self.steps)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(step.seconds for step in self.steps)

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "seconds": self.seconds, "steps": [step._asdict() for step in self.steps]}


def step_names(quick: bool = False) -> List[str]:
    """What :func:`run` will try."""
    return [name for name, function in STEPS.items() if not (quick and function in WITH_PROCESSES)]


def run(
    progress: Optional[Callable[[Step], Any]] = None, quick: bool = False, directory: Optional[str] = None
) -> Report:
    """Try everything, telling `progress` of each step when it is done.

    Raises what :func:`ipcdatastore.open` raises where no region can be made in `directory` at all.
    """
    steps: List[Step] = []
    with scratch(directory, quick) as bench:
        for name in step_names(quick):
            steps.append(_try(name, bench))
            if progress is not None:
                progress(steps[-1])
    return Report(steps)


def _try(name: str, bench: Bench) -> Step:
    begun = time.perf_counter()
    try:
        detail, ok = STEPS[name](bench), True
        bench.finish()
    except Exception as error:  # noqa: BLE001 - whatever it is, the step failed, and this is why
        ok = False
        detail = str(error) if isinstance(error, SelfTestError) else f"{type(error).__name__}: {error}"
        bench.drop()
    return Step(name, ok, time.perf_counter() - begun, detail)
