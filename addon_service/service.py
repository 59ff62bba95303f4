"""Runs as long as Kodi does; the code is in resources/lib."""

from resources.lib.host import main

main()
