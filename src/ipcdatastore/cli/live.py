"""``top``: what goes on in a store, now and again."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional

import click

import ipcdatastore

from . import output, text
from .options import LOCK_TIMEOUT, Seconds, directory_option, examples, json_option, name_argument, open_store
from .regions import User, command_of, users
from .units import rate, size, span

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LEAST_INTERVAL = 0.05  # seconds
BARS = "▁▂▃▄▅▆▇█"
SHOWN = 40  # samples of the sparkline
WIDTH = 78
MOST_PROCESSES = 8
COUNTERS = ("reads", "retries", "locked_reads", "lock_waits")  # modulo 2**32


class Sample(NamedTuple):
    """The store at one moment."""

    moment: float
    facts: Dict[str, Any]
    processes: Optional[List[User]]


@click.command("top", epilog=examples("ipcdatastore top shop", "ipcdatastore top shop --once --json | jq .keys"))
@name_argument
@click.option(
    "--interval",
    type=Seconds(LEAST_INTERVAL),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option("--once", is_flag=True, help="One interval only.")
@directory_option
@json_option
def top_verb(name: str, interval: float, once: bool, directory: Optional[str], as_json: bool) -> None:
    """Show what goes on in the store, again and again.

    In a pipe, a line is: time, keys, bytes used, bytes at most, writes a second, reads past a cache a second, retries
    a second, waits for a lock a second, processes that have it open (empty: not known), time of the last flush, pid
    of the coordinator. Reads that a client's cache answers touch nothing that could be counted. Ctrl-C ends it.
    """
    with open_store(name, directory, "r", LOCK_TIMEOUT) as store, contextlib.suppress(KeyboardInterrupt):
        if output.on_terminal() and not as_json:
            watch_live(store, interval, once)
            return
        before = sample(store)
        while True:
            time.sleep(interval)
            now = sample(store)
            facts = figures(before, now)
            if as_json:
                output.write_json(facts)
            else:
                output.write_rows([row_of(facts)])
            output.flush()
            if once:
                return
            before = now


def sample(store: ipcdatastore.Datastore) -> Sample:
    """Look."""
    facts = store.stats()
    return Sample(time.monotonic(), facts, users(facts["path"]))


def figures(before: Sample, now: Sample) -> Dict[str, Any]:
    """What there is now, and what happened in between, a second."""
    facts, seconds = now.facts, max(now.moment - before.moment, 1e-6)
    rates = {name: (facts[name] - before.facts[name] & 0xFFFFFFFF) / seconds for name in COUNTERS}
    processes = now.processes
    return {
        "at": time.time(),
        "name": facts["name"],
        "keys": facts["records"],
        "expiring": facts["expiring"],
        "used_bytes": facts["heap_bytes"] - facts["free_bytes"],
        "file_bytes": facts["file_bytes"],
        "max_size": facts["max_size"],
        "writes_per_second": max(0, facts["version"] - before.facts["version"]) / seconds,
        **{f"{name}_per_second": value for name, value in rates.items()},
        "processes": None if processes is None else [user._asdict() for user in processes],
        "persist": facts["persist"],
        "flushed_at": facts["flushed_at"],
        "unflushed": facts["unflushed"],
        "coordinator": facts["coordinator"],
    }


def row_of(facts: Dict[str, Any]) -> List[str]:
    """A line in a pipe."""
    row = [f"{facts['at']:.3f}", str(facts["keys"]), str(facts["used_bytes"]), str(facts["max_size"])]
    for name in ("writes", "reads", "retries", "lock_waits"):
        row.append(f"{facts[f'{name}_per_second']:.1f}")
    row.append("" if facts["processes"] is None else str(len(facts["processes"])))
    row.append("" if facts["flushed_at"] is None else f"{facts['flushed_at']:.3f}")
    return [*row, str(facts["coordinator"] or "")]


# --- on a terminal ---------------------------------------------------------------------------------------
def watch_live(store: ipcdatastore.Datastore, interval: float, once: bool) -> None:
    """A picture that is drawn anew each interval, and stays when it ends."""
    history: Deque[float] = deque(maxlen=SHOWN)
    first = sample(store)

    def pictures() -> Iterator[RenderableType]:
        before = first
        while True:
            time.sleep(interval)
            now = sample(store)
            facts = figures(before, now)
            history.append(facts["writes_per_second"])
            yield view(facts, history)
            if once:
                return
            before = now

    draw(view(figures(first, first), history), pictures())


def draw(first: RenderableType, pictures: Iterable[RenderableType]) -> None:
    """A picture, and each that follows in its place. The last one stays."""
    from rich.live import Live

    with Live(first, console=output.console(), auto_refresh=False) as live:
        for picture in pictures:
            live.update(picture, refresh=True)


def view(facts: Dict[str, Any], history: Deque[float]) -> RenderableType:
    """The picture."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    parts: List[RenderableType] = [_contents(facts), Text(), _rates(facts, history), Text(), _upkeep(facts)]
    title = Text.assemble((text.printable(facts["name"]), "bold"), (time.strftime("  %H:%M:%S"), "dim"))
    return Panel(Group(*parts), title=title, box=box.ROUNDED, width=WIDTH, padding=(1, 2))


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=10, no_wrap=True, style="dim")
    return grid


def _contents(facts: Dict[str, Any]) -> RenderableType:
    """How much is in it, and how near it is to its limit."""
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    used, most = facts["used_bytes"], facts["max_size"]
    style = "red" if used > 0.9 * most else "yellow" if used > 0.7 * most else "green"
    grid = _grid()
    grid.add_column()
    grid.add_column()
    expiring = f"{facts['expiring']:,} expire" if facts["expiring"] else ""
    grid.add_row("keys", Text(f"{facts['keys']:,}", "bold cyan"), Text(expiring, "dim"))
    bar = ProgressBar(total=most, completed=used, width=SHOWN, complete_style=style, finished_style=style)
    grid.add_row("used", bar, Text(f"{size(used)} of {size(most)}"))
    return grid


def _rates(facts: Dict[str, Any], history: Deque[float]) -> RenderableType:
    """What happens, each second."""
    from rich.text import Text

    grid = _grid()
    grid.add_column(width=9, justify="right")
    grid.add_column(width=SHOWN)
    grid.add_row(
        "writes/s", Text(rate(facts["writes_per_second"]), "bold magenta"), Text(sparkline(history), "magenta")
    )
    past = Text("past every cache", "dim")
    grid.add_row("reads/s", Text(rate(facts["reads_per_second"]), "bold cyan"), past)
    for name, label in (("retries", "retries/s"), ("lock_waits", "waits/s")):
        note = Text("reads that met a writer" if name == "retries" else "for a lock", "dim")
        grid.add_row(label, rate(facts[f"{name}_per_second"]), note)
    return grid


def _upkeep(facts: Dict[str, Any]) -> RenderableType:
    """Who has it open, who looks after it, and when it was last written to disk."""
    from rich.text import Text

    grid = _grid()
    grid.add_column(overflow="ellipsis", no_wrap=True, max_width=WIDTH - 18)
    grid.add_row("disk", flushed(facts))
    coordinator = facts["coordinator"]
    grid.add_row("service", Text(f"{coordinator}  {command_of(coordinator)}" if coordinator else "nobody"))
    processes = facts["processes"]
    if processes is None:
        grid.add_row("open in", Text("the system does not tell", "dim"))
        return grid
    for number, user in enumerate(processes[:MOST_PROCESSES]):
        label = "open in" if number == 0 else ""
        command = text.printable(user["command"], exact=False)
        grid.add_row(label, Text.assemble((str(user["pid"]), "cyan"), f"  {command}"))
    more = len(processes) - MOST_PROCESSES
    if more > 0 or not processes:
        grid.add_row("" if processes else "open in", Text(f"{more} more" if processes else "no other process", "dim"))
    return grid


def flushed(facts: Dict[str, Any]) -> str:
    """When it was last written to disk, in words."""
    at = facts["flushed_at"]
    kept = "every key" if facts["persist"] == "all" else "marked keys only"
    if at is None:
        return f"never flushed ({kept})"
    since = "; changed since" if facts["unflushed"] else ""
    return f"flushed {span(time.time() - at)} ago{since} ({kept})"


def sparkline(values: Any) -> str:
    """Numbers as a line of bars, the highest as high as it goes.

    >>> sparkline([0, 1, 5, 10])
    '▁▂▅█'
    """
    highest = max(values, default=0) or 1
    return "".join(BARS[round(value / highest * (len(BARS) - 1))] for value in values)
