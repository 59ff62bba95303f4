"""One line of Kodi's log, under this addon's name; and what the user must see."""

import xbmc
import xbmcgui

from .clean import clean
from .texts import NAME, text

PREFIX = "[service.ipcdatastore] "


def info(line):
    """For whoever reads the log to see that all is well."""
    xbmc.log(clean(PREFIX + line), xbmc.LOGINFO)


def warning(line):
    """For whoever reads the log to see what is not."""
    xbmc.log(clean(PREFIX + line), xbmc.LOGWARNING)


def notify(line, *, problem=False):
    """A few seconds on the screen."""
    if not problem:  # those are in the log already, in English
        info(f"notification: {line}")
    icon = xbmcgui.NOTIFICATION_WARNING if problem else xbmcgui.NOTIFICATION_INFO
    xbmcgui.Dialog().notification(text(NAME), clean(line), icon, 5000, False)
