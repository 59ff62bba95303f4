"""What is done for a region in single steps: when an image is due, what has expired, and who goes on after a death."""

import errno
import os
import random
import time

import pytest

from crash.tape import Killed, Tape, put_on_tape
from disks import Died, disk, holds, place  # noqa: F401 - fixtures
from ipcdatastore import (
    LockTimeoutError,
    RegionDamagedError,
    RegionNotFoundError,
    SnapshotError,
    archive,
    flush,
    image,
    lockfile,
    platform,
    upkeep,
)
from ipcdatastore.layout import FLAG_PERSIST, SLOT_CELL, VERSION_LONG
from ipcdatastore.lockfile import LockFile
from ipcdatastore.upkeep import Upkeep
from remote import clock_modules

INTERVAL = 60.0


class Clock:
    """Both clocks that count: nothing here waits for them."""

    def __init__(self):
        self.passed = 0.0

    def monotonic(self):
        return 1000 + self.passed

    def now_ns(self):
        return (1 << 60) + int(self.passed * 1e9)

    time_ns = staticmethod(time.time_ns)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(upkeep, "time", clock)
    for module in clock_modules():
        monkeypatch.setattr(module, "now_ns", clock.now_ns)
    return clock


@pytest.fixture
def engine(place, clock):  # noqa: F811
    engine = place.engine()
    yield engine
    if not engine.closed:
        assert engine.check() == []
        engine.close()


@pytest.fixture
def keys(place, clock):  # noqa: F811
    """Only what is marked is kept."""
    engine = place.engine(persist=False)
    yield engine
    assert engine.check() == []
    engine.close()


def begun(engine, interval=INTERVAL):
    duty = Upkeep(engine, interval)
    assert duty.begin()
    return duty


def die(duty):
    """The kernel takes the locks of the dead."""
    duty.lock.forget()


def put(engine, key, value, **options):
    return engine.put(key, 1, value, **options)[0]


def due(duty, clock):
    """Let an interval pass, and do what is to be done."""
    duty.tick()
    clock.passed += duty.interval
    return duty.tick()


# --- when an image is due -----------------------------------------------------------------------------------
def test_nothing_is_written_of_nothing(engine, place, clock):  # noqa: F811
    duty = begun(engine)
    for _ in range(100):
        assert duty.tick() == upkeep.LONGEST_TICK
        clock.passed += 10
    assert not place.images.exists()
    duty.end()
    assert not place.images.exists()
    assert not duty.lock.held


def test_an_image_when_it_is_due_and_not_before(engine, place, clock):  # noqa: F811
    duty = begun(engine)
    for number in range(1, 4):
        clock.passed += 1000  # without a change, no time counts
        duty.tick()
        put(engine, b"sa", b"%d" % number)
        duty.tick()
        clock.passed += INTERVAL - 0.5
        assert duty.tick() == pytest.approx(0.5)
        assert len(place.numbers()) == min(number - 1, 2)
        clock.passed += 0.5
        duty.tick()
        assert place.numbers()[0] == number
        assert holds(place.newest())[0] == {b"sa": b"%d" % number}
        assert not duty.is_unflushed()
    calls = len(place.numbers())
    for _ in range(10):
        clock.passed += 1000
        duty.tick()
    assert len(place.numbers()) == calls
    duty.end()


def test_a_writer_that_never_pauses_does_not_put_it_off(engine, place, clock):  # noqa: F811
    duty = begun(engine)
    for second in range(601):
        put(engine, b"sa", b"%d" % second)
        duty.tick()
        clock.passed += 1
    assert place.numbers()[0] in (9, 10)
    duty.end()
    assert holds(place.newest())[0] == {b"sa": b"600"}


def test_one_that_fails_is_tried_again_after_a_while(engine, place, clock, monkeypatch):  # noqa: F811
    duty = begun(engine)
    told = []
    duty.on_problem = told.append
    put(engine, b"sa", b"1")
    due(duty, clock)
    old = place.newest().read_bytes()
    full = image.Files()
    attempts = []

    def create(path):
        attempts.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(full, "create", create, raising=False)
    monkeypatch.setattr(image, "files", full)
    put(engine, b"sa", b"2")
    assert due(duty, clock) == upkeep.LONGEST_TICK
    assert len(attempts) == len(told) == 1
    assert duty.problem is told[0]
    assert isinstance(duty.problem, SnapshotError)
    assert "No space left" in str(duty.problem)
    assert duty.flush() is None, "by hand at once"
    for _ in range(3):
        seen = len(attempts)
        clock.passed += upkeep.RETRY - 0.5
        duty.tick()
        assert len(attempts) == seen
        clock.passed += 0.5
        duty.tick()
        assert len(attempts) == len(told) == seen + 1
    assert place.newest().read_bytes() == old
    assert duty.is_unflushed()
    monkeypatch.setattr(image, "files", image.Files())
    clock.passed += upkeep.RETRY
    duty.tick()
    assert duty.problem is None
    assert holds(place.newest())[0] == {b"sa": b"2"}
    duty.end()


def test_a_problem_is_over_when_somebody_else_has_flushed(engine, place, clock, disk):  # noqa: F811
    duty = begun(engine)
    put(engine, b"sa", b"1")
    disk(1, OSError(errno.EIO, "Input/output error"))
    due(duty, clock)
    assert isinstance(duty.problem, SnapshotError)
    other = place.engine()
    flush.flush(other)
    other.close()
    duty.tick()
    assert duty.problem is None
    duty.end()


def test_the_last_image_is_written_at_the_end(engine, place):  # noqa: F811
    duty = begun(engine)
    put(engine, b"sa", b"1")
    duty.end()
    assert holds(place.newest())[0] == {b"sa": b"1"}
    assert not duty.lock.held
    put(engine, b"sa", b"2")
    duty.end()
    assert place.numbers() == [1], "not this one's duty any more"


def test_a_last_image_that_cannot_be_written_lets_the_next_one_try(engine, place, disk):  # noqa: F811
    duty = begun(engine)
    put(engine, b"sa", b"1")
    disk(1, OSError(errno.EIO, "Input/output error"))
    duty.end()
    assert isinstance(duty.problem, SnapshotError)
    following = begun(engine)
    following.end()
    assert holds(place.newest())[0] == {b"sa": b"1"}


def test_a_writer_that_is_suspended_ends_nothing(place, clock):  # noqa: F811
    engine = place.engine(timeout=0.01)
    other = place.engine()
    duty = begun(engine)
    told = []
    duty.on_problem = told.append
    put(engine, b"sa", b"1", expires=clock.now_ns() + 10**9)
    clock.passed += 1
    other.coordinator.take()
    try:
        duty.tick()
        assert isinstance(duty.problem, LockTimeoutError)
        clock.passed += INTERVAL
        duty.tick()
        assert isinstance(duty.problem, LockTimeoutError)
        assert len(told) == 2
    finally:
        other.coordinator.release()
    duty.tick()
    assert engine.facts()["records"] == 0, "it was still due"
    due(duty, clock)
    assert duty.problem is None
    duty.end()
    assert holds(place.newest())[0] == {}
    assert engine.check() == []
    engine.close()
    other.close()


# --- only what is marked -------------------------------------------------------------------------------------
def test_what_is_not_marked_makes_no_image(keys, place, clock):  # noqa: F811
    duty = begun(keys)
    put(keys, b"sa", b"volatile")
    due(duty, clock)
    assert not place.images.exists()
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    assert place.numbers() == [1]
    before = place.newest().stat().st_mtime_ns
    for number in range(50):
        put(keys, b"sa%d" % (number % 7), b"v" * number)
        keys.delete(b"sa%d" % (number % 5))
        due(duty, clock)
    assert place.numbers() == [1]
    assert place.newest().stat().st_mtime_ns == before
    assert not duty.is_unflushed(), "the region knows it too"
    handle = place.open(persist=None)
    assert handle.stats()["unflushed"] is False
    handle.close()
    put(keys, b"sa", b"volatile")
    duty.end()
    assert place.numbers() == [1], "at the end either"
    following = begun(keys)
    due(following, clock)
    assert place.numbers() == [1], "nor by the next one, who was told by the region"
    put(keys, b"sa", b"volatile")
    due(following, clock)
    assert holds(place.newest())[0] == {b"skept": b"1"}
    following.end()


def volatile(engine):
    put(engine, b"sv", b"%d" % engine.region.longs[VERSION_LONG])


CHANGES = {
    "rewritten": lambda e: put(e, b"skept", b"2"),
    "rewritten as it was": lambda e: put(e, b"skept", b"1"),
    "deleted": lambda e: e.delete(b"skept"),
    "unmarked": lambda e: put(e, b"skept", b"1", flags=0),
    "another": lambda e: put(e, b"sother", b"3", flags=FLAG_PERSIST),
    "marked": lambda e: put(e, b"sv", b"v", flags=FLAG_PERSIST),
    "in a transaction": lambda e: e.commit([e.write(b"sv", 1, b"v"), e.write(b"skept", 1, b"4")]),
    "cleared": lambda e: e.clear(),
    "policy": lambda e: e.writer.set_policy(None, 1),
    "limit": lambda e: e.writer.set_policy(1 << 24, None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_marked_does(keys, place, clock, change):  # noqa: F811
    duty = begun(keys)
    put(keys, b"sv", b"v")
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    volatile(keys)
    due(duty, clock)
    assert place.numbers() == [1]
    CHANGES[change](keys)
    put(keys, b"sanother", b"volatile")
    due(duty, clock)
    assert place.numbers()[0] == 2
    assert holds(place.newest())[0] == marked(keys)
    if change == "cleared":
        assert place.numbers() == [2]
    put(keys, b"sanother", b"volatile")
    due(duty, clock)
    assert place.numbers()[0] == 2
    duty.end()


def marked(engine):
    return {record.key: record.value for record in engine.reader.scan() if record.flags & FLAG_PERSIST}


def test_after_a_clear_without_marks_no_image_shows_what_was_there(keys, place, clock):  # noqa: F811
    """What is marked is nothing, before and after; the older image still shows what there was."""
    duty = begun(keys)
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    keys.delete(b"skept")
    due(duty, clock)
    volatile(keys)
    due(duty, clock)
    assert place.numbers() == [2, 1]
    keys.clear()
    due(duty, clock)
    assert place.numbers() == [3]
    duty.end()


@pytest.mark.parametrize("how", ["removed", "damaged", "newer"])
def test_an_image_that_is_not_what_was_written_does_not_count(keys, place, clock, how):  # noqa: F811
    duty = begun(keys)
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    volatile(keys)
    if how == "removed":
        place.newest().unlink()
    elif how == "damaged":
        os.truncate(place.newest(), 5000)
    else:
        other = place.engine(persist=None)
        flush.flush(other)
        other.close()
        volatile(keys)
    due(duty, clock)
    assert place.numbers()[0] == (3 if how == "newer" else 2)
    assert holds(place.newest())[0] == {b"skept": b"1"}
    duty.end()


def test_another_directory_and_back(keys, place, clock):  # noqa: F811
    duty = begun(keys)
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    elsewhere = str(place.images) + "-2"
    place.engine(persist=None, snapshot_directory=elsewhere).close()
    due(duty, clock)
    assert [number for number, _ in archive.numbered(elsewhere)] == [1]
    place.engine(persist=None).close()
    volatile(keys)
    due(duty, clock)
    assert holds(place.newest())[0] == {b"skept": b"1"}
    assert keys.image_facts()["image_number"] == place.numbers()[0]
    duty.end()


@pytest.mark.parametrize("seed", range(6))
def test_every_image_that_is_not_written_would_have_been_the_same(keys, place, clock, seed):  # noqa: F811
    draw = random.Random(seed)
    other = place.engine(persist=None)
    duty = begun(keys)
    written = kept = 0
    for _ in range(120):
        before = marked(keys)
        for _ in range(draw.randrange(4)):
            key = b"s%d" % draw.randrange(12)
            choice = draw.random()
            who = draw.choice([keys, other])
            if choice < 0.6:
                put(who, key, b"x" * draw.choice([1, 30, 300]))
            elif choice < 0.7:
                put(who, key, b"%d" % draw.randrange(1000), flags=FLAG_PERSIST)
            elif choice < 0.75:
                put(who, key, b"y", flags=0)
            elif choice < 0.9:
                who.delete(key)
            elif choice < 0.92:
                who.clear()
            else:
                who.commit([who.write(key, 1, b"both"), who.write(b"sb%d" % draw.randrange(3), 1, b"both")])
        number = max(place.numbers(), default=0) if place.images.exists() else 0
        due(duty, clock)
        newest = max(place.numbers(), default=0) if place.images.exists() else 0
        if newest:
            assert holds(place.newest())[0] == marked(keys)
        written += newest > number
        kept += newest == number and before != {}
    assert written > 10
    assert kept > 10
    duty.end()
    other.close()


@pytest.mark.parametrize("flags", [0, FLAG_PERSIST])
def test_a_write_behind_the_comparison_is_not_forgotten(keys, place, clock, monkeypatch, flags):  # noqa: F811
    duty = begun(keys)
    put(keys, b"skept", b"1", flags=FLAG_PERSIST)
    due(duty, clock)
    volatile(keys)
    note = flush._note

    def late(*arguments):
        put(keys, b"slate", b"1", flags=flags)
        note(*arguments)

    monkeypatch.setattr(flush, "_note", late)
    due(duty, clock)
    monkeypatch.setattr(flush, "_note", note)
    assert place.numbers() == [1]
    assert duty.is_unflushed()
    due(duty, clock)
    assert place.numbers()[0] == (2 if flags else 1)
    assert holds(place.newest())[0] == marked(keys)
    duty.end()


# --- expiry ----------------------------------------------------------------------------------------------
def in_seconds(clock, seconds):
    return clock.now_ns() + int(seconds * 1e9)


def test_a_record_goes_within_a_tick_of_its_time(engine, clock):
    duty = begun(engine, 10**6)
    put(engine, b"sa", b"1", expires=in_seconds(clock, 5))
    put(engine, b"sb", b"1", expires=in_seconds(clock, 5.25))
    put(engine, b"sc", b"1")
    assert duty.tick() == upkeep.LONGEST_TICK
    clock.passed += 4.5
    assert duty.tick() == pytest.approx(0.5)
    assert engine.facts()["records"] == 3
    clock.passed += 0.5
    assert duty.tick() == pytest.approx(0.25)
    assert engine.facts()["records"] == 2
    clock.passed += duty.tick()
    assert duty.tick() == upkeep.LONGEST_TICK
    assert engine.facts()["records"] == 1
    assert engine.facts()["expiring"] == 0
    duty.end()


def test_a_watcher_is_told(engine, place, clock):  # noqa: F811
    duty = begun(engine, 10**6)
    with place.open() as handle, handle.watch() as watch:
        handle.set("a", 1, expire=2)
        handle.set("b", 1, expire=4)
        duty.tick()
        clock.passed += 3
        duty.tick()
        assert [event[:2] for event in watch.poll()] == [("set", "a"), ("set", "b"), ("expire", "a")]
        clock.passed += 3
        duty.tick()
        assert [event[:2] for event in watch.poll()] == [("expire", "b")]
    duty.end()


def test_a_record_that_was_written_again_stays(engine, clock):
    duty = begun(engine, 10**6)
    for key in (b"slater", b"sforever", b"sgone"):
        put(engine, key, b"1", expires=in_seconds(clock, 5))
    duty.tick()
    put(engine, b"slater", b"2", expires=in_seconds(clock, 50))
    put(engine, b"sforever", b"2")
    engine.delete(b"sgone")
    put(engine, b"sgone", b"again")
    clock.passed += 6
    duty.tick()
    assert {record.key for record in engine.reader.scan()} == {b"slater", b"sforever", b"sgone"}
    clock.passed += 45
    duty.tick()
    assert {record.key for record in engine.reader.scan()} == {b"sforever", b"sgone"}
    duty.end()


def test_rewritten_between_the_look_and_the_lock(engine, place, clock):  # noqa: F811
    """What was learned may be stale by any amount: it is the word under the lock that counts."""
    duty = begun(engine, 10**6)
    other = place.engine()
    put(engine, b"sa", b"1", expires=in_seconds(clock, 5))
    duty.tick()
    clock.passed += 6
    _, slot, word = duty._expiry._due[0]
    put(other, b"sa", b"2", expires=in_seconds(clock, 5))
    assert engine.writer.expire(slot, word) is False
    assert engine.get(b"sa").value == b"2"
    other.close()
    duty.end()


def test_many_that_expire_at_once_do_not_make_a_tick_long(engine, clock, monkeypatch):
    monkeypatch.setattr(upkeep, "MOST_LEARNED", 400)
    monkeypatch.setattr(upkeep, "MOST_EXPIRED", 300)
    duty = begun(engine, 10**6)
    for first in range(0, 2000, 500):
        writes = [engine.write(b"s%d" % number, 1, b"", in_seconds(clock, 5)) for number in range(first, first + 500)]
        engine.commit(writes)
    ticks = 1
    while duty.tick() == 0:
        ticks += 1
    assert ticks == 5, "learned by parts, and at once"
    clock.passed += 6
    left = 2000
    while left:
        pause = duty.tick()
        now = engine.facts()["records"]
        assert left - now == min(left, 300)
        assert pause == (0 if now else upkeep.LONGEST_TICK)
        left = now
    duty.end()


def test_a_hundred_thousand_that_expire(engine, clock):
    duty = begun(engine, 10**6)
    for first in range(0, 100_000, 20_000):
        writes = [
            engine.write(b"s%d" % number, 1, b"", in_seconds(clock, 5)) for number in range(first, first + 20_000)
        ]
        engine.commit(writes)
    while duty.tick() == 0:
        pass
    assert len(duty._expiry._due) == 100_000
    clock.passed += 6
    for _ in range(3):
        assert duty.tick() == 0
    assert engine.facts()["records"] == 100_000 - 3 * upkeep.MOST_EXPIRED
    duty.end()


def test_what_is_known_is_learned_anew_when_most_of_it_is_stale(engine, clock):
    duty = begun(engine, 10**6)
    put(engine, b"sother", b"1", expires=in_seconds(clock, 500))
    for number in range(5000):
        put(engine, b"sa", b"%d" % number, expires=in_seconds(clock, 100 + number % 50))
        if number % 10 == 0:
            duty.tick()
            assert len(duty._expiry._due) <= 2 * 2 + 1000 + 1
    clock.passed += 200
    duty.tick()
    assert {record.key for record in engine.reader.scan()} == {b"sother"}
    clock.passed += 500
    duty.tick()
    assert engine.facts()["records"] == 0
    duty.end()


def test_none_expires_for_a_while_and_then_again(engine, clock):
    duty = begun(engine, 10**6)
    for _ in range(3):
        put(engine, b"sa", b"1", expires=in_seconds(clock, 5))
        duty.tick()
        put(engine, b"sa", b"1")
        duty.tick()
        put(engine, b"sb", b"1", expires=in_seconds(clock, 5))
        duty.tick()
        clock.passed += 6
        duty.tick()
        assert {record.key for record in engine.reader.scan()} == {b"sa"}
    duty.end()


def test_the_next_one_learns_what_is_there(engine, place, clock):  # noqa: F811
    duty = begun(engine, 10**6)
    put(engine, b"sa", b"1", expires=in_seconds(clock, 5))
    duty.tick()
    die(duty)
    clock.passed += 6
    following = begun(engine, 10**6)
    following.tick()
    assert engine.facts()["records"] == 0
    following.end()


def test_an_expired_record_that_is_damaged(place, clock):  # noqa: F811
    engine = place.engine()
    duty = begun(engine, 10**6)
    put(engine, b"sa", b"value", expires=in_seconds(clock, 5))
    duty.tick()
    record = engine.get(b"sa")
    block = engine.region.words[record.slot + SLOT_CELL + 2 * (record.word & 1)]
    engine.region.data[block * 16 + 38 : block * 16 + 40] = b"??"
    clock.passed += 6
    with pytest.raises(RegionDamagedError, match="repair"):
        duty.tick()
    engine.repair()
    duty.tick()
    duty.end()
    assert engine.check() == []
    engine.close()


# --- the region goes ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("replaced", [False, True])
def test_a_region_that_is_gone(place, clock, replaced):  # noqa: F811
    engine = place.engine()
    duty = begun(engine)
    put(engine, b"sa", b"1")
    duty.flush()
    put(engine, b"sa", b"of the old one")
    place.reboot()
    if replaced:
        following = place.engine()
        assert following.get(b"sa").value == b"1"
    told = []
    duty.on_problem = told.append
    assert duty.flush() is None, "an image of it would be in the next one's way"
    assert isinstance(told.pop(), RegionNotFoundError)
    for _ in range(2):
        with pytest.raises(RegionNotFoundError):
            duty.tick()
    duty.end()
    assert told == [], "once is enough"
    assert not duty.lock.held
    assert place.numbers() == [1]
    engine.close()
    if replaced:
        put(following, b"sa", b"2")
        assert holds(flush.flush(following))[0] == {b"sa": b"2"}
        assert following.check() == []
        following.close()


def test_one_that_is_gone_at_the_end(place, clock):  # noqa: F811
    engine = place.engine()
    duty = begun(engine)
    told = []
    duty.on_problem = told.append
    put(engine, b"sa", b"1")
    place.reboot()
    duty.end()
    assert [type(problem) for problem in told] == [RegionNotFoundError]
    assert not duty.lock.held
    engine.close()


# --- a death at every step, and who goes on -------------------------------------------------------------------
def prepared(place):  # noqa: F811
    """A duty with an acknowledged image and changes behind it, among them what has expired; and what it holds."""
    engine = place.engine()
    duty = Upkeep(engine, INTERVAL)
    duty.begin()
    put(engine, b"sacknowledged", b"1")
    put(engine, b"sold", b"old")
    put(engine, b"sgoes", b"soon", expires=platform.now_ns() + 10**9)
    duty.flush()
    put(engine, b"sold", b"new")
    put(engine, b"slate", bytes(300))
    return engine, duty


AFTER = {b"sacknowledged": b"1", b"sold": b"new", b"slate": bytes(300)}


def work(duty, clock):
    """What a coordinator does in its life."""
    duty.tick()
    clock.passed += INTERVAL
    duty.tick()
    put(duty.engine, b"sold", b"newer")
    duty.end()


def what_the_next_reboot_shows(place):  # noqa: F811
    """The content that comes back if the power goes now; the region that is there is left alone."""
    return holds(place.newest())[0]


def take_over(place, clock):  # noqa: F811
    """Another process goes on: nothing is lost, and it has nothing left to do when it has done it."""
    shown = what_the_next_reboot_shows(place)
    assert shown[b"sacknowledged"] == b"1"
    engine = place.engine()
    duty = Upkeep(engine, INTERVAL)
    assert duty.begin(), "the dead hold nothing"
    due(duty, clock)
    assert not duty.is_unflushed()
    there = {record.key: record.value for record in engine.reader.scan()}
    assert there in (AFTER, {**AFTER, b"sold": b"newer"})
    assert what_the_next_reboot_shows(place) == there
    assert place.leftovers() == []
    duty.end()
    assert engine.check() == []
    engine.close()
    place.reboot()
    engine = place.engine()
    assert {record.key: record.value for record in engine.reader.scan()} == there
    assert engine.check() == []
    engine.close()


def scrap(place):  # noqa: F811
    for path in [*place.regions.glob("s.region"), *place.images.glob("*")]:
        path.unlink()


def test_killed_at_every_file_system_call(place, clock, disk):  # noqa: F811
    last = 0
    while True:
        last += 1
        engine, duty = prepared(place)
        installed = disk(last)
        try:
            work(duty, clock)
        except Died:
            die(duty)
        engine.close()
        disk()
        take_over(place, clock)
        scrap(place)
        if not installed.dead:
            break
    assert last > 12, "two images and what goes with them"


def test_killed_at_every_store(place, clock):  # noqa: F811
    last = 0
    while True:
        last += 1
        engine, duty = prepared(place)
        tape = Tape(last)
        put_on_tape(engine, tape)
        try:
            work(duty, clock)
        except Killed:
            die(duty)
        engine.close()
        take_over(place, clock)
        scrap(place)
        if not tape.dead:
            break
    assert last > 20, "an expiry, a write, and two notes of an image"


class Steps:
    """Counts what a module asks of the system; at step `last` the process dies, before or after it."""

    def __init__(self, module, names, last, *, after):
        self.module, self.names, self.last, self.after = module, names, last, after
        self.count = 0

    def __getattr__(self, name):
        found = getattr(self.module, name)
        if name not in self.names:
            return found

        def step(*arguments, **options):
            self.count += 1
            if self.count == self.last and not self.after:
                raise Died
            result = found(*arguments, **options)
            if self.count == self.last:
                if name == "open":
                    os.close(result)
                raise Died
            return result

        return step


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("module", ["os", "platform"])
def test_killed_at_every_step_of_a_lock(place, clock, monkeypatch, module, after):  # noqa: F811
    """Of the service's and the flush's: whoever dies with one, or on the way to it, leaves it to the next."""
    names = {"os": ("open", "fstat", "stat", "getpid"), "platform": ("try_lock",)}[module]
    last = 0
    while True:
        last += 1
        engine, duty = prepared(place)
        duty.end()
        put(engine, b"sold", b"new")
        steps = Steps({"os": os, "platform": platform}[module], names, last, after=after)
        with monkeypatch.context() as patch:
            patch.setattr(lockfile, module, steps)
            following = Upkeep(engine, INTERVAL)
            try:
                assert following.begin()
                work(following, clock)
            except Died:
                die(following)
        engine.close()
        take_over(place, clock)
        scrap(place)
        if steps.count < last:
            break
    assert last > 3


def test_one_flusher_that_was_stopped_keeps_the_others_out(place, clock):  # noqa: F811
    """It holds the flush lock, so no image of another can be overwritten by its own."""
    engine, duty = prepared(place)
    stopped = LockFile(engine.path + flush.LOCK_SUFFIX, 0)
    stopped.acquire()
    other = place.engine(timeout=0.01)
    with pytest.raises(LockTimeoutError, match=r"flush\.lock"):
        flush.flush(other)
    put(other, b"sold", b"goes on")
    duty.engine.options.timeout = 0.01
    assert duty.flush() is None
    assert isinstance(duty.problem, LockTimeoutError)
    stopped.release()
    assert holds(duty.flush())[0][b"sold"] == b"goes on"
    duty.end()
    other.close()
    engine.close()


def test_only_one_has_the_duties(engine, place):  # noqa: F811
    first, second = begun(engine), Upkeep(place.engine())
    assert not second.begin()
    assert first.begin(), "again"
    first.end()
    assert second.begin()
    second.end()
    second.engine.close()
