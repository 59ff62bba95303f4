"""What a script that was written for the service of 2014 catches: numbered errors, each with a ``message``.

Where another error is the reason, it is the ``__cause__``; ``tb`` is its traceback as text, of the other process where
it came from there.
"""

IPCERROR_UKNOWN = 0  # spelt as scripts know it
IPCERROR_NO_VALUE_FOUND = 1
IPCERROR_USE_CACHED_COPY = 2
IPCERROR_SERVER_TIMEOUT = 3
IPCERROR_CONNECTION_CLOSED = 4
IPCERROR_NONSERIALIZABLE = 5
IPCERROR_SAVEFAILED = 6
IPCERROR_RESTOREFAILED = 7


class IPCClientError(Exception):
    """Base of all of them. ``errno`` says which it is, ``message`` what happened."""

    errno = -1
    message = ""

    def __str__(self):
        return self.message


class VarNotFoundError(IPCClientError):
    """There is no value of that author and name."""

    errno = IPCERROR_NO_VALUE_FOUND

    def updatemessage(self, varname, author):
        """Say which one."""
        self.message = f"there is no value named {varname!r} of the author {author!r}"


class UseCachedCopyError(IPCClientError):
    """The value is the one that was handed out before."""

    errno = IPCERROR_USE_CACHED_COPY
    message = "the value is still the one that this client has"


class _ServerError(IPCClientError):
    text = ""

    def __init__(self, uri, tb=""):
        super().__init__(uri, tb)
        self.message = self.text.format(uri)
        self.tb = tb


class ServerUnavailableError(_ServerError):
    """Nobody serves that address, or he did not answer in time."""

    errno = IPCERROR_SERVER_TIMEOUT
    text = "no server answers at {}: is it started, and is that its name, host and port?"


class ServerReconnectFailedError(_ServerError):
    """The server went away in the middle of a call, and did not come back."""

    errno = IPCERROR_CONNECTION_CLOSED
    text = "the server at {} went away, and did not come back"


class ObjectNotSerializableError(IPCClientError):
    """A value that cannot be written, or not be read by this process."""

    errno = IPCERROR_NONSERIALIZABLE

    def updatemessage(self, obj):
        """Say of which type it is."""
        self.message = f"an object of type {type(obj).__module__}.{type(obj).__qualname__} cannot be serialized"


class _FileError(IPCClientError):
    text = ""

    def updatemessage(self, author, fn):
        """Say whose values, and which file."""
        self.message = self.text.format(author, fn)


class SaveFailedError(_FileError):
    """The values are not on the disk."""

    errno = IPCERROR_SAVEFAILED
    text = "the values of {!r} could not be saved in {}"


class RestoreFailedError(_FileError):
    """What was saved could not be read; nothing was changed."""

    errno = IPCERROR_RESTOREFAILED
    text = "the values of {!r} could not be restored from {}"


class UnknownError(IPCClientError):
    """Anything else. `msg` is the error itself, or a text."""

    errno = IPCERROR_UKNOWN

    def __init__(self, msg, tb=""):
        super().__init__(str(msg), tb)
        self.message = str(msg)
        self.tb = tb


class NoError(IPCClientError):
    """All is well."""
