"""What servers and clients share that is no memory: files and their locks, and what the methods have done.

A file is ("S", server) or ("C", client, connection, server); whoever made it holds its lock until he dies or closes it.
`ran`: (client, call, attempt) in the order in which methods began. `told`: attempts of which a client was told that they
never ran and never will. `places`: (server, client, connection) that a server has taken. `answered`: calls whose client
has their result.
"""

from collections import namedtuple

from .invariants import Found

SERVING, STOPPED = 1, 2

World = namedtuple("World", "files locks start ran told places answered")
NEW = World(frozenset(), frozenset(), None, (), frozenset(), frozenset(), frozenset())


def owner(file):
    return "%s%d" % file[:2]


def died(model, world, i):
    """The kernel gives back what a thread had locked."""
    me = model.cfg["names"][i]
    locks = frozenset(file for file in world.locks if owner(file) != me)
    start = None if world.start == me else world.start
    places = frozenset(place for place in world.places if "S%d" % place[0] != me)
    return world._replace(locks=locks, start=start, places=places)


# --- the kernel --------------------------------------------------------------------------------------
def lives(_model, world, _i, file):
    return file in world.locks, world


def servers(_model, world, _i):
    return tuple(sorted(file for file in world.files if file[0] == "S")), world


def clients_of(_model, world, _i, s):
    """The listing, and the reading of each file's static half."""
    return tuple(sorted(file for file in world.files if file[0] == "C" and file[3] == s)), world


def make(_model, world, _i, file):
    return None, world._replace(files=world.files | {file}, locks=world.locks | {file})


def remove(_model, world, _i, file):
    return None, world._replace(files=world.files - {file})


def close(_model, world, _i, file):
    return None, world._replace(locks=world.locks - {file})


def take_start_lock(model, world, i):
    """Whoever starts a second server does so once the first has gone: the claim that is refused is no protocol."""
    states = [
        model.newest(model.now, (file[1], "STATE")) for file in world.files if file[0] == "S" and file in world.locks
    ]
    if world.start is not None or SERVING in states:
        return None
    return None, world._replace(start=model.cfg["names"][i])


def give_start_lock(_model, world, _i):
    return None, world._replace(start=None)


def remove_leftovers(_model, world, _i):
    return None, world._replace(files=frozenset(file for file in world.files if file in world.locks))


# --- what is observed --------------------------------------------------------------------------------
def runs(_model, world, _i, client, call, attempt):
    """A method begins."""
    for other, earlier, before in world.ran:
        if other == client and earlier == call:
            raise Found("TWICE: call %d of client %d runs in attempts %d and %d" % (call, client, before, attempt))
        if other == client and earlier > call:
            raise Found("ORDER: call %d of client %d runs after %d" % (call, client, earlier))
    if (client, call, attempt) in world.told:
        raise Found("TOLD: call %d of client %d runs, who was told that it never will" % (call, client))
    return None, world._replace(ran=tuple(sorted((*world.ran, (client, call, attempt)))))


def is_told(_model, world, _i, client, call, attempt):
    """started=False."""
    if (client, call, attempt) in world.ran:
        raise Found("TOLD: call %d of client %d ran, who is told that it never did" % (call, client))
    return None, world._replace(told=world.told | {(client, call, attempt)})


def is_answered(model, world, _i, client, call, attempt, answer):
    if answer != (call, attempt):
        raise Found("MIXED: call %d of client %d gets the answer of %r" % (call, client, answer))
    if (client, call, attempt) not in world.ran:
        raise Found("ANSWER: to call %d of client %d, which never ran" % (call, client))
    model.returns += 1
    return None, world._replace(answered=world.answered | {(client, call)})


def fails(_model, _world, _i, what):
    raise Found(what)


def takes_place(_model, world, _i, s, conn):
    return None, world._replace(places=world.places | {(s, *conn)})


def frees_place(_model, world, _i, s, conn):
    return None, world._replace(places=world.places - {(s, *conn)})


def drops(model, world, _i, s, conn, tail, given):
    """A place is freed: nothing that its client published may be left."""
    if not given and model.newest(model.now, (conn, "REQUEST_HEAD")) != tail:
        raise Found("DROPPED: the client's last requests, which were published")
    return None, world._replace(places=world.places - {(s, *conn)})


def errs(model, world, _i, conn, tail, number):
    """An error: is the answer there nevertheless?"""
    cells = [model.newest(model.now, loc) for loc in model.locs if loc[:2] == (conn, "r")]
    head = model.newest(model.now, (conn, "RESPONSE_HEAD"))
    waiting = [cell for cell in cells if cell is not None and tail <= cell[0] < head and cell[1] == number]
    if any(cell[3] == cell[4] - 1 for cell in waiting):
        raise Found("WORDS: an error for call %d, though the last words of its server are there" % number)
    return None, world
