"""Where scripts of old import the client from; it is in ``script.module.ipc``."""

from ipc.ipcclientx import Data, IPCClientX

__all__ = ["Data", "IPCClientX"]
