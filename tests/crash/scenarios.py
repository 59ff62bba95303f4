"""Operations to be killed in: (name, set-up, operation). Small regions, so that every store can be tried."""

import contextlib
from zlib import crc32

from ipcdatastore import layout
from ipcdatastore.errors import StoreFullError
from ipcdatastore.platform import now_ns
from ipcdatastore.transaction import Write


def key(number):
    return b"s%03d" % number


def value(number, size=40):
    return bytes([number % 256]) * size


def fill(engine, count, size=40):
    for number in range(count):
        engine.put(key(number), 1, value(number, size))


def write(engine, encoded, data, expires=0):
    return Write(encoded, crc32(encoded, engine.seed), 1, 0, data, expires)


def nothing(engine):
    pass


def some(engine):
    fill(engine, 12)


def holes(engine):
    """Free blocks of one class, and free slots."""
    fill(engine, 12)
    for number in (2, 3, 4, 8):
        engine.delete(key(number))


def big_hole(engine):
    engine.put(key(1), 1, value(1, 2000))
    some(engine)
    engine.delete(key(1))


def small_files(engine):
    """A region of 64 KiB, nearly full."""
    fill(engine, 12)
    engine.put(b"sbig", 1, b"x" * 40000)


def crowded_table(engine):
    """One partition's table is as full as it may get: the next insert into it switches tables."""
    for encoded in same_partition(engine, 6):
        engine.put(encoded, 1, b"v")


def same_partition(engine, count, bits=255):
    """Keys whose hashes agree in so many bits."""
    found = []
    number = 0
    while len(found) < count:
        encoded = b"sp%d" % number
        if crc32(encoded, engine.seed) & bits == 7:
            found.append(encoded)
        number += 1
    return found


def same_chain(engine, count):
    """Keys that are looked for from the same entry of the same table on, as long as it has its first size."""
    return same_partition(engine, count, 255 | layout.TABLE_MIN - 1 << 8)


def used_up_behind_a_hole(engine):
    """The slot of one key is used up, and before its table entry there is a tombstone."""
    first, second = same_chain(engine, 2)
    engine.put(first, 1, b"first")
    engine.put(second, 1, b"second")
    engine.delete(first)
    use_up(engine, second)


def no_slots(engine):
    """Every slot of the first chunk is taken."""
    number = 0
    while engine.region.words[layout.SLOT_TOP] != engine.region.words[layout.SLOT_END] or number == 0:
        engine.put(b"sn%d" % number, 1, b"v")
        number += 1


def expired(engine):
    some(engine)
    for number in range(20, 24):
        engine.put(key(number), 1, value(number, 3000), expires=1)
    engine.put(key(30), 1, b"later", expires=now_ns() + 10**15)


def limited(engine):
    """At its size limit, with eviction: the next insert has to evict."""
    engine.writer.set_policy(layout.PAGE, None)
    number = 0
    with contextlib.suppress(StoreFullError):
        while True:
            engine.put(key(number), 1, value(number, 1000))
            number += 1
    engine.writer.set_policy(None, layout.EVICT_POLICIES["lru"])


def used_up_slot(engine):
    """The slot of one key is near the end of its sequence."""
    some(engine)
    use_up(engine, key(5))


def use_up(engine, encoded):
    record = engine.get(encoded)
    words = engine.region.words
    near = layout.SEQ_RETIRE << layout.SEQ_SHIFT | record.word & 1
    cell = record.slot + layout.SLOT_CELL + 2 * (record.word & 1)
    block = words[cell]
    size = layout.RECORD_SIZE + len(record.key) + len(record.value)
    words[cell + 1] = crc32(engine.region.data[block * 16 : block * 16 + size], near)
    words[record.slot] = near


def journal_there(engine):
    some(engine)
    engine.commit([write(engine, key(40), b"a"), write(engine, key(41), b"b")])


def transaction(engine):
    engine.commit(
        [
            write(engine, key(1), b"changed"),
            write(engine, key(2), None),
            write(engine, key(50), b"new" * 30),
            write(engine, key(3), b"longer" * 40, expires=now_ns() + 10**15),
            write(engine, key(99), None),
        ]
    )


SCENARIOS = [
    ("insert the first", nothing, lambda e: e.put(key(1), 1, b"v")),
    ("insert", some, lambda e: e.put(key(60), 1, b"v" * 40)),
    ("insert with expiry", some, lambda e: e.put(key(60), 1, b"v" * 40, expires=now_ns() + 10**15)),
    ("insert into a free block and slot", holes, lambda e: e.put(key(60), 1, value(60))),
    ("insert splits a block", big_hole, lambda e: e.put(key(60), 1, value(60))),
    ("insert switches tables", crowded_table, lambda e: e.put(same_partition(e, 7)[6], 1, b"v")),
    ("insert makes a chunk", no_slots, lambda e: e.put(b"snew", 1, b"v")),
    ("insert grows the file", small_files, lambda e: e.put(key(60), 1, b"y" * 60000)),
    ("insert sweeps expired records", expired, lambda e: e.put(key(60), 1, value(60, 2900))),
    ("insert evicts", limited, lambda e: e.put(b"shot", 1, value(7, 1000))),
    ("insert evicts several", limited, lambda e: e.put(b"shot", 1, value(7, 5000))),
    ("overwrite, same class", some, lambda e: e.put(key(3), 1, value(9))),
    ("overwrite, same class, from a list", holes, lambda e: e.put(key(5), 1, value(9))),
    ("overwrite, larger", some, lambda e: e.put(key(3), 1, value(9, 3000))),
    ("overwrite, smaller", big_hole, lambda e: e.put(key(3), 1, b"")),
    ("overwrite drops expiry", expired, lambda e: e.put(key(30), 1, b"for ever")),
    ("overwrite in a used up slot", used_up_slot, lambda e: e.put(key(5), 1, b"moved")),
    ("compare and set", some, lambda e: e.put(key(3), 1, b"swapped", expect=e.get(key(3)).version)),
    ("delete", some, lambda e: e.delete(key(3))),
    ("delete the last", lambda e: e.put(key(1), 1, b"v"), lambda e: e.delete(key(1))),
    ("delete in a used up slot", used_up_slot, lambda e: e.delete(key(5))),
    ("delete with expiry", expired, lambda e: e.delete(key(30))),
    ("transaction, no journal yet", some, transaction),
    ("transaction", journal_there, transaction),
    (
        "transaction makes room",
        small_files,
        lambda e: e.commit([write(e, key(n), b"z" * 9000) for n in range(5, 9)]),
    ),
    (
        "transaction evicts",
        limited,
        lambda e: e.commit([write(e, b"s%d" % n, value(n, 1000)) for n in range(4)]),
    ),
    (
        "transaction in a used up slot",
        used_up_slot,
        lambda e: e.commit([write(e, key(n), b"m") for n in (4, 5, 6)]),
    ),
    ("clear", holes, lambda e: e.clear()),
    ("clear in use", journal_there, lambda e: e.clear()),
    ("repair", holes, lambda e: e.repair()),
]
# (name, set-up, steps): several operations, one after the other, between two loads of a reader.
SEQUENCES = [
    ("a key moves in front", used_up_behind_a_hole, [lambda e: e.put(same_chain(e, 2)[1], 1, b"moved")]),
    (
        "a table's block gets a record",
        crowded_table,
        [lambda e: e.put(same_partition(e, 7)[6], 1, b"v"), lambda e: e.put(same_partition(e, 8)[7], 1, b"v")],
    ),
    (
        "deleted and set again",
        some,
        [lambda e: e.delete(key(3)), lambda e: e.put(key(70), 1, b"other"), lambda e: e.put(key(3), 1, b"v")],
    ),
    ("set, and set another", some, [lambda e: e.put(key(1), 1, b"one"), lambda e: e.put(key(4), 1, b"four")]),
    ("insert, and set another", some, [lambda e: e.put(b"s0", 1, b"new"), lambda e: e.put(key(4), 1, b"four")]),
]
MAY_LOSE = {name for name, _, _ in SCENARIOS if "evict" in name}
