"""Opening a store: every argument checked, then a handle on the region, and whoever looks after it."""

from __future__ import annotations

import os

from .cache import DEFAULT_BYTES, DEFAULT_ENTRIES
from .engine import MIN_SIZE, Engine
from .errors import ArgumentError
from .layout import EVICT_POLICIES, MAX_REGION, SERIALIZERS
from .store import Datastore, UncachedDatastore

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Optional, Tuple

    from .errors import DatastoreError

MODES = ("r", "w", "c", "n")


def open(
    name: str = "default",
    *,
    directory: Any = None,
    mode: str = "c",
    max_size: Optional[int] = None,
    evict: Optional[str] = None,
    serializer: Optional[str] = None,
    persist: Optional[bool] = None,
    flush_interval: Optional[float] = None,
    snapshot_directory: Any = None,
    timeout: float = 10.0,
    cache_entries: int = DEFAULT_ENTRIES,
    cache_bytes: int = DEFAULT_BYTES,
) -> Datastore:
    """A handle on the region `name`, made first if there is none.

    `mode` is as in ``dbm``: ``"r"`` read only, ``"w"`` read and write, both an existing region; ``"c"`` makes it
    if it is missing, from its newest image if it has one; ``"n"`` also empties it. `directory` defaults to a private,
    memory-backed place that depends on the user and the machine only (or ``IPCDATASTORE_DIR``). `max_size` (bytes;
    1 GiB), `evict` (``"none"``, ``"lru"``) and `serializer` (``"pickle"``, ``"json"``, ``"raw"``) are the region's:
    None takes what it has; a policy given here changes it (not through a read-only handle; the file itself never
    shrinks), a serializer that is not the region's is refused. `timeout`: seconds to wait for a lock.

    `persist`: True keeps every record on the disk, False only those whose key is marked, None as the region says (a
    new one: False). With True, a small thread of this handle writes an image every `flush_interval` seconds (60) if
    something changed, and at ``close``, unless another process does so already; what it fails with is a
    ``RuntimeWarning``. (An interpreter that allows no such thread writes one at ``close``.) `snapshot_directory` says
    where images are; None: as the region says, else the user's data folder (or ``IPCDATASTORE_IMAGES``). A directory
    with images that an existing region knows nothing of is refused.

    `cache_entries` and `cache_bytes` bound the client cache of this handle; 0 entries switch it off.

    Raises ``InvalidNameError``, ``ArgumentError``, ``RegionNotFoundError``, ``UntrustedRegionError``, ``PlaceError``,
    ``FormatError``, ``RegionDamagedError``, ``SnapshotError``, ``SnapshotDamagedError``, ``LockTimeoutError``.

    >>> with open("docs") as store:
    ...     store["skin.accent"] = {"red": 12}
    ...     store["skin.accent"]["red"]
    12
    """
    if flush_interval is not None:
        check_interval(flush_interval)
    store = open_handle(
        name,
        directory=directory,
        mode=mode,
        max_size=max_size,
        evict=evict,
        serializer=serializer,
        persist=persist,
        snapshot_directory=snapshot_directory,
        timeout=timeout,
        cache_entries=cache_entries,
        cache_bytes=cache_bytes,
    )
    if persist and mode != "r":
        _keep(store, flush_interval)
    return store


def open_handle(
    name: str,
    *,
    directory: Any,
    mode: str = "c",
    max_size: Optional[int],
    evict: Optional[str],
    serializer: Optional[str],
    persist: Optional[bool],
    snapshot_directory: Any,
    timeout: float,
    cache_entries: int = DEFAULT_ENTRIES,
    cache_bytes: int = DEFAULT_BYTES,
) -> Datastore:
    """:func:`open`, with nobody who looks after the region."""
    _one_of("mode", mode, MODES)
    if serializer is not None:
        _one_of("serializer", serializer, tuple(SERIALIZERS))
    if evict is not None:
        _one_of("evict", evict, tuple(EVICT_POLICIES))
    if persist is not None and type(persist) is not bool:
        raise ArgumentError(f"`persist` is True, False or None, not {persist!r}", name="persist", value=persist)
    if max_size is not None and (type(max_size) is not int or not MIN_SIZE <= max_size <= MAX_REGION):
        raise ArgumentError(
            f"`max_size` is an int of bytes from {MIN_SIZE:,} to {MAX_REGION:,}, not {max_size!r}",
            name="max_size",
            value=max_size,
        )
    for argument, bound in (("cache_entries", cache_entries), ("cache_bytes", cache_bytes)):
        if type(bound) is not int or bound < 0:
            raise ArgumentError(f"use an int from 0 on for `{argument}`, not {bound!r}", name=argument, value=bound)
    text = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else directory
    if text is not None and (not isinstance(text, str) or not text or "\0" in text):
        raise ArgumentError(
            f"use a str or a path for `directory`, not {directory!r}", name="directory", value=directory
        )
    if type(timeout) not in (int, float) or not 0 <= timeout < 10**6:
        raise ArgumentError(
            f"`timeout` is a number of seconds from 0 on, not {timeout!r}", name="timeout", value=timeout
        )
    images = None
    if snapshot_directory is not None:
        from . import archive

        images = archive.check_argument(snapshot_directory)
    from .attach import Options

    options = Options(mode, max_size, evict, serializer, float(timeout), persist, images)
    engine = Engine(name, directory, options)
    if mode == "n":
        from .flush import outdate

        try:
            outdate(engine)
        except BaseException:
            engine.close()
            raise
    kind = Datastore if cache_entries else UncachedDatastore
    return kind(engine, (), cache_entries, cache_bytes)


def check_interval(seconds: Any) -> None:
    """Raise ``ArgumentError`` unless `seconds` can be the time between two images."""
    if type(seconds) not in (int, float) or not 0 < seconds < 10**9:
        raise ArgumentError(
            f"`flush_interval` is a number of seconds above 0, not {seconds!r}", name="flush_interval", value=seconds
        )


def _keep(store: Datastore, interval: Optional[float]) -> None:
    """Have this process write images when nobody else does."""
    from .keeper import Keeper
    from .upkeep import Upkeep

    upkeep = Upkeep(store._engine, interval)
    upkeep.on_problem = _warn
    keeper = Keeper(upkeep)
    store._engine.keeper = keeper
    try:
        keeper.start()
    except RuntimeError:  # an interpreter without daemon threads: an image at the end, or more by `Service.tick`
        return


def _warn(problem: DatastoreError) -> None:
    """Nobody waits for what the thread does, so nobody would learn that the store is not being kept."""
    import warnings

    try:
        warnings.warn(f"no image could be written: {problem}", RuntimeWarning, stacklevel=2)
    except RuntimeWarning:  # made an error by a filter: neither the thread nor `close` may stop for it
        return


def _one_of(name: str, value: Any, allowed: Tuple[str, ...]) -> None:
    if value not in allowed:
        raise ArgumentError(
            f"`{name}` is one of {', '.join(map(repr, allowed))}, not {value!r}", name=name, value=value
        )
