"""Several threads of one process on one connection: who leads takes what comes for all (`connection` as built).

The interpreter lets one thread move at a time, so that memory is `sc` and a step is what no other thread comes between.
Nothing ticks. The server answers in order, and makes room (`room`) at its end for who waits for that.
"""

from collections import namedtuple

from .calls_server import full_fence, load, store, under
from .invariants import Found

Threads = namedtuple("Threads", "leader expected arrived waiters held requests tail sleepers asleep")
NEW = Threads(None, frozenset(), frozenset(), (), frozenset(), (), 0, 0, 0)


# --- steps -------------------------------------------------------------------------------------------
def expect(_model, world, _i, number):
    return None, world._replace(expected=world.expected | {number})


def put(_model, world, _i, number):
    return None, world._replace(requests=(*world.requests, number))


def request(_model, world, _i, at):
    """The server's: the next one, once it is there."""
    return (world.requests[at], world) if at < len(world.requests) else None


def try_to_lead(_model, world, i):
    if world.leader is not None:
        return False, world
    return True, world._replace(leader=i)


def stop_leading(_model, world, _i):
    return None, world._replace(leader=None)


def come_to_wait(_model, world, i):
    return None, world._replace(waiters=(*world.waiters, i), held=world.held | {i})


def go(_model, world, i):
    return None, world._replace(waiters=tuple(j for j in world.waiters if j != i), held=world.held - {i})


def wait_for_turn(_model, world, i):
    return None if i in world.held else (None, world._replace(held=world.held | {i}))


def wake_first(_model, world, _i):
    return None, world._replace(held=world.held - set(world.waiters[:1]))


def take_arrived(_model, world, _i, number):
    return number in world.arrived, world._replace(arrived=world.arrived - {number})


def see(_model, world, _i):
    return world.tail, world


def put_aside(model, world, _i, number):
    if number in world.expected:
        other = model.cfg["wanted"].index(number)
        world = world._replace(
            expected=world.expected - {number},
            arrived=world.arrived | {number},
            held=world.held - {other} if other in world.waiters else world.held,
        )
    return None, world._replace(tail=world.tail + 1)


def take(model, world, _i, number):
    model.returns += 1
    return None, world._replace(tail=world.tail + 1, expected=world.expected - {number})


def lie_down(_model, world, _i):
    return None, world._replace(sleepers=world.sleepers + 1, asleep=1)


def get_up(model, world, _i):
    left = world.sleepers - 1
    return None, world._replace(
        sleepers=left, asleep=int(left > 0 and not under(model.cfg, "who gets up speaks for all"))
    )


def is_asleep(_model, world, _i):
    return world.asleep, world


# --- programs ----------------------------------------------------------------------------------------
def server(cfg, at):
    """Answer the next one."""
    if at < cfg["answers"]:
        number = yield ("sys", request, (at,))
        yield from store(("answer", at), number)
        yield from store("head", at + 1)
    else:
        yield from store("room", 1)
    bell = yield from load("bell")
    yield from store("bell", bell + 1)
    yield from full_fence(cfg)
    asleep = yield ("do", is_asleep, ())
    if asleep:
        yield ("wake", "bell")
    if at < cfg["answers"]:
        yield ("become", server, (at + 1,))


def caller(cfg, number):
    """Send a request, and wait for the response."""
    late = under(cfg, "expected after it was put")
    if not late:
        yield ("do", expect, (number,))
    yield ("do", put, (number,))
    if late:
        yield ("do", expect, (number,))
    yield ("become", receiver, (number,))


def receiver(_cfg, number):
    """Wait for the response to a request that was sent."""
    leads = yield ("do", try_to_lead, ())
    if leads:
        yield ("become", lead, (number, False))
    yield ("do", come_to_wait, ())
    yield ("become", follow, (number,))


def follow(cfg, number):
    arrived = yield ("do", take_arrived, (number,))
    if arrived:
        yield from leave(cfg)
        return
    leads = yield ("do", try_to_lead, ())
    if leads:
        yield ("become", lead, (number, True))
    yield ("sys", wait_for_turn, ())
    yield ("become", follow, (number,))


def leave(cfg):
    yield ("do", go, ())
    if not under(cfg, "who was appointed has his own and goes"):
        yield ("do", wake_first, ())


def look(_cfg):
    """(number of the next response or None, the bell before that)."""
    seen = yield from load("bell")
    tail = yield ("do", see, ())
    head = yield from load("head")
    if head == tail:
        return None, seen
    number = yield from load(("answer", tail))
    return number, seen


def sleep(_cfg, seen):
    yield ("do", lie_down, ())
    slept = yield ("futex", "bell", seen)
    if slept:
        yield ("asleep", "bell")
    yield ("do", get_up, ())


def lead(cfg, number, waited):
    arrived = yield ("do", take_arrived, (number,))
    if not arrived:
        found, seen = yield from look(cfg)
        if found is None:
            yield from sleep(cfg, seen)
            yield ("become", lead, (number, waited))
        if found != number:
            yield ("do", put_aside, (found,))
            yield ("become", lead, (number, waited))
        yield ("do", take, (number,))
    yield ("do", stop_leading, ())
    yield ("do", wake_first, ())
    if waited:
        yield from leave(cfg)


def taker(cfg):
    """Who only looks whether something has come."""
    yield ("become", take_in, ("end",))


def sender(cfg):
    """Who waits for room."""
    seen = yield from load("bell")
    room = yield from load("room")
    if room:
        return
    yield ("become", take_in, (seen,))


def take_in(cfg, then):
    leads = yield ("do", try_to_lead, ())
    if leads:
        while True:
            found, _ = yield from look(cfg)
            if found is None:
                break
            yield ("do", put_aside, (found,))
        yield ("do", stop_leading, ())
        if not under(cfg, "who took in appoints nobody"):
            yield ("do", wake_first, ())
    if then != "end":
        yield from sleep(cfg, then)
        yield ("become", sender, ())


def nobody_dies(_model, _world, _i):
    raise Found("nobody dies here")
