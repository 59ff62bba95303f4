"""The addons as Kodi gets them: the two of this project, and the tests' own."""

import importlib.util
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = Path(__file__).resolve().parent / "addons"
UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc")
NEEDS_MODULE = '    <import addon="script.module.ipc" version="0.1.0"/>\n'

ONE, TWO, BARE, PLUGIN = "script.test.one", "script.test.two", "script.test.bare", "plugin.video.test"


def load_builder():
    """tools/addons.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("build_of_the_addons", str(ROOT / "tools" / "addons.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stage(out):
    """The project's addons below `out`: the directories of the module and of the service."""
    return load_builder().stage(out)


def stage_own(out):
    """The tests' own addons below `out`: their directories. The scripts differ in their ids only, and BARE does without
    the module.
    """
    directories = []
    for source, addon_id in ((ONE, ONE), (ONE, TWO), (ONE, BARE), (PLUGIN, PLUGIN)):
        directory = Path(out) / addon_id
        shutil.copytree(OWN / source, directory, ignore=UNWANTED)
        xml = directory / "addon.xml"
        text = xml.read_text("utf-8").replace(source, addon_id)
        xml.write_text(text.replace(NEEDS_MODULE, "") if addon_id == BARE else text, "utf-8")
        directories.append(directory)
    return directories
