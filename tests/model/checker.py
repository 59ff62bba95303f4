"""The search: breadth-first over all interleavings of the threads, with kills.

A thread is a program (see `steps`). It is deterministic in the values that its loads returned, so its local
state IS that trace. A thread that holds the lock may be killed between any two actions: its stores stay, "the
kernel" frees the lock; the next holder sees `dirty` and recovers; recovery is killable as well.

Memory
  sc    one value per location. Equals x86-TSO here (readers store nothing; writers read only their own data
        under the lock), so `sc` results are the x86 results.
  weak  coherence only. Each location keeps its modification order; a load outside the lock may return ANY
        value not older than what this thread already knows of THAT location (floor = newest at the start of
        the operation). This contains every store-store reordering, including of the publishing store, and
        every load-load reordering. A fence is C11-like: a store carries what its writer knew at the writer's
        last fence; a reader that read it and then fences, knows that too. Weaker than ARM, so what passes
        here passes there.

Checked besides CRASH and FROZEN (`invariants`)
  LIN   each get/get_many returns a value that the abstract store had at some moment between its start and its
        return (the abstract store changes exactly at the store marked PUBLISH/COMMIT). As each reader's
        result is compared with the one time line of publishes, this implies linearizability for any number of
        readers.
  WAKE  no waiter sleeps for ever while what it waits for has happened.

Reduction (`reduce=False` searches without it and finds the same): steps that commute with everything that
other threads can do are run together with the step before (loads of the lock holder, fences, and an answer,
which is judged most strictly at once); before a store to a word that no reader ever loads, only its owner
moves (or dies).
"""

import time
from collections import deque

from .invariants import Found, check_crash, check_frozen
from .programs import Programs
from .recovery import recover

# What only lock holders load.
PRIVATE = {"dirty", "ver", "intent", "journal", "free", "log", "head", "kind", "slots", "count", "redo"}


class Model(Programs):
    """One scenario. A thread's state is (node, legal, floors, seen, released, status).

    `node` is the place in the program; `legal` is (keys, values that may be answered) during a read; `floors`
    names the oldest entry per location that may still be loaded; `seen` is what a fence would add to it;
    `released` is what the thread's stores carry.
    """

    def __init__(
        self,
        cfg,
        init,
        spec,
        threads,
        weak=False,
        kills=1,
        frozen=(),
        crash=True,
        limit=4_000_000,
        reduce=True,
        repair=recover,
    ):
        super().__init__(cfg)
        self.weak, self.kills, self.limit = weak, kills, limit
        self.frozen, self.crash, self.reduce, self.repair = frozen, crash, reduce, repair
        # Public locations first: only they have a history and a part in what threads know.
        self.locs = sorted(init, key=lambda loc: (self.is_private(loc), repr(loc)))
        self.index = {loc: i for i, loc in enumerate(self.locs)}
        self.private = [self.is_private(loc) for loc in self.locs]
        self.public = self.private.count(False)
        self.keys = tuple(sorted(spec))
        self.spec = tuple(spec[key] for key in self.keys)
        self.init = tuple(((init[loc], None),) if weak else init[loc] for loc in self.locs)
        self.threads = threads  # (program, args, killable)
        # A state is a tuple of small numbers: memories, programs' places and threads are kept once.
        self.memories, self.memory_ids = [], {}
        self.thread_states, self.thread_ids = [], {}
        self.free_runner = []
        self.checked, self.returns, self.fallbacks, self.performing = set(), 0, 0, None

    def is_private(self, loc):
        return self.reduce and (loc if isinstance(loc, str) else loc[0]) in PRIVATE

    # ------------------------------------------------------------ programs
    def add_node(self, program, args, parent, result):
        self.free_runner.append(not getattr(program, "loads_only_under_lock", False))
        return super().add_node(program, args, parent, result)

    # ------------------------------------------------------------ states
    def keep_memory(self, memory):
        number = self.memory_ids.get(memory)
        if number is None:
            number = self.memory_ids[memory] = len(self.memories)
            self.memories.append(memory)
        return number

    def keep_thread(self, thread):
        number = self.thread_ids.get(thread)
        if number is None:
            number = self.thread_ids[thread] = len(self.thread_states)
            self.thread_states.append(thread)
        return number

    def newest(self, memory, i):
        return memory[i][-1][0] if self.weak else memory[i]

    def tops(self, memory):
        return tuple(len(history) - 1 for history in memory[: self.public]) if self.weak else ()

    def project(self, spec, keys):
        return tuple(spec[self.keys.index(key)] for key in keys)

    def state(self, memory, spec, owner, kills, threads, moved):
        """Run what thread `moved` can do unseen, and number the result."""
        if moved is not None:
            thread = self.settle(memory, threads[moved], owner == moved)
            threads = threads[:moved] + (thread,) + threads[moved + 1 :]
        if self.weak:
            memory, threads = self.forget(memory, threads)
        return (self.keep_memory(memory), spec, owner, kills) + tuple(map(self.keep_thread, threads))

    def settle(self, memory, thread, holds_lock):
        node, legal, floors, seen, released, status = thread
        while status == "run":
            action = self.actions[node]
            kind = action[0]
            if kind == "become":
                node = self.root(action[1], action[2])
            elif kind == "ld" and holds_lock:
                node = self.advance(node, self.newest(memory, self.index[action[1]]))
            elif kind == "fence" and (self.reduce or not self.weak):
                if self.weak:
                    floors = tuple(map(max, floors, seen))
                    released = self.tops(memory) if holds_lock else released
                node = self.advance(node, None)
            elif kind in ("ret", "fallback") and self.reduce:
                self.judge(action, legal)
                node, legal = self.advance(node, None), None
            elif kind == "end" and self.reduce:
                return (None, None, self.zero, self.zero, None, "end")
            else:
                break
        return (node, legal, floors, seen, released, status)

    def judge(self, action, legal):
        if action[0] == "fallback":
            self.fallbacks += 1
            return
        self.returns += 1
        if action[1] not in legal[1]:
            raise Found("LIN: get%r returns %r, legal were %r" % (legal[0], action[1], sorted(legal[1], key=repr)))

    def forget(self, memory, threads):
        """Weak memory: drop history that no thread can read any more."""
        low = None
        for node, _, floors, _, _, status in threads:
            if status == "run" and self.free_runner[node]:
                low = floors if low is None else tuple(map(min, low, floors))
        if low is None:
            low = self.tops(memory)
        if not any(low):
            return memory, threads

        lowered = {None: None}

        def lower(view):
            if view not in lowered:
                lowered[view] = tuple([x - y if x > y else 0 for x, y in zip(view, low)])
            return lowered[view]

        def lower_entry(value, view):
            view = lower(view)
            return value, view if view and any(view) else None  # to know nothing is to carry nothing

        kept = tuple(tuple([lower_entry(*entry) for entry in history[cut:]]) for history, cut in zip(memory, low))
        threads = tuple((t[0], t[1], lower(t[2]), lower(t[3]), lower(t[4]), t[5]) for t in threads)
        return kept + memory[self.public :], threads

    # ------------------------------------------------------------ search
    def run(self):
        """(result, number of states, seconds, what was found)."""
        started = time.time()
        result, why = "ok", None
        try:
            self.search()
        except Found as found:
            result, why = "FAIL", str(found)
            self.last_step = self.performing
        except OverflowError:
            result, why = "LIMIT", "more than %d states" % self.limit
        return result, len(self.parents), time.time() - started, why

    def search(self):
        self.zero = (0,) * self.public if self.weak else ()
        threads = tuple(
            (self.root(program, args), None, self.zero, self.zero, None, "run") for program, args, _ in self.threads
        )
        for i in range(len(threads)):
            threads = threads[:i] + (self.settle(self.init, threads[i], False),) + threads[i + 1 :]
        first = self.state(self.init, self.spec, None, self.kills, threads, None)
        self.parents = parents = {first: None}
        queue = deque([first])
        while queue:
            self.current = state = queue.popleft()
            self.check(state)
            moved = False
            for _, following in self.successors(state):
                moved = True
                if following not in parents:
                    parents[following] = state
                    queue.append(following)
            if not moved:
                self.check_end(state)
            if len(parents) > self.limit:
                raise OverflowError

    def check(self, state):
        memory, spec = self.memories[state[0]], state[1]
        if (state[0], spec) in self.checked:
            return
        self.checked.add((state[0], spec))
        if self.weak:  # the dead and the lonely see the newest values only
            memory = tuple(history[-1][0] for history in memory)
            if (memory, spec) in self.checked:
                return
            self.checked.add((memory, spec))
        memory, expected = dict(zip(self.locs, memory)), dict(zip(self.keys, spec))
        check_frozen(self.cfg, self.frozen, memory, expected)
        if self.crash:
            check_crash(self.cfg, memory, expected, self.repair)

    def check_end(self, state):
        for number in state[4:]:
            node, legal, _, _, _, status = self.thread_states[number]
            if status != "run":
                continue
            action = self.actions[node]
            if action[0] != "sleep":
                raise Found("DEADLOCK at %r" % (action,))
            if legal and self.project(state[1], legal[0]) != legal[1]:
                raise Found("WAKE: waiter sleeps for ever though its key has changed")

    def successors(self, state):
        """((thread, what it does, note), state after it)."""
        memory, spec, owner, kills = self.memories[state[0]], state[1], state[2], state[3]
        threads = tuple(self.thread_states[number] for number in state[4:])
        movers = range(len(threads))
        if owner is not None:
            action = self.actions[threads[owner][0]]
            if action[0] == "st" and self.private[self.index[action[1]]] and not action[3]:
                movers = (owner,)
        for i in movers:
            thread = threads[i]
            if thread[5] != "run":
                continue
            if owner == i and kills and self.threads[i][2]:
                dead = (None, None, self.zero, self.zero, None, "dead")
                after = threads[:i] + (dead,) + threads[i + 1 :]
                yield (i, ("KILLED",), ""), self.state(memory, spec, None, kills - 1, after, None)
            action = self.actions[thread[0]]
            self.performing = i, action
            for note, memory2, spec2, owner2, threads2 in self.perform(i, action, memory, spec, owner, threads):
                yield (i, action, note), self.state(memory2, spec2, owner2, kills, threads2, i)

    def perform(self, i, action, memory, spec, owner, threads):
        """Everything that thread `i` can do now: (note, memory, spec, owner, threads)."""
        node, legal, floors, seen, released, status = threads[i]
        kind = action[0]

        def become(result=None, legal=legal, floors=floors, seen=seen, released=released):
            thread = (self.advance(node, result), legal, floors, seen, released, status)
            return threads[:i] + (thread,) + threads[i + 1 :]

        if kind == "ld":
            yield from self.perform_load(self.index[action[1]], memory, spec, owner, threads, i)
        elif kind == "st":
            loc = self.index[action[1]]
            value = action[2]
            if self.weak:
                carried = released if released and any(released) else None
                value = ((value, None),) if self.private[loc] else memory[loc] + ((value, carried),)
            memory2 = memory[:loc] + (value,) + memory[loc + 1 :]
            if not action[3]:
                yield "", memory2, spec, owner, become()
                return
            after = dict(zip(self.keys, spec))
            after.update(action[3])
            spec2 = tuple(after[key] for key in self.keys)
            yield "   PUBLISH", memory2, spec2, owner, self.widen(become(), spec2)
        elif kind == "fence":
            carried = self.tops(memory) if owner == i else released
            yield "", memory, spec, owner, become(floors=tuple(map(max, floors, seen)), released=carried)
        elif kind == "lock":
            if owner is None:
                floors = self.zero if self.reduce and not self.free_runner[node] else self.tops(memory)
                yield "", memory, spec, i, become(floors=floors, released=None)
        elif kind == "unlock":
            yield "", memory, spec, None, become()
        elif kind == "inv":
            legal = (action[1], frozenset([self.project(spec, action[1])]))
            yield "", memory, spec, owner, become(legal=legal, floors=self.tops(memory))
        elif kind == "now":
            legal = (legal[0], frozenset([self.project(spec, legal[0])]))
            yield "", memory, spec, owner, become(legal=legal)
        elif kind == "base":
            legal = ((action[1],), self.project(spec, (action[1],)))
            yield "", memory, spec, owner, become(self.newest(memory, self.index[action[2]]), legal=legal)
        elif kind in ("ret", "fallback"):
            self.judge(action, legal)
            yield "", memory, spec, owner, become(legal=None)
        elif kind == "sleep":
            woke = self.newest(memory, self.index[action[1]]) != action[2]
            if action[3] is not None:
                woke = woke or self.newest(memory, self.index[action[3]]) != action[4]
            if woke:
                yield "", memory, spec, owner, become()
        elif kind == "end":
            ended = (None, None, self.zero, self.zero, None, "end")
            yield "", memory, spec, owner, threads[:i] + (ended,) + threads[i + 1 :]

    def perform_load(self, loc, memory, spec, owner, threads, i):
        node, legal, floors, seen, released, status = threads[i]
        if not self.weak:
            thread = (self.advance(node, memory[loc]), legal, floors, seen, released, status)
            yield memory[loc], memory, spec, owner, threads[:i] + (thread,) + threads[i + 1 :]
            return
        history = memory[loc]
        for age in range(floors[loc], len(history)):
            value, view = history[age]
            floors2 = floors[:loc] + (max(age, floors[loc]),) + floors[loc + 1 :]
            seen2 = seen if view is None else tuple(map(max, seen, view))
            thread = (self.advance(node, value), legal, floors2, seen2, released, status)
            note = value if age == len(history) - 1 else "%r  (stale)" % (value,)
            yield note, memory, spec, owner, threads[:i] + (thread,) + threads[i + 1 :]

    def widen(self, threads, spec):
        """The abstract store has changed: everybody who is reading now may answer the new values too."""
        return tuple(
            (t[0], (t[1][0], t[1][1] | {self.project(spec, t[1][0])})) + t[2:]
            if t[1] is not None and isinstance(t[1][1], frozenset)
            else t
            for t in threads
        )

    # ------------------------------------------------------------ counterexample
    def counterexample(self):
        """The shortest way to the state where the search stopped, one line a step."""
        path = [self.current]
        while self.parents[path[-1]] is not None:
            path.append(self.parents[path[-1]])
        path.reverse()
        lines = []
        for before, after in zip(path, path[1:]):
            for (i, action, note), state in self.successors(before):
                if state == after:
                    lines.append("T%d %s" % (i, describe(action, note)))
                    break
        return lines


def describe(action, note):
    if action[0] == "ld":
        return "load  %s -> %s" % (action[1], note)
    if action[0] == "st":
        return "store %s = %r%s" % (action[1], action[2], note)
    return " ".join(str(part) for part in action)
