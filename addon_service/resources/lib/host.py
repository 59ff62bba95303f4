"""The service's loop: what has to be done for the store, the skin and the video is done between two waits for Kodi.

Kodi delivers what it has to tell (settings, playback, the wish to quit) only while this script waits, and gives it a
few seconds to end. So each step is short, and nothing runs beside the loop, but for the threads that answer scripts
which ask where the store is (:mod:`.objects`).
"""

import time
import traceback

import ipc
from ipc import places

import ipcdatastore

from . import checks, log, region, settings
from .bridge import Bridge
from .objects import Objects
from .video import Video

BUSY = 0.02  # seconds between two looks at what skins want at once, as long as there is something new;
QUIET = 0.1  # and where there is not: each look costs a processor that has slept a fifth of a millisecond
REST = 1.0  # where nobody wants anything
AFTER_A_FAULT = 5.0
GRACE = 2.0  # seconds for which a wait for a lock may go on when Kodi ends: the last image must still be written

# What this handle will not recover from: the region is opened, and mended, anew.
LOST = (ipcdatastore.RegionNotFoundError, ipcdatastore.RegionDamagedError, ipcdatastore.ClosedError)


class Host:
    """Everything that runs, and what it was told by the settings."""

    def __init__(self):
        self.wishes = settings.read()
        self.bridge = Bridge()
        self.video = Video()
        self.objects = Objects()
        self.region = region.Region(self.wishes, self._serve) if self.wishes.start else None
        self._look = QUIET
        self._not_before = 0.0
        self._fault = None

    def tick(self):
        """Do what is due. Seconds until something may be due again."""
        if self.region is None or time.monotonic() < self._not_before:
            return REST
        return self._survive(self._tick, AFTER_A_FAULT)

    def _survive(self, step, otherwise):
        try:
            return step()
        except ipcdatastore.WaitEndedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do, and the user has one service
            self._fail(error)
            return otherwise

    def _tick(self):
        pause = self.region.tick()
        store = self.region.store
        if store is None:
            return min(pause, REST)
        self._look = min(1.5 * self._look, QUIET)
        try:
            checks.answer(store)
            self._serve(store)
            self.video.tick(store, self.wishes)
            if self.bridge.tick(store, self.wishes):
                self._look = BUSY
        except ipcdatastore.WaitEndedError:
            raise
        except ipcdatastore.DatastoreError as error:
            self.region.tell(error)
            if isinstance(error, LOST):
                self.bridge.close()
                self.objects.close()
                self.region.close()
        return min(pause, self._look)

    def _fail(self, error):
        """A fault of ours: into the log, once, and everything anew after a while."""
        found = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        if found != self._fault:
            self._fault = found
            log.warning(f"a fault, which should be reported:\n{found}")
        self._not_before = time.monotonic() + AFTER_A_FAULT
        self.bridge.close()
        self.objects.close()
        if self.region is not None:
            self.region.close()

    def apply(self, wishes):
        """Have everything be as the settings are now."""
        old, self.wishes = self.wishes, wishes
        changed = settings.differences(old, wishes)
        if not changed:  # Kodi tells of every OK in the dialog
            return
        self._not_before = 0.0
        if any(name in settings.OF_THE_REGION for name in changed):
            self._survive(lambda: self._reopen(old, wishes), None)
        self.tick()
        log.info(f"settings applied: {', '.join(f'{name}: {value}' for name, value in changed.items())}")

    def _serve(self, store):
        self.objects.tick(store, self.wishes.address)

    def _reopen(self, old, wishes):
        moves = self.region is not None and self.region.is_keeper and region.wants_move(old, wishes)
        if moves:
            places.publish(places.MOVING)  # whoever misses something from here on waits
        self._leave()
        if moves:
            self.region = region.move(self.region, wishes)
            return
        self._close_region()
        if wishes.start:
            self.region = region.Region(wishes, self._serve)
        else:
            log.info("stopped, as the settings say")

    def close(self):
        """Let go of everything."""
        self._leave()
        self._close_region()

    def _leave(self):
        """Nobody is shown, or told, anything of this store any more."""
        self.bridge.close()
        self.objects.close()
        self.video.close(self.region.store if self.region is not None else None)

    def _close_region(self):
        if self.region is not None:
            self.region.close()
        self.region = None


def main(monitor):
    """Until Kodi ends, or this addon is disabled."""
    ipc.end_waits_with_kodi(GRACE, monitor)
    try:
        host = Host()
    except RuntimeError as error:  # disabled again before it began: its settings are gone
        log.info(f"not started: {error}")
        return
    try:
        pause = host.tick()
        checks.at_start(monitor)
        while not monitor.waitForAbort(pause):
            if monitor.settings_changed:
                monitor.settings_changed = False
                host.apply(settings.read())
            pause = host.tick()
    except ipcdatastore.WaitEndedError:
        pass  # Kodi ends in the middle of a wait
    except RuntimeError as error:  # disabled just now
        log.info(f"no settings any more: {error}")
    finally:
        host.close()
    log.info("stopped")
