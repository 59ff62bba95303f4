"""What is installed: public names, version, type marker, and what an import costs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ipcdatastore

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Imported where they are used, if ever: start-up time is paid by every script of every user.
LAZY = ["asyncio", "click", "filelock", "multiprocessing", "portalocker", "rich"]


def test_public_names_are_listed_in_order():
    assert isinstance(ipcdatastore.__all__, (list, tuple))
    assert list(ipcdatastore.__all__) == sorted(set(ipcdatastore.__all__))


@pytest.mark.parametrize("name", ipcdatastore.__all__)
def test_public_name_exists(name):
    assert getattr(ipcdatastore, name, None) is not None


def test_type_marker_is_shipped():
    assert (Path(ipcdatastore.__file__).parent / "py.typed").is_file()


def test_version_is_that_of_the_project():
    # A pattern, because Python 3.8 to 3.10 have no tomllib.
    (version,) = re.findall(r'^version = "(.+)"$', PYPROJECT.read_text(encoding="utf-8"), re.MULTILINE)
    assert ipcdatastore.__version__ == version


def test_import_is_lean():
    script = (
        "import sys; before = set(sys.modules); import ipcdatastore; "
        f"print(*sorted((set(sys.modules) - before) & set({LAZY})))"
    )
    result = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert result.stdout.split() == []
