"""A whole operation of a writer, or the half of one that died, between any two loads of a reader: what does he see?

Before each load in turn the reader is stopped, a writer works on the same region, and the reader goes on with what he
has loaded so far. Whatever he answers must have been true at some moment in between.
"""

import contextlib

import pytest

from .scenarios import MAY_LOSE, SCENARIOS, SEQUENCES
from .tape import Killed, LoadTape, Tape, contents, load_through, open_copy, open_reader, put_on_tape
from .test_every_store import Case

BUDGET = 100  # stops of one look, spread evenly; twice as many of a look at one key
GONE = object()


class Sequence(Case):
    """Several operations, and every state between them."""

    def __init__(self, directory, scenario):
        name, set_up, steps = scenario
        super().__init__(directory, (name, set_up, lambda engine: [step(engine) for step in steps]))
        engine = open_copy(self.image, directory)
        self.states = [self.before]
        for step in steps:
            step(engine)
            self.states.append(contents(engine))
        engine.close()
        assert self.states[-1] == self.after


@pytest.fixture(params=SCENARIOS + SEQUENCES, ids=[name for name, _, _ in SCENARIOS + SEQUENCES])
def case(request, directory):
    if request.param in SEQUENCES:
        return Sequence(directory, request.param)
    case = Case(directory, request.param)
    case.states = [case.before, case.after]
    return case


class Interrupted:
    """A reader of the case's region in whose `number`-th load the case's operation comes in between."""

    def __init__(self, case, last=None):
        self.case, self.last = case, last

    def look(self, look, number):
        """(what `look` returns, whether it came so far)"""
        writer = open_copy(self.case.image, self.case.directory)
        put_on_tape(writer, Tape(last=self.last))
        reader = open_reader(self.case.directory)
        tape = LoadTape(number, lambda: self._operate(writer))
        load_through(reader, tape)
        try:
            return look(reader), tape.loads > number
        finally:
            reader.close()
            writer.close()

    def _operate(self, writer):
        with contextlib.suppress(Killed):
            self.case.operate(writer)

    def loads(self, look):
        """How many loads an undisturbed look makes."""
        open_copy(self.case.image, self.case.directory).close()
        reader = open_reader(self.case.directory)
        tape = LoadTape(None, None)
        load_through(reader, tape)
        look(reader)
        reader.close()
        return tape.loads


def stops(count, budget):
    return range(0, count, max(1, count // budget))


def allowed(case, key):
    """The values that a look at `key` may answer."""
    values = {state.get(key, GONE) for state in case.states}
    if case.name in MAY_LOSE:  # evictions are operations of their own
        values.add(GONE)
    return values


def value_of(record):
    return GONE if record is None else record.value


@pytest.mark.parametrize("dead", [False, True], ids=["whole", "half"])
def test_one_key(case, dead):
    changed = [key for key in {**case.before, **case.after} if case.before.get(key) != case.after.get(key)]
    same = [key for key in case.before if key not in changed]
    for key in sorted(changed)[:3] + sorted(same)[-2:] + [b"snever"]:

        def look(reader, key=key):
            return value_of(reader.get(key))

        count = Interrupted(case).loads(look)
        for turn, number in enumerate(stops(count, 2 * BUDGET)):
            last = 1 + turn * 7 % case.stores if dead else None
            found, came = Interrupted(case, last).look(look, number)
            assert came, f"load {number} of {count} did not come"
            assert found in allowed(case, key), f"{key} at load {number} of {count}, the writer's last store: {last}"


@pytest.mark.parametrize("dead", [False, True], ids=["whole", "half"])
def test_several_keys(case, dead):
    """All of the answer is of one moment."""
    keys = [*sorted({**case.before, **case.after})[:12], b"snever"]
    states = [[state.get(key, GONE) for key in keys] for state in case.states]

    def look(reader):
        return [value_of(record) for record in reader.get_many(keys)]

    count = Interrupted(case).loads(look)
    for turn, number in enumerate(stops(count, BUDGET)):
        last = 1 + turn * 7 % case.stores if dead else None
        found, _ = Interrupted(case, last).look(look, number)
        where = f"load {number} of {count}, the writer's last store: {last}"
        if case.name in MAY_LOSE:
            assert all(value in allowed(case, key) for key, value in zip(keys, found)), where
        else:
            assert found in states, where


@pytest.mark.parametrize("dead", [False, True], ids=["whole", "half"])
def test_a_scan(case, dead):

    def look(reader):
        return [(record.key, record.value) for record in reader.scan()]

    count = Interrupted(case).loads(look)
    for turn, number in enumerate(stops(count, BUDGET)):
        last = 1 + turn * 7 % case.stores if dead else None
        found, _ = Interrupted(case, last).look(look, number)
        where = f"load {number} of {count}, the writer's last store: {last}"
        assert all(value in allowed(case, key) for key, value in found), where
        if "used up slot" in case.name or case.name in MAY_LOSE or case.name == "a key moves in front":
            continue
        names = [key for key, _ in found]
        for key in case.before:
            if all(key in state for state in case.states):
                assert names.count(key) == 1, f"{key}, {where}"


def test_the_region_is_whole_afterwards(case):
    writer = open_copy(case.image, case.directory)
    case.operate(writer)
    assert writer.check() == []
    assert contents(writer) == case.after or case.name in MAY_LOSE
    writer.close()
