"""Where scripts of old import the errors from; they are in ``script.module.ipc``."""

try:
    from . import ipc_here
except ImportError:  # with this folder on the path, as scripts of old have it
    import ipc_here  # noqa: F401

from ipc.ipcclientxerrors import *  # noqa: F403 - the same names
