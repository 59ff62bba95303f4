"""One direction of a connection, over plain memory: every size, every position, and headers that lie."""

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipcdatastore
from ipcdatastore.calls.layout import FRAME, MASK
from ipcdatastore.calls.ring import KEPT, Reader, Writer

START, HEAD, TAIL = 64, 0, 1
SIZE = 4096


class Pair:
    """Both ends of a ring that has moved `begun` bytes already."""

    def __init__(self, size=SIZE, begun=0, limit=1 << 20):
        self.memory = bytearray(START + size + 64)
        self.memory[START + size :] = self.guard = b"\xa5" * 64  # nobody may write there
        data = memoryview(self.memory)
        self.words = data[:START].cast("I")
        self.words[HEAD] = self.words[TAIL] = begun & MASK
        self.writer = Writer(data, self.words, START, size, HEAD, TAIL)
        self.reader = Reader(data, self.words, START, size, HEAD, TAIL, limit=limit, path="a ring")

    def take(self):
        message = self.reader.peek()
        if message is None:
            return None
        kind, number, payload = message
        payload = bytes(payload)
        self.reader.advance()
        return kind, number, payload

    def carry(self, payload, number=1):
        """Through the ring, however often that has to be filled."""
        done = -1
        for _ in range(10_000):
            done = self.writer.send(3, number, payload, done)
            if done == len(payload):
                break
            assert self.take() is None, "a part of a message is no message"
        assert done == len(payload)
        taken = self.take()
        assert self.words[HEAD] == self.words[TAIL], "all room is free again"
        assert self.memory[-64:] == self.guard
        return taken


def text(size, seed=0):
    return bytes((seed + number * 7) % 251 for number in range(size))


EDGES = sorted(
    {
        max(0, size + more)
        for size in (0, SIZE // 4, SIZE // 2, SIZE, 2 * SIZE, 7 * SIZE)
        for more in (-33, -32, -31, -17, -16, -15, -1, 0, 1, 15, 16, 17)
    }
)


@pytest.mark.parametrize("size", EDGES)
def test_every_size_from_every_position(size):
    for begun in range(0, SIZE, 16 * 5):
        pair = Pair(begun=begun)
        payload = text(size, begun)
        assert pair.carry(payload) == (3, 1, payload)
        assert pair.carry(b"after") == (3, 1, b"after")


@pytest.mark.parametrize("size", [0, 1, 100, SIZE // 2, SIZE // 2 + 1, 3 * SIZE])
def test_heads_that_wrap(size):
    """Heads and tails count for ever, modulo 2**32."""
    for before in range(0, SIZE + 64, 16):
        pair = Pair(begun=(1 << 32) - before)
        for number in range(4):
            payload = text(size, number)
            assert pair.carry(payload, number) == (3, number, payload)


def test_a_full_ring_refuses():
    pair = Pair()
    put = 0
    while pair.writer.put(1, put, b"x" * 100):
        put += 1
    assert put == SIZE // 128
    assert not pair.writer.put(1, 0, b"x" * 100)
    assert pair.writer.send(1, 0, b"x" * 100, -1) == -1
    assert pair.take() == (1, 0, b"x" * 100)
    assert pair.writer.put(1, put, b"x" * 100)
    assert [pair.take()[1] for _ in range(put)] == list(range(1, put + 1))
    assert pair.take() is None


def test_a_ring_that_is_filled_to_the_last_byte():
    for begun in (0, 16, SIZE - 16, SIZE // 2):
        pair = Pair(begun=begun)
        payload = text(SIZE - 16)
        assert pair.writer.put(1, 1, payload)
        assert not pair.writer.put(1, 2, b"")
        assert pair.take() == (1, 1, payload)


def test_what_was_not_published_is_not_there():
    pair = Pair()
    head = pair.words[HEAD]
    pair.writer.put(1, 1, b"first")
    published, pair.words[HEAD] = pair.words[HEAD], head
    assert pair.take() is None
    pair.words[HEAD] = published
    assert pair.take() == (1, 1, b"first")


def test_a_message_stays_until_it_is_taken():
    pair = Pair()
    for size in (5, SIZE // 2):
        pair.writer.put(1, size, b"y" * size)
        assert bytes(pair.reader.peek()[2]) == b"y" * size == bytes(pair.reader.peek()[2])
        assert pair.words[HEAD] != pair.words[TAIL]
        pair.reader.advance()
        assert pair.reader.peek() is None


def test_large_buffers_are_used_again_and_huge_ones_are_not_kept():
    pair = Pair(size=1 << 16, limit=1 << 24)
    for size in (1 << 17, 1 << 20, 1 << 18, KEPT + 1, 1 << 17):
        payload = text(size)
        assert pair.carry(payload)[2] == payload
    assert len(pair.reader._kept) <= KEPT


# --- any sequence --------------------------------------------------------------------------------------
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 300) | st.sampled_from(EDGES)),
        st.tuples(st.just("read"), st.integers(1, 5)),
    ),
    max_size=60,
)


@given(steps=steps, begun=st.integers(0, MASK).map(lambda number: number & -16), size=st.sampled_from([4096, 8192]))
def test_any_sequence_of_writes_and_reads(steps, begun, size):
    pair = Pair(size=size, begun=begun)
    sent, pending, got = [], [], []  # pending: messages that are not in completely, the first one partly

    def push():
        while pending:
            kind, number, payload, done = pending[0]
            now = pair.writer.send(kind, number, payload, done)
            assert -1 <= done <= now <= len(payload) or (done, now) == (0, -1)
            pending[0][3] = now
            if now != len(payload):
                return now != done
            pending.pop(0)
        return False

    def pull(most):
        for _ in range(most):
            message = pair.take()
            if message is None:
                return
            got.append(message)

    for number, (what, amount) in enumerate(steps):
        if what == "write":
            payload = text(amount, number)
            sent.append((number % 40, number, payload))
            pending.append([number % 40, number, payload, -1])
            push()
        else:
            pull(amount)
            push()
        assert (pair.words[HEAD] - pair.words[TAIL]) & MASK <= size
    for _ in range(10_000):
        if len(got) == len(sent):
            break
        pull(1000)
        push()
    assert got == sent
    assert pair.words[HEAD] == pair.words[TAIL]
    assert pair.memory[-64:] == pair.guard


# --- lies ----------------------------------------------------------------------------------------------
words = st.integers(0, MASK) | st.sampled_from([0, 1, 15, 16, 17, SIZE - 16, SIZE, SIZE + 1, 1 << 31, MASK - 15, MASK])


@given(header=st.tuples(words, words, words, words), head=words, begun=words, junk=st.binary(max_size=64))
def test_a_header_that_lies_is_damage_or_a_message_within_the_limit(header, head, begun, junk):
    pair = Pair(begun=begun & -16, limit=8 * SIZE)
    at = START + (begun & -16 & (SIZE - 1))
    pair.memory[at : at + 16] = FRAME.pack(*header)
    for where, byte in enumerate(junk, at + 16):
        if where < START + SIZE:
            pair.memory[where] = byte
    pair.words[HEAD] = head
    try:
        for _ in range(2 * SIZE):
            message = pair.reader.peek()
            if message is None:
                break
            assert len(message[2]) <= 8 * SIZE
            pair.reader.advance()
    except ipcdatastore.RegionDamagedError as error:
        assert error.path == "a ring"
        assert error.problems
        assert "connect again" in str(error)
    else:
        assert pair.reader.tail == head, "all that was said to be there was taken"
    assert pair.memory[-64:] == pair.guard


def test_the_kinds_of_damage():
    cases = {
        "where 32 are written": (FRAME.pack(100, 1, 1, 100), 32),
        "a frame of": (FRAME.pack(0, 1, 1, 0), SIZE + 16),
        "is the limit": (FRAME.pack(16, 1, 1, 1 << 30), 32),
        "do not fit": (FRAME.pack(16, 1, 1, 8), 32),
    }
    for expected, (header, head) in cases.items():
        pair = Pair()
        pair.memory[START : START + 16] = header
        pair.words[HEAD] = head
        with pytest.raises(ipcdatastore.RegionDamagedError, match=expected):
            pair.reader.peek()


def test_a_message_within_a_message():
    for second in (FRAME.pack(1, 1, 2, 1), FRAME.pack(16, 1, 2, 999), FRAME.pack(200, 1, 1, 100)):
        pair = Pair()
        pair.memory[START : START + 16] = FRAME.pack(16, 1, 1, 100)
        pair.memory[START + 32 : START + 48] = second
        pair.words[HEAD] = 32 + ((struct.unpack_from("=I", second)[0] + 31) & -16)
        with pytest.raises(ipcdatastore.RegionDamagedError, match="within a message|do not fit"):
            pair.reader.peek()


def test_a_lie_about_the_length_allocates_no_more_than_the_limit():
    pair = Pair(limit=1 << 20)
    tracemalloc.start()
    try:
        for total in (1 << 20 | 1, 1 << 28, MASK):
            pair.memory[START : START + 16] = FRAME.pack(16, 1, 1, total)
            pair.words[HEAD] = 32
            with pytest.raises(ipcdatastore.RegionDamagedError):
                pair.reader.peek()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_heads_that_were_not_begun_by_us():
    """A client may have written anything before the server looks: headers stay within the ring all the same."""
    for begun in range(SIZE - 40, SIZE + 1):
        pair = Pair(begun=begun)
        pair.writer.put(1, 1, b"z" * 40)
        pair.writer.send(1, 2, b"z" * 4 * SIZE, -1)
        assert pair.memory[-64:] == pair.guard
