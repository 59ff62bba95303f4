"""The window that shows what is in the store, and how it changes.

Two threads meet here. Kodi calls the window (``onInit``, ``onAction``, ``onClick``) in the thread of this script, which
waits in ``doModal`` otherwise; a refresher, which lives as long as the window, looks at the store five times a second.
Both change the listing and what the controls say, and each does it under `_lock`, so that rows and items are never of
two minds. Kodi's own thread calls no Python, so it never waits for that lock, and controls wait for Kodi's thread but
for a moment: nobody can wait in a circle. Only the script's thread opens and closes panels.

The menu, the question and the details are panels of this one window. In a dialog of Kodi's own a script waits for
Kodi's main thread, which waits inside that dialog for the script when Kodi quits: five seconds, and some versions for
ever. A window of the script's is closed by the refresher instead, which looks whether Kodi wants to quit.
"""

import threading
import time

import ipc
import xbmc
import xbmcaddon
import xbmcgui
from ipc import places

import ipcdatastore

from . import details, listing, log, words
from .table import Authors, Names
from .texts import text

XML = "ipcdatastore-browse.xml"
# The controls that are known here; all of them are listed in XML.
REGION, PROBLEM, CLOSE, AUTHORS, NAMES = 11, 14, 30, 40, 50
SHOW, KEEP, DROP, DELETE, READ = MENU = 71, 72, 73, 74, 75
QUESTION, NO, YES = 81, 82, 83
HEADING, TEXT, SCROLL, LEAVE_DETAILS = 91, 92, 94, 95
BACKDROPS = (79, 89, 99)
NOTHING = 0  # has the focus

PANEL = "panel"  # the property that says which one is open: "menu", "question", "details", or none
KEEPABLE, DROPPABLE = "keepable", "droppable"  # properties of the menu
BACK = (xbmcgui.ACTION_PREVIOUS_MENU, xbmcgui.ACTION_NAV_BACK, xbmcgui.ACTION_PARENT_DIR)

LOOK = 0.2  # seconds between two looks at the store, and at whether Kodi wants to quit
AT_ONCE = 0.1  # seconds for reading rows before somebody sees the list
PATIENCE = 0.05  # the same, at each look
FACTS = 5  # looks between two at the store as a whole
PICTURE = 0.02  # seconds, about: what was told to a control is so in the next one
PICTURES = 25  # at most, until something can have the focus


class Window(xbmcgui.WindowXMLDialog):
    """The dialog; `prepare` comes before `doModal`, `finish` after it."""

    def prepare(self, monitor):
        """Open the store, and begin to look at it."""
        self._monitor = monitor
        self._lock = threading.RLock()
        self._finished = threading.Event()
        self._looks = 0
        self._names = self._authors = None  # before the window is up
        self._panel = ""
        self._subject = None  # the key that the panel is about
        self._read_version = None  # of the value that the details show
        self._open()
        self._refresher = threading.Thread(target=self._refresh, name="browse")
        self._refresher.start()

    def finish(self):
        """Let go of the store, once nobody looks at it any more."""
        self._finished.set()
        self._refresher.join()
        self._close()

    # --- called by Kodi, in the script's thread ------------------------------------------------------
    def onInit(self):  # noqa: N802 - Kodi's name
        """The controls are there."""
        with self._lock:
            self._authors, self._names = Authors(self.getControl(AUTHORS)), Names(self.getControl(NAMES))
            self._tick()
        self._focus_on_lists()

    def onAction(self, action):  # noqa: N802 - Kodi's name
        """A key, or a click with the right button."""
        number = action.getId()
        if number in BACK:
            self._back()
        elif self._panel:
            return
        elif number == xbmcgui.ACTION_CONTEXT_MENU:
            self._open_menu()
        elif number == xbmcgui.ACTION_SHOW_INFO:
            self._open_details()
        elif number != xbmcgui.ACTION_MOUSE_MOVE and self._focus() == AUTHORS:
            self._choose()  # not of whom a pointer passes by

    def onClick(self, control):  # noqa: N802 - Kodi's name
        """OK, or a click with the left button."""
        if control in BACKDROPS or control in (NO, SCROLL, LEAVE_DETAILS):
            self._close_panel()
        elif control == CLOSE:
            self.close()
        elif control == AUTHORS:
            self._choose()
            self._focus_on_lists()
        elif control == NAMES:
            self._open_details()
        elif control in MENU:
            self._do(control)
        elif control == YES:
            self._close_panel()
            self._try(lambda store: store.delete(self._subject))

    # --- what the user asks for ----------------------------------------------------------------------
    def _back(self):
        if self._panel:
            self._close_panel()
        else:
            self.close()

    def _choose(self):
        """List the names of the author that the list of authors is at."""
        with self._lock:
            author = self._authors.current()
            if author is not None and author != self._author:
                self._author = author
                self._try(lambda store: self._listing.choose(author))

    def _do(self, choice):
        """What the menu offers."""
        key = self._subject
        self._close_panel()
        if choice == SHOW:
            self._open_details()
        elif choice == KEEP:
            self._try(lambda store: store.add_persistence(key))
        elif choice == DROP:
            self._try(lambda store: store.remove_persistence(key))
        elif choice == DELETE:
            self.getControl(QUESTION).setText(text(32345, words.plain(listing.name_of(key, full=True))))
            self._open_panel("question", NO)
        else:
            self._try(lambda store: self._listing.read())

    def _try(self, step):
        """Do it with the store, and show at once what became of it. What `step` returned; None where it failed."""
        with self._lock:
            result = None
            if self._listing is None:
                return result
            try:
                result = step(self._store)
                self._listing.poll()
                self._look(AT_ONCE)
                self._tell("")
            except ipcdatastore.WaitEndedError:
                pass  # Kodi quits: the refresher closes the window
            except ipcdatastore.DatastoreError as error:
                self._tell(str(error))
            return result

    # --- panels --------------------------------------------------------------------------------------
    def _open_menu(self):
        with self._lock:
            key = self._names.current() if self._focus() == NAMES else None
            row = self._listing.rows.get(key) if self._listing is not None else None
            self._subject = key
        # Of a value that cannot be read it is not known whether it is kept.
        self.setProperty(KEEPABLE, "yes" if key is not None and (row is None or not row.kept) else "")
        self.setProperty(DROPPABLE, "yes" if key is not None and (row is None or row.kept is not False) else "")
        self.setProperty("named", "yes" if key is not None else "")
        self._open_panel("menu", SHOW if key is not None else READ)

    def _open_details(self):
        """All about the name that the list is at."""
        with self._lock:
            self._subject = key = self._names.current()
            self._read_version = None
            shown = key is not None and self._try(lambda store: self._describe())
        if shown:
            self._open_panel("details", SCROLL)

    def _describe(self):
        """Have the details say how the value is now. Whether there is one."""
        found = details.describe(self._store, self._subject)
        if found is None:
            return False
        self._read_version, heading, lines = found
        self._say(HEADING, heading)
        self.getControl(TEXT).setText(words.plain(lines))
        return True

    def _open_panel(self, panel, control):
        self._panel = panel
        self.setProperty(PANEL, panel)
        self._focus_on(control, f"Control.IsVisible({control})")

    def _close_panel(self):
        self._panel = ""
        self.setProperty(PANEL, "")
        self._focus_on_lists()

    # --- focus ---------------------------------------------------------------------------------------
    def _focus(self):
        try:
            return self.getFocusId()
        except RuntimeError:
            return NOTHING

    def _focus_on_lists(self):
        """On the names if there are any."""
        if len(self._names):
            self._focus_on(NAMES, f"Integer.IsGreater(Container({NAMES}).NumItems,0)")
        else:
            self._focus_on(AUTHORS, f"Integer.IsGreater(Container({AUTHORS}).NumItems,0)")

    def _focus_on(self, control, ready):
        """Move the focus, as soon as the control can have it."""
        for _ in range(PICTURES):
            if xbmc.getCondVisibility(ready):
                break
            time.sleep(PICTURE)
        self.setFocusId(control)

    # --- the refresher -------------------------------------------------------------------------------
    def _refresh(self):
        """Until the window is closed."""
        failed = False
        while not self._finished.wait(LOOK):
            if failed or self._monitor.abortRequested():
                self.close()  # each time: the window may only be about to open
                continue
            try:
                with self._lock:
                    if self._names is not None:
                        self._tick()
            except Exception as error:  # noqa: BLE001 - the addon was disabled, say; without this thread Kodi could not quit
                log.warning(f"the browse window is closed, since it cannot go on: {error!r}")
                failed = True

    def _tick(self):
        """Show what has changed, in the store that the service has by now."""
        try:
            self._looks += 1
            if self._looks % FACTS == 1:
                self._follow()
            if self._listing is not None:
                self._listing.poll()
                self._look(PATIENCE)
        except ipcdatastore.WaitEndedError:
            pass  # Kodi quits
        except ipcdatastore.DatastoreError as error:
            self._close()  # and opened again, when it is time to look at the store as a whole
            self._tell(str(error))

    def _follow(self):
        """Have the store open that the service has by now, and say how it is."""
        if self._listing is None or places.published() != self._place:
            self._close()
            self._open()
            self._tell("")
        facts = self._store.stats()
        self._everything_kept = facts["persist"] == "all"
        self._say(REGION, "   ·   ".join(self._facts(facts)))

    def _look(self, patience):
        """Show the listing as it is."""
        changed = self._listing.look(self._names.position(), patience)
        self._names.show(self._listing, changed, time.time(), everything_kept=self._everything_kept)
        self._authors.show(self._listing)
        if not (len(self._names) or self._panel) and self._focus() in (NAMES, NOTHING):
            self.setFocusId(AUTHORS)  # an empty list cannot have it: Kodi moves it anywhere, or away
        row = self._listing.rows.get(self._subject)
        if self._panel == "details" and row is not None and row.version != self._read_version:
            self._describe()

    # --- the store -----------------------------------------------------------------------------------
    _author = listing.ALL
    _listing = _store = _place = None
    _everything_kept = False

    def _open(self):
        self._place = places.published()
        self._store = ipc.open_all()
        self._listing = listing.Listing(self._store, self._author)

    def _close(self):
        store, self._store, self._listing = self._store, None, None
        if store is not None:
            store.close()

    # --- words ---------------------------------------------------------------------------------------
    def _facts(self, facts):
        """What the title says."""
        total = self._listing.total
        yield text(32302, facts["name"])
        yield text(32311) if total == 1 else text(32310, total)
        yield text(32312, words.size(facts["file_bytes"]), words.size(facts["max_size"]))
        if self._place is not None:
            yield text(32313)
        else:
            yield text(32315 if facts["coordinator"] is None else 32314)

    def _tell(self, problem):
        self._say(PROBLEM, problem)

    def _say(self, control, line):
        self.getControl(control).setLabel(words.plain(line))


def main():
    """Until the user closes the window, or Kodi quits."""
    monitor = xbmc.Monitor()  # it only learns of what comes after it
    window = Window(XML, xbmcaddon.Addon(places.SERVICE).getAddonInfo("path"), "Default", "1080i")
    window.prepare(monitor)
    try:
        window.doModal()
    finally:
        window.finish()
