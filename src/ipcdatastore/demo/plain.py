"""The demo's progress and summary as plain lines, for pipes and logs."""

from __future__ import annotations

import time
from typing import List, Tuple

from .figures import Report, machine, total_of
from .units import count, duration, micro, rate, several, share, size

EVERY = 1.0  # seconds between two lines


class NoDisplay:
    """Shows nothing."""

    def show(self, report: Report) -> None:
        """Nothing."""


class PlainDisplay:
    """A line every second, and one whenever something else begins."""

    def __init__(self) -> None:
        self._phase = ("", False)
        self._next = 0.0

    def show(self, report: Report) -> None:
        """A line, if it is time."""
        phase = (report.phase, report.comparison.store_reads > 0)
        if not report.phase or (phase == self._phase and time.monotonic() < self._next):
            return
        self._phase = phase
        self._next = time.monotonic() + EVERY
        print(f"{report.seconds:5.1f} s  {report.phase:<15}  {line_of(report, report.phase)}".rstrip(), flush=True)


def line_of(report: Report, phase: str) -> str:
    """How a phase is getting on, or what it came to."""
    if phase == "gather and read":
        if not report.readers:
            return "the processes start"
        whole = total_of(report.readers)
        return (
            f"{count(report.gathering.files)} of {count(report.gathering.total)} files, "
            f"{rate(whole.recent_per_second)} look-ups ({share(whole.cache_hit_share)} from the cache, "
            f"p50 {micro(whole.latency.quantile(0.5))}, p99 {micro(whole.latency.quantile(0.99))}), "
            f"{rate(report.rewriting.recent_per_second)} writes"
        )
    if phase == "verify":
        return f"{count(report.verification.records)} of {count(report.gathering.files)} records against the disk"
    if phase == "kill":
        killing = report.killing
        done = count(killing.acknowledged)
        return f"{several(killing.kills, 'writer')}, {killing.inside} inside an operation; {done} acknowledged writes"
    where = "a Manager().dict()" if report.comparison.store_reads else "the store"
    return f"the same look-ups in {where}"


def rows(report: Report) -> List[Tuple[str, str]]:
    """What was done and what came out of it, for each step that was made to its end."""
    made = []
    if report.gathering.done:
        made.append(("gathered", _gathered(report)))
    if report.verification.done:
        made += [("looked up", _looked_up(report)), ("rewritten", _rewritten(report))]
        if not report.verification.failures:
            made.append(("verified", _verified(report)))
    if report.killing.kills >= report.killing.wanted and not report.killing.failures:
        made.append(("killed", _killed(report)))
    if report.finished:
        made.append(("compared", _compared(report)))
    return made


def _gathered(report: Report) -> str:
    done = report.gathering
    unreadable = f" ({count(done.unreadable)} more could not be read)" if done.unreadable else ""
    return f"{count(done.files)} files{unreadable}, {size(done.bytes)}, in {duration(done.seconds)}"


def _looked_up(report: Report) -> str:
    whole = total_of(report.readers)
    return (
        f"{count(whole.reads)} times in {duration(whole.seconds)} by {several(len(report.readers), 'process')}: "
        f"{rate(whole.per_second)}, {share(whole.cache_hit_share)} from the cache"
    )


def _rewritten(report: Report) -> str:
    done, compared = report.rewriting, total_of(report.readers).pairs_compared
    return (
        f"{count(done.writes)} times meanwhile, {rate(done.per_second)}, p50 {micro(done.latency.quantile(0.5))}; "
        f"{count(compared)} pairs compared, none seen in half"
    )


def _verified(report: Report) -> str:
    done = report.verification
    changed = f"; {count(done.changed)} files were changed meanwhile" if done.changed else ""
    return (
        f"{count(done.matching)} of {count(done.total)} records equal the disk{changed} "
        f"(a fresh process, {duration(done.seconds)})"
    )


def _killed(report: Report) -> str:
    done = report.killing
    return (
        f"{several(done.kills, 'writer')} with SIGKILL, {done.inside} of them inside an operation, which the next one "
        f"repaired; {count(done.acknowledged)} acknowledged writes, none lost; {done.pairs} pairs, none in half"
    )


def _compared(report: Report) -> str:
    done = report.comparison
    return (
        f"{done.store_us:.2f} µs a look-up, {done.manager_us:.1f} µs in a Manager().dict(): {done.ratio:.0f} × as fast "
        f"(medians, {several(done.processes, 'process')}, {several(done.records, 'record')})"
    )


def summary(report: Report) -> str:
    """The summary as lines; of a demo that failed, how far it came."""
    where = machine()
    lines = [f"{report.folder} ({where['python']} on {where['system']}, {where['cpus']} CPUs)"]
    lines += [f"{title:<10} {text}" for title, text in rows(report)]
    for number, one in enumerate(report.readers, 1):
        latency = one.latency
        lines.append(
            f"reader {number:<3} {rate(one.per_second)}, {share(one.cache_hit_share)} from the cache; "
            f"p50 {micro(latency.quantile(0.5))}, p99 {micro(latency.quantile(0.99))}, max {micro(latency.max)} "
            f"({count(latency.count)} of {count(one.reads)} look-ups timed)"
        )
    if report.verification.changed_files:
        lines.append(f"changed    {', '.join(map(repr, report.verification.changed_files))}")
    lines.append(f"{'all was verified' if report.verified else 'FAILED'} in {duration(report.seconds)}")
    return "\n".join(lines)
