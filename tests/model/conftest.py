"""``--model=quick`` (default) searches the quick scenarios, ``--model=all`` the long ones too.

The option exists when this directory is named on the command line: ``pytest tests/model --model=all``.
"""

import pytest


def pytest_addoption(parser):
    parser.addoption("--model", choices=("quick", "all"), default="quick", help="which model scenarios are searched")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--model", default="quick") == "all":
        return
    skip = pytest.mark.skip(reason="long search; run with --model=all")
    for item in items:
        if item.get_closest_marker("slow_model"):
            item.add_marker(skip)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow_model: a model scenario that is searched with --model=all only")
