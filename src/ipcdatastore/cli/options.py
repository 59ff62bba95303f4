"""What several verbs have in common: options, and opening the store that they speak of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

import click

import ipcdatastore

from . import text

if TYPE_CHECKING:
    from ipcdatastore.codec import Key

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb has."""
    for option in (
        click.option(
            "--timeout",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for a lock.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Write JSON, for scripts."),
        click.option("--directory", metavar="DIR", help="Where the store is, if not in the default place."),
    ):
        function = option(function)
    return function


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


def open_store(name: str, directory: Optional[str], mode: str, timeout: float) -> ipcdatastore.Datastore:
    """The store, with no cache of its own: nothing is read twice here."""
    return ipcdatastore.open(name, directory=directory, mode=mode, timeout=timeout, cache_entries=0)
