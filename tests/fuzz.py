"""``python -m fuzz``, from this directory: damaged regions and images by the million, judged by what is published.

A region of 64 KiB (or an image of it) is damaged, opened, read, checked, and every other time repaired (or restored).
What may come of it is worked out here, by a parser that shares nothing with the library but the layout's numbers:

* reading gives a value that the key had at some time, or an error of ours;
* a region that `check` finds nothing wrong with holds exactly what it held;
* after `repair`, `check` finds nothing, and the store holds exactly the records that were published under their seals:
  every one of them, and none that had been deleted or overwritten;
* nothing takes longer than a second, or more memory than a few times the file.

From Python 3.12 on the search is guided: an image that made the library run a line that none before had run is damaged
further. The run ends with 1 at the first fault, and leaves the image for `--replay`.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path
from zlib import crc32

import ipcdatastore
from corruption import FINE, NAME, damages, limit_memory
from ipcdatastore import layout, region

KEYS = 10
CORPUS = 400
SLOWEST = 1.0


# --- what is damaged -------------------------------------------------------------------------------------
def make_region(directory):
    """(image, {key: value now}, {key: every value it had}) of a small region with something of everything."""
    path = Path(directory) / f"{NAME}.region"
    image = region.initial_image(region.Policy("raw", 1 << 22, "none"), seed=7)
    path.write_bytes(image.ljust(layout.PAGE, b"\0"))
    path.chmod(0o600)
    history = {}
    with ipcdatastore.open(NAME, directory=directory, mode="w") as store:
        for turn in range(4):
            for number in range(KEYS):
                value = bytes([64 + turn]) * (number * 23 + turn * 40 * (number % 3))
                history.setdefault(f"k{number}", []).append(value)
                store[f"k{number}"] = value
            del store[f"k{turn}"]
        store.set("mortal", b"m" * 50, expire=10**8)
        history["mortal"] = [b"m" * 50]
        store.set("kept", b"k", persist=True)
        history["kept"] = [b"k"]
        store.set_many({"k8": b"eight", "k9": b"nine"})
        history["k8"].append(b"eight")
        history["k9"].append(b"nine")
        held = dict(store)
        store.close()
    return path.read_bytes(), held, history


def published(image, chunks):
    """{key: value} of every record whose slot publishes it under its seal. `chunks`: (first slot, slots)."""
    found = {}
    decided = struct.unpack_from("=I", image, 4 * layout.COMMIT)[0] & 1
    for first, count in chunks:
        for slot in range(first, first + 8 * count, 8):
            words = struct.unpack_from("=8I", image, 4 * slot)
            word = words[0]
            if word & layout.WORD_PENDING:
                before = word & ~layout.WORD_PENDING
                word = (before & ~3) + layout.SEQ_ONE & 0xFFFFFFFF | ~before & 1 if decided else before
            at = 16 * words[1 + 2 * (word & 1)]
            if not at or at + layout.RECORD_SIZE > len(image):
                continue
            fields = layout.RECORD.unpack_from(image, at)
            end = at + layout.RECORD_SIZE + fields[1] + fields[4]
            if fields[0] == slot and end <= len(image) and crc32(image[at:end], word) == words[2 + 2 * (word & 1)]:
                key = image[at + layout.RECORD_SIZE : at + layout.RECORD_SIZE + fields[1]]
                value = image[at + layout.RECORD_SIZE + fields[1] : end]
                if fields[5] >= found.get(key, (0, b""))[0]:
                    found[key] = (fields[5], value)
    return {key[1:].decode(): value for key, (_, value) in found.items()}


def chunks_of(image):
    found = []
    unit = struct.unpack_from("=I", image, 4 * layout.CHUNK_FIRST)[0]
    while unit:
        _, _, following, count = struct.unpack_from("=4I", image, 16 * unit)
        found.append((4 * unit + 4, count))
        unit = following
    return found


# --- one case ----------------------------------------------------------------------------------------------
class Region:
    """Regions."""

    def __init__(self, directory):
        self.directory = directory
        self.path = Path(directory) / f"{NAME}.region"
        self.image, self.held, self.history = make_region(directory)
        self.chunks = chunks_of(self.image)
        self.top = struct.unpack_from("=I", self.image, 4 * layout.TOP)[0] * layout.UNIT
        self.kinds = damages()

    def mutate(self, image, rng):
        damaged = bytearray(image)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            with contextlib.suppress(struct.error):  # an earlier damage leads it nowhere
                rng.choice(self.kinds)(damaged, rng, self.top)
        return bytes(damaged)

    def judge(self, image, number):
        """What is wrong with what the library makes of `image`."""
        self.path.write_bytes(image)
        try:
            store = ipcdatastore.open(NAME, directory=self.directory, mode="w", timeout=0)
        except ipcdatastore.DatastoreError:
            return FINE
        with store:
            try:
                problems = store.check() if number % 4 else None
            except ipcdatastore.DatastoreError:
                problems = None
            found = {}
            for key, values in self.history.items():
                try:
                    found[key] = store.get(key)
                except ipcdatastore.DatastoreError:
                    continue
                if found[key] is not None and found[key] not in values:
                    return f"get({key!r}) gave {found[key]!r:.80}, which was never there"
            found = {key: value for key, value in found.items() if value is not None}
            # Where a mark is set, `check` has the region repaired: nothing tells of what was not published.
            marked = struct.unpack_from("=I", image, 4 * layout.DIRTY)[0]
            right = published(image, self.chunks) if marked else self.held
            if problems == [] and found != right:
                return f"check() says nothing, but {differs(found, right)}"
            if number % 2 == 0:
                return self.repaired(store, problems)
        return FINE

    def repaired(self, store, problems):
        image = self.path.read_bytes()  # `check` may have finished what looked like a dead writer's
        right = published(image, self.chunks)
        try:
            store.repair()
        except ipcdatastore.DatastoreError as error:
            return f"repair refuses: {error!r:.300}"
        if store.check():
            return f"check() after repair: {store.check()[:3]}"
        records = {record.key[1:].decode(): record.value for record in store._engine.reader.scan()}
        if records != right:
            return f"repair of {problems and problems[:2]}: {differs(records, right)}"
        store["at last"] = b"x"
        if store.check():
            return f"check() after repair and a set: {store.check()[:3]}"
        return FINE


class Image:
    """Images on the disk."""

    def __init__(self, directory):
        self.directory = os.path.join(directory, "regions")
        images = os.path.join(directory, "images")
        os.mkdir(self.directory, 0o700)
        source = Path(directory) / "source"
        source.mkdir(mode=0o700)
        _, self.held, self.history = make_region(source)
        with ipcdatastore.open(
            NAME, directory=source, mode="w", persist=True, snapshot_directory=images, flush_interval=10**6
        ) as store:
            self.path = Path(store.flush())
        self.path = next(Path(images).glob("*.image"))
        self.image = self.path.read_bytes()
        self.images = images
        self.pristine = self.path.name

    def mutate(self, image, rng):
        damaged = bytearray(image)
        for _ in range(rng.choice([1, 1, 2, 4])):
            kind = rng.randrange(6)
            at = rng.choice([rng.randrange(200), rng.randrange(len(damaged)), len(damaged) - 1 - rng.randrange(200)])
            at = min(max(at, 0), len(damaged) - 1)
            if kind == 0:
                damaged[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                damaged[at : at + 4] = struct.pack("=I", rng.choice([0, 1, 2, 4096, rng.getrandbits(32), 1 << 31]))
            elif kind == 2:
                del damaged[at : at + rng.choice([1, 16, 4096])]
            elif kind == 3:
                size = rng.choice([1, 16, 512, 4096])
                damaged[at : at + size] = bytes(min(size, len(damaged) - at))
            elif kind == 4:
                self.reseal(damaged)
            else:
                damaged[at:at] = bytes(rng.choice([1, 16, 4096]))
            if len(damaged) < 64:
                break
        if rng.random() < 0.3:
            self.reseal(damaged)
        return bytes(damaged)

    @staticmethod
    def reseal(damaged):
        """Make the checksums right again, so that what is behind them is reached."""
        from ipcdatastore import image

        size, footer = image.IMAGE_HEADER.size, image.IMAGE_FOOTER.size
        if len(damaged) < image.IMAGE_START + footer:
            return
        damaged[size : size + 4] = struct.pack("=I", crc32(damaged[:size]))
        at = len(damaged) - footer
        *fields, _, _, _ = image.IMAGE_FOOTER.unpack(damaged[at:])
        unsealed = image.IMAGE_FOOTER.pack(*fields, crc32(damaged[:at]), 0, image.IMAGE_END)
        damaged[at:] = image.IMAGE_FOOTER.pack(*fields, crc32(damaged[:at]), crc32(unsealed), image.IMAGE_END)

    def judge(self, image, number):
        """What is wrong with what comes back of `image`."""
        shutil.rmtree(self.directory)
        os.mkdir(self.directory, 0o700)
        for entry in os.listdir(self.images):
            os.unlink(os.path.join(self.images, entry))
        self.path.write_bytes(image)
        self.path.chmod(0o600)
        options = {"directory": self.directory, "timeout": 0}
        try:
            if number % 2:
                store = ipcdatastore.open(NAME, snapshot_directory=self.images, **options)
            else:
                store = ipcdatastore.open(NAME, serializer="raw", **options)
                store.restore(self.path, salvage=number % 4 == 0)
        except ipcdatastore.DatastoreError:
            if number % 2 == 0:
                store.close()
            return FINE
        with store:
            for key, value in store.items():
                if value not in self.history.get(key, ()):
                    return f"{key!r} came back as {value!r:.80}, which was never there"
            if store.check():
                return f"check() of what came back: {store.check()[:3]}"
        return FINE


def differs(found, right):
    keys = [key for key in {**found, **right} if found.get(key) != right.get(key)]
    return ", ".join(f"{key}: {found.get(key)!r:.60} for {right.get(key)!r:.60}" for key in sorted(keys)[:3])


TARGETS = {"region": Region, "image": Image}


# --- many ----------------------------------------------------------------------------------------------------
class Guide:
    """Tells whether anything new was run since it was last asked: costs next to nothing, since each line tells once."""

    def __init__(self):
        self.lines = 0
        self.seen = 0
        monitoring = getattr(sys, "monitoring", None)
        self.works = monitoring is not None
        if not self.works:
            return
        source = os.path.dirname(ipcdatastore.__file__)
        tool = monitoring.COVERAGE_ID
        monitoring.use_tool_id(tool, "fuzz")

        def line(code, number):
            if code.co_filename.startswith(source):
                self.lines += 1
            return monitoring.DISABLE

        monitoring.register_callback(tool, monitoring.events.LINE, line)
        monitoring.set_events(tool, monitoring.events.LINE)

    def has_news(self):
        news, self.seen = self.lines > self.seen, self.lines
        return news


def run(target, cases, seed, keep, show):
    """(cases done, what was wrong, figures)"""
    limit_memory()
    warnings.simplefilter("ignore")
    rng = random.Random(seed)
    guide = Guide()
    corpus = [target.image]
    target.judge(target.image, 0)
    guide.has_news()
    begun, slowest = time.monotonic(), 0.0
    for number in itertools.count() if cases is None else range(cases):
        # Mostly the whole one, or most of what is tried is damage behind damage that is refused first.
        base = rng.choice(corpus) if rng.random() < 0.3 else target.image
        image = target.mutate(base, rng)
        start = time.process_time()  # a busy machine is not a bug
        try:
            wrong = target.judge(image, number)
        except Exception as error:  # noqa: BLE001 - the point of it
            wrong = f"{type(error).__name__}: {error}"
        taken = time.process_time() - start
        slowest = max(slowest, taken)
        if taken > SLOWEST and wrong == FINE:
            wrong = f"it took {taken:.1f} s"
        if wrong != FINE:
            keep.write_bytes(image)
            return number, f"case {number}: {wrong} (the image is {keep}, number {number})", {}
        if guide.has_news() and len(corpus) < CORPUS:
            corpus.append(image)
        if number % 1000 == 0:
            show(number, len(corpus), guide.lines, time.monotonic() - begun)
    figures = {"cases": cases, "seconds": round(time.monotonic() - begun, 1), "slowest ms": round(1e3 * slowest, 1)}
    figures.update({"guided": guide.works, "images that found new lines": len(corpus) - 1, "lines run": guide.lines})
    return cases, "", figures


def main():
    parser = argparse.ArgumentParser(prog="fuzz", description="Damage regions or images, and judge what comes of it.")
    parser.add_argument("target", choices=TARGETS, nargs="?", default="region")
    parser.add_argument("--cases", type=int, default=20_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of an earlier run")
    parser.add_argument("--replay", help="an image that was left by a fault, and its number", nargs=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    directory = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    live = sys.stderr.isatty()

    def show(number, corpus, lines, seconds):
        if live or number % 20_000 == 0:
            text = f"{number:,} of {arguments.cases:,} cases, {number / max(seconds, 0.1):,.0f} a second, "
            text += f"{lines:,} lines run, {corpus:,} images to go on from"
            sys.stderr.write("\r" * live + text + ("\033[K" if live else "\n"))
            sys.stderr.flush()

    try:
        target = TARGETS[arguments.target](directory)
        if arguments.replay:
            print(target.judge(Path(arguments.replay[0]).read_bytes(), int(arguments.replay[1])))
            return 0
        keep = Path(tempfile.gettempdir()) / f"fuzz-{seed}.image"
        _, wrong, figures = run(target, arguments.cases, seed, keep, show)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    figures = dict({"target": arguments.target, "seed": seed}, **figures, wrong=wrong or "nothing")
    if live:
        sys.stderr.write("\n")
    print(json.dumps(figures, indent=2) if arguments.json else "\n".join(f"{k:>28}  {v}" for k, v in figures.items()))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
