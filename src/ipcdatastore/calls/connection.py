"""The client's end of one connection: sends the requests of one thread in order, and hands out what comes back.

Whoever waits for a response while nobody else does takes what comes (he leads): his own, and those of others, which he
puts where they find them. When he has his own he appoints one of those who wait.

The server is asked nothing to learn whether it lives: it holds a lock on its file. Once that is free, nothing of it
moves any more, and its word STARTED says which calls never ran.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, allocate_lock

from ..errors import CallTimeoutError, ClosedError, LockTimeoutError, ServerUnavailableError, TooLargeError
from ..platform import fence, look_up
from . import files, layout
from .doze import CLIENT_TICK, Bell, Sleeper, full_fence
from .failure import restore
from .layout import (
    BELL,
    CLIENT_BELL,
    CLIENT_WANTS_ROOM,
    GIVEN_UP,
    MASK,
    RESPONSE_HEAD,
    SERVER_WANTS_ROOM,
    SERVING,
    SILENT,
    STATE,
)
from .message import Messages
from .ring import Reader, Writer

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

NOBODY = -1  # instead of the number of a call
RING_SIZE = 128 * 1024  # bytes, each way


class Connection:
    """One thread's connection to one server."""

    __slots__ = (
        "__weakref__",
        "_arrived",
        "_bell",
        "_broken",
        "_closed",
        "_ended",
        "_expected",
        "_interrupted",
        "_number",
        "_pid",
        "_receiving",
        "_requests",
        "_responses",
        "_sending",
        "_server",
        "_shared",
        "_sleeper",
        "_stride",
        "_told_tail",
        "_touching",
        "_waiters",
        "_words",
        "awaiter",
        "limit",
        "lost",
        "messages",
        "name",
        "server_id",
        "server_words",
    )

    def __init__(self, name: str, path: str, server: files.Shared, facts: files.ServerFacts) -> None:
        self._broken, self._closed, self._interrupted = True, False, False
        self._touching = False  # the responses: who is interrupted then may have lost one
        self.name = name
        self.server_id = facts.id
        self.limit = facts.limit
        self.messages = Messages(name, facts.serializer)
        self._pid = os.getpid()
        self._server = server
        self.server_words = server.words
        self._shared = shared = files.make_client(path, facts.id, RING_SIZE)
        self._words = words = shared.words
        data, first = shared.data, layout.PAGE
        self._requests = Writer(data, words, first, RING_SIZE, layout.REQUEST_HEAD, layout.REQUEST_TAIL)
        self._responses = Reader(
            data,
            words,
            first + RING_SIZE,
            RING_SIZE,
            RESPONSE_HEAD,
            layout.RESPONSE_TAIL,
            limit=MASK,
            path=shared.path,
        )
        self._bell = Bell(server, BELL, layout.ASLEEP)
        self._sleeper = Sleeper(shared, CLIENT_BELL, layout.CLIENT_ASLEEP, CLIENT_TICK)
        if facts.pid == self._pid:
            self._sleeper.yield_instead()
        words[layout.CLIENT_WAKES] = self._bell.can_wake()
        if not server.words[layout.WAKES]:
            self._sleeper.poll_instead()
        self._number = 0
        # They know their owner: a signal may come right after one was taken, and its handler may call as well.
        self._sending: Any = RLock()
        self._receiving: Any = RLock()  # held by who leads
        self._expected: Set[int] = set()  # calls whose response somebody wants,
        self._arrived: Dict[int, Tuple[int, Any]] = {}  # those that are there,
        self._waiters: Dict[int, Any] = {}  # and who waits for one while somebody else leads: a lock that he holds
        self._ended: List[int] = []  # streams of which the server does not know yet that nobody wants them
        self._told_tail = -1
        self._stride = int.from_bytes(os.urandom(4), "little") | 1
        self.lost = False  # whether the server has gone
        self.awaiter: Any = None
        server.words[layout.CONNECT] = int.from_bytes(os.urandom(4), "little") | 1  # PUBLISH: there is a new client
        self._ring()
        self._broken = False

    def is_usable(self) -> bool:
        """Whether calls can go through here, as far as can be told without asking the system."""
        return not self._broken and bool(self.server_words[STATE] == SERVING)

    def is_taken(self) -> bool:
        """Whether this very thread is in the middle of a call: it is a signal handler, or a finalizer, that asks."""
        return bool(self._receiving._is_owned() or self._sending._is_owned())

    def check_process(self) -> None:
        """Raise in a forked child: the connection is its parent's."""
        if self._pid != os.getpid():
            raise ClosedError(f"this call of {self.name} was made before the fork, by the parent: make it again here")

    def server_lives(self) -> bool:
        """Whether the server answers calls."""
        return files.serves(self._server)

    # --- both ways -----------------------------------------------------------------------------------
    def ask(self, kind: int, name: str, arguments: Any, keywords: Any, timeout: Any, deadline: Any) -> Tuple[int, Any]:
        """Send a request and wait for the response, which is to be :meth:`read`. What it raises is not the method's."""
        number = self.send(kind, self.messages.request(name, arguments, keywords), timeout, deadline)
        try:
            return self.receive(number, timeout, deadline)
        except BaseException:
            self.forget(number)
            raise

    def read(self, kind: int, payload: Any, what: str, timeout: Optional[float] = None, portion: int = 64) -> Any:
        """What a response says: the result, or raise."""
        if kind & ~7 == layout.VALUE:
            return self.messages.read_result(kind, payload, what)
        if kind == layout.ERROR:
            raise restore(payload, self.messages, what)
        if kind == layout.STREAM:
            from .stream import RemoteIterator

            return RemoteIterator(self, int.from_bytes(payload, "little"), what, timeout, portion)
        found = self.messages.read_parts(payload)
        return found if kind == layout.ITEMS else (self.messages, found)

    # --- sending -------------------------------------------------------------------------------------
    def send(self, kind: int, payload: Any, timeout: Optional[float], deadline: Optional[float] = None) -> int:
        """Put a request into the ring. Its number."""
        if len(payload) > self.limit:
            raise TooLargeError(
                f"a call of {self.name} of {len(payload):,} bytes is over the limit of {self.limit:,} (`max_message` "
                "of its server): pass it in parts",
                size=len(payload),
                limit=self.limit,
            )
        with self._sending:
            if self._ended:
                self._end_streams()
            self._number = number = (self._number + 1) & MASK
            if kind not in SILENT:
                self._expected.add(number)  # before it can be answered
            try:
                if not self._requests.put(kind, number, payload):
                    self._send_rest(kind, number, payload, timeout, deadline)
            except BaseException as error:
                self._expected.discard(number)
                if not isinstance(error, Exception):
                    self._broken = True
                raise
            self._ring()
        return number

    def _send_rest(self, kind: int, number: int, payload: Any, timeout: Any, deadline: Optional[float]) -> None:
        """Put in a request that has no room now, as the server makes some."""
        words, requests = self._words, self._requests
        if deadline is None and timeout is not None:
            deadline = time.monotonic() + timeout
        done, complete = -1, False
        # Said before the room is looked at: the server rings when it has made some after that look.
        words[CLIENT_WANTS_ROOM] = 1
        try:
            while not complete:
                full_fence()
                seen = words[CLIENT_BELL]
                fence()
                sent = requests.send(kind, number, payload, done)
                complete = sent == len(payload)
                if sent == done:
                    self._take_in()
                    self._wait(seen, number, timeout, deadline)
                elif not complete:
                    self._ring()
                done = sent
        finally:
            words[CLIENT_WANTS_ROOM] = 0
            if not complete and done > 0:
                self._broken = True  # the server has the beginning of a message that will have no end

    def end_stream(self, stream: int) -> None:
        """Have the server close a stream; at the next request, if this thread is in the middle of one."""
        if self._pid != os.getpid():  # the parent still wants it
            return
        self._ended.append(stream)
        if not self._sending._is_owned() and self._sending.acquire(False):
            try:
                self._end_streams()
                self._ring()
            finally:
                self._sending.release()

    def _end_streams(self) -> None:
        while self._ended:
            stream = self._ended.pop()
            self._number = number = (self._number + 1) & MASK
            if not self._requests.put(layout.END, number, self.messages.request("", (stream,), {})):
                self._ended.append(stream)  # the next time
                return

    def _take_in(self) -> None:
        """Take what has come, for whoever wants it: the server may wait for room before it goes on."""
        if not self._receiving._is_owned() and self._receiving.acquire(False):
            try:
                self._touching = True
                self._put_all_aside()
                self._touching = False
            finally:
                self._step_down()

    def _ring(self) -> None:
        # Any number that is not there now: what the server looks at is whether it has changed.
        self._bell.ring((self.server_words[BELL] + self._stride) & MASK)

    # --- receiving -----------------------------------------------------------------------------------
    def receive(self, number: int, timeout: Optional[float], deadline: Optional[float]) -> Tuple[int, Any]:
        """(kind, payload) of the response to the request `number`. Who gives up has to say so by `forget`."""
        if self.is_taken():
            raise LockTimeoutError(
                f"this thread is in the middle of another call of {self.name}, and would wait for itself: ask for the "
                "result later",
                timeout=0.0,
                holder=None,
            )
        if self._interrupted and number not in self._arrived:
            raise ServerUnavailableError(
                f"who waited for a response of {self.name} was interrupted: the outcome of this call is unknown",
                name=self.name,
                started=True,
            )
        try:
            return self._receive(number, timeout, deadline)
        except BaseException as error:
            # A signal, between any two steps: a response may be lost, and what comes next may be half of one.
            if self._touching:
                self._broken = self._interrupted = True
            if not isinstance(error, Exception) and self._receiving._is_owned():
                self._receiving.release()
            raise

    def _receive(self, number: int, timeout: Optional[float], deadline: Optional[float]) -> Tuple[int, Any]:
        if self._receiving.acquire(False):
            return self._lead(number, timeout, deadline)
        # Somebody else leads: wait until he has this response, or has his own and goes.
        waiter = allocate_lock()
        waiter.acquire()
        self._waiters[number] = waiter
        try:
            while True:
                arrived = self._arrived.pop(number, None)
                if arrived is not None:
                    return arrived
                if self._receiving.acquire(False):
                    return self._lead(number, timeout, deadline)
                look_up()
                left = CLIENT_TICK if deadline is None else min(CLIENT_TICK, deadline - time.monotonic())
                if left <= 0:
                    raise self.timed_out(timeout)
                waiter.acquire(True, left)
        finally:
            self._waiters.pop(number, None)
            self._appoint()

    def forget(self, number: int) -> None:
        """Nobody wants the response to that request any more."""
        self._expected.discard(number)
        arrived = self._arrived.pop(number, None)
        if arrived is not None:
            self._unwanted(*arrived)

    def _unwanted(self, kind: int, payload: Any) -> None:
        """A response that nobody takes: a stream is closed at the next request."""
        if kind == layout.STREAM:
            self._ended.append(int.from_bytes(payload, "little"))

    def has_arrived(self, number: int) -> bool:
        """Whether the response to that request is there, or never will be."""
        if number not in self._arrived:
            self._take_in()
        return number in self._arrived or not self._may_answer()

    def _may_answer(self) -> bool:
        """Whether responses may still come, as far as can be told without asking the system."""
        if self._interrupted or self._closed or self.lost:
            return False
        return bool(self.server_words[STATE] == SERVING and not self._words[GIVEN_UP])

    def is_awaited(self, number: int) -> bool:
        """Whether the response to that request is wanted, and has not been seen."""
        return number in self._expected

    def attend(self) -> None:
        """Take what comes for others, until there was something, or for a tick; raise if nothing will come any more."""
        if self._receiving.acquire(False):
            try:
                self._touching = True
                seen = self._words[CLIENT_BELL]
                fence()
                if not self._put_all_aside():
                    self._touching = False
                    self._wait(seen, self._number, None, None)
                self._touching = False
            finally:
                self._step_down()
            return
        waiter = allocate_lock()
        waiter.acquire()
        self._waiters[NOBODY] = waiter
        try:
            waiter.acquire(True, CLIENT_TICK)
        finally:
            self._waiters.pop(NOBODY, None)
            self._appoint()

    def look(self) -> None:
        """Notice that the server has gone."""
        if not self.server_lives():
            self._take_in()
            self.lost = True

    def _put_all_aside(self) -> int:
        taken = 0
        while True:
            message = self._responses.peek()
            if message is None:
                return taken
            self._put_aside(*message)
            taken += 1

    def _lead(self, number: int, timeout: Optional[float], deadline: Optional[float]) -> Tuple[int, Any]:
        """Take what comes until the response to `number` does. The lock is taken already, and given back here."""
        responses, words = self._responses, self._words
        try:
            while True:
                if self._arrived:
                    arrived = self._arrived.pop(number, None)
                    if arrived is not None:
                        return arrived
                self._touching = True
                seen = words[CLIENT_BELL]
                fence()
                message = responses.peek()
                if message is None:
                    self._touching = False
                    self._wait(seen, number, timeout, deadline)
                    continue
                kind, found, payload = message
                if found != number:
                    self._put_aside(kind, found, payload)
                    continue
                if type(payload) is memoryview:
                    payload = bytes(payload)  # what it is a view of is about to be written again
                responses.advance()
                self._expected.discard(number)
                self._touching = False
                return kind, payload
        finally:
            self._step_down()

    def _step_down(self) -> None:
        """Lead no more."""
        self._receiving.release()
        self._made_room()
        self._appoint()

    def _appoint(self) -> None:
        """Have one of those who wait look whether he leads now. Also he does so who goes: it may have been his turn."""
        for waiter in list(self._waiters.values()):
            _wake(waiter)
            break

    def _put_aside(self, kind: int, number: int, payload: Any) -> None:
        """A response to somebody else's request, or to one that was given up."""
        if number in self._expected:
            self._arrived[number] = kind, bytes(payload)
            self._expected.discard(number)
            waiter = self._waiters.get(number)
            if waiter is not None:
                _wake(waiter)
        elif number not in self._arrived:  # one that is was interrupted here
            self._unwanted(kind, payload)
        self._responses.advance()
        full_fence()  # before the look whether the server waits for this room

    def _made_room(self) -> None:
        """Tell a server that waits for it, once."""
        tail = self._responses.tail
        if self._words[SERVER_WANTS_ROOM] and tail != self._told_tail:
            self._told_tail = tail
            self._ring()

    def _wait(self, seen: int, number: int, timeout: Optional[float], deadline: Optional[float]) -> None:
        """Wait for the server to ring; raise if it never will."""
        self._made_room()
        sleeper = self._sleeper
        if sleeper.spin(seen):
            return
        left = CLIENT_TICK if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise self.timed_out(timeout)
        if self._closed:
            raise ClosedError(f"the link to {self.name} was closed, and what was under way with it")
        given_up = self._words[GIVEN_UP]
        if given_up or not self.server_lives():
            fence()
            if self._words[CLIENT_BELL] != seen or self._words[RESPONSE_HEAD] != self._responses.tail:
                return  # its last words, for which it may not have rung any more
            self._broken, self.lost = True, not given_up
            raise self._gone(number)
        sleeper.sleep(seen, left)

    def timed_out(self, timeout: Optional[float]) -> CallTimeoutError:
        """The error for a call that was not answered within `timeout` seconds."""
        return CallTimeoutError(
            f"{self.name} did not answer within {timeout or 0:g} s; the call may still run, once",
            name=self.name,
            timeout=timeout,
        )

    def _gone(self, number: int) -> ServerUnavailableError:
        # After its death, STARTED moves no more: what is above it never will begin.
        started = (self._words[layout.STARTED] - number) & MASK < 1 << 31
        how = "died"
        if self._words[GIVEN_UP]:
            how = "could not understand this client, and gave it up"
        elif self.server_words[STATE] != SERVING:
            how = "stopped"
        outcome = (
            "this call had begun: its outcome is unknown" if started else "this call never ran, and may be made again"
        )
        return ServerUnavailableError(f"the server of {self.name} {how}; {outcome}", name=self.name, started=started)

    # --- the end -------------------------------------------------------------------------------------
    def close(self) -> None:
        """Let go. What was sent is done all the same."""
        if self._pid != os.getpid():
            self._shared.forget()
            return
        self._broken = self._closed = True
        self._words[layout.CLOSED] = 1  # PUBLISH: the server may remove the file
        self._ring()
        if not self.server_lives():
            self._shared.remove()
            files.remove_directory(os.path.dirname(self._shared.path))
        self._shared.close()

    def __del__(self) -> None:
        if getattr(self, "_shared", None) is None:
            return
        try:
            self.close()
        except Exception:  # noqa: BLE001 - Python ends, and files are closed already: the lock tells the server
            return


def _wake(waiter: Any) -> None:
    try:
        waiter.release()
    except RuntimeError:  # he is awake already
        return
