"""Which objects are served on this machine, by whom, and how busy they are."""

from __future__ import annotations

import os
from collections import namedtuple

from .. import place
from ..errors import DatastoreError
from . import files, layout

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, List, NamedTuple, Tuple

    class _Fields(NamedTuple):
        name: str
        pid: int
        since: float
        clients: int
        calls: int
        errors: int
        busy: float
        histogram: Tuple[int, ...]
        serializer: str
        workers: int
        path: str

else:
    _Fields = namedtuple("ObjectInfo", "name pid since clients calls errors busy histogram serializer workers path")


class ObjectInfo(_Fields):
    """One object that is served.

    `since` is seconds since the epoch, `busy` the seconds spent in its methods; `histogram[i]` counts the calls that
    took 2^(i-1) to 2^i nanoseconds there. Numbers are those of this server, and each may be a moment old.
    """

    __slots__ = ()


def objects(directory: Any = None) -> List[ObjectInfo]:
    """The objects that are served in `directory` now, by name. No lock is waited for.

    >>> with ipcdatastore.serve_object("docs", [3, 1]):
    ...     [(found.name, found.clients, found.calls) for found in ipcdatastore.objects()]
    [('docs', 0, 0)]
    """
    base = place.resolve_directory(directory)
    found = []
    for name in files.names(base):
        path = os.path.join(base, name + layout.SUFFIX)
        try:
            server = files.find_server(path)
        except (DatastoreError, OSError):
            continue  # damaged, or somebody else's
        if server is not None:
            found.append(_info(name, path, *server))
            server[0].close()
    return found


def _info(name: str, path: str, shared: files.Shared, facts: files.ServerFacts) -> ObjectInfo:
    longs, words = shared.longs, shared.words
    return ObjectInfo(
        name,
        facts.pid,
        facts.created_ns / 1e9,
        words[layout.CLIENTS],
        longs[layout.CALLS_LONG],
        longs[layout.ERRORS_LONG],
        longs[layout.BUSY_LONG] / 1e9,
        tuple(words[layout.HISTOGRAM : layout.HISTOGRAM + layout.HISTOGRAM_SIZE]),
        facts.serializer,
        facts.workers,
        path,
    )
