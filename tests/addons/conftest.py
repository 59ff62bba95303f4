"""The addons' code, with a Kodi that is none; and the program that builds the addons, with what it built."""

import importlib.util

import pytest

import ipcdatastore
from addons.fakes import ROOT, Kodi, forget_addons

BUILDER = ROOT / "tools" / "addons.py"

# The addons are built from a checkout; the built wheel, for one, is tested without.
collect_ignore_glob = [] if (ROOT / "src" / "ipcdatastore").is_dir() and BUILDER.is_file() else ["test_*.py"]


@pytest.fixture
def kodi(tmp_path, directory, monkeypatch):
    """A Kodi whose regions are in `directory`, and whose files are in a place of its own."""
    monkeypatch.setenv("IPCDATASTORE_DIR", str(directory))
    kodi = Kodi(tmp_path / "home")
    forget_addons()
    for name, module in kodi.modules().items():
        monkeypatch.setitem(importlib.sys.modules, name, module)
    for folder in ("addon_module/lib", "addon_service"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    yield kodi
    ipcdatastore.on_wait(None)
    forget_addons()


@pytest.fixture
def load(kodi):
    """A module of the addons, by its name there."""

    def load(name):
        return importlib.import_module(name if name.startswith("ipc") else f"resources.lib.{name}")

    return load


@pytest.fixture
def outside(directory):
    """The region as a program outside of Kodi has it."""
    opened = []

    def outside(name="kodi", **options):
        opened.append(ipcdatastore.open(name, directory=directory, **options))
        return opened[-1]

    yield outside
    for store in opened:
        if not store._engine.closed:
            assert store.check() == []
            store.close()


@pytest.fixture(scope="session")
def builder():
    """tools/addons.py as a module."""
    spec = importlib.util.spec_from_file_location("addons_builder", BUILDER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def out(builder, tmp_path_factory):
    """The folder of a finished build. Tests only read it."""
    directory = tmp_path_factory.mktemp("addons")
    builder.build(directory, "https://example.org/kodi/")
    return directory
