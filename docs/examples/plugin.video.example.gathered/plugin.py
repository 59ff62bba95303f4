import sys

import ipc
import xbmcgui
import xbmcplugin

handle = int(sys.argv[1])
with ipc.open() as store:
    films = store.get("films", [])
for film in films:
    item = xbmcgui.ListItem(film["title"])
    item.setInfo("video", {"title": film["title"], "year": film["year"]})
    xbmcplugin.addDirectoryItem(handle, f"{sys.argv[0]}{film['year']}", item)
xbmcplugin.endOfDirectory(handle)
