"""Resolves ``plugin://plugin.video.test/?ADDRESS`` to ADDRESS, as a plugin for a web site does."""

import sys
from urllib.parse import unquote

import xbmcgui
import xbmcplugin

xbmcplugin.setResolvedUrl(int(sys.argv[1]), True, xbmcgui.ListItem(path=unquote(sys.argv[2][1:])))
