"""The examples in docstrings and in the README run, and give what they say."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import ipcdatastore

README = Path(__file__).parents[1] / "README.md"
CLI_EXTRA = {"click", "rich"}
MODULES = ["ipcdatastore"] + [
    module.name
    for module in pkgutil.walk_packages(ipcdatastore.__path__, "ipcdatastore.", onerror=lambda name: None)
    if not module.name.endswith(".__main__")  # importing that runs the command line
]


@pytest.fixture(autouse=True)
def _own_directory(directory, monkeypatch):
    monkeypatch.setenv("IPCDATASTORE_DIR", str(directory))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in CLI_EXTRA:
            raise
        pytest.skip(f"{name} needs {error.name}, of the extra 'cli'")
    assert doctest.testmod(module, extraglobs={"open": ipcdatastore.open, "ipcdatastore": ipcdatastore}).failed == 0


@pytest.mark.skipif(not hasattr(ipcdatastore, "open"), reason="the public API is not in place yet")
def test_readme():
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", README.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {"__name__": "readme"})
