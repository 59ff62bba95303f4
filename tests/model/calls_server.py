"""A server of calls as built (`server`, `session`, `ring` and `doze` of ``ipcdatastore.calls``), with one worker.

A frame is one cell of a ring: (position, number, what, part, parts), `what` being (call, attempt, kind) of a request and
(call, attempt) of a response. Positions make it plain when a cell is read that is not the one to be read.
`cfg["broken"]` names what is built otherwise.
"""

from collections import namedtuple

from . import calls_world as world
from .calls_world import SERVING, STOPPED

Session = namedtuple("Session", "conn tail head bell outbox tail_seen gone given")
NEW = Session(None, 0, 0, 0, None, -1, False, False)
# The outbox: (number, (call, attempt), parts, parts that have gone).


def under(cfg, name):
    return name in cfg.get("broken", ())


def load(loc):
    value = yield ("ld", loc)
    return value


def store(loc, value):
    yield ("st", loc, value)


def fence(cfg, name=""):
    if not under(cfg, "no fence: " + name):
        yield ("fence",)


def full_fence(cfg, name=""):
    if not under(cfg, "no fence: " + name):
        yield ("full",)


def advance(cfg, loc, tail):
    """Of a ring's reader."""
    yield from fence(cfg, "tail")
    yield from store(loc, tail)


def put(cfg, cell, frame, head_loc):
    """Of a ring's writer, who has found that there is room."""
    if under(cfg, "head before payload"):
        yield from store(head_loc, frame[0] + 1)
        yield from store(cell, frame)
        return
    yield from store(cell, frame)
    yield from fence(cfg, "head")
    yield from store(head_loc, frame[0] + 1)


def peek(cfg, cell, tail):
    """The frame at the tail, of which the head says that it is there."""
    yield from fence(cfg, "peek")
    frame = yield from load(cell)
    if frame is None or frame[0] != tail:
        yield ("note", world.fails, ("TORN: reads %r at %d" % (frame, tail),))
    return frame


def ring(cfg, bell, asleep, value, name):
    if under(cfg, "asleep looked at before the bell"):
        sleeps = yield from load(asleep)
        yield from store(bell, value)
    else:
        yield from fence(cfg, "before the bell")
        yield from store(bell, value)
        yield from full_fence(cfg, name)
        sleeps = yield from load(asleep)
    if sleeps:
        yield ("wake", bell)


def sleep(cfg, bell, asleep, seen, name):
    """Why it ended: "rung", "tick", or "changed" already."""
    if under(cfg, name + " looks at the bell before it says asleep"):
        now = yield from load(bell)
        yield from store(asleep, 1)
        if now != seen:
            yield from store(asleep, 0)
            return "changed"
        slept = True
        yield ("full",)
    else:
        yield from store(asleep, 1)
        yield from fence(cfg, "asleep")
        now = yield from load(bell)
        slept = now == seen
        if slept:
            slept = yield ("futex", bell, seen)
    why = "changed"
    if slept:
        why = yield ("asleep", bell)
    yield from store(asleep, 0)
    return why


# --- the server --------------------------------------------------------------------------------------
def standby(cfg, s):
    """One that is started while another may serve, or is gone."""
    yield ("sys", world.take_start_lock, ())
    others = yield ("sys", world.servers, ())
    for other in others:
        state = yield from load((other[1], "STATE"))
        if state == SERVING:
            serves = yield ("sys", world.lives, (other,))
            if serves:  # it is refused
                yield ("sys", world.give_start_lock, ())
                yield ("become", standby, (s,))
    yield ("sys", world.remove_leftovers, ())
    yield ("sys", world.make, (("S", s),))
    yield from store((s, "STATE"), SERVING)
    yield ("sys", world.give_start_lock, ())
    yield ("become", server, (s, 0, (), False))


def server(cfg, s, connected, sessions, looking):
    """One turn."""
    if s in cfg.get("stops", ()):
        stops = yield ("choose", (False, True))
        if stops:
            yield ("become", stop, (s, sessions, 0))
    seen = None
    if not under(cfg, "bell loaded after the look"):
        seen = yield from load((s, "BELL"))
    yield from fence(cfg, "seen")
    new = yield from load((s, "CONNECT"))
    if new != connected:
        if not under(cfg, "listing before CONNECT"):
            connected = yield from load((s, "CONNECT"))
            yield from fence(cfg)
        sessions = yield from connect(cfg, s, sessions)
        if under(cfg, "listing before CONNECT"):
            connected = yield from load((s, "CONNECT"))
    done, kept = 0, []
    for one in sessions:
        ready = yield from is_ready(cfg, one)
        over = False
        if ready:
            one, count = yield from serve(cfg, s, one)
            done += count
        else:
            over = yield from is_over(cfg, one)
        if over:
            yield ("note", world.drops, (s, one.conn, one.tail, one.given))
            file = ("C", *one.conn, s)
            yield ("sys", world.remove, (file,))
        else:
            kept.append(one)
    sessions = tuple(kept)
    if done:
        yield ("become", server, (s, connected, sessions, looking))
    if looking:
        kept = []
        for one in sessions:
            alive = yield ("sys", world.lives, (("C", *one.conn, s),))
            kept.append(one._replace(gone=one.gone or not alive))
        sessions = tuple(kept)
    if seen is None:
        seen = yield from load((s, "BELL"))
    why = yield from sleep(cfg, (s, "BELL"), (s, "ASLEEP"), seen, "server")
    yield ("become", server, (s, connected, sessions, why == "tick"))


def connect(_cfg, s, sessions):
    """Whoever has a file here has a place."""
    found = yield ("sys", world.clients_of, (s,))
    have = [one.conn for one in sessions]
    for file in found:
        conn = file[1:3]
        if conn not in have:
            sessions += (NEW._replace(conn=conn),)
            yield ("note", world.takes_place, (s, conn))
    return sessions


def is_ready(cfg, one):
    if one.outbox is not None and not one.gone:
        tail = yield from load((one.conn, "RESPONSE_TAIL"))
        if tail != one.tail_seen:
            return True
        closed = yield from load((one.conn, "CLOSED"))
        return bool(closed)
    head = yield from load((one.conn, "REQUEST_HEAD"))
    return head != one.tail and not (one.given and not under(cfg, "given up, and served"))


def is_over(cfg, one):
    if one.given and not under(cfg, "given up, and served"):
        return True
    closed = one.gone
    if not closed:
        closed = yield from load((one.conn, "CLOSED"))
    if not closed:
        return False
    if under(cfg, "dropped unread"):
        return True
    yield from fence(cfg, "over")
    head = yield from load((one.conn, "REQUEST_HEAD"))
    return head == one.tail


# --- a session ---------------------------------------------------------------------------------------
def serve(cfg, s, one):
    """(session, how many requests were done)."""
    conn = one.conn
    if one.outbox is not None:
        closed = one.gone
        if not closed:
            closed = yield from load((conn, "CLOSED"))
        if closed:
            one = one._replace(outbox=None)
        else:
            one = yield from send_rest(cfg, one)
            if one.outbox is not None:
                return one, 0
    while True:
        head = yield from load((conn, "REQUEST_HEAD"))
        if head == one.tail:
            one = yield from made_room(cfg, one)
            return one, 0
        cell = (conn, "q", one.tail % cfg["room"])
        frame = yield from peek(cfg, cell, one.tail)
        _, number, (call, attempt, kind), part, parts = frame
        if kind == "bad":
            one = yield from give_up(cfg, one)
            return one, 0
        if part == parts - 1:
            break
        one = yield from take(cfg, one, cell, frame)
    before = not under(cfg, "STARTED after the run")
    if before:
        yield from store((conn, "STARTED"), number)
    one = yield from take(cfg, one, cell, frame)
    yield ("do", world.runs, (conn[0], call, attempt))
    if not before:
        yield from store((conn, "STARTED"), number)
    one = yield from respond(cfg, one, number, kind, (call, attempt))
    return one, 1


def take(cfg, one, cell, frame):
    tail = one.tail + 1
    loc = (one.conn, "REQUEST_TAIL")
    if under(cfg, "tail before copy"):
        yield from advance(cfg, loc, tail)
        yield ("copy", cell, frame)
    else:
        yield ("copy", cell, frame)
        yield from advance(cfg, loc, tail)
    return one._replace(tail=tail)


def respond(cfg, one, number, kind, what):
    if kind == "oneway":
        one = yield from made_room(cfg, one)
        return one
    parts = cfg["calls"].get(what[0], (1, 1))[1]
    if parts == 1:
        tail = yield from load((one.conn, "RESPONSE_TAIL"))
        if one.head - tail < cfg["room"]:
            one = yield from put_response(cfg, one, (one.head, number, what, 0, 1))
            return one
    if one.gone:
        return one
    one = yield from send_rest(cfg, one._replace(outbox=(number, what, parts, 0)))
    return one


def put_response(cfg, one, frame):
    conn, head = one.conn, one.head
    rings_first = under(cfg, "server rings before the head")
    if rings_first:
        one = yield from ring_client(cfg, one)
    yield from put(cfg, (conn, "r", head % cfg["room"]), frame, (conn, "RESPONSE_HEAD"))
    if not rings_first:
        one = yield from ring_client(cfg, one)
    return one._replace(head=head + 1)


def send_rest(cfg, one):
    conn, wants = one.conn, (one.conn, "SERVER_WANTS_ROOM")
    if not under(cfg, "server says after the look that it wants room"):
        yield from store(wants, 1)
        yield from full_fence(cfg, "server wants room")
    number, what, parts, done = one.outbox
    while done < parts:
        seen = yield from load((conn, "RESPONSE_TAIL"))
        one = one._replace(tail_seen=seen)
        tail = yield from load((conn, "RESPONSE_TAIL"))
        if one.head - tail >= cfg["room"]:
            break
        one = yield from put_response(cfg, one, (one.head, number, what, done, parts))
        done += 1
    if done < parts:
        if under(cfg, "server says after the look that it wants room"):
            yield from store(wants, 1)
        return one._replace(outbox=(number, what, parts, done))
    yield from store(wants, 0)
    return one._replace(outbox=None, tail_seen=-1)


def made_room(cfg, one):
    yield from full_fence(cfg, "made room")
    wants = yield from load((one.conn, "CLIENT_WANTS_ROOM"))
    if wants:
        one = yield from ring_client(cfg, one)
    return one


def ring_client(cfg, one):
    bell = one.bell + 1
    yield from ring(cfg, (one.conn, "CLIENT_BELL"), (one.conn, "CLIENT_ASLEEP"), bell, "server's ring")
    return one._replace(bell=bell)


def give_up(cfg, one):
    head = yield from load((one.conn, "REQUEST_HEAD"))
    yield from store((one.conn, "GIVEN_UP"), 1)
    one = yield from ring_client(cfg, one._replace(gone=True, outbox=None, tail=head, given=True))
    return one


# --- the end -----------------------------------------------------------------------------------------
def stop(cfg, s, sessions, at):
    """The last words, one client after the other, each for as long as there is time; then the state, then all know."""
    if at < len(sessions):
        one = sessions[at]
        if one.outbox is not None:
            one = yield from send_rest(cfg, one)
            over = one.outbox is None
            if not over:
                closed = yield from load((one.conn, "CLOSED"))
                over = closed
            if not over:
                over = yield ("choose", (False, True))
            sessions = sessions[:at] + (one,) + sessions[at + 1 :]
            if not over:
                yield ("become", stop, (s, sessions, at))
        yield ("become", stop, (s, sessions, at + 1))
    early = under(cfg, "tells before the state is stored")
    if not early:
        yield from store((s, "STATE"), STOPPED)
        if not under(cfg, "who comes late is not told"):
            sessions = yield from connect(cfg, s, sessions)
    for one in sessions:
        if not under(cfg, "tells nobody"):
            yield from ring_client(cfg, one)
        yield ("sys", world.remove, (("C", *one.conn, s),))
        yield ("note", world.frees_place, (s, one.conn))
    if early:
        yield from store((s, "STATE"), STOPPED)
    yield ("sys", world.remove, (("S", s),))
    yield ("sys", world.close, (("S", s),))
