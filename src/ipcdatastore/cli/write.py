"""``set`` and ``delete``."""

from __future__ import annotations

import sys
from typing import Any, Optional

import click

from . import output, text
from .options import Seconds, common, examples, key_argument, key_option, name_argument, open_store, parse_key
from .root import NOT_FOUND, complain


@click.command(
    "set",
    epilog=examples(
        "ipcdatastore set shop colour red --expire 3600",
        """ipcdatastore set shop size '{"width": 3, "height": 4}' --type json""",
        "ipcdatastore set --type int -- shop level -5",
        "date | ipcdatastore set shop now -",
    ),
)
@name_argument
@key_argument
@click.argument("value", required=False)
@key_option
@click.option(
    "--type",
    "value_type",
    type=click.Choice([*text.VALUE_READERS, "raw"]),
    default="str",
    show_default=True,
    help="What VALUE is. bytes is base64; raw is bytes as they come; none takes no VALUE.",
)
@click.option("--expire", type=Seconds(0, min_open=True), metavar="SECONDS", help="Gone after so long.")
@click.option("--persist/--no-persist", default=None, help="Mark KEY to be kept on disk, or take the mark away.")
@click.option("--add", is_flag=True, help="Only if KEY is not there.")
@click.option(
    "--version", type=click.IntRange(0), metavar="N", help="Only if KEY is still at version N (0: not there)."
)
@common
@click.pass_context
def set_verb(
    ctx: click.Context,
    name: str,
    key: str,
    value: Optional[str],
    key_type: str,
    value_type: str,
    expire: Optional[float],
    persist: Optional[bool],
    add: bool,
    version: Optional[int],
    directory: Optional[str],
    as_json: bool,
    timeout: float,
) -> None:
    """Store VALUE under KEY; creates the store.

    With `-` as VALUE it is read from stdin, less one line end at its end (raw: exactly). A VALUE or KEY that
    begins with a dash goes behind `--`.
    """
    if add and version is not None:
        raise click.UsageError("--add is --version 0: give one of them")
    wanted = parse_key(key, key_type)
    parsed = parse_value(value, value_type)
    condition = 0 if add else version
    with open_store(name, directory, "c", timeout) as store:
        if condition is None:
            stored: Optional[int] = store.set(wanted, parsed, expire=expire, persist=persist)
        else:
            stored = store.compare_and_set(wanted, parsed, condition, expire=expire, persist=persist)
    if stored is None:
        complain(
            f"{key!r} was left as it is: it is {'there already' if not condition else f'not at version {condition}'}"
        )
        ctx.exit(NOT_FOUND)
    if as_json:
        output.write_json({"key": text.to_json(wanted), "version": stored})


def parse_value(value: Optional[str], value_type: str, hint: str = "VALUE") -> Any:
    """VALUE as Python knows it."""
    if value_type == "none":
        if value:
            raise click.UsageError("--type none takes no VALUE")
        return None
    if value is None:
        raise click.UsageError("Missing argument 'VALUE'.")
    if value_type == "raw":
        return sys.stdin.buffer.read() if value == "-" else value.encode("utf-8", "surrogateescape")
    if value == "-":
        value = from_stdin()
    try:
        return text.VALUE_READERS[value_type](value)
    except (ValueError, TypeError, RecursionError) as error:
        raise click.BadParameter(f"not of type {value_type}: {error}", param_hint=hint) from None


def from_stdin() -> str:
    """All of stdin as text, without the line end that `echo` and `get` put there."""
    data = sys.stdin.buffer.read()
    for end in (b"\r\n", b"\n"):
        if data.endswith(end):
            data = data[: -len(end)]
            break
    return data.decode("utf-8", "surrogateescape")


@click.command("delete", epilog=examples("ipcdatastore delete shop colour"))
@name_argument
@key_argument
@key_option
@common
@click.pass_context
def delete_verb(
    ctx: click.Context, name: str, key: str, key_type: str, directory: Optional[str], as_json: bool, timeout: float
) -> None:
    """Delete KEY."""
    wanted = parse_key(key, key_type)
    with open_store(name, directory, "w", timeout) as store:
        deleted = store.delete(wanted)
    if as_json:
        output.write_json({"key": text.to_json(wanted), "deleted": deleted})
    if not deleted:
        complain(f"no key {key!r} in {name!r}")
        ctx.exit(NOT_FOUND)
