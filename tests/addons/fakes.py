"""Kodi as the addons see it, as far as they look: for tests that need no Kodi. The real one is in tests/kodi."""

import re
import sys
import types
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("xbmc", "xbmcaddon", "xbmcgui", "xbmcvfs")
SERVICE = "service.ipcdatastore"
AS_PLAIN_NAMES = ("datastore", "ipcclientx", "ipcclientxerrors")  # with resources/lib on the path, as scripts of old do


def read_strings(language):
    """The texts of a language file, by number; the English ones where a translation is missing."""
    path = ROOT / "addon_service/resources/language" / f"resource.language.{language}" / "strings.po"
    entry = re.compile(r'msgctxt "#(\d+)"\nmsgid "(.*)"\nmsgstr "(.*)"\n')
    found = entry.findall(path.read_text(encoding="utf-8") + "\n")
    return {int(number): (there or english).replace('\\"', '"') for number, english, there in found}


def default_settings():
    """What a user who never opened the settings has."""
    text = (ROOT / "addon_service/resources/settings.xml").read_text(encoding="utf-8")
    entry = re.compile(r'<setting id="(\w+)".*?(?:<default>(.*?)</default>|<default/>|</setting>)', re.DOTALL)
    return dict(entry.findall(text))


def whole(text):
    """`text`, as it is; what the real Kodi dies of is an error."""
    text.encode("utf-8")
    return text


class Kodi:
    """One Kodi, and the four modules by which scripts reach it."""

    def __init__(self, home, language="en_gb"):
        self.home = Path(home)
        (self.home / "temp").mkdir(parents=True)
        self.settings = default_settings()
        self.has_service = True
        self.caller = SERVICE  # the addon whose script runs
        self.strings = read_strings(language)
        self.properties = {}  # of the home window
        self.labels = defaultdict(str)
        self.log = []
        self.notifications = []
        self.dialogs = []
        self.answers = []  # to the next questions
        self.cancel_after = None  # updates of a progress dialog, until the user cancels it
        self.aborted = False
        self.steps = []  # what happens in the next waits for the end
        self.monitors = []
        self.players = []
        self.playing = False

    def modules(self):
        """By name, new ones."""
        return {name: getattr(self, f"_{name}")() for name in MODULES}

    def _xbmc(self):
        kodi = self

        class Monitor:
            def __init__(self):
                kodi.monitors.append(self)

            def abortRequested(self):  # noqa: N802
                return kodi.aborted

            def waitForAbort(self, timeout=None):  # noqa: N802
                if not kodi.aborted and kodi.steps:
                    kodi.steps.pop(0)()
                elif not kodi.aborted:
                    kodi.aborted = True
                return kodi.aborted

        class Player:
            def __init__(self):
                kodi.players.append(self)

            def isPlayingVideo(self):  # noqa: N802
                return kodi.playing

        return types.SimpleNamespace(
            LOGINFO=1,
            LOGWARNING=2,
            Monitor=Monitor,
            Player=Player,
            getInfoLabel=lambda label: kodi.labels[label],
            log=lambda line, level: kodi.log.append((level, whole(line))),
        )

    def _xbmcaddon(self):
        kodi = self

        class Addon:
            def __init__(self, addon_id=None):
                if addon_id == SERVICE and not kodi.has_service:
                    raise RuntimeError(f"Unknown addon id '{addon_id}'.")
                if addon_id is None and kodi.caller is None:
                    raise RuntimeError("No valid addon id could be obtained.")
                self.id = addon_id or kodi.caller

            def getSetting(self, name):  # noqa: N802
                return kodi.settings.get(name, "")

            def getAddonInfo(self, name):  # noqa: N802
                return {"id": self.id, "version": "0.1.0"}[name]

            def getLocalizedString(self, number):  # noqa: N802
                return kodi.strings.get(number, "")

        return types.SimpleNamespace(Addon=Addon)

    def _xbmcgui(self):
        kodi = self

        class Window:
            def __init__(self, number):
                if number != 10000:
                    raise RuntimeError(f"no window {number}")

            def getProperty(self, name):  # noqa: N802
                return kodi.properties.get(name.lower(), "")

            def setProperty(self, name, value):  # noqa: N802
                kodi.properties[whole(name).lower()] = whole(value)

            def clearProperty(self, name):  # noqa: N802
                kodi.properties.pop(name.lower(), None)

        class Dialog:
            def ok(self, heading, message):
                kodi.dialogs.append((heading, whole(message)))

            def textviewer(self, heading, message, usemono=False):
                kodi.dialogs.append((heading, whole(message)))

            def yesno(self, heading, message):
                kodi.dialogs.append((heading, whole(message)))
                return kodi.answers.pop(0)

            def notification(self, heading, message, icon, time, sound):
                kodi.notifications.append(whole(message))

        class DialogProgress:
            def create(self, heading, message=""):
                self.updates = [(0, message)]
                kodi.dialogs.append((heading, self.updates))

            def update(self, percent, message=""):
                self.updates.append((percent, message))

            def iscanceled(self):
                return kodi.cancel_after is not None and len(self.updates) > kodi.cancel_after

            def close(self):
                self.updates.append("closed")

        return types.SimpleNamespace(
            Dialog=Dialog,
            DialogProgress=DialogProgress,
            NOTIFICATION_INFO="info",
            NOTIFICATION_WARNING="warning",
            Window=Window,
        )

    def _xbmcvfs(self):
        def translate(path):
            return path.replace("special://", f"{self.home}/")

        return types.SimpleNamespace(translatePath=translate)

    def lines(self):
        """What is in the log."""
        return "\n".join(line for _, line in self.log)


def forget_addons():
    """Have the next test import the addons' code anew: another script of Kodi is another interpreter."""
    for name in list(sys.modules):
        if name.split(".")[0] in (*MODULES, "ipc", "resources", *AS_PLAIN_NAMES):
            del sys.modules[name]
