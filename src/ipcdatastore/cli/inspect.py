"""``stats`` and ``check``."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Optional, Tuple

import click

from . import output, text
from .options import common, examples, name_argument, open_store
from .regions import command_of
from .root import NOT_FOUND
from .units import size, span

# Figures of the handle that `stats` has just opened, which say nothing about anybody else's.
OWN = ("cached", "cached_bytes", "uncached_reads", "own_retries", "own_locked_reads", "own_lock_waits", "restored")


@click.command("stats", epilog=examples("ipcdatastore stats shop --json | jq .records"))
@name_argument
@common
def stats_verb(name: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Figures of the store.

    Reads, retries and waits are those of all processes, past their caches, and near enough: each adds its own now and
    then. Times are seconds since the epoch, sizes bytes.
    """
    with open_store(name, directory, "r", timeout) as store:
        facts = {fact: value for fact, value in store.stats().items() if fact not in OWN}
    if as_json:
        output.write_json(facts)
    else:
        output.write_facts(for_people(facts) if output.on_terminal() else facts)


def for_people(facts: Dict[str, Any]) -> Dict[str, str]:
    """Thousands separated, bytes with a unit that can be grasped, and times as how long ago."""
    shown = {}
    for name, value in facts.items():
        if name in WORDS:
            label, words = WORDS[name]
            shown[label] = words(value)
        elif type(value) is bool:
            shown[name] = "yes" if value else "no"
        elif type(value) is not int:
            shown[name] = str(value)
        elif name.endswith("_bytes") or name == "max_size":
            shown[name.replace("_bytes", "")] = f"{value:,} bytes{f' ({size(value)})' if value >= 1024 else ''}"
        else:
            shown[name] = f"{value:,}"
    return shown


def _coordinator(pid: Optional[int]) -> str:
    return f"process {pid}  {command_of(pid)}" if pid else "nobody"


WORDS: Dict[str, Tuple[str, Callable[[Any], str]]] = {
    "persist": ("kept on disk", lambda policy: "every key" if policy == "all" else "marked keys"),
    "snapshot_directory": ("images", str),
    "image_number": ("last image", lambda number: f"{number:08}" if number else "none"),
    "flushed_at": ("flushed", lambda at: "never" if at is None else f"{span(time.time() - at)} ago"),
    "unflushed": ("changed since", lambda value: "yes" if value else "no"),
    "coordinator": ("looked after by", _coordinator),
}


@click.command("check", epilog=examples("ipcdatastore check shop && echo whole"))
@name_argument
@common
@click.pass_context
def check_verb(ctx: click.Context, name: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Verify that the store is whole.

    Every invariant of the format is looked at, nothing is changed, and writers wait meanwhile.

    Work that a dead writer left half-done is reported too: it harms nobody, and the next write finishes it.
    """
    with open_store(name, directory, "r", timeout) as store:
        begun = time.perf_counter()
        with output.working(f"{name} is verified"):
            problems = store.check()
        seconds = time.perf_counter() - begun
        records = len(store)
    if as_json:
        output.write_json({"name": name, "whole": not problems, "problems": problems, "records": records})
    elif output.on_terminal():
        show_check(name, problems, records, seconds)
    else:
        output.write_rows([text.printable(problem)] for problem in problems)
    if problems:
        ctx.exit(NOT_FOUND)


def show_check(name: str, problems: Any, records: int, seconds: float) -> None:
    """The verdict, in colour."""
    if not problems:
        output.say_so("good", f"{name} is whole: {output.several(records, 'record')}, {seconds * 1000:,.0f} ms")
        return
    output.say_so("bad", f"{name}: {output.several(len(problems), 'problem')}; `ipcdatastore repair {name}` mends it")
    for problem in problems:
        output.say_so("note", problem)
