"""``repair`` and ``clear``: a store whose contents are given up, in part or whole."""

from __future__ import annotations

import sys
from typing import List, Optional

import click

from . import output, text
from .options import common, examples, name_argument, open_store
from .root import NOT_FOUND, complain


@click.command("repair", epilog=examples("ipcdatastore check shop || ipcdatastore repair shop"))
@name_argument
@common
@click.pass_context
def repair_verb(ctx: click.Context, name: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Mend a store that `check` finds damaged.

    Everything that can be derived is made anew. Records that are damaged themselves are given up, a line each;
    then the exit code is 1. Work that a dead writer left half-done needs no repair: the next write finishes it.
    """
    with open_store(name, directory, "w", timeout) as store:
        with output.working(f"{name} is repaired"):
            given_up = store.repair()
            problems = store.check()
        records = len(store)
    if as_json:
        document = {"name": name, "whole": not problems, "given_up": given_up, "problems": problems}
        output.write_json({**document, "records": records})
    elif output.on_terminal():
        show_repair(name, given_up, problems, records)
    else:
        output.write_rows([text.printable(line)] for line in (*given_up, *problems))
    if problems:
        complain(f"{name!r} could not be repaired; `ipcdatastore clear` empties it")
    if problems or given_up:
        ctx.exit(NOT_FOUND)


def show_repair(name: str, given_up: List[str], problems: List[str], records: int) -> None:
    """The outcome, in colour."""
    for line in given_up:
        output.say_so("warning", line)
    for line in problems:
        output.say_so("bad", line)
    if not problems:
        lost = f"{output.several(len(given_up), 'record')} lost" if given_up else "nothing was lost"
        output.say_so("good", f"{name} is whole: {output.several(records, 'record')}, {lost}")


@click.command("clear", epilog=examples("ipcdatastore clear shop --yes"))
@name_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
@click.pass_context
def clear_verb(
    ctx: click.Context, name: str, yes: bool, directory: Optional[str], as_json: bool, timeout: float
) -> None:
    """Delete every key of the store, at one moment.

    Asks first; where nobody can be asked, it wants --yes.
    """
    with open_store(name, directory, "w", timeout) as store:
        records = len(store)
        if not yes and not agreed(name, records):
            complain(f"{name!r} was left as it is")
            ctx.exit(NOT_FOUND)
        store.clear()
    if as_json:
        output.write_json({"name": name, "deleted": records})
    elif output.on_terminal():
        output.say_so("good", f"{name} is empty: {output.several(records, 'key')} deleted")


def agreed(name: str, records: int) -> bool:
    """Whether the person at the terminal says yes."""
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask: say --yes")
    return click.confirm(f"Delete {output.several(records, 'key')} of {name!r}?", err=True)
