"""A home directory from which Kodi starts with addons installed and enabled, asks nothing, and talks to nobody."""

import os
import shutil
import sqlite3
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

# Kodi fills a database that is missing, and expects all tables in one that is there. This is that of Kodi 20 and 21.
DATABASE = "Addons33.db"
SCHEMA = """
CREATE TABLE version (idVersion integer, iCompressCount integer);
CREATE TABLE addons (
    id INTEGER PRIMARY KEY, metadata BLOB, addonID TEXT NOT NULL, version TEXT NOT NULL, name TEXT NOT NULL,
    summary TEXT NOT NULL, news TEXT NOT NULL, description TEXT NOT NULL);
CREATE TABLE repo (
    id integer primary key, addonID text, checksum text, lastcheck text, version text, nextcheck TEXT);
CREATE TABLE addonlinkrepo (idRepo integer, idAddon integer);
CREATE TABLE update_rules (id integer primary key, addonID TEXT, updateRule INTEGER);
CREATE TABLE package (id integer primary key, addonID text, filename text, hash text);
CREATE TABLE installed (
    id INTEGER PRIMARY KEY, addonID TEXT UNIQUE, enabled BOOLEAN, installDate TEXT, lastUpdated TEXT, lastUsed TEXT,
    origin TEXT NOT NULL DEFAULT '', disabledReason INTEGER NOT NULL DEFAULT 0);
CREATE INDEX idxAddons ON addons(addonID);
CREATE UNIQUE INDEX ix_addonlinkrepo_1 ON addonlinkrepo (idRepo, idAddon);
CREATE UNIQUE INDEX ix_addonlinkrepo_2 ON addonlinkrepo (idAddon, idRepo);
CREATE UNIQUE INDEX idxUpdate_rules ON update_rules(addonID, updateRule);
CREATE UNIQUE INDEX idxPackage ON package(filename);
INSERT INTO version VALUES (33, 0);
"""
BY_USER = 1  # why an addon is disabled: nothing asks about it again
INSTALLED = (
    "INSERT OR REPLACE INTO installed (addonID, enabled, installDate, disabledReason) VALUES (?, ?, datetime('now'), ?)"
)

SETTINGS = {
    "services.webserver": "false",  # it would listen on every interface
    "services.esenabled": "true",  # without it there is no JSON-RPC over TCP
    "services.esallinterfaces": "false",
    "services.esportrange": "1",
    "services.zeroconf": "false",
    "services.wsdiscovery": "false",
    "services.upnp": "false",
    "services.airplay": "false",
    "general.addonupdates": "2",  # never
    "general.addonnotifications": "false",
    "lookandfeel.enablerssfeeds": "false",
    "debug.showloginfo": "false",
    "screensaver.mode": "",
    "audiooutput.guisoundmode": "0",
    "weather.addon": "",
    "locale.language": "resource.language.en_gb",
}
# Kodi throws the whole file away when one of its parts does not find an element of its own.
GUISETTINGS = """\
<settings version="2">
{rows}
    <viewstates />
    <general><settinglevel>2</settinglevel></general>
    <resolutions /><defaultvideosettings /><defaultaudiosettings /><defaultgamesettings />
    <mymusic /><myvideos /><audio />
</settings>
"""
ADVANCED = """\
<advancedsettings version="1.0">
  <loglevel hide="true">0</loglevel>
  <jsonrpc><tcpport>{port}</tcpport></jsonrpc>
  <splash>false</splash>
</advancedsettings>
"""
NO_SOUND = "pcm.!default { type null }\nctl.!default { type null }\n"  # Kodi waits 6 s for a sound card otherwise


class Home:
    """What is below one home directory. `root` is where the system of this Kodi is: ``/``, or a Debian root."""

    def __init__(self, path, root="/"):
        self.path = Path(path)
        self.root = Path(root)
        self.kodi = self.path / ".kodi"
        self.userdata = self.kodi / "userdata"

    def prepare(self, addons, settings, event_port):
        """Make everything; `addons` are directories, `settings` come on top of `SETTINGS`."""
        (self.userdata / "Database").mkdir(parents=True)
        (self.path / "run").mkdir(mode=0o700)
        ids = [self._install(Path(addon)) for addon in addons]
        self._enable(ids)
        rows = dict(SETTINGS, **{"services.esport": str(event_port)}, **settings)
        lines = "\n".join(f'    <setting id="{name}">{escape(value)}</setting>' for name, value in rows.items())
        (self.userdata / "guisettings.xml").write_text(GUISETTINGS.format(rows=lines), "utf-8")
        (self.path / ".asoundrc").write_text(NO_SOUND, "utf-8")

    def listen_on(self, port):
        """Where JSON-RPC will be at the next start."""
        (self.userdata / "advancedsettings.xml").write_text(ADVANCED.format(port=port), "utf-8")

    def log(self):
        path = self.kodi / "temp" / "kodi.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def addon_data(self, addon_id):
        return self.userdata / "addon_data" / addon_id

    def _install(self, source):
        addon_id = ElementTree.parse(source / "addon.xml").getroot().get("id")
        shutil.copytree(source, self.kodi / "addons" / addon_id)
        return addon_id

    def _enable(self, ids):
        connection = sqlite3.connect(str(self.userdata / "Database" / DATABASE))
        try:
            connection.executescript(SCHEMA)
            connection.executemany(INSTALLED, [(addon_id, 1, 0) for addon_id in ids])
            # Kodi asks, in a dialog, about each addon that is neither here nor in its manifest; and the official
            # repository is on the net.
            others = [*self._unlisted(), "repository.xbmc.org"]
            connection.executemany(INSTALLED, [(addon_id, 0, BY_USER) for addon_id in others])
            connection.commit()
        finally:
            connection.close()

    def _unlisted(self):
        """The addons of the system that its manifest does not name."""
        manifest = self.root / "usr/share/kodi/system/addon-manifest.xml"
        listed = {element.text for element in ElementTree.parse(manifest).getroot()}
        found = set()
        for folder in [self.root / "usr/share/kodi/addons", *self.root.glob("usr/lib/*/kodi/addons")]:
            if folder.is_dir():
                found.update(os.listdir(folder))
        return sorted(found - listed)
