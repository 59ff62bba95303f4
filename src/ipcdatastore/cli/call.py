"""``call``: a method of an object that another process serves."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import click

import ipcdatastore
from ipcdatastore.calls.layout import CALL

from . import complete, output, text
from .options import Seconds, examples, json_option, object_directory_option
from .read import show_value, text_of
from .root import NOT_FOUND, complain
from .write import parse_value

AUTO = "auto"


@click.command(
    "call",
    epilog=examples(
        "ipcdatastore call library                          # what it has",
        "ipcdatastore call library find Alien -k year=1979",
        """ipcdatastore call library add '{"title": "Solaris"}' --timeout 5""",
        "ipcdatastore call --type int -- library level -5",
    ),
)
@click.argument("name", shell_complete=complete.objects)
@click.argument("method", required=False, shell_complete=complete.methods)
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1)
@click.option("-k", "--keyword", "keywords", metavar="KEY=VALUE", multiple=True, help="An argument by its name.")
@click.option(
    "--type",
    "value_type",
    type=click.Choice([AUTO, *(name for name in text.VALUE_READERS if name != "none"), "raw"]),
    default=AUTO,
    show_default=True,
    help="What the arguments are. auto: JSON if it can be read as such, else text; the others are those of `set`.",
)
@click.option("--traceback", is_flag=True, help="If the method raises: where, too.")
@click.option("--timeout", type=Seconds(0, min_open=True), metavar="SECONDS", help="Wait no longer; default: for ever.")
@object_directory_option
@json_option
@click.pass_context
def call_verb(
    ctx: click.Context,
    name: str,
    method: Optional[str],
    arguments: Tuple[str, ...],
    keywords: Tuple[str, ...],
    value_type: str,
    traceback: bool,
    timeout: Optional[float],
    directory: Optional[str],
    as_json: bool,
) -> None:
    """Call METHOD of the object that is served as NAME, and write what it returns.

    Without METHOD, list what NAME has; in a pipe, a line is then: kind (method, oneway, attribute), name, signature,
    first line of the docstring. METHOD may be an attribute: then its value is written.

    The result is written as `get` writes values; of a generator a line an item, as they come. With `-` as an ARGUMENT
    it is read from stdin. An ARGUMENT that begins with a dash goes behind `--`. The exit code is 1 if the method
    raises, or there is none of that name; 3 if nobody serves NAME, or nobody answers in time.
    """
    link = ipcdatastore.Link(name, directory, timeout)
    if method is None:
        if arguments or keywords:
            raise click.UsageError("Missing argument 'METHOD'.")
        list_methods(name, link.describe_in_full(), as_json)
        return
    if arguments.count("-") > 1:
        raise click.UsageError("stdin can be one ARGUMENT only")
    positional = [parse_argument(one, value_type, "ARGUMENT") for one in arguments]
    named = parse_keywords(keywords, value_type)
    try:
        result = ask(link, method, positional, named)
        for value in result if hasattr(result, "__next__") else (result,):
            write_result(value, as_json)
    except BaseException as error:
        found = ipcdatastore.remote_traceback(error)
        if not found:
            raise  # ours, not the method's
        if traceback:
            click.echo("\n".join(text.printable(line, exact=False) for line in found.rstrip().split("\n")), err=True)
        complain(describe_error(error, name, method))
        ctx.exit(NOT_FOUND)


def ask(link: ipcdatastore.Link, method: str, positional: Sequence[Any], named: Dict[str, Any]) -> Any:
    """What the method returns, or the attribute is."""
    try:
        return link.ask(CALL, method, positional, named, link.timeout)
    except ipcdatastore.NotExposedError:
        if positional or named or method not in link.describe()["attributes"]:
            raise
    return getattr(link.proxy, method)


def describe_error(error: BaseException, name: str, method: str) -> str:
    """A line about what the method raised."""
    if isinstance(error, (ipcdatastore.RemoteError, ipcdatastore.NotExposedError)):
        return str(error)  # says all that itself
    message = str(error)
    return f"{name}.{method} raised {type(error).__qualname__}{': ' if message else ''}{message}"


def write_result(value: Any, as_json: bool) -> None:
    """A value as `get` writes it, at once."""
    if as_json:
        output.write_json({"value": text.to_json(value), "type": type(value).__name__})
    elif output.on_terminal():
        show_value(value)
    else:
        output.write_line(text_of(value))
    output.flush()


# --- arguments ---------------------------------------------------------------------------------------
def parse_argument(argument: str, value_type: str, hint: str) -> Any:
    """An argument as Python knows it."""
    if value_type == AUTO:
        if argument == "-":
            argument = parse_value(argument, "str")
        return from_text(argument, hint)
    return parse_value(argument, value_type, hint)


def from_text(argument: str, hint: str) -> Any:
    """JSON if it is that, else text.

    >>> from_text("5", ""), from_text("five", ""), from_text('{"a": null}', ""), from_text("NaN", "")
    (5, 'five', {'a': None}, 'NaN')
    """
    try:
        document = json.loads(argument, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return argument
    try:
        return text.from_json(document)
    except (ValueError, TypeError, RecursionError) as error:
        raise click.BadParameter(f"{argument!r}: {error}; --type str takes it as text", param_hint=hint) from None


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def parse_keywords(keywords: Sequence[str], value_type: str) -> Dict[str, Any]:
    """The arguments that have a name."""
    named: Dict[str, Any] = {}
    for keyword in keywords:
        key, equals, value = keyword.partition("=")
        if not equals or not key.isidentifier() or key in named:
            what = "was given before" if key in named else "is not KEY=VALUE"
            raise click.BadParameter(f"{keyword!r} {what}", param_hint="'--keyword'")
        named[key] = parse_argument(value, value_type, "'--keyword'")
    return named


# --- what there is -----------------------------------------------------------------------------------
def list_methods(name: str, described: Dict[str, Any], as_json: bool) -> None:
    """Methods and attributes. A server of an older release tells neither signatures nor docstrings."""
    rows = list(_members(described))
    if as_json:
        members = [dict(zip(("kind", "name", "signature", "doc"), row)) for row in rows]
        output.write_json({"name": name, "class": described["class"], "members": members})
    elif output.on_terminal():
        show_methods(name, described["class"], rows)
    else:
        output.write_rows([text.printable(cell, exact=False) for cell in row] for row in rows)


def _members(described: Dict[str, Any]) -> Iterator[List[str]]:
    signatures, docs = described.get("signatures", {}), described.get("docs", {})
    for method in described["methods"]:
        kind = "oneway" if method in described["oneway"] else "method"
        yield [kind, method, signatures.get(method, ""), docs.get(method, "")]
    for attribute in described["attributes"]:
        yield ["attribute", attribute, "", docs.get(attribute, "")]


def show_methods(name: str, kind: str, rows: Sequence[Sequence[str]]) -> None:
    """A line a method, as one would write it, and its docstring's below."""
    from rich.text import Text

    screen = output.console()
    screen.print(Text.assemble((text.printable(name), "bold"), (f"  {text.printable(kind)}", "dim")), soft_wrap=True)
    for what, member, signature, doc in rows:
        line = Text.assemble("  ", (text.printable(member), "cyan"), text.printable(signature, exact=False))
        if what != "method":
            line.append(f"  {what}", "magenta")
        screen.print(line, soft_wrap=True)
        if doc:
            screen.print(Text(f"      {text.printable(doc, exact=False)}", "dim"), soft_wrap=True)
