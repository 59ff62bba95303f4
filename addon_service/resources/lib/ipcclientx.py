"""Where scripts of old import the client from; it is in ``script.module.ipc``."""

try:
    from . import ipc_here
except ImportError:  # with this folder on the path, as scripts of old have it
    import ipc_here  # noqa: F401

from ipc.ipcclientx import Data, IPCClientX

__all__ = ["Data", "IPCClientX"]
