"""The self-test, at each start and by a button; and the service's answer to whoever tests the connection."""

import os
import time

import ipc
from ipc import places

import ipcdatastore

from . import log

AUTHOR = places.SERVICE
PING, PONG = (AUTHOR, "ping"), (AUTHOR, "pong")
ANSWER_WITHIN = 5.0


class EndedError(Exception):
    """Kodi, or the user, wants no more tests."""


def at_start(monitor):
    """The quick one; its result is one line in the log."""

    def look_up(_):
        if monitor.abortRequested():
            raise EndedError

    try:
        report = run(look_up)
    except EndedError:
        return
    except (ipcdatastore.DatastoreError, OSError) as error:
        log.warning(f"self-test: could not be run: {error}")
        return
    failed = [step for step in report.steps if not step.ok]
    passed = f"{len(report.steps) - len(failed)} of {len(report.steps)} steps passed in {report.seconds * 1000:.0f} ms"
    if failed:
        log.warning(f"self-test: {passed}; " + "; ".join(f"{step.name}: {step.detail}" for step in failed))
    else:
        log.info(f"self-test: {passed}")


def run(progress):
    """Every step that needs no process of its own, in scratch regions: no value of the user is touched."""
    from ipcdatastore import selftest

    return selftest.run(progress, quick=True, directory=scratch_directory())


def scratch_directory():
    """The directory of the region, so that it is tested too; the default place where there is none."""
    place = places.published()
    if place is not None:
        return place.directory
    try:
        return places.configured().directory
    except ipcdatastore.PlaceError:
        return None


def answer(store):
    """In the service: say that it is there, to whoever asks."""
    asked = store.get(PING)
    if asked is not None and asked != store.get(PONG):
        store.set(PONG, asked, expire=60)


def ask(monitor):
    """In a script: the seconds that the service took to answer, None if it did not, or could not be asked."""
    token = os.urandom(8).hex()
    try:
        with ipc.open_all() as store:
            try:
                return _ask(store, token, monitor)
            finally:
                store.delete(PING)
                store.delete(PONG)
    except ipcdatastore.WaitEndedError:
        raise
    except ipcdatastore.DatastoreError as error:
        log.warning(f"the service could not be asked: {error}")
        return None


def _ask(store, token, monitor):
    begun = time.monotonic()
    store.set(PING, token, expire=60)
    while time.monotonic() < begun + ANSWER_WITHIN and not monitor.abortRequested():
        entry = store.get_entry(PONG)
        if entry is not None and entry.value == token:
            return time.monotonic() - begun
        store.wait(PONG, since=0 if entry is None else entry.version, timeout=0.5)
    return None
