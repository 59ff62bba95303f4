"""Regions that belong to one object of one process, and end with it.

Each has a directory of its own beside the others' regions. Its owner holds a lock there as long as he lives, so what a
killed process left behind is told from what is in use, and goes when the next one is made.
"""

import os
import shutil

import ipcdatastore
from ipcdatastore import place
from ipcdatastore.lockfile import LockFile

from . import kodi

PREFIX = "dataobjects-"
LOCK = "owner.lock"
REGION = "dataobjects"
TRIES = 3


class Scratch:
    """An empty region, by `store`, until `close`."""

    def __init__(self, serializer=None):
        self._pid = os.getpid()
        base = place.resolve_directory(kodi.directory())
        clean(base)
        self.directory, self._lock = _owned(base)
        try:
            self.store = ipcdatastore.open(
                REGION,
                directory=self.directory,
                serializer=serializer,
                snapshot_directory=os.path.join(self.directory, "images"),
            )
        except BaseException:
            self._remove()
            raise

    def close(self):
        """Let go of it, and take it away."""
        if self._pid != os.getpid():
            return  # a forked child: it is the parent's
        self.store.close()
        self._remove()

    def _remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)  # Windows keeps what is mapped; the next one cleans
        self._lock.release()

    def __enter__(self):
        return self.store

    def __exit__(self, *exc):
        self.close()


def _owned(base):
    """A new directory, and its lock."""
    for _ in range(TRIES):
        directory = os.path.join(base, PREFIX + os.urandom(8).hex())
        place.prepare_directory(directory)
        lock = LockFile(os.path.join(directory, LOCK), 0.0)
        try:
            if lock.try_acquire():
                return directory, lock
        except ipcdatastore.PlaceError as error:
            problem = error  # somebody who cleans was faster: the lock's file was there, and not locked yet
        else:
            problem = lock.timed_out(0.0)
    raise problem


def clean(base):
    """Remove the directories whose owners are dead."""
    try:
        names = [name for name in os.listdir(base) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        directory = os.path.join(base, name)
        path = os.path.join(directory, LOCK)
        if os.path.islink(directory) or not os.path.exists(path):
            continue  # nobody's, or not locked yet
        lock = LockFile(path, 0.0)
        try:
            if lock.try_acquire():
                shutil.rmtree(directory, ignore_errors=True)
                lock.release()
        except ipcdatastore.DatastoreError:
            continue
