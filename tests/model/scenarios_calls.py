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


def simple():
    add("sc one call", "ok", (ASK,), {})
    add("sc two calls", "ok", (TWO,), {})
    add("tso one call", "ok", (ASK,), {}, memory="tso")
    add("tso two calls", "ok", (TWO,), {}, memory="tso")
    add("weak one call", "ok", (ASK,), {}, memory="weak")
    add("weak two calls", "ok", (TWO,), {}, memory="weak")


simple()
