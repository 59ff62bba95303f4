"""What the tests of calls share."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from children import crew
from conftest import MEMORY, has_memory_directory

from .served import left_in


@pytest.fixture
def start():
    with crew() as start:
        yield start


@pytest.fixture(scope="class")
def directory_of_class(tmp_path_factory):
    parent = MEMORY if has_memory_directory() else tmp_path_factory.mktemp("objects")
    path = Path(tempfile.mkdtemp(prefix="ipcdatastore-test-", dir=parent))
    yield path
    left = left_in(path)
    shutil.rmtree(path, ignore_errors=os.name == "nt")
    assert left == [], "files were left behind"
