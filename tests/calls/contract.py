"""What every server promises to every client, wherever the two are."""

import asyncio
import copy
import pickle
import sys
import threading

import pytest

import ipcdatastore
from ipcdatastore.calls.connection import RING_SIZE
from ipcdatastore.calls.layout import CALL, GET, ONEWAY, SET
from waiters import elsewhere

from .served import BRIEFLY, PATIENCE, Bomb, LateBomb, Plain, Point, Rich, eventually, noted

FRAME = 16
LIMIT = 1 << 20
# Around every size where a message takes another way: none, one byte, the frame's padding, quarters of the ring.
SIZES = sorted(
    {
        max(0, size + more)
        for size in (0, 16, 4096, RING_SIZE // 4, RING_SIZE // 2, RING_SIZE, 2 * RING_SIZE, 5 * RING_SIZE)
        for more in (-49, -33, -17, -16, -1, 0, 1, 15, 16, 17)
    }
)
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**63) - 1,
    10**400,
    0.0,
    -0.0,
    float("inf"),
    1e-300,
    "",
    "ключ",
    "\udcff",
    "a\0b",
    "x" * 100_000,
    [],
    {},
    [None, [1, "a", 2.5]],
    {"a": {"b": [1]}},
]
PICKLED = [b"", b"\0", b"x" * 200_000, (), (1,), {1, 2}, bytearray(b"x"), 1 + 2j, Point(1, 2), {1: (2, b"3")}, Plain]


def pieces(size):
    """Bytes without a period that a ring's size could hide."""
    return bytes(number * number % 251 for number in range(size % 4096)) + b"y" * (size - size % 4096)


class Contract:
    """A subclass says what `directory` the objects ``thing`` and ``chosen`` are served in, and how."""

    pickle = True
    name = "thing"

    @pytest.fixture
    def thing(self, place):
        proxy = ipcdatastore.connect("thing", directory=place, timeout=PATIENCE)
        yield proxy
        ipcdatastore.link(proxy).close()

    @pytest.fixture
    def chosen(self, place):
        proxy = ipcdatastore.connect("chosen", directory=place, timeout=PATIENCE)
        yield proxy
        ipcdatastore.link(proxy).close()

    @pytest.fixture
    def gate(self, tmp_path):
        """A file that is not there yet."""
        return str(tmp_path / "gate")

    def raises(self, kind, match=None):
        """An error of the library that the server raises: JSON carries those, and Python's own."""
        return pytest.raises(kind, match=match)

    # --- values --------------------------------------------------------------------------------------
    @pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
    def test_values_come_and_go(self, thing, value):
        back = thing.give(value)
        assert back == value
        assert type(back) is type(value)
        assert str(back) == str(value)

    def test_nan(self, thing):
        back = thing.give(float("nan"))
        assert str(back) == "nan"

    @pytest.mark.parametrize("value", PICKLED, ids=lambda value: repr(value)[:20])
    def test_values_of_pickle(self, thing, value):
        if not self.pickle:
            pytest.skip("JSON has no such value")
        back = thing.give(value)
        assert back == value
        assert type(back) is type(value)

    def test_arguments_of_every_kind(self, thing):
        assert thing.give(1, 2, 3, a=4, b=[5]) == [1, [2, 3], {"a": 4, "b": [5]}]
        assert thing.give() is None
        assert thing.give(value="named") == "named"

    def test_results_of_every_size(self, thing):
        for size in SIZES:
            back = thing.make(size, 1 + size % 255)
            assert back == bytes([1 + size % 255]) * size, size

    def test_arguments_of_every_size(self, thing):
        for size in SIZES:
            text = pieces(size).decode("latin-1")
            assert thing.pattern(text) == text[::-1], size

    def test_every_position_in_the_ring(self, thing):
        """Odd sizes wander over the ring's end, in one frame and in several."""
        for step in (1, 4097, RING_SIZE // 2 - 40, RING_SIZE // 2 + 40):
            text = "z" * step
            for number in range(40):
                assert thing.length(text + "a" * (16 * number)) == step + 16 * number

    def test_the_largest_message(self, thing):
        assert len(thing.make(LIMIT)) == LIMIT
        with self.raises(ipcdatastore.TooLargeError, "max_message") as caught:
            thing.make(LIMIT + 1)
        if self.pickle:
            assert (caught.value.size, caught.value.limit) == (LIMIT + 1, LIMIT)
        with pytest.raises(ipcdatastore.TooLargeError, match="in parts") as caught:
            thing.give("x" * LIMIT)
        assert caught.value.size > caught.value.limit == LIMIT
        assert thing.length("x" * (LIMIT - 200)) == LIMIT - 200
        assert thing.give(1) == 1

    # --- what is exposed -----------------------------------------------------------------------------
    @pytest.mark.parametrize("name", ["_private", "__dunder", "_Thing__dunder", "__class__", "_guard", "__dict__"])
    def test_private_names_are_never_exposed(self, thing, name, place):
        link = ipcdatastore.link(thing)
        for kind in (CALL, GET, SET, ONEWAY):
            if kind == ONEWAY:
                link.tell(name, (1,), {}, PATIENCE)
                continue
            with self.raises(ipcdatastore.NotExposedError):
                link.ask(kind, name, (1,), {}, PATIENCE)
        if not name.endswith("__"):
            with pytest.raises(AttributeError, match="never exposed"):
                getattr(thing, name)
            with pytest.raises(AttributeError, match="never exposed"):
                setattr(thing, name, 1)

    @pytest.mark.parametrize("name", ["absent", "level", "total", "calls", "secret"])
    def test_what_is_not_exposed(self, thing, name):
        with pytest.raises(ipcdatastore.NotExposedError, match=f"{name}.*it has .*give") as caught:
            getattr(thing, name)
        assert caught.value.name == name
        link = ipcdatastore.link(thing)
        with self.raises(ipcdatastore.NotExposedError, f"{name}.*it has .*give") as caught:
            link.ask(CALL, name, (), {}, PATIENCE)
        if self.pickle:
            assert caught.value.name == name
        with self.raises(ipcdatastore.NotExposedError):
            link.ask(GET, name, (), {}, PATIENCE)
        with self.raises(ipcdatastore.NotExposedError):
            setattr(thing, name, 1)
        assert not hasattr(thing, name)

    def test_public_methods_of_every_kind(self, thing):
        assert thing.static(3) == 3
        assert list(thing.of_class(3)) == ["Thing", 3]

    def test_only_what_is_marked(self, chosen):
        assert chosen.find("alien") == "ALIEN"
        assert chosen.static(1) == 1
        assert chosen.of_class(1) == ["Chosen", 1]
        for name in ("rebuild", "hidden", "plain", "log"):
            with pytest.raises(ipcdatastore.NotExposedError):
                getattr(chosen, name)
        assert dir(chosen) == ["find", "of_class", "size", "static", "tell", "told", "volume"]

    def test_properties_that_are_marked(self, chosen):
        assert chosen.size == 11
        chosen.volume = 8
        assert chosen.volume == 8
        chosen.volume = 3
        with pytest.raises(ValueError, match="too quiet"):
            chosen.volume = -1
        assert chosen.volume == 3
        with self.raises(ipcdatastore.NotExposedError, match="size"):
            chosen.size = 12
        with self.raises(ipcdatastore.NotExposedError):
            chosen.find = 1

    def test_a_method_that_is_one_way_by_its_class(self, chosen):
        before = chosen.told()
        assert chosen.tell("a") is None
        assert chosen.tell("b") is None
        assert chosen.told() == [*before, "a", "b"]

    # --- exceptions ----------------------------------------------------------------------------------
    def test_the_same_exception(self, thing):
        with pytest.raises(ZeroDivisionError, match="^no$") as caught:
            thing.fail("ZeroDivisionError", "no")
        assert isinstance(caught.value.__cause__, ipcdatastore.RemoteTraceback)
        text = ipcdatastore.remote_traceback(caught.value)
        assert "in fail" in text
        assert text.rstrip().endswith("ZeroDivisionError: no")
        assert text in str(caught.value.__cause__)
        assert "session.py" not in text, "frames of the library say nothing to the caller"
        with pytest.raises(OSError, match="gone") as caught:
            thing.fail("OSError", "gone")
        assert thing.give(1) == 1

    def test_exceptions_with_a_state(self, thing):
        if not self.pickle:
            pytest.skip("JSON carries Python's own only")
        with pytest.raises(Rich) as caught:
            thing.fail("Rich", 5, "why")
        assert (caught.value.code, caught.value.detail) == (5, "why")
        with pytest.raises(KeyError) as caught:
            thing.fail("KeyError", ("a", 1))
        assert caught.value.args == (("a", 1),)
        with pytest.raises(OSError, match="No such file") as caught:
            thing.fail("OSError", 2, "No such file")
        assert type(caught.value) is FileNotFoundError
        assert caught.value.errno == 2

    @pytest.mark.parametrize("name", ["Demanding", "Locked", "Speechless", "Local"])
    def test_exceptions_that_cannot_be_carried(self, thing, name):
        if name == "Speechless" and self.pickle:
            pytest.skip("pickle carries it")
        with pytest.raises(ipcdatastore.RemoteError) as caught:
            if name == "Local":
                thing.fail_with_local()
            else:
                thing.fail(name, *{"Demanding": (1, "two"), "Locked": ("three",)}.get(name, ()))
        assert name in caught.value.type_name
        assert name in str(caught.value)
        assert name in ipcdatastore.remote_traceback(caught.value)
        expected = {"Demanding": "1 two", "Locked": "three", "Local": "unknown elsewhere", "Speechless": "ValueError"}
        assert expected[name] in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).type_name == caught.value.type_name
        assert thing.give(1) == 1

    def test_an_exception_without_text(self, thing):
        if not self.pickle:
            pytest.skip("see above")
        with pytest.raises(Exception) as caught:
            thing.fail("Speechless")
        assert type(caught.value).__name__ == "Speechless"

    def test_an_exception_that_takes_no_attribute(self, thing):
        with pytest.raises(Exception, match="cold") as caught:
            thing.fail("Frozen", "cold")
        assert type(caught.value).__name__ in ("Frozen", "RemoteError")
        assert "in fail" in ipcdatastore.remote_traceback(caught.value)

    def test_causes_and_notes(self, thing):
        with pytest.raises(ValueError, match="the consequence") as caught:
            thing.fail_because()
        text = ipcdatastore.remote_traceback(caught.value)
        assert "KeyError: 'the reason'" in text
        assert "direct cause" in text
        if sys.version_info >= (3, 11):
            with pytest.raises(ValueError, match="noted") as caught:
                thing.fail_with_note()
            assert "look at this" in ipcdatastore.remote_traceback(caught.value)
            if self.pickle:
                assert caught.value.__notes__ == ["look at this"]

    def test_exceptions_of_every_size(self, thing):
        for size in (0, RING_SIZE // 4, RING_SIZE, LIMIT // 4):
            with pytest.raises(ValueError) as caught:
                thing.fail_hugely(size)
            assert len(str(caught.value)) == size
        with pytest.raises(ipcdatastore.DatastoreError, match="ValueError") as caught:
            thing.fail_hugely(LIMIT)
        assert thing.give(1) == 1

    def test_recursion(self, thing):
        with pytest.raises(RecursionError):
            thing.dig(0)
        with self.raises(ipcdatastore.EncodeError):
            thing.nested(100_000)
        assert thing.give(1) == 1

    def test_wrong_arguments_of_a_method(self, thing):
        with pytest.raises(TypeError, match="add"):
            thing.add()
        with pytest.raises(TypeError, match="add"):
            thing.add(1, 2)
        with pytest.raises(TypeError):
            thing.add("a")

    def test_remote_traceback_of_a_local_error(self):
        assert ipcdatastore.remote_traceback(ValueError("mine")) == ""

    # --- what cannot be written or read ----------------------------------------------------------------
    def test_results_that_cannot_be_written(self, thing):
        with self.raises(ipcdatastore.EncodeError, match="unpicklable") as caught:
            thing.unpicklable()
        assert "EncodeError" in ipcdatastore.remote_traceback(caught.value)
        with self.raises(ipcdatastore.EncodeError):
            thing.bomb()
        assert thing.give(1) == 1

    def test_results_that_cannot_be_read(self, thing):
        if not self.pickle:
            pytest.skip("JSON reads all that it writes")
        with pytest.raises(ipcdatastore.DecodeError, match="not to be read"):
            thing.late_bomb()
        assert thing.give(1) == 1

    def test_arguments_that_cannot_be_written(self, thing):
        with pytest.raises(ipcdatastore.EncodeError, match="give.*cannot be written.*plain data"):
            thing.give(threading.Lock())
        with pytest.raises(ipcdatastore.EncodeError, match="give.*not to be written" if self.pickle else "give"):
            thing.give(Bomb())
        with pytest.raises(ipcdatastore.EncodeError):
            thing.give.oneway(threading.Lock())
        with pytest.raises(ipcdatastore.EncodeError):
            thing.give.submit(threading.Lock())
        with pytest.raises(ipcdatastore.EncodeError), ipcdatastore.link(thing).batch() as batch:
            batch.give(threading.Lock())
        assert thing.give(1) == 1

    def test_arguments_that_cannot_be_read(self, thing):
        if not self.pickle:
            pytest.skip("JSON reads all that it writes")
        with pytest.raises(ipcdatastore.DecodeError, match="by the server.*importable there"):
            thing.give(LateBomb())
        thing.give.oneway(LateBomb())
        assert thing.give(1) == 1

    # --- one way -------------------------------------------------------------------------------------
    def test_one_way_calls_stay_in_order(self, thing):
        thing.taken()
        for number in range(1000):
            if number % 3:
                assert thing.append.oneway(number) is None
            else:
                thing.append(number)
        assert thing.taken() == list(range(1000))

    def test_one_way_drops_everything(self, thing):
        thing.fail.oneway("ValueError", "unheard")
        thing.make.oneway(LIMIT + 1)
        thing.unpicklable.oneway()
        assert thing.give(1) == 1

    def test_large_one_way_calls(self, thing):
        thing.taken()
        for number in range(6):
            thing.append.oneway(str(number) * (RING_SIZE * number // 2))
        assert [len(item) for item in thing.taken()] == [RING_SIZE * number // 2 for number in range(6)]

    def test_one_way_of_a_generator_is_closed(self, thing, gate):
        thing.iterator.oneway(5, gate)
        thing.give(1)
        assert noted(gate) == ["closed"]

    # --- later ---------------------------------------------------------------------------------------
    def test_submitted_calls(self, thing):
        calls = [thing.give.submit(number) for number in range(100)]
        assert [call.result() for call in reversed(calls)] == list(reversed(range(100)))
        assert all(call.done() for call in calls)
        assert calls[5].result() == 5
        assert calls[5].exception() is None

    def test_a_submitted_call_that_fails(self, thing):
        call = thing.fail.submit("ValueError", "later")
        assert isinstance(call.exception(), ValueError)
        for _ in range(2):
            with pytest.raises(ValueError, match="later"):
                call.result()
        assert thing.give(1) == 1

    def test_done_without_waiting(self, thing, gate):
        call = thing.hold.submit(gate, 5)
        assert not call.done()
        open(gate, "w").close()
        eventually(call.done)
        assert call.result(timeout=BRIEFLY) == 5

    def test_a_submitted_call_waits_as_long_as_it_is_told(self, thing, gate):
        call = thing.hold.submit(gate, 6)
        for _ in range(2):
            with pytest.raises(ipcdatastore.CallTimeoutError):
                call.result(timeout=BRIEFLY)
            with pytest.raises(ipcdatastore.CallTimeoutError):
                call.exception(timeout=BRIEFLY)
        open(gate, "w").close()
        assert call.result() == 6

    def test_a_submitted_call_that_nobody_asks_for(self, thing):
        for number in range(50):
            thing.make.submit(RING_SIZE // 3)
            assert thing.give(number) == number

    def test_large_results_that_wait(self, thing):
        """More than the ring holds, asked for in another order."""
        calls = [thing.make.submit(RING_SIZE * number // 3, number) for number in range(10)]
        for number in (9, 0, 5, 4, 3, 8, 1, 2, 7, 6):
            assert calls[number].result() == bytes([number]) * (RING_SIZE * number // 3)

    def test_results_in_another_thread(self, thing):
        call = thing.give.submit(1)
        assert elsewhere(call.result) == 1
        assert call.result() == 1

    def test_two_threads_wait_for_one_call(self, thing, gate):
        call = thing.hold.submit(gate, 7)
        found = []
        threads = [threading.Thread(target=lambda: found.append(call.result(5))) for _ in range(3)]
        for thread in threads:
            thread.start()
        open(gate, "w").close()
        for thread in threads:
            thread.join()
        assert found == [7, 7, 7]

    def test_one_thread_does_not_prolong_the_time_out_of_another(self, thing, gate):
        first, second = thing.hold.submit(gate, 1), thing.hold.submit(gate, 2)
        leader = threading.Thread(target=first.result)
        leader.start()
        try:
            eventually(first._finding.locked)
            with pytest.raises(ipcdatastore.CallTimeoutError):
                elsewhere(lambda: second.result(timeout=BRIEFLY))
        finally:
            open(gate, "w").close()
            leader.join()
        assert second.result() == 2

    def test_await(self, thing):
        async def many():
            return await asyncio.gather(*[thing.give.submit(number) for number in range(200)])

        assert asyncio.run(many()) == list(range(200))

        async def failing():
            await thing.fail.submit("ValueError", "awaited")

        with pytest.raises(ValueError, match="awaited"):
            asyncio.run(failing())
        assert thing.give(1) == 1

    def test_await_does_not_hold_up_the_loop(self, thing, gate):
        async def both():
            call = asyncio.ensure_future(wrap(thing.hold.submit(gate, 3)))
            await asyncio.sleep(0)
            assert not call.done()
            open(gate, "w").close()
            return await asyncio.wait_for(call, PATIENCE)

        async def wrap(call):
            return await call

        assert asyncio.run(both()) == 3

    def test_await_with_a_time_out(self, thing, gate):
        async def late():
            return await thing.hold.within(BRIEFLY).submit(gate, 3)

        with pytest.raises(ipcdatastore.CallTimeoutError):
            asyncio.run(late())
        open(gate, "w").close()
        assert thing.give(1) == 1

    def test_a_cancelled_await(self, thing, gate):
        async def cancelled():
            call = thing.hold.submit(gate, 3)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wrap(call), BRIEFLY)
            open(gate, "w").close()
            return await thing.give.submit(4)

        async def wrap(call):
            return await call

        assert asyncio.run(cancelled()) == 4
        assert thing.give(5) == 5

    # --- time-outs -----------------------------------------------------------------------------------
    def test_the_time_out_of_a_call(self, thing, gate):
        with pytest.raises(ipcdatastore.CallTimeoutError, match="thing did not answer within 0.1 s") as caught:
            thing.hold.within(BRIEFLY)(gate)
        assert (caught.value.name, caught.value.timeout) == ("thing", BRIEFLY)
        assert isinstance(caught.value, TimeoutError)
        open(gate, "w").close()
        assert thing.give("own") == "own", "not the late answer"

    def test_the_time_out_of_a_proxy(self, thing, gate):
        link = ipcdatastore.link(thing)
        assert link.timeout == PATIENCE
        link.timeout = BRIEFLY
        with pytest.raises(ipcdatastore.CallTimeoutError):
            thing.hold(gate)
        open(gate, "w").close()
        assert thing.hold.within(None)(gate, 5) == 5
        assert thing.give.within(PATIENCE)(6) == 6

    @pytest.mark.parametrize("timeout", [0, -1, "1", float("nan"), True])
    def test_time_outs_that_are_none(self, thing, timeout, place):
        with pytest.raises(ipcdatastore.ArgumentError, match="timeout"):
            thing.give.within(timeout)
        with pytest.raises(ipcdatastore.ArgumentError, match="timeout"):
            ipcdatastore.connect("thing", directory=place, timeout=timeout)

    def test_late_answers_do_not_pile_up(self, thing, gate):
        open(gate, "w").close()
        for number in range(30):
            try:
                thing.make.within(0.0005)(RING_SIZE * 2)
            except ipcdatastore.CallTimeoutError:
                assert thing.give(number) == number
        connection = ipcdatastore.link(thing).connection()
        assert not connection._arrived
        assert not connection._expected

    # --- batches -------------------------------------------------------------------------------------
    def test_a_batch(self, thing):
        thing.taken()
        with ipcdatastore.link(thing).batch() as batch:
            one = batch.give(1)
            batch.append("a")
            bad = batch.fail("ValueError", "in a batch")
            missing = batch.absent()
            stream = batch.count(3)
            unwritable = batch.unpicklable()
            batch.append("b")
            last = batch.taken()
            assert not one.done()
            with pytest.raises(RuntimeError, match="not run yet"):
                one.result()
        assert one.result() == 1
        with pytest.raises(ValueError, match="in a batch") as caught:
            bad.result()
        assert "in fail" in ipcdatastore.remote_traceback(caught.value)
        with self.raises(ipcdatastore.NotExposedError):
            missing.result()
        with self.raises(ipcdatastore.EncodeError, match="by itself"):
            stream.result()
        with self.raises(ipcdatastore.EncodeError):
            unwritable.result()
        assert last.result() == ["a", "b"]

    def test_a_batch_one_of_whose_results_cannot_be_read(self, thing):
        if not self.pickle:
            pytest.skip("JSON reads all that it writes")
        with ipcdatastore.link(thing).batch() as batch:
            calls = [batch.give(1), batch.late_bomb(), batch.give(2)]
        assert calls[0].result() == 1
        with pytest.raises(ipcdatastore.DecodeError):
            calls[1].result()
        assert calls[2].result() == 2

    def test_batches_called_and_empty(self, thing):
        batch = ipcdatastore.link(thing).batch()
        assert batch() == []
        batch.give(1), batch.give(2)
        assert batch() == [1, 2]
        assert batch() == []
        batch.give(3), batch.fail("KeyError", "k"), batch.add(0)
        with pytest.raises(KeyError):
            batch()
        with pytest.raises(AttributeError):
            batch._private  # noqa: B018
        with ipcdatastore.link(thing).batch():
            pass

    def test_a_batch_that_is_left_by_an_exception(self, thing):
        thing.taken()
        with pytest.raises(ZeroDivisionError), ipcdatastore.link(thing).batch() as batch:
            batch.append(1)
            1 / 0  # noqa: B018
        assert thing.taken() == []

    def test_large_batches(self, thing):
        with ipcdatastore.link(thing).batch() as batch:
            calls = [batch.make(RING_SIZE // 2, number) for number in range(10)]
        assert [call.result() for call in calls] == [bytes([number]) * (RING_SIZE // 2) for number in range(10)]
        with self.raises(ipcdatastore.TooLargeError), ipcdatastore.link(thing).batch() as batch:
            for _ in range(3):
                batch.make(LIMIT // 2)
        assert thing.give(1) == 1

    # --- streams -------------------------------------------------------------------------------------
    def test_a_stream(self, thing):
        assert list(thing.count(1000)) == list(range(1000))
        assert list(thing.count(0)) == []
        assert list(thing.count.submit(5).result()) == list(range(5))

    def test_streams_do_not_disturb_each_other(self, thing):
        for number, (one, two) in enumerate(zip(thing.count(300), thing.count(300))):
            assert one == two == number
            assert thing.give(number) == number

    def test_a_stream_runs_no_more_than_a_portion_ahead(self, thing):
        most = ipcdatastore.link(thing).portion
        stream = thing.count(10_000)
        assert thing.how_far() in range(10_001)
        for taken in range(1, 500):
            assert next(stream) == taken - 1
            assert thing.how_far() <= taken + most
        stream.close()

    def test_items_one_by_one(self, thing):
        link = ipcdatastore.link(thing)
        link.portion = 1
        try:
            stream = thing.count(100)
            for taken in range(100):
                assert next(stream) == taken
                assert thing.how_far() <= taken + 1
            stream.close()
        finally:
            link.portion = 64

    def test_a_stream_that_is_closed(self, thing, gate):
        stream = thing.count(1000, gate)
        assert next(stream) == 0
        assert noted(gate) == []
        stream.close()
        stream.close()
        thing.give(1)
        assert noted(gate) == ["closed"]
        with pytest.raises(StopIteration):
            next(stream)

    def test_a_stream_that_is_dropped(self, thing, gate):
        for _ in thing.count(1000, gate):
            break
        with thing.count(1000, gate) as stream:
            next(stream)
        del stream
        eventually(lambda: thing.give(noted(gate)) == ["closed", "closed"])

    def test_a_stream_that_fails(self, thing):
        stream = thing.count_badly(100)
        seen = []
        kind = Plain if self.pickle else ipcdatastore.RemoteError
        with pytest.raises(kind, match="in the end") as caught:
            seen.extend(stream)
            for item in stream:
                seen.append(item)
        assert "count_badly" in ipcdatastore.remote_traceback(caught.value)
        with pytest.raises(StopIteration):
            next(stream)
        assert thing.give(1) == 1

    def test_items_that_cannot_be_written(self, thing):
        stream = thing.odd_items()
        assert next(stream) == 1
        with self.raises(ipcdatastore.EncodeError):
            next(stream)
        assert list(stream) == []

    def test_large_items(self, thing):
        size = LIMIT // 2
        assert [len(item) for item in thing.big_items(5, size)] == [size] * 5
        with self.raises(ipcdatastore.TooLargeError, match="half of it for an item"):
            list(thing.big_items(1, size + 1))
        assert sum(len(item) for item in thing.big_items(100, 10_000)) == 1_000_000

    def test_an_interrupted_stream_does_not_skip(self, thing):
        """What an interrupt in the middle of `next` lost must not be missing without a word."""
        stream = thing.count(1000)
        taken = [next(stream) for _ in range(3)]
        connection = stream._connection

        class Interrupting:
            messages, check_process = connection.messages, connection.check_process
            is_usable, end_stream = connection.is_usable, connection.end_stream

            def ask(self, *arguments):
                connection.ask(*arguments)
                raise KeyboardInterrupt

        stream._connection = Interrupting()
        with pytest.raises(KeyboardInterrupt):
            while True:
                taken.append(next(stream))
        stream._connection = connection
        for _ in range(2):
            with pytest.raises(ipcdatastore.ServerUnavailableError, match="given up") as caught:
                next(stream)
            assert caught.value.started

    # --- threads -------------------------------------------------------------------------------------
    def test_threads_share_a_proxy(self, thing):
        before = thing.add(0)
        errors = []

        def work(number):
            try:
                for turn in range(100):
                    assert thing.give([number, turn]) == [number, turn]
                    thing.add(1)
            except BaseException as error:  # noqa: BLE001 - raised again
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert thing.add(0) == before + 600

    # --- the proxy itself ------------------------------------------------------------------------------
    def test_the_proxy_itself(self, thing, place):
        link = ipcdatastore.link(thing)
        assert link.name == "thing"
        assert link.available()
        assert "thing" in repr(thing)
        assert "thing" in repr(link)
        assert "give" in repr(thing.give)
        assert "give" in dir(thing)
        assert not any(name.startswith("_") for name in dir(thing))
        other = ipcdatastore.connect("thing", directory=place)
        assert thing == other
        assert hash(thing) == hash(other)
        assert thing != ipcdatastore.connect("chosen", directory=place)
        assert thing != "thing"

    def test_copies_of_a_proxy(self, thing):
        for again in (pickle.loads(pickle.dumps(thing)), copy.copy(thing), copy.deepcopy(thing)):
            assert again == thing
            assert again.give(4) == 4
            assert ipcdatastore.link(again).timeout == PATIENCE

    def test_proxies_as_arguments(self, thing):
        if not self.pickle:
            pytest.skip("JSON has no proxies")
        assert thing.give(thing) == thing

    def test_a_link_that_is_closed_connects_again(self, thing):
        thing.give(1)
        ipcdatastore.link(thing).close()
        ipcdatastore.link(thing).close()
        assert thing.give(2) == 2

    def test_what_is_served(self, thing, place):
        thing.give(1)
        found = {info.name: info for info in ipcdatastore.objects(place)}
        assert sorted(found) == ["chosen", "thing"]
        info = found["thing"]
        before = info.calls
        thing.give(1)
        with pytest.raises(ValueError):
            thing.fail("ValueError")
        thing.give(1)
        after = {info.name: info for info in ipcdatastore.objects(place)}["thing"]
        assert after.calls >= before + 2
        assert after.errors >= info.errors + 1
        assert after.clients >= 1
        assert after.busy >= info.busy
        assert sum(after.histogram) == after.calls
        assert after.serializer == ("pickle" if self.pickle else "json")
        assert after.pid == thing.pid()

    def test_clients_that_go_are_gone(self, thing, place):
        thing.give(1)

        def clients():
            return {info.name: info for info in ipcdatastore.objects(place)}["thing"].clients

        eventually(lambda: clients() == 1)
        others = [ipcdatastore.connect("thing", directory=place) for _ in range(5)]
        assert [other.give(1) for other in others] == [1] * 5
        assert clients() == 6
        del others
        eventually(lambda: clients() == 1)
