"""The search, for the event log and for waiting: what `checker` searches, judged by what watchers and waiters see.

Records are one word here (`w`): how they are published is searched elsewhere. The abstract store is the list of events
that were published, which grows at the stores marked PUBLISH, and the time. Checked in every state:

  EVENT  a watcher delivers exactly the events published since it began, in order. It may begin again instead, having
         said "overflow"; where nothing overflows (`cfg["overflow"]` is not set) that is a failure too.
  LOST   no watcher sleeps for ever with an event undelivered.
  WAKE   no waiter sleeps for ever while what he waits for has happened.
  CRASH  if everybody died now, after recovery the ring holds the last events published, nothing else, and in order.

More actions than in `steps`: ("trylock",), ("time",) and ("tick",), ("choose",) both ways, ("event", event) delivers,
("again",) begins after an overflow, ("sleep", seen) until one of these words has another value or a holder died
(None: only that), ("futex", value, loc, token) and ("asleep", loc, token) the two halves of a futex wait, ("ring",)
wakes all of these.
"""

from .checker import Model
from .events_writer import recover
from .invariants import Found, run_alone

PUBLIC = {"head", "e"}  # loaded without the lock in every scenario


class EventModel(Model):
    """`legal` of a thread is None, or ("#", how many of the published events it knows)."""

    def __init__(self, cfg, init, threads, public=(), ticks=True, **kw):
        self.unlocked = PUBLIC | set(public)
        self.ticks = ticks
        super().__init__(cfg, init, {"#": (), "now": cfg.get("now", 0)}, threads, **kw)
        self.overflows = 0

    def is_private(self, loc):
        return self.reduce and loc not in self.unlocked and loc[0] not in self.unlocked

    # ------------------------------------------------------------ watchers
    def state(self, memory, spec, owner, kills, threads, moved):
        self.published = spec[0]
        return super().state(memory, spec, owner, kills, threads, moved)

    def settle(self, memory, thread, holds_lock):
        if not hasattr(self, "published"):
            self.published = self.spec[0]
        while True:
            thread = super().settle(memory, thread, holds_lock)
            node, legal, floors, seen, released, status = thread
            action = self.actions[node] if status == "run" else ("end",)
            if action[0] == "event":
                legal = self.deliver(action[1], legal)
            elif action[0] == "again":
                self.overflows += 1
                if not self.cfg.get("overflow"):
                    raise Found("EVENT: overflow, though nothing was overwritten and nobody slept too long")
                legal = ("#", len(self.published))
            else:
                return thread
            thread = (self.advance(node, None), legal, floors, seen, released, status)

    def deliver(self, event, legal):
        known = legal[1] if legal else 0
        self.returns += 1
        expected = self.published[known] if known < len(self.published) else "nothing"
        if event != expected:
            raise Found("EVENT: delivers %r, expected was %r of %r" % (event, expected, self.published))
        return ("#", known + 1)

    # ------------------------------------------------------------ actions
    def successors(self, state):
        """Death may also come between giving back the lock and waking others; with `cfg["killed_dirty"]` it comes only
        where it leaves the next holder something to do.
        """
        memory, spec, owner, kills = self.memories[state[0]], state[1], state[2], state[3]
        clean = self.newest(memory, self.index["dirty"]) == 0
        for step in super().successors(state):
            if not (clean and self.cfg.get("killed_dirty") and step[0][1][0] == "KILLED"):
                yield step
        if self.cfg.get("killed_dirty") or not kills:
            return
        threads = tuple(self.thread_states[number] for number in state[4:])
        for i, thread in enumerate(threads):
            if thread[5] == "run" and self.actions[thread[0]][0] == "ring" and owner != i and self.threads[i][2]:
                dead = (None, None, self.zero, self.zero, None, "dead")
                after = threads[:i] + (dead,) + threads[i + 1 :]
                yield (i, ("KILLED",), ""), self.state(memory, spec, owner, kills - 1, after, None)

    def perform(self, i, action, memory, spec, owner, threads):
        node = threads[i][0]
        kind = action[0]

        def become(result=None, threads=threads, i=i):
            thread = (self.advance(threads[i][0], result),) + threads[i][1:]
            return threads[:i] + (thread,) + threads[i + 1 :]

        def differs(loc, value):
            return self.newest(memory, self.index[loc]) != value

        if kind == "st" and action[3]:
            action = action[:3] + ((("#", spec[0] + action[3]),),)
            yield from super().perform(i, action, memory, spec, owner, threads)
        elif kind == "st" and self.weak and self.free_runner[node] and not self.private[self.index[action[1]]]:
            loc = self.index[action[1]]  # a watcher who repairs has seen what he stored himself
            floors = threads[i][2]
            floors = floors[:loc] + (len(memory[loc]),) + floors[loc + 1 :]
            thread = threads[i][:2] + (floors,) + threads[i][3:]
            yield from super().perform(i, action, memory, spec, owner, threads[:i] + (thread,) + threads[i + 1 :])
        elif kind == "trylock":
            if owner is None:
                floors = self.zero if self.reduce and not self.free_runner[node] else self.tops(memory)
                thread = (self.advance(node, True), threads[i][1], floors, threads[i][3], None, threads[i][5])
                yield "got it", memory, spec, i, threads[:i] + (thread,) + threads[i + 1 :]
            else:
                yield "busy", memory, spec, owner, become(False)
        elif kind == "time":
            yield spec[1], memory, spec, owner, become(spec[1])
        elif kind == "tick":
            yield "", memory, (spec[0], spec[1] + 1), owner, become()
        elif kind == "choose":
            yield "no", memory, spec, owner, become(False)
            yield "yes", memory, spec, owner, become(True)
        elif kind == "sleep":
            if owner is None and differs("dirty", 0):
                yield "a holder died", memory, spec, owner, become("dead")
            if any(differs(loc, value) for loc, value in action[1] or ()):
                yield "", memory, spec, owner, become("moved")
        elif kind == "futex":
            slept = not differs("change", action[1])
            yield "sleeps" if slept else "changed already", memory, spec, owner, become(slept)
        elif kind == "asleep":
            if self.ticks and (differs(*action[1:]) or (owner is None and differs("dirty", 0))):
                yield "a tick", memory, spec, owner, become()
        elif kind == "become":  # of one who was woken
            yield "", memory, spec, owner, threads
        elif kind == "ring":
            after = become()
            for j, thread in enumerate(threads):
                if thread[5] == "run" and self.actions[thread[0]][0] == "asleep":
                    after = become(None, after, j)
            yield "", memory, spec, owner, after
        else:
            yield from super().perform(i, action, memory, spec, owner, threads)

    # ------------------------------------------------------------ what must hold
    def check_end(self, state):
        memory = self.memories[state[0]]
        for number in state[4:]:
            node, legal, _, _, _, status = self.thread_states[number]
            if status != "run":
                continue
            action = self.actions[node]
            if action[0] == "sleep" and action[1] is None:
                continue
            if action[0] == "sleep":
                known = legal[1] if legal else 0
                if known != len(state[1][0]):
                    raise Found("LOST: a watcher sleeps for ever and never heard of %r" % (state[1][0][known:],))
            elif action[0] == "asleep":
                if self.newest(memory, self.index[action[1]]) != action[2]:
                    raise Found("WAKE: a waiter sleeps for ever though what he waits for has happened")
            else:
                raise Found("DEADLOCK at %r" % (action,))

    def check(self, state):
        memory, spec = self.memories[state[0]], state[1]
        if self.weak:
            memory = tuple(history[-1][0] for history in memory)
        if (memory, spec) in self.checked:
            return
        self.checked.add((memory, spec))
        memory = dict(zip(self.locs, memory))
        if memory["dirty"]:
            run_alone(recover(self.cfg), memory)
        if not self.cfg.get("lapses") and not self.cfg.get("waits"):
            check_ring(self.cfg, memory, spec[0])


def check_ring(cfg, memory, published):
    """The ring from its oldest entry on holds the last of `published`, some perhaps twice."""
    found, last = [], 0
    head = memory["head"]
    oldest = max(0, head - cfg["ring"])
    for position in range(oldest, head):
        place = position % cfg["ring"]
        crc, (own, version), label = (memory["e", place, part] for part in ("crc", "head", "key"))
        if own != position or crc[1:] != (version, label):
            if position == head - cfg["ring"]:  # overwritten by an entry that was prepared, and never published
                oldest += 1
                continue
            raise Found("CRASH: the entry at %d is not whole after recovery" % position)
        if version > last:
            found.append((version, label))
            last = version
    if tuple(found) != published[len(published) - len(found) :] or (oldest == 0 and len(found) != len(published)):
        raise Found("CRASH: the ring holds %r after recovery, published were %r" % (tuple(found), published))
