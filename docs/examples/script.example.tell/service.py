import ipc
import xbmc
import xbmcgui

monitor = xbmc.Monitor()
with ipc.open() as store, store.watch() as changes:
    while not monitor.waitForAbort(0.1):
        for event in changes.poll():
            if event.kind == "set" and event.key == "pressed":
                xbmcgui.Dialog().notification("Example", f"pressed {store['pressed']} times")
