"""The search, for calls: breadth-first over all interleavings of servers and clients that share no lock.

`checker` searches what writers do under a lock; here everybody stores, each into words of his own, so that store
buffers matter. Programs are generators as there (see `steps`); the memory is one of

  sc    one value per location.
  tso   x86: each thread has a buffer of stores that others do not see yet. ``fence()`` of the code is nothing,
        ``full_fence()`` and a system call wait until the buffer is empty.
  weak  views, as C11 has them without ``consume``: a location keeps its history, a load may return any entry not older
        than what the thread knows, an entry carries what its writer knew at his last fence. Both fences of the code are
        full ones: they exchange all that is known with all earlier ones. A lock that is given back is less (ARM). A
        copy out of shared memory may still be under way after later stores, until the next fence.

Who is killed has made all his stores (the kernel sees to that before it gives back a lock).

Actions: ("ld", loc), ("copy", loc, expected), ("st", loc, value), ("fence",), ("full",), ("release",), ("choose",
values), ("futex", loc, value) an atomic comparison and sleep, ("asleep", loc), ("wake", loc),
("become", program, args); ("sys", function, args) an atomic step of the kernel on what is no memory (files, locks, what
ran), ("do", ...) the same
without being a fence, ("note", ...) that takes no time at all.

A state from which the goal cannot be reached any more is a failure: LIVE. Ticks are unlimited (None) or so many.
"""

import time
from collections import deque

from .invariants import Found
from .programs import Programs

FENCES = ("fence", "full", "release")


class CallModel(Programs):
    """One scenario. Threads are (program, args, killable); `readers` says who never loads a location."""

    def __init__(self, cfg, init, world, threads, memory="sc", kills=0, ticks=0, goal=None, limit=4_000_000, **hooks):
        super().__init__(cfg)
        self.memory, self.kills, self.ticks, self.goal, self.limit = memory, kills, ticks, goal, limit
        self.threads = threads
        self.locs = sorted(init, key=repr)
        self.index = {loc: i for i, loc in enumerate(self.locs)}
        self.values = tuple(init[loc] for loc in self.locs)
        self.first_world = world
        self.died = hooks["died"]  # (model, world, thread) -> world
        reads = hooks.get("reads", lambda i, loc: True)
        self.readers = [tuple(i for i in range(len(threads)) if reads(i, loc)) for loc in self.locs]
        self.kept, self.numbers = [], {}
        self.returns = self.fallbacks = 0
        self.performing = None

    # ------------------------------------------------------------ states
    def keep(self, thing):
        number = self.numbers.get(thing)
        if number is None:
            number = self.numbers[thing] = len(self.kept)
            self.kept.append(thing)
        return number

    def state(self, memory, world, left, threads, moved):
        """Run what thread `moved` can do unseen, and number the result."""
        if moved is not None:
            world, thread = self.settle(memory, world, threads[moved], moved)
            threads = threads[:moved] + (thread,) + threads[moved + 1 :]
        if self.memory == "weak":
            memory, threads = self.forget(memory, threads)
        return (self.keep(memory), self.keep(world), left) + tuple(map(self.keep, threads))

    def settle(self, memory, world, thread, i):
        node, part, status = thread
        self.now = memory
        while status == "run":
            action = self.actions[node]
            kind = action[0]
            if kind == "become":
                node = self.root(action[1], action[2])
            elif kind == "note":
                result, world = self.ask(action, world, i)
                node = self.advance(node, result)
            elif kind in FENCES and (self.memory == "sc" or (self.memory == "tso" and (kind == "fence" or not part))):
                node = self.advance(node, None)
            elif kind == "end" and (self.memory != "tso" or not part):
                return world, (None, (), "end")
            else:
                break
        return world, (node, part, status)

    def ask(self, action, world, i):
        return action[1](self, world, i, *action[2])

    # ------------------------------------------------------------ memory
    def loads(self, memory, part, loc):
        """What a load may return: (note, value, part after it)."""
        if self.memory == "sc":
            yield "", memory[loc], part
        elif self.memory == "tso":
            for other, value in reversed(part):
                if other == loc:
                    yield "(its own)", value, part
                    return
            yield "", memory[loc], part
        else:
            known, heard, released, pending = part
            history = memory[0][loc]
            for age in range(known[loc], len(history)):
                value, view = history[age]
                heard2 = heard if view is None else tuple(map(max, heard, view))
                known2 = known if age == known[loc] else known[:loc] + (age,) + known[loc + 1 :]
                yield "" if age == len(history) - 1 else "(stale)", value, (known2, heard2, released, pending)

    def stored(self, memory, part, loc, value):
        if self.memory == "sc":
            return memory[:loc] + (value,) + memory[loc + 1 :], part
        if self.memory == "tso":
            return memory, (*part, (loc, value))
        known, heard, released, pending = part
        histories = memory[0]
        history = histories[loc] + ((value, released if any(released) else None),)
        known = known[:loc] + (len(history) - 1,) + known[loc + 1 :]
        return (histories[:loc] + (history,) + histories[loc + 1 :], memory[1]), (known, heard, released, pending)

    def fenced(self, memory, part, kind="full"):
        """(memory, part) after a fence that may be passed now, else None."""
        if self.memory == "sc":
            return memory, part
        if self.memory == "tso":
            return None if part and kind != "fence" else (memory, part)
        known, heard, _, _ = part
        if kind == "release":
            return memory, (known, heard, known, ())
        known = tuple(map(max, known, heard, memory[1]))
        return (memory[0], known), (known, known, known, ())

    def newest(self, memory, loc):
        return memory[0][self.index[loc]][-1][0] if self.memory == "weak" else memory[self.index[loc]]

    def forget(self, memory, threads):
        """Weak memory: drop history that nobody who reads it can read any more."""
        histories, everybody = memory
        low = []
        for loc, history in enumerate(histories):
            if len(history) == 1:
                low.append(0)
                continue
            known = [threads[i][1][0][loc] for i in self.readers[loc] if threads[i][2] == "run"]
            low.append(min(known, default=len(history) - 1))
        if not any(low):
            return memory, threads
        lowered = {}

        def lower(view):
            if view not in lowered:
                lowered[view] = tuple([x - y if x > y else 0 for x, y in zip(view, low)])
            return lowered[view]

        def lower_entry(value, view):
            view = view and lower(view)
            return value, view if view and any(view) else None

        histories = tuple(
            tuple([lower_entry(*entry) for entry in history[cut:]]) for history, cut in zip(histories, low)
        )
        threads = tuple(
            (node, (*map(lower, part[:3]), part[3]) if status == "run" else part, status)
            for node, part, status in threads
        )
        return (histories, lower(everybody)), threads

    # ------------------------------------------------------------ search
    def run(self):
        """(result, number of states, seconds, what was found)."""
        started = time.time()
        result, why = "ok", None
        try:
            self.search()
        except Found as found:
            result, why = "FAIL", str(found)
        except OverflowError:
            result, why = "LIMIT", "more than %d states" % self.limit
        return result, len(self.parents), time.time() - started, why

    def start(self):
        nothing = (0,) * len(self.locs)
        part = (nothing, nothing, nothing, ()) if self.memory == "weak" else ()
        memory = self.values
        if self.memory == "weak":
            memory = tuple(((value, None),) for value in memory), nothing
        threads = tuple((self.root(program, args), part, "run") for program, args, _ in self.threads)
        world = self.first_world
        for i in range(len(threads)):
            world, thread = self.settle(memory, world, threads[i], i)
            threads = threads[:i] + (thread,) + threads[i + 1 :]
        return self.state(memory, world, (self.kills, self.ticks), threads, None)

    def search(self):
        first = self.start()
        self.parents = parents = {first: None}
        found, before, goals = [first], [[]], []
        number_of = {first: 0}
        queue = deque([0])
        while queue:
            at = queue.popleft()
            self.current = state = found[at]
            if self.is_goal(state):
                goals.append(at)
            for _, following in self.successors(state):
                number = number_of.get(following)
                if number is None:
                    number = number_of[following] = len(found)
                    parents[following] = state
                    found.append(following)
                    before.append([])
                    queue.append(number)
                before[number].append(at)
            if len(found) > self.limit:
                raise OverflowError
        self.performing = None
        if self.goal is not None:
            self.check_live(found, before, goals)

    def is_goal(self, state):
        if self.goal is None:
            return False
        statuses = [self.kept[number] for number in state[3:]]
        asleep = [status == "run" and self.actions[node][0] == "asleep" for node, _, status in statuses]
        return self.goal(self.kept[state[1]], [status for _, _, status in statuses], asleep)

    def check_live(self, found, before, goals):
        good = bytearray(len(found))
        for at in goals:
            good[at] = 1
        queue = deque(goals)
        while queue:
            for at in before[queue.popleft()]:
                if not good[at]:
                    good[at] = 1
                    queue.append(at)
        bad = [at for at in range(len(found)) if not good[at]]
        left = {at for behind in before for at in behind}  # those that something comes after
        for at in [at for at in bad if at not in left] + bad:  # the clearest first
            self.current = found[at]
            where = [self.doing(self.kept[number]) for number in self.current[3:]]
            raise Found("LIVE: the end is never reached from here on: %s" % "; ".join(where))

    def doing(self, thread):
        node, part, status = thread
        if status != "run":
            return status
        return "%s %s" % (describe(self.actions[node]), part if self.memory == "tso" else "")

    def successors(self, state):
        """((thread, what it does, note), state after it)."""
        memory, world, (kills, ticks) = self.kept[state[0]], self.kept[state[1]], state[2]
        threads = tuple(self.kept[number] for number in state[3:])
        for i, (node, part, status) in enumerate(threads):
            if status != "run":
                continue
            action = self.actions[node]
            if self.memory == "tso" and part:
                (loc, value), rest = part[0], part[1:]
                memory2 = memory[:loc] + (value,) + memory[loc + 1 :]
                after = threads[:i] + ((node, rest, status),) + threads[i + 1 :]
                label = ("seen by all:", self.locs[loc], value)
                yield (i, label, ""), self.state(memory2, world, (kills, ticks), after, i)
            elif kills and self.threads[i][2]:
                memory2 = memory
                if self.memory == "weak":
                    memory2 = memory[0], tuple(map(max, memory[1], part[0]))
                after = threads[:i] + ((None, (), "dead"),) + threads[i + 1 :]
                yield (
                    (i, ("KILLED",), ""),
                    self.state(memory2, self.died(self, world, i), (kills - 1, ticks), after, None),
                )
            self.performing = i, action
            for note, result, memory2, world2, part2, spent in self.perform(i, action, memory, world, part, ticks):
                node2 = self.advance(node, result)
                after = threads[:i] + ((node2, part2, status),) + threads[i + 1 :]
                if action[0] == "wake":
                    after = self.woken(action[1], after)
                left = (kills, ticks if ticks is None else ticks - spent)
                yield (i, action, note), self.state(memory2, world2, left, after, i)

    def woken(self, loc, threads):
        def wake(thread):
            node, part, status = thread
            if status == "run" and self.actions[node] == ("asleep", loc):
                return self.advance(node, "rung"), part, status
            return thread

        return tuple(map(wake, threads))

    def perform(self, i, action, memory, world, part, ticks):
        """All that may come of an action: (note, result, memory, world, part, ticks spent)."""
        kind = action[0]
        self.now = memory
        if kind == "ld":
            for note, value, part2 in self.loads(memory, part, self.index[action[1]]):
                yield "-> %r %s" % (value, note), value, memory, world, part2, 0
        elif kind == "copy":
            loc = self.index[action[1]]
            for _, value, part2 in self.loads(memory, part, loc):
                if value != action[2]:
                    raise Found("TORN: reads %r where %r was written" % (value, action[2]))
                if self.memory == "weak":
                    part2 = (*part2[:3], (*part2[3], (loc, value)))
                yield "", None, memory, world, part2, 0
        elif kind == "st":
            loc = self.index[action[1]]
            self.check_copies(loc, action[2], i)
            memory2, part2 = self.stored(memory, part, loc, action[2])
            yield "", None, memory2, world, part2, 0
        elif kind in FENCES:
            passed = self.fenced(memory, part, kind)
            if passed is not None:
                yield "", None, passed[0], world, passed[1], 0
        elif kind == "choose":
            for value in action[1]:
                yield "-> %r" % (value,), value, memory, world, part, 0
        elif kind == "do":
            result, world2 = self.ask(action, world, i)
            yield "-> %r" % (result,), result, memory, world2, part, 0
        elif kind == "asleep":
            if ticks is None or ticks:
                yield "a tick", "tick", memory, world, part, 1
        elif kind in ("sys", "futex", "wake"):
            passed = self.fenced(memory, part)
            if passed is None:
                return
            memory, part = passed
            if kind == "wake":
                yield "", None, memory, world, part, 0
            elif kind == "sys":
                answer = self.ask(action, world, i)
                if answer is not None:
                    yield "-> %r" % (answer[0],), answer[0], memory, answer[1], part, 0
            else:
                for note, value, part2 in self.loads(memory, part, self.index[action[1]]):
                    slept = value == action[2]
                    yield "%s %s" % ("sleeps" if slept else "changed", note), slept, memory, world, part2, 0

    def check_copies(self, loc, value, i):
        if self.memory != "weak":
            return
        for j, number in enumerate(self.current[3:]):
            _, part, status = self.kept[number]
            if status == "run" and j != i and any(copied == loc and was != value for copied, was in part[3]):
                raise Found("TORN: T%d stores over what T%d still copies" % (i, j))

    # ------------------------------------------------------------ counterexample
    def counterexample(self):
        """The shortest way to the state where the search stopped, one line a step."""
        path = [self.current]
        while self.parents[path[-1]] is not None:
            path.append(self.parents[path[-1]])
        path.reverse()
        lines, performing = [], self.performing
        for before, after in zip(path, path[1:]):
            self.current = before
            for (i, action, note), state in self.successors(before):
                if state == after:
                    lines.append("T%d %s %s" % (i, describe(action), note))
                    break
        if performing is not None:
            i, action = performing
            lines.append("T%d %s" % (i, describe(action)))
        return lines


def describe(action):
    if action[0] in ("sys", "do", "note"):
        return "%s %s%r" % (action[0], action[1].__name__, action[2])
    return " ".join(str(part) for part in action)
