"""Serving an object's methods to other scripts and programs, as in 2014: ``IPCServer(expose_obj=obj).start()``."""

import errno
import threading

import ipcdatastore

from . import kodi
from .address import object_name, uri_of

AS_THEY_ARE = ("pickle", "json")
JOIN = 2.0  # seconds


class IPCServer(threading.Thread):
    """Serves the public methods of `expose_obj` at `name`, `host` and `port`, which are names only: no port is opened.

    `add_on_id`: the addon in whose settings these three are (``data_name``, ``host``, ``port``), in place of the
    arguments. `serializer`: ``"pickle"`` or ``"json"``; ``"serpent"``, ``"marshal"`` and ``"marshall"`` of old mean
    ``"pickle"``. `start` raises what is in the way; `stop` ends it, and calls ``expose_obj.close()``, if it has
    that. In Kodi it ends by itself when the script has to.
    """

    workers = 8  # calls that run at once: an object may wait in one for what another one brings

    def __init__(self, expose_obj, add_on_id="", name="kodi-IPC", host="localhost", port=9099, serializer="pickle"):
        super().__init__()
        # Of the thread, too.
        self.name, self.host, self.port = kodi.address_of(add_on_id, name, host, port)
        self.uri = uri_of(self.name, self.host, self.port)
        self.serializer = serializer
        self.expose_obj = expose_obj
        self.running = False
        self.exception = None
        self._server = None

    def start(self):
        """Serve, in this thread's own thread. What is in the way is raised: ``OSError`` where the address is taken."""
        self._open()
        try:
            super().start()
        except BaseException:
            self._shut()
            raise

    def run(self):
        """Serve until `stop` is called from another thread. `start` has this done in a thread of its own."""
        if self._server is None:
            self._open()
        server = self._server
        try:
            server.run_forever()
        except (ipcdatastore.WaitEndedError, ipcdatastore.ClosedError):
            pass  # Kodi wants the script to end; or it was stopped before it began
        except Exception as error:  # noqa: BLE001 - there is nobody to whom it could be raised
            self.exception = error
            kodi.log(f"the server at {self.uri} has ended: {error}", problem=True)
        finally:
            self.running = False
            server.stop()

    def stop(self):
        """Stop serving, then have the object close itself, if it can."""
        self._shut_in_time()
        if hasattr(self.expose_obj, "close"):
            self.expose_obj.close()

    @staticmethod
    def test_pickle(test_obj):
        """Whether an object can be pickled, so that it can be an argument or a result."""
        import pickle

        try:
            pickle.dumps(test_obj)
        except Exception:  # noqa: BLE001 - objects raise what they like there
            return False
        return True

    def _open(self):
        self.exception = None
        try:
            self._server = ipcdatastore.serve_object(
                object_name(self.uri),
                self.expose_obj,
                directory=kodi.directory(),
                serializer=self.serializer if self.serializer in AS_THEY_ARE else _known(self.serializer),
                workers=self.workers,
            )
        except Exception as error:
            if isinstance(error, ipcdatastore.ObjectServedError):
                error.errno = errno.EADDRINUSE  # what scripts look for
            self.exception = error
            kodi.log(f"no server at {self.uri}: {error}", problem=True)
            raise
        self.running = True
        kodi.log(f"serving at {self.uri}")

    def _shut_in_time(self):
        """A call that runs is finished first. One that does not end keeps nobody, nor one that wants this itself."""
        inside = self._server is not None and self._server._serves_here()
        end = threading.Thread(target=self._shut, daemon=True)
        try:
            end.start()
        except RuntimeError:  # no thread can be started any more, since the interpreter ends
            self._shut()
            return
        if inside:
            self.running = False
            return
        end.join(JOIN)
        if end.is_alive():
            kodi.log(f"a call of the object at {self.uri} does not end", problem=True)
        elif self.is_alive():
            self.join(JOIN)

    def _shut(self):
        server, self._server = self._server, None
        self.running = False
        if server is not None:
            server.stop()
            kodi.log(f"not serving at {self.uri} any more")


def _known(serializer):
    if serializer in ("serpent", "marshal", "marshall"):
        return "pickle"
    raise ipcdatastore.ArgumentError(
        f"`serializer` is one of pickle, json, serpent, marshal, marshall, not {serializer!r}",
        name="serializer",
        value=serializer,
    )
