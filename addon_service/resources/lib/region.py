"""The region that the settings name: allocated, looked after, moved, mended; followed where another Kodi has it."""

import os
import time

from ipc import places

import ipcdatastore

from . import log

TRY_AGAIN = 5.0  # seconds until a region that could not be had, or that another service has, is tried again
AT_ONCE = 0.0
NOTICED = 0.3  # seconds after which every handle has noticed that its region is gone: three times what it takes
SUFFIX = ".region"
SILENCE = 60.0  # seconds until the same problem is worth another line in the log


class Region:
    """This addon's handle on the region, and its service where no other process is that.

    `on_open` is called with the store before anybody is told where it is.
    """

    def __init__(self, wishes, on_open=None):
        self.wishes = wishes
        self.on_open = on_open
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
                self.start()
            if self._service is not None:
                return self._service.tick()
        except ipcdatastore.WaitEndedError:
            raise
        except ipcdatastore.DatastoreError as error:
            self.tell(error)
            self.close()
        return max(0.0, self._due - time.monotonic())

    def close(self, published=None):
        """Write what is not written yet, and let go."""
        service, store = self._service, self.store
        self._service = self.store = None
        places.publish(published)
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
    def start(self):
        """Look after the region, or follow who does; and say to all scripts where it is."""
        if self.wishes.problem is not None:
            raise self.wishes.problem
        try:
            service = self._mended()
        except ipcdatastore.ServiceRunningError as error:
            if self.store is None:
                self._follow(error.holder)
                self._publish()
            return
        if self.store is not None:
            self.store.close()
        self._service, self.store = service, service.store
        _finish_move(self)
        self._told = None
        self._publish()
        log.info(self._opened())

    def _publish(self):
        if self.on_open is not None:
            self.on_open(self.store)
        places.publish(self.place)

    def _follow(self, holder):
        """Another Kodi, or a program, looks after the region: use it, and take over when that one ends."""
        place = self.wishes.place
        self.store = ipcdatastore.open(place.name, directory=place.directory, mode="w")
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
    directory = os.path.dirname(images[-1])
    if len(store):
        log.warning(f"a program made the region without its images; what it held is in {_set_aside(store, directory)}")
    restored = store.restore(images[-1])
    aside = _aside(directory)
    for path in images:
        os.replace(path, os.path.join(aside, os.path.basename(path)))
    log.info(f"{restored.records} values restored from {images[-1]}")


def _set_aside(store, images):
    """Write what a store holds into a backup beside its images. Its path."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.backup"
    backup = os.path.join(_aside(images), name)
    store.backup(backup)
    return backup


def _aside(images):
    directory = images + ".before"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    return directory


# --- moving ----------------------------------------------------------------------------------------------
def move(old, new_wishes):
    """The region that `old` has, under the same name in the place of `new_wishes`: a `Region`, open.

    Everything goes along, persistent or not, or nothing: where the new place cannot take it, the old one stays, and the
    user is told. The region's file is renamed first, which handles notice within a tenth of a second, and is read when
    nothing has come for longer than that: no write that was acknowledged is lost. Scripts that open the store meanwhile
    wait, since that is what is published. If all of this is killed, a note says to the next start what to finish.
    """
    path = old.store.stats()["path"]
    aside = path[: -len(SUFFIX)] + ".moving" + SUFFIX
    places.publish(places.MOVING)
    old.close(published=places.MOVING)
    new = Region(new_wishes, old.on_open)
    try:
        _note(aside)
        os.rename(path, aside)
        new.start()
        if not new.is_keeper:
            raise ipcdatastore.PlaceError("another program looks after the store there", path=path)
        log.info(f"moved from {path}")
        return new
    except (ipcdatastore.DatastoreError, OSError) as error:
        new.close(published=places.MOVING)
        if os.path.exists(aside):
            os.rename(aside, path)
        _forget_note()
        stays = Region(old.wishes, old.on_open)
        stays.tell(f"the store stays where it was, since it could not be moved: {error}")
        stays.tick()
        return stays


def _finish_move(region):
    """What the region that is being moved holds, in place of what is in the new one; that is kept in a backup."""
    try:
        with open(_note_path(), encoding="utf-8", errors="surrogateescape") as file:
            aside = file.read()
    except FileNotFoundError:
        return
    if os.path.exists(aside):
        backup = places.translate("special://temp/ipcdatastore.moving")
        directory, name = os.path.split(aside[: -len(SUFFIX)])
        with ipcdatastore.open(name, directory=directory, mode="w") as store:
            if len(region.store):
                log.info(f"what the new place held is in {_set_aside(region.store, region.wishes.place.images)}")
            version = None
            while version != store.stats()["version"]:  # writers that have not noticed yet
                version = store.stats()["version"]
                time.sleep(NOTICED)
            store.backup(backup)
        region.store.restore(backup)
        os.unlink(backup)
        os.unlink(aside)
    _forget_note()


def _note_path():
    return places.translate(places.PROFILE + "/moving")


def _note(aside):
    os.makedirs(os.path.dirname(_note_path()), exist_ok=True)
    with open(_note_path(), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(aside)


def _forget_note():
    if os.path.exists(_note_path()):
        os.unlink(_note_path())


def wants_move(old, new):
    """Whether the change of settings is one of place only."""
    if not (old.start and new.start and old.place and new.place):
        return False
    return old.place.name == new.place.name and old.place.directory != new.place.directory
