"""What a step of the self-test works on: a scratch directory, and the ways to say that something is wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from typing import Any, Callable, Iterator, List, Optional, Set

import ipcdatastore

from ..place import prepare_directory, resolve_directory

PATIENCE = 20.0  # seconds that anything here may take; only a machine that hangs comes to that
PAUSE = 0.001


class SelfTestError(Exception):
    """Something is not as it should be, and the message says what."""


def expect(true: Any, what: str) -> None:
    """Fail with `what` unless it is true. (An ``assert`` is not there under ``-O``.)"""
    if not true:
        raise SelfTestError(what)


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Fail unless both are equal."""
    if found != wanted:
        raise SelfTestError(f"{what}: expected {_short(wanted)}, found {_short(found)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


@contextlib.contextmanager
def expect_error(kind: type, what: str) -> Iterator[None]:
    """Fail unless the body raises `kind`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, kind):
            raise
    else:
        raise SelfTestError(f"{what}: no {kind.__name__} came")


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that somebody else does; what `condition` gave."""
    limit = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > limit:
            raise SelfTestError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(PAUSE)


class Bench:
    """The scratch directory. Regions that a step opened are closed, and checked, at the step's end."""

    def __init__(self, directory: str, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self.patience = PATIENCE
        self._stores: List[ipcdatastore.Datastore] = []
        self._names: Set[str] = set()

    def open(self, name: str, **options: Any) -> ipcdatastore.Datastore:
        """A handle on a scratch region."""
        store = ipcdatastore.open(name, directory=self.directory, **options)
        self._stores.append(store)
        self._names.add(name)
        return store

    def path(self, name: str) -> str:
        """A file in the scratch directory."""
        return os.path.join(self.directory, name)

    def finish(self) -> None:
        """Verify and close what the step used."""
        try:
            for name in sorted(self._names):
                with ipcdatastore.open(name, directory=self.directory, mode="r") as store:
                    expect_equal(store.check(), [], f"the region {name!r} is not whole")
        finally:
            self.drop()

    def drop(self) -> None:
        """Close all, whatever is in them."""
        for store in self._stores:
            store.close()
        self._stores.clear()
        self._names.clear()


@contextlib.contextmanager
def scratch(directory: Optional[str], quick: bool) -> Iterator[Bench]:
    """A private directory where regions would be, removed at the end."""
    parent = resolve_directory(directory)
    prepare_directory(parent)
    bench = Bench(tempfile.mkdtemp(prefix="selftest-", dir=parent), quick)
    try:
        yield bench
    finally:
        bench.drop()
        # Windows keeps what is still mapped, and a process that was killed lets go of it late.
        for _ in range(50):
            shutil.rmtree(bench.directory, ignore_errors=True)
            if not os.path.exists(bench.directory):
                break
            time.sleep(0.05)
