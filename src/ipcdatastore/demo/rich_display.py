"""The demo on a terminal: a live view while it runs, and a summary that can be saved as a picture. Needs ``rich``."""

from __future__ import annotations

import io
import time
from typing import Any, List, Tuple

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .director import PHASES
from .figures import Reading, Report, machine, total_of
from .plain import line_of, rows
from .units import count, duration, micro, rate, several, share, size

EVERY = 0.125  # seconds between two pictures
WIDTH = 100
BAR = 14


class RichDisplay:
    """A live view on `console`, in a ``with`` statement. It goes when it is left: the summary takes its place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next = 0.0

    def __enter__(self) -> RichDisplay:
        self._live.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._live.stop()

    def show(self, report: Report) -> None:
        """Draw, if it is time."""
        if report.phase and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self._live.update(view(report), refresh=True)


def view(report: Report) -> RenderableType:
    """The whole picture of a demo that runs."""
    body = Group(_phases(report), _processes(report))
    return Panel(
        body, title=_title(report), subtitle=duration(report.seconds), box=box.ROUNDED, width=WIDTH, padding=(1, 2)
    )


def _title(report: Report) -> Text:
    folder = report.folder
    if len(folder) > 60:
        folder = "…" + folder[-59:]
    return Text.assemble(("ipcdatastore demo", "bold"), "  ", (folder, "dim"))


def _phases(report: Report) -> Table:
    """One line a phase: what is done, what is under way and how far, what is to come."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=17)
    table.add_column(width=BAR)
    table.add_column(ratio=1)
    reached = PHASES.index(report.phase)
    for number, phase in enumerate(PHASES):
        done, total = _progress(report, phase)
        if number < reached:
            mark, style, text = "✔", "green", _said(report, phase)
        elif number == reached:
            mark, style, text = "▶", "bold cyan", _said(report, phase)
        else:
            mark, style, text = "·", "dim", ""
        bar = ProgressBar(total=total, completed=done, width=BAR, finished_style="green", complete_style="cyan")
        table.add_row(Text(f"{mark} {phase}", style), bar if number <= reached else "", Text(text, "dim"))
    return table


def _progress(report: Report, phase: str) -> Tuple[float, float]:
    if phase == "gather and read":
        return report.gathering.files + report.gathering.unreadable, max(1, report.gathering.total)
    if phase == "verify":
        return report.verification.records, max(1, report.gathering.files)
    if phase == "kill":
        return report.killing.kills, max(1, report.killing.wanted)
    return (report.comparison.store_reads > 0) + (report.comparison.manager_reads > 0), 2


def _said(report: Report, phase: str) -> str:
    if phase == "gather and read":
        done = report.gathering
        return f"{count(done.files)} of {count(done.total)} files, {size(done.bytes)} in {duration(done.seconds)}"
    if phase == report.phase or phase != "compare":
        return line_of(report, phase)
    return ""


def _processes(report: Report) -> Table:
    """Each process's speed. Of one that runs, as it is now; of one that is done, on average."""
    recent = report.phase == PHASES[0]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, expand=True, header_style="bold")
    table.add_column("process", no_wrap=True)
    for heading in ("per second", "cache", "p50", "p99", "max", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, one in enumerate(report.readers, 1):
        _add(table, f"reader {number}", one, one.recent_per_second if recent else one.per_second, "cyan")
    if len(report.readers) > 1:
        whole = total_of(report.readers)
        _add(table, "all readers", whole, whole.recent_per_second if recent else whole.per_second, "bold cyan")
    writer = report.rewriting
    if writer.writes:
        speed = writer.recent_per_second if recent else writer.per_second
        table.add_row("writer", Text(rate(speed)[:-2], "magenta"), "", *_latency(writer), count(writer.writes))
    return table


def _add(table: Table, name: str, one: Reading, per_second: float, style: str) -> None:
    speed = Text(rate(per_second)[:-2], style)
    table.add_row(name, speed, share(one.cache_hit_share), *_latency(one), count(one.reads))


def _latency(one: Any) -> List[str]:
    return [micro(one.latency.quantile(0.5)), micro(one.latency.quantile(0.99)), micro(one.latency.max)]


# --- the summary -----------------------------------------------------------------------------------------
def summary(report: Report) -> RenderableType:
    """What was done and what came out of it; of a demo that failed, how far it came, and why it failed."""
    done = Table.grid(padding=(0, 2))
    done.add_column(no_wrap=True)
    done.add_column(ratio=1, overflow="fold")
    for title, text in rows(report):
        shown = _comparison(report) if title == "compared" else Text(text)
        done.add_row(Text(f"✔ {title}", "green"), shown)
    for problem in report.problems:
        done.add_row(Text("✘ failed", "bold red"), Text(problem, "red"))
    parts: List[RenderableType] = [done]
    if report.readers:
        parts.append(_processes(report))
    where = machine()
    note = "; one look-up of 64 is timed, and max is what the system's scheduler makes of it" if report.readers else ""
    parts.append(Text(f"{where['python']} on {where['system']}, {where['cpus']} CPUs{note}", "dim"))
    verdict = "all was verified" if report.verified else "FAILED"
    colour = "green" if report.verified else "red"
    subtitle = Text(f"{verdict} in {duration(report.seconds)}", f"bold {colour}")
    return Panel(
        Group(*parts),
        title=_title(report),
        subtitle=subtitle,
        box=box.ROUNDED,
        border_style=colour,
        width=WIDTH,
        padding=(1, 2),
    )


def _comparison(report: Report) -> RenderableType:
    """Two bars, as long as a look-up takes."""
    figures = report.comparison
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    longest = max(figures.manager_us, figures.store_us) or 1
    for name, us, style in (
        ("the store", figures.store_us, "green"),
        ("Manager().dict()", figures.manager_us, "red"),
    ):
        bar = ProgressBar(
            total=longest, completed=max(us, longest / 30), width=30, complete_style=style, finished_style=style
        )
        table.add_row(name, Text(f"{us:.2f} µs", style), bar)
    return Group(
        Text.assemble(
            (f"{figures.ratio:.0f} × as fast", "bold"),
            f" as the same look-ups in a Manager().dict() (medians, {several(figures.processes, 'process')}):",
        ),
        table,
    )


def save_svg(report: Report, path: str) -> None:
    """The summary as a picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(summary(report))
    console.save_svg(path, title="ipcdatastore demo")
