"""Damage a small region, over and over, and use what is left of it. Run as a program, so that a crash or a hang
of the interpreter is an answer, too: ``corruption.py DIRECTORY FIRST COUNT`` prints a line for each case.
"""

import random
import struct
import sys
from pathlib import Path

import ipcdatastore
from ipcdatastore import layout, region

NAME = "victim"
FINE = "fine"


def make_region(directory):
    """A region with something of everything. What it holds, and every value that each key ever had."""
    history = {}

    def note(key, value):
        history.setdefault(key, []).append(value)
        return value

    path = Path(directory) / f"{NAME}.region"
    image = region.initial_image(region.Policy("pickle", 1 << 30, "none"), seed=7)  # the same slots each time
    path.write_bytes(image.ljust(layout.PAGE, b"\0"))
    path.chmod(0o600)
    with ipcdatastore.open(NAME, directory=directory, mode="w") as store:
        for number in range(60):
            store[f"key {number}"] = note(f"key {number}", f"old {number}" * number)
        for number in range(0, 60, 3):
            store[f"key {number}"] = note(f"key {number}", [number] * number)
        for number in range(0, 60, 4):
            del store[f"key {number}"]
        store.set("expiring", note("expiring", b"x" * 500), expire=10**6)
        store.set_many({("t", number): note(("t", number), number) for number in range(8)})
        store.update({5: note(5, None), b"b": note(b"b", {"a": 1.5})})
        expected = dict(store.items())
    return expected, history


def damages():
    """Ways to damage an image, from a random generator: (name, function)."""
    words = 4

    def flip_bits(image, random, top):
        for _ in range(random.choice([1, 1, 2, 8])):
            image[random.randrange(top)] ^= 1 << random.randrange(8)

    def flip_in_header(image, random, top):
        for _ in range(random.choice([1, 1, 3])):
            image[random.randrange(96, 1024)] ^= 1 << random.randrange(8)

    def header_word(image, random, top):
        word = random.randrange(24, 64)
        value = random.choice([0, 1, 2, 3, 255, 4096, 65535, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, random.getrandbits(32)])
        struct.pack_into("=I", image, words * word, value)

    def any_word(image, random, top):
        value = random.choice([0, 1, 5, 0xFFFFFFFF, random.getrandbits(32), random.randrange(top // 4), top // 16 - 1])
        struct.pack_into("=I", image, random.randrange(96, top - 4) // 4 * 4, value)

    def descriptor_or_head(image, random, top):
        word = random.randrange(256, 768)
        struct.pack_into(
            "=I", image, words * word, random.choice([0, 1, 256, 300, random.randrange(top // 16), 1 << 31])
        )

    def table(image, random, top):
        """Anything in an index table: its mask, its count, all of its entries."""
        unit = struct.unpack_from("=I", image, words * (layout.DESCRIPTORS + random.randrange(layout.PARTITIONS)))[0]
        what = random.randrange(4)
        at = unit * layout.UNIT
        if what == 0:
            struct.pack_into("=I", image, at + 12, random.choice([0, 1, 2, 3, 5, 6, 15, 0x7FFFFFFF, 0xFFFFFFFF]))
        elif what == 1:
            struct.pack_into("=I", image, at + 8, random.getrandbits(32))
        elif what == 2:
            image[at + 16 : at + 48] = struct.pack("=8I", *[layout.TOMBSTONE] * 8)
        else:
            some = struct.unpack_from("=I", image, words * layout.SLOT_TOP)[0] - 8
            image[at + 16 : at + 48] = struct.pack("=8I", *[max(some - 8 * n, 0) for n in range(8)])

    def all_tables(image, random, top):
        mask = random.choice([0, 1, 3])
        for partition in range(layout.PARTITIONS):
            unit = struct.unpack_from("=I", image, words * (layout.DESCRIPTORS + partition))[0]
            struct.pack_into("=I", image, unit * layout.UNIT + 12, mask)

    def blank(image, random, top):
        at = random.randrange(96, top)
        length = random.choice([1, 4, 16, 64, 4096])
        image[at : at + length] = bytes(min(length, len(image) - at))

    def noise(image, random, top):
        at = random.randrange(96, top - 64)
        image[at : at + 64] = bytes(random.getrandbits(8) for _ in range(64))

    def swap(image, random, top):
        one, two = random.randrange(256, top // 16), random.randrange(256, top // 16)
        one, two = 16 * one, 16 * two
        image[one : one + 16], image[two : two + 16] = image[two : two + 16], image[one : one + 16]

    def dirty(image, random, top):
        """As if a writer had died inside, with any intent."""
        struct.pack_into("=I", image, words * layout.DIRTY, random.getrandbits(32) | 1)
        for word in range(layout.INTENT, layout.INTENT + random.choice([0, 0, 2, 8, 60])):
            struct.pack_into("=I", image, words * word, random.choice([0, 1, 2, 7, random.randrange(top // 4)]))
        if random.random() < 0.3:
            struct.pack_into("=I", image, words * layout.JOURNAL_COUNT, random.choice([1, 5, 1 << 30]))
        if random.random() < 0.3:
            struct.pack_into("=I", image, words * layout.COMMIT, random.choice([1, 3, 0xFFFFFFFF]))

    return [
        flip_bits,
        flip_in_header,
        header_word,
        any_word,
        descriptor_or_head,
        table,
        all_tables,
        blank,
        noise,
        swap,
        dirty,
    ]


class Case:
    """One damaged region, and everything that is then done with it."""

    def __init__(self, directory, expected, history):
        self.directory, self.expected, self.history = directory, expected, history
        self.wrong = []

    def attempt(self, what, function):
        """What `function` returns; only errors of the library's own may come out."""
        try:
            return function()
        except ipcdatastore.DatastoreError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the point of it
            self.wrong.append(f"{what} raised {type(error).__name__}: {error}")
            return error

    def see(self, what, key, value):
        """A value that was read must have been written under that key at some time."""
        if isinstance(value, Exception) or value is self:
            return
        if key not in self.history or not any(value == old and type(value) is type(old) for old in self.history[key]):
            self.wrong.append(f"{what} returned {value!r} for {key!r}, which was never written")

    def read(self, store, problems):
        found = {}
        for key in self.history:
            found[key] = self.attempt("get", lambda: store.get(key, self))  # noqa: B023
            self.see("get", key, found[key])
        listed = self.attempt("iteration", lambda: {key: store.get(key, self) for key in store})
        if isinstance(listed, dict):
            for key, value in listed.items():
                self.see("iteration", key, value)
        self.attempt("get_many", lambda: store.get_many(list(self.history)))
        self.attempt("len", lambda: len(store))
        self.attempt("stats", store.stats)
        if problems == []:
            right = {key: value for key, value in found.items() if value is not self}
            if right != self.expected or listed != self.expected:
                self.wrong.append("check() says nothing, but the contents are not what they were")

    def write(self, store):
        for number in range(12):
            for key in (f"key {number}", f"new {number}"):
                self.history.setdefault(key, []).append(b"new" * 10 * number)
                self.attempt("set", lambda: store.set(key, b"new" * 10 * number))  # noqa: B023
        self.history["key 20"].append("by a transaction")
        self.attempt("set_many", lambda: store.set_many({"key 20": "by a transaction", ("t", 1): 1}))
        for number in range(30, 40):
            self.attempt("delete", lambda: store.delete(f"key {number}"))  # noqa: B023
        self.attempt("touch", lambda: store.touch("expiring", 100))

    def run(self):
        for mode in ("r", "w"):
            store = self.attempt(f"open {mode}", lambda: self.open(mode))  # noqa: B023
            if isinstance(store, Exception):
                return
            problems = self.attempt(f"check {mode}", store.check)
            self.read(store, problems)
            if mode == "w":
                self.write(store)
                self.attempt("check after writing", store.check)
                repaired = self.attempt("repair", store.repair)
                after = self.attempt("check after repair", store.check)
                if not isinstance(repaired, Exception) and after != []:
                    self.wrong.append(f"repair() went through, but check() says {str(after)[:200]}")
                self.read(store, None)
                if not isinstance(repaired, Exception):
                    self.attempt("set after repair", lambda: store.set("at last", 1))  # noqa: B023
                    self.attempt("clear", store.clear)
            store.close()

    def open(self, mode):
        return ipcdatastore.open(NAME, directory=self.directory, mode=mode, timeout=2)


def limit_memory():
    """Damage must not make anybody ask for gigabytes."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def main(directory, first, count):
    limit_memory()
    path = Path(directory) / f"{NAME}.region"
    expected, history = make_region(directory)
    image = path.read_bytes()
    top = struct.unpack_from("=I", image, 4 * layout.TOP)[0] * layout.UNIT
    kinds = damages()
    for number in range(first, first + count):
        damage = kinds[number % len(kinds)]
        print(number, damage.__name__, flush=True)
        damaged = bytearray(image)
        damage(damaged, random.Random(number), top)
        path.write_bytes(damaged)
        case = Case(directory, expected, {key: list(olds) for key, olds in history.items()})
        case.run()
        print(number, damage.__name__, case.wrong[0] if case.wrong else FINE, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
