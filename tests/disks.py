"""A file system that remembers what was asked of it, fails or dies on demand, and may lose its power."""

import itertools
import os
import shutil
from pathlib import Path

import pytest

import ipcdatastore
from ipcdatastore import archive, image
from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine


class Died(BaseException):
    """The process is gone. No ``except Exception`` may see it."""


class Disk(image.Files):
    """Does what it is told to, and writes it down. At call number `last` the process dies, or `error` is raised."""

    def __init__(self, last=None, error=None):
        self.calls = []
        self.last = last
        self.error = error
        self.dead = False
        self._paths = {}

    def _call(self, *call):
        if self.dead:
            raise Died
        self.calls.append(call)
        if len(self.calls) == self.last:
            if self.error is not None:
                raise self.error
            self.dead = True
            raise Died

    def create(self, path):
        self._call("create", path)
        fd = super().create(path)
        self._paths[fd] = path
        return fd

    def write(self, fd, data):
        self._call("write", self._paths[fd], bytes(data))
        super().write(fd, data)

    def sync(self, fd):
        self._call("sync", self._paths[fd])
        super().sync(fd)

    def close(self, fd):
        super().close(fd)  # the system does that for the dead too

    def rename(self, source, target):
        self._call("rename", source, target)
        super().rename(source, target)

    def sync_directory(self, path):
        self._call("sync directory", path)
        super().sync_directory(path)

    def unlink(self, path):
        self._call("unlink", path)
        super().unlink(path)


@pytest.fixture
def disk(monkeypatch):
    """``disk(last, error)`` puts a new disk in the place of the real one."""

    def install(last=None, error=None):
        installed = Disk(last, error)
        monkeypatch.setattr(image, "files", installed)
        return installed

    yield install
    monkeypatch.undo()


# --- power ------------------------------------------------------------------------------------------------
def contents_after_a_cut(writes):
    """What may be on the disk of a file whose `writes` were not synced: all, nothing, a part, the wrong part."""
    whole = b"".join(writes)
    yield whole
    if not whole:
        return
    yield b""
    yield whole[: len(whole) // 2]
    yield bytes(len(whole))  # the length, but no data
    yield bytes(len(writes[0])) + b"".join(writes[1:])  # the later ones only
    yield b"".join(writes[:-1]) + bytes(len(writes[-1]))


def directories_after_a_cut(before, calls):
    """Every directory {name: bytes} that a power cut right after `calls` may leave; `before` is on the disk."""
    durable = dict(before)  # name -> what it names: bytes, or the number of a file made since
    pending = []  # changes of names that no sync has covered yet
    made, open_files = [], {}  # made: [synced bytes, writes since]
    for call in calls:
        kind, path = call[0], os.path.basename(call[1])
        if kind == "create":
            made.append([b"", []])
            open_files[path] = len(made) - 1
            pending.append(("link", path, len(made) - 1))
        elif kind == "write":
            made[open_files[path]][1].append(call[2])
        elif kind == "sync":
            file = made[open_files[path]]
            file[:] = [file[0] + b"".join(file[1]), []]
        elif kind == "rename":
            target = os.path.basename(call[2])
            open_files[target] = open_files.pop(path)
            pending.append(("move", path, target, open_files[target]))
        elif kind == "unlink":
            pending.append(("unlink", path))
        elif kind == "sync directory":
            durable = apply(durable, pending)
            pending = []
    variants = [[synced + late for late in contents_after_a_cut(writes)] for synced, writes in made]
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(pending, count) for count in range(len(pending) + 1)
    ):
        names = apply(durable, chosen)
        for versions in itertools.product(*variants):
            yield {name: versions[content] if isinstance(content, int) else content for name, content in names.items()}


def apply(names, changes):
    names = dict(names)
    for change in changes:
        if change[0] == "link":
            names[change[1]] = change[2]
        elif change[0] == "move":
            names.pop(change[1], None)
            names[change[2]] = change[3]
        else:
            names.pop(change[1], None)
    return names


def read_directory(path):
    return {entry: (Path(path) / entry).read_bytes() for entry in os.listdir(path)} if os.path.isdir(path) else {}


def write_directory(path, files):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path, mode=0o700)
    for name, data in files.items():
        fd = os.open(os.path.join(path, name), os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)


# --- stores -----------------------------------------------------------------------------------------------
class Place:
    """A directory for regions and one for images, and what a test does with them."""

    def __init__(self, base):
        self.regions = base / "regions"
        self.images = base / "images"
        self.regions.mkdir(mode=0o700)

    def open(self, name="s", **options):
        """A store with nobody who looks after it."""
        options.setdefault("snapshot_directory", str(self.images))
        persist = options.pop("persist", None)
        store = ipcdatastore.open(name, directory=self.regions, **options)
        if persist is not None:
            store._engine.options.persist = persist
            store._engine._apply_persistence()
        return store

    def engine(self, name="s", **options):
        options.setdefault("persist", True)
        options.setdefault("snapshot_directory", str(self.images))
        return Engine(name, str(self.regions), Options(**options))

    def reboot(self, name="s"):
        """The memory is gone."""
        (self.regions / f"{name}.region").unlink()

    def numbers(self):
        return [number for number, _ in archive.numbered(str(self.images))]

    def newest(self):
        return Path(archive.numbered(str(self.images))[0][1])

    def leftovers(self):
        return sorted(entry for entry in os.listdir(self.images) if not entry.endswith(".image"))


@pytest.fixture
def place(directory):
    return Place(directory)


def holds(path):
    """{key: value bytes} of an image that is whole, and the version that it shows."""
    with image.Image(str(path)) as found:
        found.validate()
        records = {}
        for record in found.records():
            length = int.from_bytes(record[4:6], "little")
            records[record[36 : 36 + length]] = record[36 + length :]
        return records, found.facts.version
