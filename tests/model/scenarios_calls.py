"""Scenarios of calls (calls/): servers and clients through rings of one or two frames."""

from . import calls_client, calls_server
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


def ends(servers, frees):
    """All clients have ended, or died; servers sleep or ended, and have given back the places of those."""

    def goal(world, statuses, asleep):
        if any(status == "run" for status in statuses[servers:]):
            return False
        places = {place[:2] for place in world.places}
        lingering = [s for s, c in places if statuses[servers + c] == "end" or frees]
        return not lingering and all(a or status != "run" for a, status in zip(asleep[:1], statuses))

    return goal


def add(name, expect, scripts, cfg, servers=1, connections=1, may_die=(), **kw):
    cfg = dict({"room": 1, "calls": {}, "script": scripts}, **cfg)
    clients = len(scripts)
    cfg["names"] = tuple(["S%d" % s for s in range(servers)] + ["C%d" % c for c in range(clients)])
    if not kw.get("kills") and not cfg.get("stops"):
        cfg["immortal"] = True
    first = NEW._replace(files=frozenset([("S", 0)]), locks=frozenset([("S", 0)]))

    def reads(i, loc):
        if type(loc[0]) is tuple:  # a connection's
            return i < servers or i - servers == loc[0][0]
        return True

    def build(**more):
        threads = [(calls_server.server, (0, 0, (), False), "S0" in may_die)]
        threads += [(calls_server.standby, (s,), "S%d" % s in may_die) for s in range(1, servers)]
        threads += [(calls_client.begin, (c,), "C%d" % c in may_die) for c in range(clients)]
        goal = ends(servers, kw.get("ticks", 0) is None)
        hooks = {"died": died, "reads": reads, "goal": goal}
        return CallModel(cfg, memory_of(cfg, servers, clients, connections), first, threads, **dict(hooks, **dict(kw, **more)))

    TABLE.append(Scenario("calls/" + name, expect, build))


ASK = (("ask", 1),)
TWO = (("ask", 1), ("ask", 2))



DEFAULT = object()


def simple():
    for memory in ("sc", "tso", "weak"):
        add(memory + " one call", "ok", (ASK,), {}, memory=memory)
        add(memory + " two calls", "ok", (TWO,), {}, memory=memory)
        add(memory + " oneway, call", "ok", ((("oneway", 1), ("ask", 2)),), {}, memory=memory)
        add(memory + " oneway, oneway", "ok", ((("oneway", 1), ("oneway", 2)),), {}, memory=memory)
        add(memory + " submit, call, result", "ok", ((("submit", 1), ("ask", 2), ("result", 1)),), {}, memory=memory)
        add(memory + " submit, call, long response", "ok", ((("submit", 1), ("ask", 2)),), {"calls": {2: (1, 2)}}, memory=memory)
        add(memory + " long request", "ok", (ASK,), {"calls": {1: (2, 1)}}, memory=memory)
        add(memory + " long response", "ok", (ASK,), {"calls": {1: (1, 2)}}, memory=memory)
        add(memory + " three frames each way, rings of two", "ok", (ASK,), {"calls": {1: (3, 3)}, "room": 2}, memory=memory)
        add(memory + " impatient", "ok", (TWO,), {"impatient": (1,)}, memory=memory)
        add(memory + " impatient long", "ok", (TWO,), {"impatient": (1,), "calls": {1: (1, 2)}}, memory=memory)
        add(memory + " bad", "ok", ((("bad", 1), ("submit", 2), ("result", 2)),), {"room": 2}, memory=memory)


def two_clients():
    for memory in ("sc", "tso", "weak"):
        add(memory + " two clients", "ok", (ASK, ASK), {}, memory=memory)


def deaths():
    for memory in ("sc", "tso"):
        kw = dict(kills=1, ticks=None, memory=memory)
        add(memory + " server dies, two calls", "ok", (TWO,), {}, may_die=("S0",), **kw)
        add(memory + " client dies, two calls", "ok", (TWO,), {}, may_die=("C0",), **kw)
        add(memory + " server dies, another", "ok", (TWO,), {}, servers=2, connections=2, may_die=("S0",), **kw)
        add(memory + " stops", "ok", (TWO,), {"stops": (0,)}, memory=memory, connections=2)
        add(memory + " stops, another", "ok", (TWO,), {"stops": (0,)}, servers=2, connections=2, memory=memory)


simple()
two_clients()
deaths()
