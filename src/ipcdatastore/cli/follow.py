"""``wait`` and ``watch``: to be told of changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

import click

import ipcdatastore

from . import output, text
from .listing import matches
from .options import (
    Seconds,
    directory_option,
    examples,
    json_option,
    key_argument,
    key_option,
    name_argument,
    open_store,
    parse_key,
)
from .root import NOT_FOUND, complain

if TYPE_CHECKING:
    from ipcdatastore.codec import Key

STYLES = {"set": "green", "delete": "red", "expire": "yellow", "evict": "magenta"}


@click.command(
    "wait",
    epilog=examples(
        "ipcdatastore wait shop colour --timeout 60 && echo changed",
        "ipcdatastore wait shop ready --since 0 --value    # at once if it is there",
    ),
)
@name_argument
@key_argument
@key_option
@click.option(
    "--since",
    type=click.IntRange(0),
    metavar="N",
    help="Not beyond version N (0: not there); default: what it is at now.",
)
@click.option("--timeout", type=Seconds(0), metavar="SECONDS", help="Wait no longer; default: for ever.")
@click.option("--value", "with_value", is_flag=True, help="The value too.")
@directory_option
@json_option
@click.pass_context
def wait_verb(
    ctx: click.Context,
    name: str,
    key: str,
    key_type: str,
    since: Optional[int],
    timeout: Optional[float],
    with_value: bool,
    directory: Optional[str],
    as_json: bool,
) -> None:
    """Wait until KEY changes, and write its version.

    The version is 0 if KEY is not there any more. With --value a line is: version, value. The exit code is 1 if
    nothing changed in time.
    """
    wanted = parse_key(key, key_type)
    # Not read only: through such a handle nobody can be asked for a wake-up, and waiting is looking again and again.
    with open_store(name, directory, "w") as store:
        version = store.wait(wanted, since, timeout)
        if version is None:
            complain(f"{key!r} did not change within {timeout:g} s")
            ctx.exit(NOT_FOUND)
        facts: Dict[str, Any] = {"key": text.to_json(wanted), "version": version}
        row = [str(version)]
        if with_value:
            # The version is that of the value: both may be newer than what ended the wait.
            entry = store.get_entry(wanted)
            facts["version"], facts["value"] = (entry.version, text.to_json(entry.value)) if entry else (0, None)
            row = [str(entry.version), text.value_line(entry.value)] if entry else ["0", ""]
    if as_json:
        output.write_json(facts)
    else:
        output.write_rows([row])


@click.command(
    "watch",
    epilog=examples(
        "ipcdatastore watch shop",
        "ipcdatastore watch shop skin. --values --json | jq -c .",
        "ipcdatastore watch shop --count 1 --timeout 60 && echo something changed",
    ),
)
@name_argument
@click.argument("prefix", required=False)
@click.option("--values", is_flag=True, help="The values too, as they are when the line is written.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option(
    "--timeout",
    type=Seconds(0),
    metavar="SECONDS",
    help="End when nothing happened for so long; default: never.",
)
@directory_option
@json_option
@click.pass_context
def watch_verb(
    ctx: click.Context,
    name: str,
    prefix: Optional[str],
    values: bool,
    count: Optional[int],
    timeout: Optional[float],
    directory: Optional[str],
    as_json: bool,
) -> None:
    """Write a line for each change, as it comes.

    In a pipe, a line is: what happened (set, delete, expire, evict, clear, overflow), version, key, and with --values
    the value. With PREFIX, only of str keys that begin with it, and of tuples whose first item does. `overflow` says
    that events were missed, since they came faster than they were read. With --count the exit code is 1 if fewer came
    in time.
    """
    seen = 0
    with open_store(name, directory, "w") as store, store.watch() as events:
        while seen != count:
            event = next_event(events, prefix, timeout)
            if event is None:
                break
            write_event(store, event, values, as_json)
            seen += 1
    if count is not None and seen < count:
        complain(f"{seen} of {count} events within {timeout:g} s")
        ctx.exit(NOT_FOUND)


def next_event(
    events: ipcdatastore.Watch, prefix: Optional[str], timeout: Optional[float]
) -> Optional[ipcdatastore.Event]:
    """The next event that is asked for; None if none came in time. `list` means the same keys by a prefix."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        event = events.next(None if until is None else max(0.0, until - time.monotonic()))
        if event is None or event.key is None or matches(event.key, prefix):
            return event


def write_event(store: ipcdatastore.Datastore, event: ipcdatastore.Event, values: bool, as_json: bool) -> None:
    """One line, at once."""
    key = event.key
    value, line = look(store, key) if values and event.kind == "set" else ({}, "")
    if as_json:
        facts = {"kind": event.kind, "key": None if key is None else text.to_json(key), "version": event.version}
        output.write_json({**facts, **value})
    elif output.on_terminal():
        show_event(event, line)
    else:
        row = [event.kind, str(event.version), "" if key is None else text.key_line(key)]
        output.write_rows([row + [line] * values])
    output.flush()


def look(store: ipcdatastore.Datastore, key: Key) -> Tuple[Dict[str, Any], str]:
    """The value for JSON, and on a line. One that is gone is neither, and one that cannot be read ends nothing."""
    try:
        entry = store.get_entry(key)
    except ipcdatastore.DecodeError as error:
        return {"error": str(error)}, text.printable(str(error))
    return ({}, "") if entry is None else ({"value": text.to_json(entry.value)}, text.value_line(entry.value))


def show_event(event: ipcdatastore.Event, line: str) -> None:
    """An event on a terminal."""
    from rich.text import Text

    key = "" if event.key is None else text.key_line(event.key)
    shown = Text.assemble(
        (time.strftime("%H:%M:%S  "), "dim"),
        (f"{event.kind:<9}", STYLES.get(event.kind, "bold")),
        (f"{event.version:>10,}  ", "dim"),
        (key, "cyan"),
        f"  {text.shorten(line)}",
    )
    output.console().print(shown, soft_wrap=True)
