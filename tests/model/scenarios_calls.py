"""Scenarios of calls (calls/): servers and clients through rings of one or two frames."""

from . import calls_client, calls_server, calls_threads
from .calls import CallModel
from .calls_world import NEW, died
from .scenarios import Scenario

TABLE = []
SERVER_WORDS = ("STATE", "BELL", "CONNECT", "ASLEEP")
CLIENT_WORDS = (
    *("REQUEST_HEAD", "RESPONSE_TAIL", "CLIENT_ASLEEP", "CLIENT_WANTS_ROOM", "CLOSED"),
    *("REQUEST_TAIL", "RESPONSE_HEAD", "STARTED", "CLIENT_BELL", "SERVER_WANTS_ROOM", "GIVEN_UP"),
)


def memory_of(cfg, servers, clients, connections):
    memory = {(s, word): 0 for s in range(servers) for word in SERVER_WORDS}
    memory[0, "STATE"] = calls_server.SERVING
    for conn in [(c, k) for c in range(clients) for k in range(connections)]:
        memory.update({(conn, word): 0 for word in CLIENT_WORDS})
        memory.update({(conn, way, place): None for way in "qr" for place in range(cfg["room"])})
    return memory


def ends(cfg, servers, frees, kills):
    """All clients have ended, or died; servers sleep or ended, and have given back the places of those."""
    must = set()
    if cfg.get("immortal") and not kills:  # nobody else can tell whether these ran
        must = {(c, call) for c, script in enumerate(cfg["script"]) for kind, call in script if kind == "oneway"}

    def goal(world, statuses, asleep):
        if any(status == "run" for status in statuses[servers:]) or must - {done[:2] for done in world.ran}:
            return False
        lingering = [c for _, c, _ in world.places if frees or statuses[servers + c] == "end"]
        if lingering and not (cfg.get("met") or cfg.get("stay")):
            return False
        return all(a or status != "run" for a, status in zip(asleep[:1], statuses))

    return goal


def add(name, expect, scripts, cfg=None, servers=1, may_die=(), **kw):
    cfg = dict({"room": 1, "calls": {}, "script": scripts}, **(cfg or {}))
    clients = len(scripts)
    cfg["names"] = tuple(["S%d" % s for s in range(servers)] + ["C%d" % c for c in range(clients)])
    if "S0" not in may_die and not cfg.get("stops"):
        cfg["immortal"] = True
    if may_die:
        kw.setdefault("kills", 1)
    first = NEW._replace(files=frozenset([("S", 0)]), locks=frozenset([("S", 0)]))
    sessions = ()
    if cfg.get("met"):
        files = first.files | {("C", c, 0, 0) for c in range(clients)}
        first = first._replace(files=files, locks=files, places=frozenset((0, c, 0) for c in range(clients)))
        sessions = tuple(calls_server.NEW._replace(conn=(c, 0)) for c in range(clients))
    connections = 1 if cfg.get("immortal") and not cfg.get("impatient") else servers + 1

    def reads(i, loc):
        if type(loc[0]) is tuple:  # a connection's
            return i < servers or i - servers == loc[0][0]
        return True

    def build(**more):
        threads = [(calls_server.server, (0, 0, sessions, False), "S0" in may_die)]
        threads += [(calls_server.standby, (s,), "S%d" % s in may_die) for s in range(1, servers)]
        threads += [(calls_client.begin, (c,), "C%d" % c in may_die) for c in range(clients)]
        options = {
            "died": died,
            "reads": reads,
            "goal": ends(cfg, servers, kw.get("ticks", 0) is None, kw.get("kills")),
        }
        options.update(kw)
        options.update(more)
        return CallModel(cfg, memory_of(cfg, servers, clients, connections), first, threads, **options)

    TABLE.append(Scenario("calls/" + name, expect, build))


def script(text):
    """ "ask 1, oneway 2" as a client's script."""
    return tuple((part.split()[0], int(part.split()[1])) for part in text.split(", "))


ASK, TWO, TELL = script("ask 1"), script("ask 1, ask 2"), script("oneway 1")
PIPELINED = script("submit 1, ask 2, result 1")
AHEAD = script("submit 1, ask 2")  # the first response is put aside
LONG, LATER_LONG = {1: (1, 2)}, {2: (1, 2)}
MET = {"met": True}
BAD = script("bad 1, submit 2, result 2")
EVERY = ("sc", "tso", "weak")


def one_client():
    for memory in EVERY:
        add(memory + " two calls", "ok", (TWO,), memory=memory)
        add(memory + " two that nobody waits for", "ok", (script("oneway 1, oneway 2"),), memory=memory)
        add(memory + " one that nobody waits for, one call", "ok", (script("oneway 1, ask 2"),), memory=memory)
        add(memory + " a call while another is under way", "ok", (PIPELINED,), memory=memory)
        add(memory + " the same in rings of two", "ok", (PIPELINED,), {"room": 2, **MET}, memory=memory)
        add(memory + " a request in two frames", "ok", (ASK,), {"calls": {1: (2, 1)}}, memory=memory)
        add(memory + " a response in two frames", "ok", (ASK,), {"calls": LONG}, memory=memory)
        add(memory + " two frames each way", "ok", (ASK,), {"calls": {1: (2, 2)}, **MET}, memory=memory)
        add(
            memory + " three frames each way, rings of two",
            "ok",
            (ASK,),
            {"calls": {1: (3, 3)}, "room": 2, **MET},
            memory=memory,
        )
        add(
            memory + " a response put aside before a long one",
            "ok",
            (AHEAD,),
            {"calls": LATER_LONG, **MET},
            memory=memory,
        )
        add(memory + " a call given up, one call", "ok", (TWO,), {"impatient": (1,), **MET}, memory=memory)
        add(
            memory + " a long call given up, one call",
            "ok",
            (TWO,),
            {"impatient": (1,), "calls": LONG, **MET},
            memory=memory,
        )
        add(
            memory + " long requests given up",
            "ok",
            (TWO,),
            {"impatient": (1,), "calls": {1: (2, 1)}, **MET},
            memory=memory,
        )
        add(memory + " a damaged request, one call", "ok", (BAD,), {"room": 2}, memory=memory)


def two_clients():
    for memory in EVERY:
        add(memory + " two clients, met", "ok", (ASK, ASK), MET, memory=memory)
        add(memory + " two clients come", "ok", (TELL, TELL), {"stay": True}, memory=memory)
        add(memory + " two clients, met; one dies", "ok", (ASK, ASK), MET, may_die=("C1",), memory=memory)


def deaths():
    for memory in EVERY:
        kw = dict(ticks=2, goal=None) if memory == "weak" else dict(ticks=None)
        kw["memory"] = memory
        dies = dict(kw, may_die=("S0",))
        add(memory + " the server dies, two calls", "ok", (TWO,), **dies)
        add(memory + " the server dies, pipelined", "ok", (PIPELINED,), MET, **dies)
        add(memory + " the server dies, one call given up", "ok", (TWO,), {"impatient": (1,), **MET}, **dies)
        add(memory + " the server dies, another takes over", "ok", (TWO,), servers=2, **dies)
        add(memory + " the client dies, two calls", "ok", (TWO,), may_die=("C0",), **kw)
        add(memory + " the client dies, pipelined", "ok", (script("oneway 1, oneway 2"),), may_die=("C0",), **kw)
        add(memory + " the client dies, a response in two frames", "ok", (ASK,), {"calls": LONG}, may_die=("C0",), **kw)
        stops = {"stops": (0,)}
        add(memory + " the server stops, two calls, no ticks", "ok", (TWO,), stops, memory=memory)
        add(memory + " the server stops, pipelined, no ticks", "ok", (PIPELINED,), {**stops, **MET}, memory=memory)
        add(
            memory + " the server stops, a response in two frames",
            "ok",
            (ASK,),
            {**stops, "calls": LONG},
            memory=memory,
        )
        add(memory + " the server stops, another takes over", "ok", (TWO,), stops, servers=2, memory=memory)


def broken():
    def fails(what, scripts, cfg=None, memory="sc", **kw):
        name = "%s BROKEN %s" % (memory, what)
        if any(scenario.name == "calls/" + name for scenario in TABLE):
            name += ", the other end"
        add(name, "FAIL", scripts, dict(cfg or {}, broken=(what,)), memory=memory, **kw)

    dies, dead = dict(may_die=("S0",), ticks=None), dict(may_die=("C0",), ticks=None)
    stops = {"stops": (0,), **MET}
    fails("head before payload", (ASK,), MET)
    fails("tail before copy", (TWO,), {"calls": LONG, **MET})
    fails("tail before copy", (script("oneway 1, oneway 2"),), MET)
    fails("STARTED after the run", (ASK,), MET, **dies)
    fails("asleep looked at before the bell", (ASK,), MET)
    fails("server looks at the bell before it says asleep", (ASK,), MET)
    fails("client looks at the bell before it says asleep", (ASK,), MET)
    fails("bell loaded after the look", (ASK,), MET)
    fails("the ring looked at before the bell", (ASK,), MET)
    fails("room looked at before the bell", (PIPELINED,), MET)
    fails("client rings before the head", (ASK,), MET)
    fails("server rings before the head", (ASK,), MET)
    late = {"broken": ("server says after the look that it wants room",), "calls": LATER_LONG, **MET}
    add(
        "sc the server says after the look that it wants room: harmless, it looks again before it sleeps",
        "ok",
        (AHEAD,),
        late,
    )
    fails("client says after the look that it wants room", (script("oneway 1, oneway 2"),), MET)
    fails("takes nothing in while it waits for room", (script("submit 1, submit 2, submit 3"),), MET)
    fails("numbers not compared", (TWO,), {"impatient": (1,), **MET})
    fails("made again although it began", (ASK,), servers=2, **dies)
    fails("STARTED looked at before the lock", (ASK,), MET, **dies)
    fails("no look for last words", (ASK,), stops)
    fails("only the bell tells of last words", (ASK,), MET, **dies)
    fails("tells before the state is stored", (ASK,), stops)
    fails("tells nobody", (ASK,), stops)
    fails("who comes late is not told", (ASK,), {"stops": (0,)})
    fails("listing before CONNECT", (TELL, TELL), {"stay": True})
    fails("CONNECT before the file", (TELL,))
    fails("dropped unread", (script("oneway 1, oneway 2"),))
    fails("dropped unread", (TELL,), **dead)
    fails("given up, and served", (BAD,), {"room": 2, **MET})
    for name in ("client's ring", "server's ring"):
        fails("no fence: " + name, (ASK,), MET, memory="tso")
    fails("no fence: server wants room", (AHEAD,), {"calls": LATER_LONG, **MET}, memory="tso")
    fails("no fence: client wants room", (script("oneway 1, oneway 2"),), MET, memory="tso")
    fails("no fence: made room", (script("oneway 1, oneway 2"),), MET, memory="tso")
    fails("no fence: put aside", (AHEAD,), {"calls": LATER_LONG, **MET}, memory="tso")
    fails("no fence: before the bell", (ASK,), MET, memory="weak")
    for name in ("head", "peek", "seen", "client's look"):
        fails("no fence: " + name, (ASK,), MET, memory="weak")
    fails("no fence: tail", (script("oneway 1, oneway 2"),), MET, memory="weak")
    fails("no fence: room looked at", (script("oneway 1, oneway 2"),), MET, memory="weak")
    fails("no fence: over", (TELL,), memory="weak")
    fails("no fence: last words", (ASK,), stops, memory="weak")
    unfenced = {"broken": ("no fence: asleep",), **MET}
    add(
        "weak no fence between ASLEEP and the look at the bell: the kernel has its own",
        "ok",
        (ASK,),
        unfenced,
        memory="weak",
    )


def threads():
    """Of one process."""

    def several(name, expect, others, *broken):
        callers = sum(program in (calls_threads.caller, calls_threads.receiver) for program, _, _ in others)
        sent = tuple(args[0] for program, args, _ in others if program is calls_threads.receiver)
        first = calls_threads.NEW._replace(requests=sent, expected=frozenset(sent))
        wanted = [None] + [args[0] if args else None for _, args, _ in others]
        cfg = {"broken": broken, "answers": callers, "wanted": wanted}
        memory = {("answer", at): None for at in range(callers)}
        memory.update({"head": 0, "bell": 0, "room": 0})
        all_end = {"goal": lambda _world, statuses, _asleep: set(statuses) == {"end"}}
        all_threads = [(calls_threads.server, (0,), False), *others]

        def build(**more):
            options = dict(all_end, died=calls_threads.nobody_dies, **more)
            return CallModel(cfg, memory, first, all_threads, **options)

        TABLE.append(Scenario("calls/threads " + name, expect, build))

    calls = [(calls_threads.caller, (number,), False) for number in (1, 2, 3)]
    waits = [(calls_threads.receiver, (number,), False) for number in (1, 2, 3)]
    taker, sender = (calls_threads.taker, (), False), (calls_threads.sender, (), False)
    several("two calls", "ok", calls[:2])
    several("three calls that were sent", "ok", waits)
    several("one call, one looks what has come", "ok", [calls[0], taker])
    several("two calls that were sent, one looks what has come", "ok", [*waits[:2], taker])
    several("one call, one waits for room", "ok", [calls[0], sender])
    several("two calls that were sent, one waits for room", "ok", [*waits[:2], sender])
    late = "expected after it was put"
    several("BROKEN " + late, "FAIL", calls[:2], late)
    for what, others in (
        ("who was appointed has his own and goes", waits),
        ("who took in appoints nobody", [calls[0], taker]),
        ("who gets up speaks for all", [calls[0], sender]),
    ):
        several("BROKEN " + what, "FAIL", others, what)


one_client()
two_clients()
deaths()
broken()
threads()
