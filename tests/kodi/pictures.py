"""Takes the pictures of the service in a real Kodi: ``python -m kodi.pictures`` in ``tests``.

Those of the addon (its ``screenshot`` assets), and the one of the README, which shows them together.
"""

import subprocess
import tempfile
from pathlib import Path

import ipcdatastore

from .addon import Service
from .harness import Kodi
from .staging import ROOT, stage, stage_own

RESOURCES = ROOT / "addon_service" / "resources"
TOGETHER = ROOT / "docs" / "images" / "kodi.jpg"
WEATHER = {
    "now": {"text": "sunny", "degrees": 21, "wind": [3, "NW"]},
    "forecast": [{"day": day, "degrees": degrees} for day, degrees in (("Tue", 19), ("Wed", 17), ("Thu", 22))],
    "station": "Berlin-Dahlem",
}
FILMS = {
    "films": [{"title": f"Film {number}", "year": 1980 + number} for number in range(1, 21)],
    "gathered": 1_764_000_000.0,
    "poster.cache": b"\x89PNG\r\n\x1a\n" + bytes(48_000),
    "session": ("a7c1", True),
}
STILL = 5  # pictures in a row that are the same
SKIN = {"clock": "12:30", "mode": "party", "dimmed": False, "page": 3}


def fill(store):
    """Values as addons and skins have them."""
    for author, values in (("script.example.weather", WEATHER), ("plugin.video.example.gathered", FILMS)):
        for name, value in values.items():
            store.set((author, name), value, persist=name in ("films", "station", "session"))
    for name, value in SKIN.items():
        store["skin", name] = value


def take(kodi, name):
    """One picture, once what is on the screen moves no more."""
    path = RESOURCES / f"screenshot-{name}.jpg"
    with tempfile.NamedTemporaryFile(suffix=".ppm") as raw:
        seen = []

        def is_still():
            kodi.screenshot(raw.name)
            seen.append(Path(raw.name).read_bytes())
            return len(seen) > STILL and len(set(seen[-STILL:])) == 1

        kodi.wait_for(is_still)
        subprocess.run(["convert", raw.name, "-quality", "88", "-strip", str(path)], check=True)
    return path


def main():
    """All of them."""
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        addons = [*stage(Path(scratch)), *stage_own(Path(scratch))]
        with Kodi(Path(scratch) / "home", addons, {"IPCDATASTORE_DIR": memory}) as kodi:
            kodi.wait_for(lambda: kodi.lines("self-test: "))
            service = Service(kodi)
            with ipcdatastore.open("kodi", directory=memory, mode="w") as store:
                fill(store)
                taken = [settings(kodi, service), browser(kodi), details(kodi), report(kodi, service)]
    subprocess.run(
        ["montage", *map(str, taken), "-tile", "2x2", "-geometry", "640x360+4+4", "-quality", "88", str(TOGETHER)],
        check=True,
    )
    print(*taken, TOGETHER, sep="\n")


def settings(kodi, service):
    service.open()
    taken = take(kodi, "settings")
    kodi.to_home()
    return taken


def browser(kodi):
    kodi.run_addon("service.ipcdatastore", "browse")
    kodi.wait_for(lambda: kodi.label("Container(50).ListItemAbsolute(6).Property(type)"))
    kodi.wait_for(lambda: kodi.label("System.CurrentControlId") == "50")
    for row in map(str, range(2, 7)):
        kodi.press("down")
        kodi.wait_for(lambda row=row: kodi.label("Container(50).CurrentItem") == row)
    return take(kodi, "browse")


def details(kodi):
    kodi.press("select")
    kodi.wait_for(lambda: kodi.label("Control.GetLabel(92)"))
    taken = take(kodi, "details")
    kodi.press("back")
    kodi.to_home()
    return taken


def report(kodi, service):
    kodi.run_addon("service.ipcdatastore", "selftest")
    service.report()
    taken = take(kodi, "selftest")
    kodi.to_home()
    return taken


if __name__ == "__main__":
    main()
