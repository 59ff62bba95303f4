"""The format of the files that calls go through: every offset, size and number, and no I/O.

An object that is served has a directory of its own, ``<name>.object``, with one file of the server, a page, and one of
each client: a page and two rings. Words are 32 bits in the machine's order, and each has one writer, but for BELL and
CONNECT, into which every client stores a number that nobody stored before.
"""

from __future__ import annotations

import struct

VERSION = 1
BYTE_ORDER_MARK = 0x01020304
PAGE = 4096
MASK = 0xFFFFFFFF

SERVER_MAGIC = b"IPCDOBJ\n"
CLIENT_MAGIC = b"IPCDCLI\n"

# magic, version, byte order, serializer, workers, id, pid, largest message, made at (wall clock, ns)
SERVER_STATIC = struct.Struct("=8sIIII16sQQQ")
# magic, version, byte order, bytes of the request ring, of the response ring, id of the server, pid of the client
CLIENT_STATIC = struct.Struct("=8sIIII16sQ")
STATIC_CRC = struct.Struct("=I")  # of the struct before it

# --- words of the server's page ----------------------------------------------------------------------
STATE = 64
SERVING, STOPPED = 1, 2
CLIENTS = 65  # how many are connected
BELL = 80  # by clients: there is something to do
CONNECT = 81  # by clients: there is a new one
ASLEEP = 96  # by the server: whoever rings has to wake it
WAKES = 97  # by the server: it can wake who sleeps

# 64-bit numbers, and words, that only count
CALLS_LONG = 64
ERRORS_LONG = 65
BUSY_LONG = 66  # nanoseconds
HISTOGRAM = 160  # calls that took 2^(i-1) to 2^i nanoseconds, at word i
HISTOGRAM_SIZE = 64

# --- words of a client's page ------------------------------------------------------------------------
REQUEST_HEAD = 64  # by the client: bytes written, ever
RESPONSE_TAIL = 65  # by the client: bytes read, ever
CLIENT_ASLEEP = 66
CLIENT_WANTS_ROOM = 67
CLOSED = 68
CLIENT_WAKES = 69
REQUEST_TAIL = 80  # by the server
RESPONSE_HEAD = 81
STARTED = 82  # the number of the last call that the server began
CLIENT_BELL = 83  # changes with each of the three above that the client may wait for
SERVER_WANTS_ROOM = 84
GIVEN_UP = 85  # the server reads nothing more from here

# --- frames ------------------------------------------------------------------------------------------
# A frame in a ring: bytes in it, kind, number of the call, bytes of the whole message; then the bytes. It begins at a
# multiple of 16. A message that the ring has no room for goes in several frames.
FRAME = struct.Struct("=4I")
FRAME_SIZE = 16
RING_MIN = 4096

CALL = 1
ONEWAY = 2
BATCH = 3
GET = 4
SET = 5
NEXT = 6
END = 7
DESCRIBE = 8
SILENT = (ONEWAY, END)  # nobody waits for a response

VALUE = 16  # and above, with the codec's type of the value
ERROR = 32
STREAM = 33
ITEMS = 34
RESULTS = 35
LAST_ITEM = 36
PART = struct.Struct("=II")  # of a response of several parts: kind, bytes

SUFFIX = ".object"
SERVER_SUFFIX = ".server"
CLIENT_SUFFIX = ".client"
START_LOCK = "start.lock"
