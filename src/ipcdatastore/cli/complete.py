"""What the shell offers behind TAB: the names of stores and objects, the keys of one, the methods of the other.

Only looks, is never slow, and offers nothing where something is wrong: a shell is no place for an error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, List

import ipcdatastore
from ipcdatastore import place

from .regions import region_names

if TYPE_CHECKING:
    import click

MOST = 200  # that are offered
LONGEST = 0.25  # seconds of looking for keys


def names(ctx: click.Context, param: click.Parameter, incomplete: str) -> List[str]:  # noqa: ARG001 - click's signature
    """The stores of the directory."""
    try:
        directory = place.resolve_directory(ctx.params.get("directory") or None)
        return [name for name in region_names(directory) if name.startswith(incomplete)][:MOST]
    except Exception:  # noqa: BLE001 - see the module
        return []


def keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> List[str]:  # noqa: ARG001 - click's signature
    """The keys of the store that is named already; numbers with ``--key-type int``, else those that are text."""
    try:
        given = ctx.params
        kind = int if given.get("key_type") == "int" else str
        if given.get("key_type") not in (None, "str", "int"):
            return []
        return sorted(_keys(given["name"], given.get("directory") or None, kind, incomplete))
    except Exception:  # noqa: BLE001 - see the module
        return []


def _keys(name: str, directory: Any, kind: type, incomplete: str) -> List[str]:
    found: List[str] = []
    until = time.monotonic() + LONGEST
    with ipcdatastore.open(name, directory=directory, mode="r", timeout=0, cache_entries=0) as store:
        for key in store:
            text = str(key)
            # A line is a candidate: what does not fit on one would be offered in pieces.
            if type(key) is kind and text.startswith(incomplete) and text.isprintable():
                found.append(text)
            if len(found) == MOST or time.monotonic() > until:
                break
    return found


def objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> List[str]:  # noqa: ARG001 - click's signature
    """The objects that are served in the directory."""
    try:
        served = ipcdatastore.objects(ctx.params.get("directory") or None)
        return [one.name for one in served if one.name.startswith(incomplete)][:MOST]
    except Exception:  # noqa: BLE001 - see the module
        return []


def methods(ctx: click.Context, param: click.Parameter, incomplete: str) -> List[str]:  # noqa: ARG001 - click's signature
    """The methods and attributes of the object that is named already, if its server is not busy."""
    try:
        given = ctx.params
        found = ipcdatastore.Link(given["name"], given.get("directory") or None, LONGEST).describe()
        return [name for name in sorted({*found["methods"], *found["attributes"]}) if name.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - see the module
        return []
