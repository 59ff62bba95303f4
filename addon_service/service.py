"""Runs as long as Kodi does; the code is in resources/lib."""

from resources.lib.monitor import Monitor

monitor = Monitor()  # first: it only learns of what comes after it, and Kodi may end while the rest is imported

from resources.lib.host import main  # noqa: E402 - that is why

main(monitor)
