"""``get``: one value."""

from __future__ import annotations

from typing import Any, Optional

import click

from . import output, text
from .options import common, examples, key_argument, key_option, name_argument, open_store, parse_key
from .root import NOT_FOUND, complain


@click.command(
    "get",
    epilog=examples("ipcdatastore get shop colour", """ipcdatastore get shop '["skin", 7]' --key-type json --json"""),
)
@name_argument
@key_argument
@key_option
@click.option("--raw", is_flag=True, help="Write a str or bytes as it is, with no line end.")
@common
@click.pass_context
def get_verb(
    ctx: click.Context,
    name: str,
    key: str,
    key_type: str,
    raw: bool,
    directory: Optional[str],
    as_json: bool,
    timeout: float,
) -> None:
    """Write the value of KEY.

    In a pipe, text is written as it is, bytes as base64, everything else as JSON: what `set` takes with the
    same `--type`. With --json, the value comes with its version, size and times.
    """
    wanted = parse_key(key, key_type)
    with open_store(name, directory, "r", timeout) as store:
        entry = store.get_entry(wanted)
    if entry is None:
        complain(f"no key {key!r} in {name!r}")
        ctx.exit(NOT_FOUND)
    if as_json:
        output.write_json(text.entry_facts(entry))
    elif raw:
        output.write_bytes(raw_bytes(entry.value))
    elif output.on_terminal():
        show_value(entry.value)
    else:
        output.write_line(text_of(entry.value))


def raw_bytes(value: Any) -> bytes:
    """The bytes of a value that is made of them."""
    if type(value) is str:
        return text.utf8(value)
    if type(value) is bytes:
        return value
    raise click.UsageError(f"--raw writes str and bytes, and the value is a {type(value).__name__}")


def text_of(value: Any) -> str:
    """The value in a pipe."""
    return value if type(value) is str else text.value_line(value)


def show_value(value: Any) -> None:
    """The value on a terminal: text without its control characters, all else as Python shows it."""
    from rich.pretty import Pretty
    from rich.text import Text

    if type(value) is str:
        output.console().print(
            Text("\n".join(text.printable(line, exact=False) for line in value.split("\n"))), soft_wrap=True
        )
    else:
        output.console().print(Pretty(value, expand_all=False))
