"""What the tests of the command line have in common: a verb run in this process, and a store to run it on."""

from importlib.util import find_spec

import pytest

import ipcdatastore

# Everything else works without the extra `cli`.
collect_ignore_glob = [] if find_spec("click") and find_spec("rich") else ["test_*.py"]
SAY_IT_ON_STDOUT = ("check", "repair", "doctor")  # what is wrong is what they are asked for


@pytest.fixture
def run(directory):
    """Run a verb in this process, with the test's own directory; its output is that of a pipe."""
    from click.testing import CliRunner

    from ipcdatastore.cli.root import FAILED, NOT_FOUND, OK, root

    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:  # click 8.2 no longer mixes, and has no such option
        runner = CliRunner()

    def invoke(verb, *arguments, stdin=None, code=OK):
        result = runner.invoke(root, [verb, "--directory", str(directory), *arguments], input=stdin)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        if code == FAILED or (code == NOT_FOUND and verb not in SAY_IT_ON_STDOUT):
            assert result.stderr.count("\n") == 1
        return result

    return invoke


@pytest.fixture
def store(directory):
    with ipcdatastore.open("shop", directory=directory) as store:
        yield store
        assert store.check() == []
