"""What several verbs have in common: options, and opening the store that they speak of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, Optional

import click

import ipcdatastore

from . import complete, text

if TYPE_CHECKING:
    from ipcdatastore.codec import Key

LOCK_TIMEOUT = 10.0  # seconds
MOST_SECONDS = 10.0**6


class Seconds(click.FloatRange):
    """A length of time; what is no number, or no end of it, is wrong usage."""

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        """The number, within bounds."""
        seconds = super().convert(value, param, ctx)
        if not seconds < MOST_SECONDS:
            self.fail(f"{value} is no number of seconds below {MOST_SECONDS:g}", param, ctx)
        return seconds


def parse_size(text: str) -> int:
    """A number of bytes.

    >>> parse_size("1048576"), parse_size("512M"), parse_size("1.5 GiB")
    (1048576, 536870912, 1610612736)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{text!r} is no number of bytes, such as 1048576, 512M or 2G")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def examples(*lines: str) -> str:
    """What stands at the end of a verb's help."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def name_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """NAME, the store that a verb speaks of."""
    return click.argument("name", shell_complete=complete.names)(function)


def key_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """KEY of that store."""
    return click.argument("key", shell_complete=complete.keys)(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whether a script reads it."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for scripts.")(function)


def directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which place the store is in."""
    return click.option("--directory", metavar="DIR", help="Where the store is, if not in the default place.")(function)


def object_directory_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which place the object is in."""
    return click.option("--directory", metavar="DIR", help="Where the object is, if not in the default place.")(
        function
    )


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb has whose time-out is that of a lock."""
    timeout = click.option(
        "--timeout",
        type=Seconds(0),
        default=LOCK_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a lock.",
    )
    return directory_option(json_option(timeout(function)))


def key_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """How KEY is to be read."""
    return click.option(
        "--key-type",
        type=click.Choice(list(text.KEY_READERS)),
        default="str",
        show_default=True,
        help='What KEY is: text, a number, base64, or JSON such as ["skin", 7] for a tuple.',
    )(function)


def parse_key(key: str, key_type: str) -> Key:
    """KEY as the store knows it."""
    try:
        read: Callable[[str], Key] = text.KEY_READERS[key_type]
        return read(key)
    except (ValueError, TypeError, RecursionError) as error:
        raise click.BadParameter(f"{key!r} is not of type {key_type}: {error}", param_hint="KEY") from None


def open_store(
    name: str, directory: Optional[str], mode: str, timeout: float = LOCK_TIMEOUT, **more: Any
) -> ipcdatastore.Datastore:
    """The store, with no cache of its own: nothing is read twice here."""
    return ipcdatastore.open(name, directory=directory, mode=mode, timeout=timeout, cache_entries=0, **more)
