"""The region that the settings name: allocated, looked after, moved, mended; followed where another Kodi has it."""

import os
import time

from ipc import places

import ipcdatastore

from . import log

TRY_AGAIN = 5.0  # seconds until a region that could not be had, or that another service has, is tried again
AT_ONCE = 0.0
SILENCE = 60.0  # seconds until the same problem is worth another line in the log


class Region:
    """This addon's handle on the region, and its service where no other process is that."""

    def __init__(self, wishes):
        self.wishes = wishes
        self.store = None  # of the service, or of a follower
        self._service = None
        self._due = AT_ONCE  # when to try to become the service
        self._told, self._told_at = None, 0.0  # the last problem that the user was told of

    @property
    def is_keeper(self):
        """Whether this addon is the service, so that images are its duty."""
        return self._service is not None

    @property
    def place(self):
        """Where the region is, once it is open."""
        return places.Place(
            self.wishes.place.name, os.path.dirname(self.store.stats()["path"]), self.wishes.place.images
        )

    # --- life ----------------------------------------------------------------------------------------
    def tick(self):
        """Do what is due. Seconds until there may be something to do again."""
        try:
            if self._service is None and time.monotonic() >= self._due:
                self._due = time.monotonic() + TRY_AGAIN
                self._start()
            if self._service is not None:
                return self._service.tick()
        except ipcdatastore.WaitEndedError:
            raise
        except ipcdatastore.DatastoreError as error:
            self.tell(error)
            self.close()
        return max(0.0, self._due - time.monotonic())

    def flush(self):
        """Write an image now. Its path, None if nothing is to be kept; raises what the flush failed with."""
        return self.store.flush()

    def close(self):
        """Write what is not written yet, and let go."""
        service, store = self._service, self.store
        self._service = self.store = None
        places.publish(None)
        try:
            if service is not None:
                service.stop()
            elif store is not None:
                store.close()
        except ipcdatastore.DatastoreError as error:
            log.warning(f"the store was closed, but: {error}")

    def tell(self, problem):
        """Into the log, now and then; on the screen once."""
        line, now = str(problem), time.monotonic()
        if line == self._told and now < self._told_at + SILENCE:
            return
        log.warning(line)
        if line != self._told:
            log.notify(line, problem=True)
        self._told, self._told_at = line, now

    # --- becoming the service ------------------------------------------------------------------------
    def _start(self):
        if self.wishes.problem is not None:
            raise self.wishes.problem
        try:
            service = self._mended()
        except ipcdatastore.ServiceRunningError as error:
            if self.store is None:
                self._follow(error.holder)
            return
        if self.store is not None:
            self.store.close()
        self._service, self.store = service, service.store
        self._told = None
        places.publish(self.place)
        log.info(self._opened())

    def _follow(self, holder):
        """Another Kodi, or a program, looks after the region: use it, and take over when that one ends."""
        place = self.wishes.place
        self.store = ipcdatastore.open(place.name, directory=place.directory, mode="w")
        places.publish(self.place)
        log.info(f"the store {place.name!r} is looked after by process {holder}: followed until that ends")

    def _mended(self):
        """A service that has started; a region that is damaged is repaired first."""
        try:
            return self._adopted()
        except ipcdatastore.RegionDamagedError as error:
            log.warning(f"{error}; it is repaired now")
        place = self.wishes.place
        with ipcdatastore.open(place.name, directory=place.directory, mode="w") as store:
            for line in store.repair():
                log.warning(line)
        return self._adopted()

    def _adopted(self):
        """A service that has started, with the images of this addon if it can be.

        A region that was there already may have images elsewhere: then another Kodi keeps it, or did, and they are the
        right ones. If it has none, and there are some here, a program opened it before Kodi came, after a boot say:
        what they hold comes back, and what that program stored is kept in a backup.
        """
        place = self.wishes.place
        if self._has_images_already():
            return self._started(None)
        try:
            return self._started(place.images)
        except ipcdatastore.SnapshotError:
            images = _images_in(place.images)
            if not images:
                raise  # that is not why
            with ipcdatastore.open(place.name, directory=place.directory, mode="w") as store:
                _bring_back(store, images)
            return self._started(place.images)

    def _has_images_already(self):
        place = self.wishes.place
        try:
            with ipcdatastore.open(place.name, directory=place.directory, mode="r") as store:
                return bool(store.stats()["image_number"])
        except ipcdatastore.RegionNotFoundError:
            return False

    def _started(self, images):
        wishes = self.wishes
        service = ipcdatastore.Service(
            wishes.place.name,
            directory=wishes.place.directory,
            persist=wishes.persist,
            flush_interval=wishes.flush_interval,
            snapshot_directory=images,
            max_size=wishes.max_size,
            on_problem=self.tell,
        )
        service.start()
        return service

    def _opened(self):
        facts = self.store.stats()
        restored = facts["restored"]
        back = f", {restored['records']} of them from {restored['path']}" if restored else ""
        return f"the store {facts['path']} is up with {facts['records']} values{back}"


def _images_in(directory):
    """The images there, the newest last."""
    try:
        return sorted(entry.path for entry in os.scandir(directory) if entry.name.endswith(".image"))
    except OSError:
        return []


def _bring_back(store, images):
    """What the newest of `images` holds, in place of what the store holds; that, and they, are set aside."""
    aside = os.path.dirname(images[-1]) + ".before"
    os.makedirs(aside, mode=0o700, exist_ok=True)
    if len(store):
        backup = os.path.join(aside, "made-without-images.backup")
        log.warning(f"the region was made by a program that did not know of its images; what it held is in {backup}")
        store.backup(backup)
    restored = store.restore(images[-1])
    for path in images:
        os.replace(path, os.path.join(aside, os.path.basename(path)))
    log.info(f"{restored.records} values restored from {images[-1]}")


def move(old, new_wishes):
    """The region that `old` has, under the same name in the place of `new_wishes`: a `Region`, open.

    Everything goes along, persistent or not. Handles on the old one learn at their next write that it is gone.
    """
    path = old.store.stats()["path"]
    backup = places.translate("special://temp/ipcdatastore.move")
    new = Region(new_wishes)
    try:
        old.store.backup(backup)
        old.close()
        new.tick()
        if new.is_keeper and new.store.stats()["path"] != path:
            new.store.restore(backup)
            os.unlink(path)
            os.unlink(backup)
            log.info(f"moved from {path}")
    except (ipcdatastore.DatastoreError, OSError) as error:
        new.tell(error)
        old.close()
    return new


def wants_move(old, new):
    """Whether the change of settings is one of place only."""
    if not (old.start and new.start and old.place and new.place):
        return False
    return old.place.name == new.place.name and old.place.directory != new.place.directory
