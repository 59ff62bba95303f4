"""The format of a region: every offset, size, flag and ``Struct``. No I/O, no state.

``docs/format.md`` is normative; a test parses its tables against this module. All integers are in
the byte order of the machine (the header says which). Addresses come in three kinds:

* a *word index* counts 32-bit words from the start of the file (slots and header words);
* a *unit* counts 16 bytes from the start of the file (heap blocks);
* a *page* counts 64 KiB (the length of the file).

These numbers are frozen for format version 1: a region written by one release is read by the next.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Tuple

# --- sizes -----------------------------------------------------------------------------------------
UNIT = 16
UNIT_WORDS = UNIT // 4
PAGE = 65536
PAGE_UNITS = PAGE // UNIT
HEADER_SIZE = 4096
HEAP_START = HEADER_SIZE // UNIT  # unit of the first heap block
MAX_REGION = 1 << 34  # 16 GiB: what a word index can address
DEFAULT_MAX_SIZE = 1 << 30
MAX_KEY = 0xFFFF
MAX_VALUE = 0xFFFFFFFF
MAX_VERSION = 1 << 62  # more than can ever be given out

# --- static header: bytes 0..75, written once at creation, covered by its own CRC --------------------
MAGIC = b"\x89IPCDS\r\n"
WRITE_VERSION = 1  # a region with a newer one can be opened with mode "r" only
READ_VERSION = 1  # a region with a newer one is refused
BYTE_ORDER_MARK = 0x01020304
#                       magic, write, read, order, serializer, clock, seed, region id, boot id, created
STATIC = struct.Struct("=8sIIIIII16s16sQ")
STATIC_CRC_WORD = STATIC.size // 4
STATIC_CRC = struct.Struct("=I")

SERIALIZERS = {"pickle": 1, "json": 2, "raw": 3}
serializer_names = {number: name for name, number in SERIALIZERS.items()}

# --- dynamic header words (word indexes) -------------------------------------------------------------
LENGTH = 24  # published length of the file, in pages
STATE = 25
DIRTY = 26  # 0, or nonce | kind: whose operation is under way, and what the intent area holds of it
UNUSED = 27  # must be zero
COMMIT = 28  # odd: pending slots are decided
STRUCTURE = 29  # grows with every insert and index table switch
CHANGE = 30  # grows with every write
TOP = 31  # unit where the heap ends: the rest of the file is free
HAND = 32  # unit where the next sweep begins
SLOT_FREE = 33  # word index of the first free slot, 0 = none
SLOT_TOP = 34  # word index of the next slot that was never used
SLOT_END = 35  # where the current slot chunk ends
CHUNK_FIRST = 36  # unit of the first slot chunk
CHUNK_CURRENT = 37  # the chunk that SLOT_TOP points into
COUNT = 38  # records, expired ones that were not swept yet included
EXPIRING = 39  # records with an expiry
FREE_UNITS = 40  # units in free blocks
JOURNAL = 41  # unit of the transaction journal block, 0 = none
JOURNAL_COUNT = 42  # entries in it
EVICT = 43  # eviction policy
VERSION = 44  # u64, two words: the last version given out
MAX_SIZE = 46  # u64, two words: bytes
VERSION_LONG = VERSION // 2  # the same two in 64-bit words
MAX_SIZE_LONG = MAX_SIZE // 2
PERSIST = 48  # a number of PERSIST_POLICIES: what goes into images
FLAGGED = 49  # not 0: some record may carry FLAG_PERSIST
IMAGES = 50  # which half of the path area names the directory of images: 1 or 2, 0 = none was named
IMAGE_NUMBER = 51  # of the last image, 0 = none
FLUSHED_AT = 52  # seconds since the epoch when it was complete
UNUSED_TOO = 53  # must be zero
FLUSHED = 54  # u64, two words: the version that the last image holds
CLEARED = 56  # u64, two words: the version of the last clear
ALERT = 58  # 0, or until when somebody waits or watches (seconds on the clock): writers log and wake
LOG = 59  # unit of the event log's block, 0 = nobody ever watched
LOG_HEAD = 60  # units ever appended to the event log, modulo 2**32
LOG_BREAKS = 61  # grows when events may have gone unlogged
FLUSHED_LONG = FLUSHED // 2
CLEARED_LONG = CLEARED // 2
RESERVED_WORDS = (62, 64)  # must be zero

STATE_LIVE = 1
STATE_DAMAGED = 2

EVICT_POLICIES = {"none": 0, "lru": 1}
PERSIST_POLICIES = {"keys": 0, "all": 1}  # records with FLAG_PERSIST only, or every record

# --- intent area -------------------------------------------------------------------------------------
INTENT = 64  # word index: crc, then the payload
INTENT_WORDS = 192
KIND_MASK = 7  # of DIRTY; the rest is the nonce
KIND_NONE = 0  # nothing to finish
KIND_STEP = 1  # [n, (address, value) * n]
KIND_SLOT = 2  # [slot, before, target, version, n undo, n redo, (address, value) * (undo + redo)]
KIND_CLEAR = 3  # no payload: every slot that holds a record takes part
KIND_REBUILD = 4  # no payload: everything derived is being made anew
KIND_REPLACE = 6  # [slot, before, version, new block, next free, old block, class head, tag]: KIND_SLOT in short
KIND_REPAIR = 5  # the same after damage: what a lost intent may have sealed is burnt too
MAX_STEP = (INTENT_WORDS - 2) // 2  # pairs that fit
SLOT_INTENT_HEAD = 7  # words before the pairs of a KIND_SLOT payload
REPLACE_INTENT = 9  # words of a KIND_REPLACE payload

# --- tables in the header ----------------------------------------------------------------------------
PARTITIONS = 256
DESCRIPTORS = 256  # word index of partition 0's descriptor: unit of its table
CLASSES = 256
HEADS = 512  # word index of size class 0's head: unit of the first free block, 0 = none

# Two halves, so that a death while a path is stored leaves the other: length in bytes, then UTF-8.
PATHS = 768
PATH_WORDS = 112
MAX_PATH = 4 * (PATH_WORDS - 1)

# Figures, added to without a lock now and then by each handle: near enough, never relied upon.
READS = 992  # reads past a cache
RETRIES = 993  # attempts of theirs that met a writer
LOCKED_READS = 994  # those that took the shared lock in the end
LOCK_WAITS = 995  # writers and readers that had to wait for a lock

ALL_KEYS = 0xFFFFFFFF  # the bits of a wake-up that is for everybody who waits

# --- heap blocks -------------------------------------------------------------------------------------
# The first word tells what a block is: a record starts with its slot's word index, a multiple of 4.
TAG_MASK = 3
TAG_RECORD = 0
TAG_FREE = 1  # units << 2 | 1, next, previous (of the first on its list: anything)
TAG_SYSTEM = 3  # units << 2 | 3, kind, ...

SYSTEM_CHUNK = 1  # units << 2 | 3, SYSTEM_CHUNK, next chunk (unit), slots in it; then the slots
SYSTEM_TABLE = 2  # units << 2 | 3, SYSTEM_TABLE, entries that are not empty, mask; then the entries
SYSTEM_JOURNAL = 3  # units << 2 | 3, SYSTEM_JOURNAL, capacity in entries, 0; then the entries
SYSTEM_RESERVED = 4  # units << 2 | 3, SYSTEM_RESERVED: will hold a record of the transaction under way
SYSTEM_LOG = 5  # units << 2 | 3, SYSTEM_LOG, capacity in units (a power of two), 0; then the ring
BLOCK_HEADER_WORDS = 4

# --- slots -------------------------------------------------------------------------------------------
SLOT_WORDS = 8
SLOT_WORD = 0
SLOT_CELL = 1  # cell c: block unit at 1 + 2c (0 = absent), seal at 2 + 2c
SLOT_HASH = 5  # of a free slot: word index of the next free slot
SLOT_USED = 6  # second-chance mark of the eviction clock
WORD_CELL = 1
WORD_PENDING = 2
SEQ_SHIFT = 2
SEQ_ONE = 1 << SEQ_SHIFT
SEQ_RETIRE = (1 << 30) - (1 << 12)  # a slot whose sequence is past this is never used again
CHUNK_SLOTS_MIN = 31
CHUNK_SLOTS_MAX = 2047

# --- index tables ------------------------------------------------------------------------------------
EMPTY = 0
TOMBSTONE = 0xFFFFFFFF
TABLE_MIN = 8

# --- records -----------------------------------------------------------------------------------------
#                     slot, key length, type, flags, value length, version, written ns, expires ns
RECORD = struct.Struct("=IHBBIQQQ")
RECORD_SIZE = RECORD.size
RECORD_LENGTHS = struct.Struct("=IHBBI")
FLAG_PERSIST = 1  # of the record's flags: it goes into images whatever the region's policy

# --- event log entries -------------------------------------------------------------------------------
#                    crc, position, version, key length, kind, zero; then the key
EVENT = struct.Struct("=IIQHBB")
EVENT_SIZE = EVENT.size
EVENT_SET = 1
EVENT_DELETE = 2
EVENT_EXPIRE = 3
EVENT_EVICT = 4
EVENT_CLEAR = 5
EVENT_OVERFLOW = 6  # a key too long for the log
LOG_UNITS = 1 << 16  # of the ring, in a region that may hold 64 MiB or more
LOG_UNITS_MIN = 1 << 8
LOG_SHARE = 64  # of a smaller one, this part at most

# --- transaction journal entry -----------------------------------------------------------------------
JOURNAL_WORDS = 5
ENTRY_SLOT = 0
ENTRY_BEFORE = 1  # the slot's word before the transaction
ENTRY_BLOCK = 2  # the new record's block, 0 = the transaction deletes
ENTRY_OLD = 3  # the old record's block, 0 = the slot was taken for this transaction
ENTRY_UNITS = 4  # of the new block
JOURNAL_MIN = 12

if STATIC.size + 4 > LENGTH * 4 or RECORD_SIZE != 36 or RECORD_LENGTHS.size != 12 or EVENT_SIZE != 20:
    raise ImportError("ipcdatastore.layout: the structs do not have the frozen sizes")


def size_class(units: int) -> Tuple[int, int]:
    """The size class that serves a request of ``units``, and the units that it hands out.

    Exact up to 64 units (1 KiB); above, 8 classes for each doubling, so at most 1/8 is lost.

    >>> size_class(21), size_class(65), size_class(128), size_class(129)
    ((21, 21), (65, 72), (72, 128), (73, 144))
    """
    if units <= 64:
        return units, units
    shift = (units - 1).bit_length() - 4
    step = ((units - 1) >> shift) + 1
    return 32 + shift * 8 + step, step << shift


def list_class(units: int) -> int:
    """The class whose free list a block of ``units`` belongs to: the largest that it can serve.

    >>> list_class(21), list_class(71), list_class(72), list_class(128), list_class(143)
    (21, 64, 65, 72, 72)
    """
    if units <= 64:
        return units
    shift = units.bit_length() - 4
    return 32 + shift * 8 + (units >> shift)


def table_size(entries: int) -> int:
    """Units that an index table of so many entries needs."""
    return (4 * (BLOCK_HEADER_WORDS + entries) + UNIT - 1) // UNIT


def chunk_size(slots: int) -> int:
    """Units that a chunk of so many slots needs."""
    return (4 * (BLOCK_HEADER_WORDS + SLOT_WORDS * slots) + UNIT - 1) // UNIT


def chunk_capacity(units: int) -> int:
    """How many slots a chunk of so many units holds."""
    return (units - 1) * UNIT // (4 * SLOT_WORDS)


def journal_size(entries: int) -> int:
    """Units that a journal of so many entries needs."""
    return (4 * (BLOCK_HEADER_WORDS + JOURNAL_WORDS * entries) + UNIT - 1) // UNIT


def record_units(size: int) -> int:
    """Units of the block that holds a record of ``size`` bytes, header and key included."""
    return size_class((size + UNIT - 1) // UNIT)[1]
