"""The addons as Kodi gets them: the two of this project, and the tests' own."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(__file__).resolve().parent / "addons"
UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", "README.md")

ONE, TWO, PLUGIN = "script.test.one", "script.test.two", "plugin.video.test"


def stage(out):
    """The project's addons below `out`: the directories of the module and of the service."""
    out = Path(out)
    module, service = out / "script.module.ipc", out / "service.ipcdatastore"
    shutil.copytree(ROOT / "addon_module", module, ignore=UNWANTED)
    shutil.copytree(ROOT / "addon_service", service, ignore=UNWANTED)
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc", "cli", "demo", "py.typed", "__main__.py")
    shutil.copytree(ROOT / "src" / "ipcdatastore", module / "lib" / "ipcdatastore", ignore=unwanted)
    return module, service


def stage_own(out):
    """The tests' own addons below `out`: their directories. The second script differs from the first in its id only."""
    directories = []
    for source, addon_id in ((ONE, ONE), (ONE, TWO), (PLUGIN, PLUGIN)):
        directory = Path(out) / addon_id
        shutil.copytree(OWN / source, directory, ignore=UNWANTED)
        xml = directory / "addon.xml"
        xml.write_text(xml.read_text("utf-8").replace(source, addon_id), "utf-8")
        directories.append(directory)
    return directories
