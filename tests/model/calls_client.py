"""A client of calls as built (`links`, `connection`, `ring` and `doze` of ``ipcdatastore.calls``), of one thread.

Its script has ("ask", call), ("submit", call) and ("result", call) for its two halves, ("oneway", call), and ("bad",
call): one that nobody can understand. Calls are numbered in the order in which they are to run. `cfg["calls"]` says how
many frames a request and its response have; `cfg["impatient"]` which calls may be given up at any look.
"""

from collections import namedtuple

from . import calls_world as world
from .calls_server import advance, fence, full_fence, load, peek, put, ring, sleep, store, under
from .calls_world import SERVING

TRIED = 3  # servers, for one call
STRIDE = (1, 1 << 8, 1 << 16)

Client = namedtuple("Client", "c at attempt k s number head tail told expected arrived sent over")
# Place in the script; attempt of the call there; connection, its server (None: none) and its number of the last call;
# own ends of the rings, and the tail that the server was told; calls whose response is wanted, those that have arrived,
# and all with their numbers; whether nothing more goes through the connection.


def begin(cfg, c):
    k, s = (0, 0) if cfg.get("met") else (-1, None)
    yield ("become", step, (Client(c, 0, 0, k, s, 0, 0, 0, -1, (), (), (), False),))


def conn_of(me):
    return (me.c, me.k)


def step(cfg, me):
    """What is next in the script."""
    if me.at == len(cfg["script"][me.c]):
        if me.s is not None and not (cfg.get("met") or cfg.get("stay")):
            yield from leave(cfg, me)
        return
    kind, call = cfg["script"][me.c][me.at]
    if kind == "result":
        numbers = [number for number, sent in me.sent if sent[0] == call]
        if not numbers:
            yield ("become", step, (me._replace(at=me.at + 1, attempt=0),))
        yield ("become", lead, (me, numbers[0]))
    elif me.s is None or me.over:
        if me.s is not None:
            yield from leave(cfg, me)
        yield ("become", find, (me,))
    else:
        state = yield from load((me.s, "STATE"))
        alive = state == SERVING
        if alive and kind in ("submit", "oneway"):
            alive = yield from server_lives(cfg, me)
        if not alive:
            me = me._replace(over=True)
            yield ("become", step, (me,))
        yield from send(cfg, me, kind, call)


def leave(cfg, me):
    """Close the connection."""
    yield from store((conn_of(me), "CLOSED"), 1)
    yield from ring_server(cfg, me)
    state = yield from load((me.s, "STATE"))
    alive = state == SERVING
    if alive:
        alive = yield from server_lives(cfg, me)
    file = ("C", *conn_of(me), me.s)
    if not alive:
        yield ("sys", world.remove, (file,))
    yield ("sys", world.close, (file,))


def server_lives(cfg, me):
    if cfg.get("immortal"):
        return True
    alive = yield ("sys", world.lives, (("S", me.s),))
    return alive


def find(cfg, me):
    """The server that has the object; None: whoever asks gets an error."""
    others = yield ("sys", world.servers, ())
    for other in others:
        state = yield from load((other[1], "STATE"))
        if state == SERVING:
            alive = yield ("sys", world.lives, (other,))
            if alive:
                k = me.k + 1
                me = Client(me.c, me.at, me.attempt, k, other[1], 0, 0, 0, -1, (), (), (), False)
                announce_first = under(cfg, "CONNECT before the file")
                if announce_first:
                    yield from store((me.s, "CONNECT"), 1 + 8 * me.c + k)
                    yield from ring_server(cfg, me)
                yield ("sys", world.make, (("C", me.c, k, me.s),))
                if not announce_first:
                    yield from store((me.s, "CONNECT"), 1 + 8 * me.c + k)
                    yield from ring_server(cfg, me)
                yield ("become", step, (me,))
    # The call never ran; it is not made again.
    yield ("become", step, (Client(me.c, me.at + 1, 0, me.k, None, 0, 0, 0, -1, (), (), (), False),))


def ring_server(cfg, me):
    bell = (me.s, "BELL")
    value = yield from load(bell)
    yield from ring(cfg, bell, (me.s, "ASLEEP"), value + STRIDE[me.c], "client's ring")


# --- sending -----------------------------------------------------------------------------------------
def send(cfg, me, kind, call):
    number = me.number + 1
    what = (call, me.attempt)
    me = me._replace(number=number, sent=(*me.sent, (number, what)))
    if kind != "oneway":
        me = me._replace(expected=(*me.expected, number))
    parts = cfg["calls"].get(call, (1, 1))[0]
    conn = conn_of(me)
    if parts == 1:
        tail = yield from load((conn, "REQUEST_TAIL"))
        if me.head - tail < cfg["room"]:
            me = yield from put_request(cfg, me, (me.head, number, (*what, kind), 0, 1))
            yield ("become", sent, (me, kind))
    if not under(cfg, "client says after the look that it wants room"):
        yield from store((conn, "CLIENT_WANTS_ROOM"), 1)
    yield ("become", send_rest, (me, kind, call, 0))


def put_request(cfg, me, frame):
    conn = conn_of(me)
    if under(cfg, "client rings before the head") and frame[3] == frame[4] - 1:
        yield from ring_server(cfg, me)
    yield from put(cfg, (conn, "q", me.head % cfg["room"]), frame, (conn, "REQUEST_HEAD"))
    return me._replace(head=me.head + 1)


def send_rest(cfg, me, kind, call, done):
    """Look for room for the next frame once."""
    conn = conn_of(me)
    parts = cfg["calls"].get(call, (1, 1))[0]
    wants = (conn, "CLIENT_WANTS_ROOM")
    yield from full_fence(cfg, "client wants room")
    seen = None
    if not under(cfg, "room looked at before the bell"):
        seen = yield from load((conn, "CLIENT_BELL"))
        yield from fence(cfg, "room looked at")
    tail = yield from load((conn, "REQUEST_TAIL"))
    if me.head - tail < cfg["room"]:
        me = yield from put_request(cfg, me, (me.head, me.number, (call, me.attempt, kind), done, parts))
        if done + 1 == parts:
            yield from store(wants, 0)
            yield ("become", sent, (me, kind))
        yield from ring_server(cfg, me)
        yield ("become", send_rest, (me, kind, call, done + 1))
    if seen is None:
        seen = yield from load((conn, "CLIENT_BELL"))
    if under(cfg, "client says after the look that it wants room"):
        yield from store(wants, 1)
    if not under(cfg, "takes nothing in while it waits for room"):
        me = yield from take_in(cfg, me)
    me, verdict = yield from wait(cfg, me, seen, me.number, call)
    if verdict == "again":
        yield ("become", send_rest, (me, kind, call, done))
    yield from store(wants, 0)
    me = me._replace(expected=tuple(number for number in me.expected if number != me.number))
    if done:
        me = me._replace(over=True)
    yield from fail(cfg, me, me.number, verdict)


def sent(cfg, me, kind):
    if not under(cfg, "client rings before the head"):
        yield from ring_server(cfg, me)
    if kind == "ask":
        yield ("become", lead, (me, me.number))
    yield ("become", step, (me._replace(at=me.at + 1, attempt=0),))


def take_in(cfg, me):
    """Take what has come, for whoever wants it."""
    while True:
        me, frame = yield from next_response(cfg, me)
        if frame is None:
            break
        me = yield from put_aside(cfg, me, frame)
    yield ("release",)
    me = yield from made_room(cfg, me)
    return me


# --- receiving ---------------------------------------------------------------------------------------
def next_response(cfg, me):
    """The last frame of the next message, which is still in the ring; None if it is not there."""
    conn = conn_of(me)
    while True:
        head = yield from load((conn, "RESPONSE_HEAD"))
        if head == me.tail:
            return me, None
        frame = yield from peek(cfg, (conn, "r", me.tail % cfg["room"]), me.tail)
        if frame[3] == frame[4] - 1:
            return me, frame
        me = yield from take(cfg, me, frame)


def take(cfg, me, frame):
    """Copy a frame, and free its room."""
    conn, tail = conn_of(me), me.tail + 1
    cell, loc = (conn, "r", me.tail % cfg["room"]), (conn, "RESPONSE_TAIL")
    if under(cfg, "tail before copy"):
        yield from advance(cfg, loc, tail)
        yield ("copy", cell, frame)
    else:
        yield ("copy", cell, frame)
        yield from advance(cfg, loc, tail)
    return me._replace(tail=tail)


def put_aside(cfg, me, frame):
    number, what = frame[1], frame[2]
    if number in me.expected:
        me = me._replace(
            expected=tuple(other for other in me.expected if other != number),
            arrived=tuple(sorted((*me.arrived, (number, what)))),
        )
    me = yield from take(cfg, me, frame)
    yield from full_fence(cfg, "put aside")
    return me


def lead(cfg, me, number):
    """Look once for the response to the request `number`."""
    for other, what in me.arrived:
        if other == number:
            arrived = tuple(pair for pair in me.arrived if pair[0] != number)
            yield from have(cfg, me._replace(arrived=arrived), number, what)
    seen = None
    late = under(cfg, "the ring looked at before the bell")
    if not late:
        seen = yield from load((conn_of(me), "CLIENT_BELL"))
        yield from fence(cfg, "client's look")
    me, frame = yield from next_response(cfg, me)
    if frame is None:
        if late:
            seen = yield from load((conn_of(me), "CLIENT_BELL"))
        call = dict(me.sent)[number][0]
        me, verdict = yield from wait(cfg, me, seen, number, call)
        if verdict == "again":
            yield ("become", lead, (me, number))
        yield ("release",)
        me = yield from made_room(cfg, me)
        me = me._replace(expected=tuple(other for other in me.expected if other != number))
        yield from fail(cfg, me, number, verdict)
    if frame[1] != number and not under(cfg, "numbers not compared"):
        me = yield from put_aside(cfg, me, frame)
        yield ("become", lead, (me, number))
    me = yield from take(cfg, me, frame)
    me = me._replace(expected=tuple(other for other in me.expected if other != number))
    yield from have(cfg, me, number, frame[2])


def have(cfg, me, number, what):
    yield ("release",)
    me = yield from made_room(cfg, me)
    call, attempt = dict(me.sent)[number]
    yield ("note", world.is_answered, (me.c, call, attempt, what))
    me = me._replace(sent=tuple(pair for pair in me.sent if pair[0] != number), at=me.at + 1, attempt=0)
    yield ("become", step, (me,))


def made_room(cfg, me):
    wants = yield from load((conn_of(me), "SERVER_WANTS_ROOM"))
    if wants and me.tail != me.told:
        me = me._replace(told=me.tail)
        yield from ring_server(cfg, me)
    return me


def wait(cfg, me, seen, number, call):
    """What came of it: "again", "late", ("gone", started, given up)."""
    me = yield from made_room(cfg, me)
    if call in cfg.get("impatient", ()):
        late = yield ("choose", (False, True))
        if late:
            return me, "late"
    conn = conn_of(me)
    given = yield from load((conn, "GIVEN_UP"))
    alive = True
    started = None
    if under(cfg, "STARTED looked at before the lock"):
        started = yield from load((conn, "STARTED"))
    if not given:
        state = yield from load((me.s, "STATE"))
        alive = state == SERVING
        if alive:
            alive = yield from server_lives(cfg, me)
    if given or not alive:
        yield from fence(cfg, "last words")
        if not under(cfg, "no look for last words"):
            now = yield from load((conn, "CLIENT_BELL"))
            if now != seen:
                return me, "again"
            if not under(cfg, "only the bell tells of last words"):
                head = yield from load((conn, "RESPONSE_HEAD"))
                if head != me.tail:
                    return me, "again"
        if started is None:
            started = yield from load((conn, "STARTED"))
        me = me._replace(over=True)
        yield ("note", world.errs, (conn, me.tail, number))
        return me, ("gone", started >= number, bool(given))
    yield from sleep(cfg, (conn, "CLIENT_BELL"), (conn, "CLIENT_ASLEEP"), seen, "client")
    return me, "again"


def fail(cfg, me, number, verdict):
    """A call that has no answer: it is made again if the next server may have it."""
    call, attempt = dict(me.sent)[number]
    me = me._replace(sent=tuple(pair for pair in me.sent if pair[0] != number))
    kind = cfg["script"][me.c][me.at][0]
    if verdict != "late":
        _, started, given = verdict
        if not started:
            yield ("note", world.is_told, (me.c, call, attempt))
        resend = not started or under(cfg, "made again although it began")
        if resend and not given and kind == "ask" and me.attempt + 1 < TRIED:
            yield ("become", step, (me._replace(attempt=me.attempt + 1),))
    yield ("become", step, (me._replace(at=me.at + 1, attempt=0),))
