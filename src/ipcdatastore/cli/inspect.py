"""``stats`` and ``check``."""

from __future__ import annotations

import time
from typing import Any, Dict, Optional

import click

from . import output, text
from .options import common, open_store
from .root import NOT_FOUND

# Figures of the handle that `stats` has just opened, which say nothing about anybody else's.
OWN = ("cached", "cached_bytes", "uncached_reads", "own_retries", "own_locked_reads", "own_lock_waits")


@click.command("stats")
@click.argument("name")
@common
def stats_verb(name: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Figures of the store."""
    with open_store(name, directory, "r", timeout) as store:
        facts = {fact: value for fact, value in store.stats().items() if fact not in OWN}
    if as_json:
        output.write_json(facts)
    else:
        output.write_facts(for_people(facts) if output.on_terminal() else facts)


def for_people(facts: Dict[str, Any]) -> Dict[str, str]:
    """Thousands separated, and bytes with a unit that can be grasped."""
    shown = {}
    for name, value in facts.items():
        if type(value) is bool:
            shown[name] = "yes" if value else "no"
        elif type(value) is not int:
            shown[name] = str(value)
        elif name.endswith("_bytes") or name == "max_size":
            shown[name.replace("_bytes", "")] = f"{value:,} bytes{in_units(value)}"
        else:
            shown[name] = f"{value:,}"
    return shown


def in_units(value: int) -> str:
    """A second, rounded form of a number of bytes.

    >>> in_units(1000), in_units(1 << 30)
    ('', ' (1.0 GiB)')
    """
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 1 << power:
            return f" ({value / (1 << power):.1f} {unit})"
    return ""


@click.command("check")
@click.argument("name")
@common
@click.pass_context
def check_verb(ctx: click.Context, name: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Verify that the store is whole.

    Every invariant of the format is looked at, nothing is changed, and writers wait meanwhile.

    Work that a dead writer left half-done is reported too: it harms nobody, and the next write finishes it.
    """
    with open_store(name, directory, "r", timeout) as store:
        begun = time.perf_counter()
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
    from rich.text import Text

    console = output.console()
    if not problems:
        console.print(Text.assemble(("✔ ", "green"), f"{name} is whole: {records:,} records, {seconds * 1000:,.0f} ms"))
        return
    console.print(Text.assemble(("✘ ", "bold red"), f"{name}: {len(problems):,} problems"))
    for problem in problems:
        console.print(Text(f"  {text.printable(problem)}"))
