"""The list of breaks fits the source: each is in one place, and still a program."""

from pathlib import Path

import pytest

from mutations.patches import SOURCE, read_patches

PATCHES = read_patches()


@pytest.mark.parametrize("patch", PATCHES, ids=[patch.name for patch in PATCHES])
def test_a_break_applies(patch):
    broken = patch.apply((SOURCE / patch.path).read_text(encoding="utf-8"))
    compile(broken, str(patch.path), "exec")
    assert all((Path(__file__).parents[1] / test).exists() for test in patch.tests)


def test_names_are_unique():
    assert len({patch.name for patch in PATCHES}) == len(PATCHES) > 30
