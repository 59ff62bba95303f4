"""The server's end of one connection: takes the requests of one client in order, and gives back what they came to.

STARTED is stored before a call begins: were the server to die in it, its client can tell that the outcome is unknown;
calls after it never ran. What the client does not take (it has no room, it sleeps, it is stopped) waits here, and no
further call of that client begins: others are not kept waiting.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from time import perf_counter_ns

from ..errors import ClosedError, EncodeError, RemoteError, TooLargeError
from ..platform import fence
from . import files, layout
from .doze import Bell, full_fence
from .failure import describe
from .layout import (
    CALL,
    CLIENT_ASLEEP,
    CLIENT_BELL,
    CLIENT_WANTS_ROOM,
    CLOSED,
    GIVEN_UP,
    MASK,
    ONEWAY,
    REQUEST_HEAD,
    RESPONSE_TAIL,
    SERVER_WANTS_ROOM,
    STARTED,
)
from .ring import Reader, Writer

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from .exposed import Exposed
    from .message import Messages

STREAM_NS = 5_000_000  # for how long items of a stream are gathered for one response


class Board:
    """What all sessions of a server share."""

    __slots__ = ("_counting", "_longs", "_words", "exposed", "facts", "messages")

    def __init__(self, exposed: Exposed, messages: Messages, facts: files.ServerFacts, shared: files.Shared) -> None:
        self.exposed = exposed
        self.messages = messages
        self.facts = facts
        self._words = shared.words
        self._longs = shared.longs
        self._counting = allocate_lock()

    def count(self, nanoseconds: int, failed: bool) -> None:
        """One more call, which took so long."""
        longs = self._longs
        with self._counting:
            longs[layout.CALLS_LONG] += 1
            longs[layout.BUSY_LONG] += nanoseconds
            bucket = layout.HISTOGRAM + min(nanoseconds.bit_length(), layout.HISTOGRAM_SIZE - 1)
            self._words[bucket] = (self._words[bucket] + 1) & MASK
            if failed:
                longs[layout.ERRORS_LONG] += 1


class Session:
    """One client."""

    __slots__ = (
        "_bell",
        "_board",
        "_gone",
        "_opened",
        "_outbox",
        "_owed",
        "_requests",
        "_responses",
        "_streams",
        "_tail_seen",
        "_words",
        "can_wake",
        "pid",
        "shared",
        "turn",
    )

    def __init__(self, shared: files.Shared, board: Board) -> None:
        request_size, response_size, _, self.pid = files.read_client(shared)
        self.shared = shared
        self._board = board
        self._words = words = shared.words
        data, first = shared.data, layout.PAGE
        self._requests = Reader(
            data,
            words,
            first,
            request_size,
            REQUEST_HEAD,
            layout.REQUEST_TAIL,
            limit=board.facts.limit,
            path=shared.path,
        )
        self._responses = Writer(data, words, first + request_size, response_size, layout.RESPONSE_HEAD, RESPONSE_TAIL)
        self._bell = Bell(shared, CLIENT_BELL, CLIENT_ASLEEP)
        self._outbox: Optional[Tuple[int, int, Any, int]] = None  # kind, number, payload, how much has gone
        self._owed: Optional[Tuple[int, int]] = None  # kind and number of the request that is being done
        self._tail_seen = -1  # the client's tail when there was no room
        self._streams: Dict[int, Iterator[Any]] = {}
        self._opened = 0  # how many there ever were
        self.can_wake = bool(words[layout.CLIENT_WAKES])
        self._gone = False  # nobody reads the responses any more
        self.turn = allocate_lock()  # held by the thread that serves this client

    # --- looking -------------------------------------------------------------------------------------
    def is_ready(self) -> bool:
        """Whether there may be something to do."""
        words = self._words
        if self._outbox is not None and not self._gone:
            return bool(words[RESPONSE_TAIL] != self._tail_seen or words[CLOSED])
        return bool(words[REQUEST_HEAD] != self._requests.tail) and not words[GIVEN_UP]

    def is_over(self) -> bool:
        """Whether nobody is there any more, and all that was asked for is done."""
        words = self._words
        if not self._gone and not words[CLOSED]:
            return False
        fence()  # its last request came before that
        return bool(words[REQUEST_HEAD] == self._requests.tail or words[GIVEN_UP])

    def look(self) -> None:
        """Look whether the client lives. What one had asked for that died is done all the same."""
        try:
            if not self.shared.maker_lives():
                self._gone = True
        except OSError:
            return  # out of descriptors, say: the next look will do

    # --- serving -------------------------------------------------------------------------------------
    def serve(self) -> int:
        """Do one request, if there is one and the last response has gone. How many were done. Under :attr:`turn`."""
        if self._outbox is not None:
            if self._gone or self._words[CLOSED]:
                self._outbox = None
            elif not self._send_rest():
                return 0
        if self._owed is not None:
            self._settle(*self._owed)
            return 1
        request = self._requests.peek()
        if request is None:
            self._made_room()  # a part of a longer message may have been taken
            return 0
        kind, number, payload = request
        began = perf_counter_ns()
        self._owed = kind, number
        self._words[STARTED] = number  # PUBLISH: from here on, and before the response, the outcome is unknown
        failed, ending = False, None
        try:
            try:
                method, arguments, keywords = self._board.messages.read_request(payload)
            finally:
                self._requests.advance()
            answer = self._run(kind, method, arguments, keywords)
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            failed, answer = True, (layout.ERROR, self._error(error))
            if isinstance(error, KeyboardInterrupt):
                ending = error  # and the server's
        self._respond(kind, number, *answer)
        self._owed = None
        self._board.count(perf_counter_ns() - began, failed)
        if ending is not None:
            raise ending
        return 1

    def _settle(self, kind: int, number: int) -> None:
        """Answer a request in whose middle a signal interrupted the server, if its host goes on all the same."""
        again = self._requests.peek()
        if again is not None and again[1] == number:
            self._requests.advance()
        error = RemoteError("the server was interrupted in this call", type_name="KeyboardInterrupt")
        self._respond(kind, number, layout.ERROR, self._error(error))
        self._owed = None

    def _run(self, kind: int, method: str, arguments: Any, keywords: Any) -> Tuple[int, Any]:
        if kind not in (CALL, ONEWAY):
            return self._rare(kind, method, arguments)
        value = self._board.exposed.method(method)(*arguments, **keywords)
        if hasattr(value, "__next__"):
            answer = self._open_stream(value)
            if kind == ONEWAY:  # nobody will ask for an item
                self._close_stream(int.from_bytes(answer[1], "little"))
            return answer
        return self._limited(*self._board.messages.result(value, method))

    def _rare(self, kind: int, name: str, arguments: Any) -> Tuple[int, Any]:
        messages, exposed = self._board.messages, self._board.exposed
        if kind == layout.GET:
            return self._limited(*messages.result(exposed.get(name), name))
        if kind == layout.SET:
            exposed.set(name, arguments[0])
            return messages.result(None, name)
        if kind == layout.BATCH:
            return self._limited(layout.RESULTS, messages.parts([self._one_of_batch(*call) for call in arguments]))
        if kind == layout.NEXT:
            return self._limited(layout.ITEMS, messages.parts(self._items(*arguments)))
        if kind == layout.END:
            self._close_stream(arguments[0])
            return messages.result(None, name)
        return messages.result(exposed.describe(*arguments), name)

    def _limited(self, kind: int, payload: Any, limit: int = 0) -> Tuple[int, Any]:
        limit = limit or self._board.facts.limit
        if len(payload) > limit:
            raise TooLargeError(
                f"a result of {len(payload):,} bytes, where {limit:,} is the limit (`max_message` of the server; "
                "half of it for an item of a generator): return it in parts",
                size=len(payload),
                limit=limit,
            )
        return kind, payload

    def _error(self, error: BaseException, limit: int = 0) -> bytes:
        payload = describe(error, self._board.messages)
        if len(payload) > (limit or self._board.facts.limit):
            short = EncodeError(f"a {type(error).__qualname__} of {len(payload):,} bytes was raised", key=None)
            payload = describe(short, self._board.messages)
        return payload

    def _one_of_batch(self, method: str, arguments: Any, keywords: Any) -> Tuple[int, Any]:
        messages = self._board.messages
        try:
            value = self._board.exposed.method(method)(*arguments, **keywords)
            if hasattr(value, "__next__"):
                raise EncodeError(
                    f"{method} gives its results one by one, which cannot come out of a batch: call it by itself",
                    key=method,
                )
            return messages.result(value, method)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return layout.ERROR, self._error(error)

    # --- streams -------------------------------------------------------------------------------------
    def _open_stream(self, stream: Iterator[Any]) -> Tuple[int, Any]:
        self._opened = number = self._opened + 1
        self._streams[number] = stream
        return layout.STREAM, number.to_bytes(8, "little")

    def _items(self, number: int, most: int) -> List[Tuple[int, Any]]:
        """The next items, at most so many, and not for long; after the last, what the stream ended with."""
        stream = self._streams.get(number)
        items: List[Tuple[int, Any]] = []
        if stream is None:
            raise ClosedError(f"there is no stream {number} any more: call the method again")
        messages, large = self._board.messages, self._board.facts.limit >> 1
        # Another item has room for sure, and what the stream may end with.
        most_bytes = large - 2 * layout.PART.size
        until, size = perf_counter_ns() + STREAM_NS, 0
        try:
            while len(items) < most and size <= most_bytes and perf_counter_ns() < until:
                item = self._limited(*messages.result(next(stream), "an item"), large)
                items.append(item)
                size += len(item[1]) + layout.PART.size
        except StopIteration:
            items.append((layout.LAST_ITEM, b""))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            items.append((layout.ERROR, self._error(error, large)))
        if items and items[-1][0] in (layout.LAST_ITEM, layout.ERROR):
            self._close_stream(number)
        return items

    def _close_stream(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and hasattr(stream, "close"):
            stream.close()

    # --- responses -----------------------------------------------------------------------------------
    def _respond(self, asked: int, number: int, kind: int, payload: Any) -> None:
        if asked in layout.SILENT:
            self._made_room()
        elif self._gone:
            return
        elif self._responses.put(kind, number, payload):
            self._ring()
        else:
            self._outbox = kind, number, payload, -1
            self._send_rest()

    def _send_rest(self) -> bool:
        """Put in what there is room for of a response that had none. Whether all of it has gone."""
        if self._outbox is None:
            return True
        kind, number, payload, done = self._outbox
        words = self._words
        # Said before the room is looked at: who makes some after that look will ring.
        words[SERVER_WANTS_ROOM] = 1
        full_fence()
        while done < len(payload):
            self._tail_seen = words[RESPONSE_TAIL]
            sent = self._responses.send(kind, number, payload, done)
            if sent == done:
                break
            done = sent
            self._ring()
        if done < len(payload):
            self._outbox = kind, number, payload, done
            return False
        words[SERVER_WANTS_ROOM] = 0
        self._outbox = None
        return True

    def _made_room(self) -> None:
        full_fence()
        if self._words[CLIENT_WANTS_ROOM]:
            self._ring()

    def _ring(self) -> None:
        self._bell.ring((self._words[CLIENT_BELL] + 1) & MASK)

    # --- the end -------------------------------------------------------------------------------------
    def close(self, *, remove: bool) -> None:
        """Let go; with `remove` the file goes too. Streams are closed."""
        for number in list(self._streams):
            try:
                self._close_stream(number)
            except Exception:  # noqa: BLE001 - a user's generator: there is nobody to tell
                continue
        if remove:
            self.shared.remove()
        self.shared.close()

    def end(self, until: float) -> None:
        """Give the client until then to take its last response; then it learns from the server's state."""
        while self._outbox is not None and not self._send_rest() and time.monotonic() < until:
            self.look()
            if self._gone or self._words[CLOSED]:
                break
            time.sleep(0.001)

    def tell(self) -> None:
        """Wake the client: what there is to say is in the server's state."""
        self._ring()

    def after_fork(self) -> None:
        """In the child, perhaps in the middle of a call: the answer is the parent's to give."""
        self._gone = True
        self.shared.forget()

    def give_up(self) -> None:
        """Nothing that this client writes can be understood any more."""
        self._gone = True
        self._outbox = None
        self._requests.tail = self._words[REQUEST_HEAD]
        self._words[GIVEN_UP] = 1  # PUBLISH: the client may stop waiting
        self._ring()
