"""What the tests of the Kodi addons have in common: the program that builds them, and what it built."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDER = ROOT / "tools" / "addons.py"

# The addons are built from a checkout; the built wheel, for one, is tested without.
collect_ignore_glob = [] if (ROOT / "src" / "ipcdatastore").is_dir() and BUILDER.is_file() else ["test_*.py"]


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
