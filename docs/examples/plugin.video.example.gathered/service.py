import ipc
import xbmc


def gather():
    """Stands for minutes of HTTP."""
    return [{"title": f"Film {number}", "year": 1980 + number} for number in range(1, 21)]


monitor = xbmc.Monitor()
with ipc.open() as store:
    while True:
        store.set("films", gather(), persist=True)  # there at once after the next start of Kodi, too
        if monitor.waitForAbort(600):
            break
