"""``objects``: what is served here, by whom, and how busy it is."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import click

import ipcdatastore
from ipcdatastore import place

from . import live, output, text
from .options import Seconds, examples, json_option, object_directory_option
from .regions import command_of
from .root import complain
from .units import about, brief, rate

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = (
    ("object", "left"),
    ("process", "left"),
    ("for", "right"),
    ("clients", "right"),
    ("calls", "right"),
    ("calls/s", "right"),
    ("median", "right"),
    ("p99", "right"),
    ("errors", "right"),
)


class Look(NamedTuple):
    """All that is served, at one moment."""

    moment: float
    objects: List[ipcdatastore.ObjectInfo]


@click.command(
    "objects",
    epilog=examples(
        "ipcdatastore objects",
        "ipcdatastore objects --watch",
        "ipcdatastore objects --json --interval 0 | jq -r .[].name",
    ),
)
@click.option(
    "--interval",
    type=Seconds(0),
    metavar="SECONDS",
    help="Between two looks, for the rates; 0: one look, no rates.  [default: 0.5; 1 with --watch]",
)
@click.option("--watch", is_flag=True, help="Again and again.")
@object_directory_option
@json_option
def objects_verb(interval: Optional[float], watch: bool, directory: Optional[str], as_json: bool) -> None:
    """Show the objects whose methods can be called, and how busy they are.

    In a pipe, a line is: name, pid, command line (empty: not known), since when (seconds since the epoch), clients,
    calls, calls a second (empty: not known), median and 99th percentile of the seconds that a call takes there (empty:
    no call), calls that raised. With --watch, the time comes first. Times are those of the calls between the two looks,
    or, if there were none, of all; they are known to a factor of two. Asking an object what it has is a call as well.
    """
    if watch and interval is not None and interval < live.LEAST_INTERVAL:
        raise click.BadParameter(f"at least {live.LEAST_INTERVAL:g} with --watch", param_hint="'--interval'")
    base = place.resolve_directory(directory)
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            keep_looking(base, 1.0 if interval is None else interval, as_json)
        return
    first = look(base)
    facts = figures(None, first)
    if interval != 0 and first.objects:
        time.sleep(0.5 if interval is None else interval)
        facts = figures(first, look(base))
    if as_json:
        output.write_json_array(facts)
    elif not facts and not output.on_terminal():
        complain(nobody(base))
    elif output.on_terminal():
        output.console().print(view(facts, base))
    else:
        output.write_rows(map(row_of, facts))


def keep_looking(base: str, interval: float, as_json: bool) -> None:
    """A picture that is drawn anew, or what changes line by line."""
    first = look(base)
    if output.on_terminal() and not as_json:
        live.draw(view(figures(None, first), base), (view(facts, base) for facts in _following(base, first, interval)))
        return
    for facts in _following(base, first, interval):
        at = time.time()
        if as_json:
            output.write_json({"at": at, "objects": facts})
        else:
            output.write_rows([f"{at:.3f}", *row_of(one)] for one in facts)
        output.flush()


def _following(base: str, before: Look, interval: float) -> Iterator[List[Dict[str, Any]]]:
    while True:
        time.sleep(interval)
        now = look(base)
        yield figures(before, now)
        before = now


def look(base: str) -> Look:
    """Look."""
    return Look(time.monotonic(), ipcdatastore.objects(base))


# --- figures -----------------------------------------------------------------------------------------
def figures(before: Optional[Look], now: Look) -> List[Dict[str, Any]]:
    """What there is now, and what happened in between. Who was not there before has no rate."""
    known = {(one.path, one.pid, one.since): one for one in before.objects} if before else {}
    seconds = now.moment - before.moment if before else 0.0
    return [_facts(one, known.get((one.path, one.pid, one.since)), seconds) for one in now.objects]


def _facts(now: ipcdatastore.ObjectInfo, before: Optional[ipcdatastore.ObjectInfo], seconds: float) -> Dict[str, Any]:
    counts: Sequence[int] = now.histogram
    calls_per_second = None
    if before is not None and seconds > 0:
        calls_per_second = max(0, now.calls - before.calls) / seconds
        between = [(new - old) & 0xFFFFFFFF for new, old in zip(now.histogram, before.histogram)]
        counts = between if any(between) else counts
    return {
        "name": now.name,
        "pid": now.pid,
        "command": command_of(now.pid),
        "since": now.since,
        "clients": now.clients,
        "calls": now.calls,
        "errors": now.errors,
        "calls_per_second": calls_per_second,
        "median_seconds": quantile(counts, 0.5),
        "p99_seconds": quantile(counts, 0.99),
        "busy_seconds": now.busy,
        "serializer": now.serializer,
        "workers": now.workers,
        "path": now.path,
    }


def quantile(counts: Sequence[int], share: float) -> Optional[float]:
    """The seconds in which `share` of the calls were done; None if there were none.

    `counts[i]` calls took 2^(i-1) to 2^i nanoseconds; in between, as many are taken to be quick as slow.

    >>> quantile([0, 0, 0, 4], 0.5) == 2**2.5 / 1e9, quantile([0, 0], 0.5)
    (True, None)
    """
    left = share * sum(counts)
    for number, count in enumerate(counts):
        if count and count >= left:
            return float(2 ** (number - 1 + left / count) / 1e9)
        left -= count
    return None


def row_of(facts: Dict[str, Any]) -> List[str]:
    """A line in a pipe."""
    times = [facts["median_seconds"], facts["p99_seconds"]]
    per_second = facts["calls_per_second"]
    return [
        text.printable(facts["name"]),
        str(facts["pid"]),
        text.printable(facts["command"]),
        f"{facts['since']:.3f}",
        str(facts["clients"]),
        str(facts["calls"]),
        "" if per_second is None else f"{per_second:.1f}",
        *("" if seconds is None else f"{seconds:.9f}" for seconds in times),
        str(facts["errors"]),
    ]


# --- on a terminal -----------------------------------------------------------------------------------
def nobody(base: str) -> str:
    """What is said where nothing is served."""
    return f"no object is served in {base}; a program serves one with `ipcdatastore.serve_object(name, obj)`"


def view(facts: List[Dict[str, Any]], base: str) -> RenderableType:
    """The table: the busiest is not first, so that nobody has to look for a name."""
    from rich.console import Group
    from rich.text import Text

    if not facts:
        return Text.assemble(output.mark("note"), " ", text.printable(nobody(base), exact=False))
    line = Text(f" {output.several(len(facts), 'object')} in {text.printable(base, exact=False)}", "dim")
    return Group(output.table(COLUMNS, [_cells(one) for one in facts], "object", "process"), line)


def _cells(facts: Dict[str, Any]) -> List[Any]:
    from rich.text import Text

    per_second = facts["calls_per_second"]
    process = Text.assemble((str(facts["pid"]), "dim"), f" {text.printable(facts['command'], exact=False)}")
    return [
        Text(text.printable(facts["name"]), "cyan"),
        process,
        about(time.time() - facts["since"]),
        f"{facts['clients']:,}",
        f"{facts['calls']:,}",
        Text("" if per_second is None else rate(per_second), "bold magenta"),
        *(_time(facts[name]) for name in ("median_seconds", "p99_seconds")),
        Text(f"{facts['errors']:,}", "red" if facts["errors"] else ""),
    ]


def _time(seconds: Optional[float]) -> str:
    return "" if seconds is None else brief(seconds)
