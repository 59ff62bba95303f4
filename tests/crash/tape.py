"""A handle whose N-th store to the region is its last: what a kill between two stores leaves behind.

The handle works on the real mapping; only its views are replaced. ``struct.unpack_from`` needs a real
buffer, so `data` is a subclass of ``mmap``; `words` and `longs` are thin proxies.
"""

import mmap
from pathlib import Path

from ipcdatastore.attach import Options
from ipcdatastore.engine import Engine
from ipcdatastore.region import Region


class Killed(BaseException):
    """The process is gone. No ``except Exception`` may see it."""


class Tape:
    """Counts stores; kills at store number `last` (before it, or half way through it if `tear`)."""

    def __init__(self, last=None, *, tear=False):
        self.stores = 0
        self.last = last
        self.tear = tear
        self.dead = False

    def kill_now(self):
        assert not self.dead, "a store after the death: some handler writes to the region"
        self.stores += 1
        if self.stores == self.last:
            self.dead = True
            return True
        return False


class TapedWords:
    def __init__(self, view, tape):
        self.view, self.tape = view, tape

    def __getitem__(self, index):
        return self.view[index]

    def __len__(self):
        return len(self.view)

    def __setitem__(self, index, value):
        if self.tape.kill_now():  # one aligned word: never half
            raise Killed
        self.view[index] = value


class TapedLongs(TapedWords):
    """A 64-bit store may be two on a 32-bit machine."""

    def __setitem__(self, index, value):
        if self.tape.kill_now():
            if self.tape.tear:
                self.view[index] = (self.view[index] & ~0xFFFFFFFF) | (value & 0xFFFFFFFF)
            raise Killed
        self.view[index] = value


class TapedData(mmap.mmap):
    tape = None

    def __setitem__(self, index, value):
        if self.tape.kill_now():
            if self.tape.tear:
                half = len(value) // 2
                super().__setitem__(slice(index.start, index.start + half), value[:half])
            raise Killed
        super().__setitem__(index, value)


def put_on_tape(engine, tape):
    """Have every store of `engine` go through `tape` from now on."""
    region = engine.region

    def install(data):
        taped = TapedData(region.file.fileno(), len(data))
        taped.tape = tape
        Region._install(region, taped)
        region.words = TapedWords(region.words, tape)
        region.longs = TapedLongs(region.longs, tape)

    region._install = install
    region.units = 0  # or the view that is there would do
    install(region.data)


class LoadTape:
    """Counts loads; acts just before load `number` (from 0)."""

    def __init__(self, number, act):
        self.loads = 0
        self.number, self.act = number, act

    def load(self):
        self.loads += 1
        if self.loads - 1 == self.number:
            self.act()


class LoadedWords(TapedWords):
    def __getitem__(self, index):
        self.tape.load()
        return self.view[index]


class LoadedData(mmap.mmap):
    tape = None

    def __getitem__(self, index):
        self.tape.load()
        return super().__getitem__(index)


def load_through(engine, tape):
    """Have every load of `engine` go through `tape` from now on (not those of ``unpack_from``, which no one sees)."""
    region = engine.region

    def install(data):
        taped = LoadedData(region.file.fileno(), len(data), access=mmap.ACCESS_READ)
        taped.tape = tape
        Region._install(region, taped)
        region.words = LoadedWords(region.words, tape)
        region.longs = LoadedWords(region.longs, tape)

    region._install = install
    region.units = 0  # or the view that is there would do
    install(region.data)


def open_copy(image, directory, name="copy", **options):
    """An engine on a fresh region file with the bytes of `image`."""
    path = Path(directory) / (name + ".region")
    path.write_bytes(image)
    path.chmod(0o600)
    return Engine(name, str(directory), Options(mode="w", **options))


def open_reader(directory, name="copy"):
    return Engine(name, str(directory), Options(mode="r"))


def contents(engine):
    """{key: value} of all records, expired ones left out, by the readers' protocol."""
    return {record.key: record.value for record in engine.reader.scan()}
