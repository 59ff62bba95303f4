"""JSON-RPC to a Kodi over TCP: objects one behind the other, answers and notifications on one socket."""

import json
import socket
import time

RECV = 65536


class RpcError(Exception):
    """Kodi refused a call, or did not answer."""


class Connection:
    """One connection; calls are made one after the other."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), 2)
        self._bytes = b""
        self._calls = 0
        self.notifications = []  # those that nobody has asked for yet

    def close(self):
        self._socket.close()

    def call(self, method, parameters, timeout=15.0):
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": parameters}
        self._socket.sendall(json.dumps(request).encode())
        end = time.monotonic() + timeout
        while True:
            message = self._read(end)
            if message is None:
                raise RpcError(f"{method}: no answer in {timeout} s")
            if message.get("id") == self._calls:
                if "error" in message:
                    raise RpcError(f"{method}: {message['error']}")
                return message["result"]
            if "method" in message:
                self.notifications.append(message)

    def wait(self, method, timeout):
        """The oldest notification of this name that nobody has asked for yet."""
        end = time.monotonic() + timeout
        while True:
            for index, message in enumerate(self.notifications):
                if message["method"] == method:
                    return self.notifications.pop(index)
            message = self._read(end)
            if message is None:
                raise RpcError(f"no notification {method} in {timeout} s")
            if "method" in message:
                self.notifications.append(message)

    def _read(self, end):
        """The next object; None if there is none until then."""
        while True:
            try:
                text = self._bytes.decode("utf-8").lstrip()
                found, length = json.JSONDecoder().raw_decode(text)
            except ValueError:  # not all of it has come
                pass
            else:
                self._bytes = text[length:].encode("utf-8")
                return found
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(RECV)
            except socket.timeout:
                return None
            if not data:
                raise RpcError("Kodi closed the connection")
            self._bytes += data


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
