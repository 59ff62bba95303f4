"""``list``: the keys of a store, and all that is known about them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import click

import ipcdatastore

from . import output, text
from .options import common, examples, name_argument, open_store
from .units import about

if TYPE_CHECKING:
    from ipcdatastore.codec import Key


WIDEST = 1000  # characters: no terminal is wider


class Line(NamedTuple):
    """A key of the list. One whose value cannot be read here has an `error`."""

    key: Key
    entry: Optional[ipcdatastore.Entry]
    error: str


@click.command(
    "list",
    epilog=examples("ipcdatastore list shop skin. --values", "ipcdatastore list shop --json | jq -r .[].key"),
)
@name_argument
@click.argument("prefix", required=False)
@click.option("--values", is_flag=True, help="The values too.")
@common
def list_verb(
    name: str, prefix: Optional[str], values: bool, directory: Optional[str], as_json: bool, timeout: float
) -> None:
    """List the keys, sorted.

    With PREFIX, those str keys that begin with it, and those tuples whose first item does: the keys of a
    namespace are such tuples. In a pipe, a line is: key, type of the value, bytes, version, time of writing,
    time of expiry (seconds since the epoch; empty if never), "persistent" if it is marked to be kept on disk, and with
    --values the value.
    """
    with open_store(name, directory, "r", timeout) as store:
        lines = read_lines(store, prefix)
        if as_json:
            output.write_json_array(json_of(line, values) for line in lines)
        elif output.on_terminal():
            show_list(list(lines), values, name)
        else:
            output.write_rows(row_of(line, values) for line in lines)


def read_lines(store: ipcdatastore.Datastore, prefix: Optional[str]) -> Iterator[Line]:
    """The keys that are asked for, each with its entry. A value that cannot be read ends nothing."""
    for key in sorted((key for key in store if matches(key, prefix)), key=order):
        try:
            entry = store.get_entry(key)
        except ipcdatastore.DecodeError as error:
            yield Line(key, None, str(error))
        else:
            if entry is not None:  # deleted meanwhile
                yield Line(key, entry, "")


def order(key: Key) -> Tuple[int, Any]:
    """Numbers, then text, then bytes, then tuples, which no ``<`` compares with each other."""
    if type(key) is tuple:
        return 3, tuple(map(order, key))
    return (int, str, bytes).index(type(key)), key


def matches(key: Key, prefix: Optional[str]) -> bool:
    """Whether `key` is asked for."""
    first = key[0] if type(key) is tuple and key else key
    return prefix is None or (type(first) is str and first.startswith(prefix))


def json_of(line: Line, values: bool) -> Dict[str, Any]:
    """One key for JSON."""
    if line.entry is None:
        return {"key": text.to_json(line.key), "error": line.error}
    facts = text.entry_facts(line.entry)
    if not values:
        del facts["value"]
    return facts


def row_of(line: Line, values: bool) -> List[str]:
    """One key in a pipe."""
    entry = line.entry
    if entry is None:
        return [text.key_line(line.key), "?", "", "", "", "", "", *([text.printable(line.error)] * values)]
    expires = "" if entry.expires_at is None else f"{entry.expires_at:.3f}"
    row = [text.key_line(entry.key), type(entry.value).__name__, str(entry.size), str(entry.version)]
    row += [f"{entry.written_at:.3f}", expires, "persistent" if entry.persistent else ""]
    return row + [text.value_line(entry.value)] * values


def show_list(lines: List[Line], values: bool, name: str) -> None:
    """The table: what no key has is left out, and what a value shows by itself."""
    from rich.text import Text

    rows = [table_row(line) for line in lines]
    wanted = ["key", "version", "written", "value"] if values else ["key", "type", "bytes", "version", "written"]
    at = wanted.index("written") + 1
    wanted[at:at] = [head for head in ("expires", "kept") if any(row[head] for row in rows)]
    if rows:
        columns = [(head, "right" if head in ("bytes", "version") else "left") for head in wanted]
        output.write_table(columns, [[row[head] for head in wanted] for row in rows], "key", "value" if values else "")
    output.console().print(Text(f" {output.several(len(rows), 'key')} in {name}", "dim"))


def table_row(line: Line) -> Dict[str, Any]:
    """One key in the table, by heading."""
    from rich.text import Text

    key, entry, now = Text(text.key_line(line.key), "cyan"), line.entry, time.time()
    if entry is None:
        blank = dict.fromkeys(("bytes", "version", "written", "expires", "kept"), "")
        return {"key": key, "type": Text("unreadable", "red"), "value": Text(line.error, "red"), **blank}
    return {
        "key": key,
        "type": type(entry.value).__name__,
        "bytes": f"{entry.size:,}",
        "version": f"{entry.version:,}",
        "written": f"{about(now - entry.written_at)} ago",
        "expires": "" if entry.expires_at is None else f"in {about(entry.expires_at - now)}",
        "kept": "✔" if entry.persistent else "",
        "value": text.value_line(entry.value)[:WIDEST],
    }
