"""Has ``ipc`` importable, also in a script whose addon does not name ``script.module.ipc``: scripts of old did not."""

try:
    import ipc  # noqa: F401
except ImportError:
    import os
    import sys

    import xbmcaddon

    sys.path.append(os.path.join(xbmcaddon.Addon("script.module.ipc").getAddonInfo("path"), "lib"))
