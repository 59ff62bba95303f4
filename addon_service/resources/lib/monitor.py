"""Kodi's messages, noted for the loop of the service."""

import xbmc


class Monitor(xbmc.Monitor):
    """Says whether Kodi ends; and whether settings were changed since somebody looked."""

    def __init__(self):
        super().__init__()
        self.settings_changed = False

    def onSettingsChanged(self):  # noqa: N802 - Kodi's name
        """Called while the loop waits."""
        self.settings_changed = True
