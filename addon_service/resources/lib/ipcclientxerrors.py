"""Where scripts of old import the errors from; they are in ``script.module.ipc``."""

from ipc.ipcclientxerrors import *  # noqa: F403 - the same names
