"""The service's settings and dialogs, used as a person does: through the settings' own interface, or by keys."""

SERVICE = "service.ipcdatastore"
SETTINGS_WINDOW, OK_WINDOW, YESNO_WINDOW, PROGRESS_WINDOW, TEXT_WINDOW = 10140, 12002, 10100, 10101, 10147
TEXT_OF_DIALOG, TEXT_OF_VIEWER, TITLE = 9, 5, 1  # controls of the default skin
# Controls of the settings' dialog, of Kodi 20 and of 21. Kodi's conditions cannot ask about them: they take no negative
# numbers.
CATEGORIES, SETTINGS = {*range(-100, -80), *range(-200, -180)}, {*range(-80, -20), *range(-180, -100)}
PATIENCE = 5.0


# What the service calls, in its log, what a setting decides.
DECIDES = {
    "startserver": "start",
    "data_name": "place",
    "maxsize": "max_size",
    "skinbridge": "skin_bridge",
    "skinpattern": "skin_patterns",
    "servevideo": "serve_video",
    "showdata": "show_data",
}


# --- run in Kodi -------------------------------------------------------------------------------------
def read_setting(name):
    import xbmcaddon

    return xbmcaddon.Addon("service.ipcdatastore").getSetting(name)


def write_setting(name, value):
    import xbmcaddon

    xbmcaddon.Addon("service.ipcdatastore").setSetting(name, value)


def call_builtin(text):
    import xbmc

    xbmc.executebuiltin(text)


# --- in the test -------------------------------------------------------------------------------------
class Service:
    """The settings and dialogs of the service in one Kodi."""

    def __init__(self, kodi):
        self.kodi = kodi
        self._before = {}

    def builtin(self, text):
        """One of Kodi's own functions, as a skin calls it. It has not ended when this returns."""
        self.kodi.run("script.test.one", call_builtin, text)

    # --- settings ------------------------------------------------------------------------------------
    def get(self, name):
        return self.kodi.run("script.test.one", read_setting, name)

    def set(self, name, value):
        """Change a setting, and wait until the service has done so."""
        before = self.get(name)
        if value == before:
            return
        self._before.setdefault(name, before)
        self.log_since(lambda: self.write(name, value), "settings applied:", f" {DECIDES.get(name, name)}: ")

    def write(self, name, value):
        """Change a setting that the service may have nothing to do about. It stays so."""
        self.kodi.run("script.test.one", write_setting, name, value)

    def restore(self):
        """Set everything back that was set."""
        before, self._before = self._before, {}
        for name, value in before.items():
            self.set(name, value)
        self._before = {}

    def log_since(self, action, *texts, seconds=20.0):
        """Do `action`, and wait for a line with all `texts` in the log that was not there before."""
        length = len(self.kodi.log())
        action()

        def look():
            lines = self.kodi.lines(texts[0], length)
            return [line for line in lines if all(text in line for text in texts)]

        return self.kodi.wait_for(look, seconds, f"{texts} in the log")[0]

    # --- the settings' dialog ------------------------------------------------------------------------
    def open(self):
        self.builtin(f"Addon.OpenSettings({SERVICE})")
        self.wait_for_window(SETTINGS_WINDOW)
        self.kodi.wait_for(self.focused, PATIENCE, "a control to have the focus")

    def category(self, name):
        self._go("left", lambda: self._control() in CATEGORIES, "categories")
        self._go("down", lambda: self.focused() == name, name)
        self._go("right", lambda: self._control() in SETTINGS, "settings")

    def focus(self, label):
        """Go down to the control with this label. Its whole text, with the value."""
        self._go("down", lambda: self.focused().startswith(label), label)
        return self.focused()

    def select(self):
        self.kodi.press("select")

    def accept(self):
        """Press OK, wherever the focus is."""
        self.go("right", "OK")
        self.select()
        self.wait_for_window(10000)

    def go(self, key, label):
        """Press `key` until the button with this label has the focus."""
        self._go(key, lambda: self.focused() == label, label)

    def reachable(self):
        """The labels of all controls of this category that a person can get to."""
        found = {}
        while self._control() not in found:
            found[self._control()] = self.focused()
            self._step("down")
        return list(found.values())

    def is_enabled(self, label):
        """Whether a person can get to it."""
        return any(text.startswith(label) for text in self.reachable())

    def focused(self):
        return self.kodi.label("System.CurrentControl")

    def _control(self):
        return int(self.kodi.label("System.CurrentControlId") or 0)

    def _step(self, key):
        before = self._control()
        self.kodi.press(key)
        self.kodi.wait_for(lambda: self._control() != before, PATIENCE, f"{key} to move the focus")

    def _go(self, key, arrived, what):
        seen = {}
        while not arrived():
            if self._control() in seen:
                raise AssertionError(f"no {what} among {seen}")
            seen[self._control()] = self.focused()
            self._step(key)

    # --- what scripts show ---------------------------------------------------------------------------
    def wait_for_window(self, number, seconds=PATIENCE):
        self.kodi.wait_for(lambda: self.kodi.window() == number, seconds, f"window {number}")

    def dialog(self, window=OK_WINDOW, seconds=15.0):
        """(title, text) of the dialog that comes."""
        self.wait_for_window(window, seconds)
        return self._title_and(TEXT_OF_DIALOG)

    def report(self):
        """(title, text) of the viewer that is there."""
        return self._title_and(TEXT_OF_VIEWER)

    def _title_and(self, control):
        text = self.kodi.wait_for(lambda: self.kodi.label(f"Control.GetLabel({control})"), PATIENCE, "the text")
        return self.kodi.label(f"Control.GetLabel({TITLE})"), text
