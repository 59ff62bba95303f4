"""The command as a whole: help, exit codes, errors, and that reading creates and changes nothing."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

import ipcdatastore
from cli.program import PROGRAM, start
from ipcdatastore.cli.complete import MOST
from ipcdatastore.cli.root import BROKEN_PIPE, FAILED, INTERRUPTED, USAGE, VERBS, root

NO_STORE = ("objects", "call", "doctor", "selftest", "demo", "completion")


# --- errors --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("set", "serve", "restore", *NO_STORE)])
def test_only_set_creates_a_store(run, directory, verb):
    more = {"get": ["key"], "delete": ["key"], "wait": ["key"], "backup": ["file"], "clear": ["--yes"]}
    error = run(verb, "shop", *more.get(verb, []), code=FAILED).stderr
    assert "no region 'shop'" in error
    assert "`ipcdatastore set`" in error
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("verb", ["get", "list", "stats"])
def test_reading_changes_nothing(run, store, directory, verb):
    store["key"] = 1
    before = (directory / "shop.region").read_bytes()
    run(verb, "shop", *(["key"] if verb == "get" else []))
    assert (directory / "shop.region").read_bytes() == before


def test_an_error_is_one_line(directory):
    process = start(directory, "get", "a/b", "key", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate()
    assert process.returncode == FAILED
    assert out == b""
    assert err.startswith(b"ipcdatastore: the name 'a/b' has characters")
    assert err.count(b"\n") == 1


def test_a_held_lock_is_waited_for_as_long_as_told(run, store):
    store["key"] = 1
    store._engine.coordinator.take()
    try:
        assert run("set", "shop", "key", "2", "--timeout", "0.05", code=FAILED).stderr
    finally:
        store._engine.coordinator.release()
    assert store["key"] == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_broken_pipe_is_quiet(directory, store):
    store.set_many({f"key {number}": "x" * 1000 for number in range(2000)})
    process = start(directory, "list", "shop", "--values", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == BROKEN_PIPE
    assert error == b""


def test_interrupted(run, store, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ipcdatastore, "open", interrupt)
    assert run("get", "shop", "key", code=INTERRUPTED).stderr == "ipcdatastore: interrupted\n"


# --- the program ---------------------------------------------------------------------------------------
def test_version_and_help(directory):
    process = start(directory, "--version", stdout=subprocess.PIPE)
    assert process.communicate()[0].split() == [b"ipcdatastore", ipcdatastore.__version__.encode()]
    told = CliRunner().invoke(root, ["--help"]).output
    assert all(f"\n  {verb} " in told for verb in VERBS)
    assert "Exit codes:" in told
    assert "\n  130  " in told.replace("    ", "  ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_an_example_and_the_common_options(verb):
    told = CliRunner().invoke(root, [verb, "--help"], terminal_width=200).output
    wanted = {"--directory", "--json", "--timeout"}
    wanted -= {"--timeout"} if verb in ("selftest", "top", "objects", "completion") else set()
    wanted -= {"--directory"} if verb == "completion" else set()
    assert all(f"\n  {option} " in told for option in wanted)
    assert "\n  Example" in told
    assert f"ipcdatastore {verb}" in told.split("\n  Example")[1]
    assert "\b" not in told


# --- completion ----------------------------------------------------------------------------------------------
def complete(directory, *words):
    """What is offered for the last of `words`."""
    environment = {"COMP_WORDS": " ".join(["ipcdatastore", *words]), "COMP_CWORD": str(len(words))}
    variables = {"_IPCDATASTORE_COMPLETE": "bash_complete", "IPCDATASTORE_DIR": str(directory), **environment}
    result = subprocess.run(PROGRAM, env={**os.environ, **variables}, capture_output=True, check=False)
    assert result.stderr == b""
    return [line.split(",", 1)[1] for line in result.stdout.decode().splitlines() if line]


def test_verbs_stores_and_keys_are_completed(directory, store):
    store.update({"colour": 1, "count": 2, "other": 3, 17: 4, 18: 5, "two\nlines": 6})
    assert sorted(complete(directory, "se")) == ["selftest", "serve", "set"]
    assert complete(directory, "get", "") == ["shop"]
    assert complete(directory, "get", "x") == []
    assert complete(directory, "get", "shop", "co") == ["colour", "count"]
    assert complete(directory, "wait", "shop", "o") == ["other"]
    assert complete(directory, "delete", "--key-type", "int", "shop", "1") == ["17", "18"]
    assert complete(directory, "get", "--key-type", "bytes", "shop", "") == []
    assert complete(directory, "get", "shop", "two") == []
    assert "--directory" in complete(directory, "get", "--d")
    assert complete("/nowhere", "get", "--directory", str(directory), "shop", "col") == ["colour"]


def test_completion_is_bounded_and_never_fails(directory, store):
    store.set_many({f"key {number:04}": 1 for number in range(1000)})
    assert len(complete(directory, "get", "shop", "key")) == MOST
    (directory / "torn.region").write_bytes(b"no region")
    assert complete(directory, "get", "torn", "") == []
    assert complete(directory, "get", "missing", "") == []
    assert complete(directory / "missing", "get", "") == []
    assert complete(directory, "get", "to") == ["torn"]
    (directory / "torn.region").unlink()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell):
    script = CliRunner().invoke(root, ["completion", shell]).output
    assert f"_IPCDATASTORE_COMPLETE={shell}_complete" in script
    told = json.loads(CliRunner().invoke(root, ["completion", shell, "--json"]).output)
    assert told == {"shell": shell, "script": script.rstrip("\n")}
    assert CliRunner().invoke(root, ["completion", "csh"]).exit_code == USAGE


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_works_in_bash(directory, store):
    store["colour"] = 1
    script = CliRunner().invoke(root, ["completion", "bash"]).output
    program = f'ipcdatastore() {{ "{sys.executable}" -m ipcdatastore "$@"; }}; export -f ipcdatastore'
    words = "COMP_WORDS=(ipcdatastore get shop co) COMP_CWORD=3"
    # `env` finds no function of the shell: the script is told to call it.
    script = script.replace("env COMP_WORDS", "COMP_WORDS")
    command = f"{program}\n{script}\n{words}; _ipcdatastore_completion ipcdatastore; echo ${{COMPREPLY[@]}}"
    environment = {**os.environ, "IPCDATASTORE_DIR": str(directory)}
    result = subprocess.run(["bash", "--norc", "-c", command], env=environment, stdout=subprocess.PIPE, check=True)
    assert result.stdout == b"colour\n"


@pytest.mark.parametrize("missing", [["click"], ["rich"], ["click", "rich"]])
def test_without_the_extra_it_says_how_to_get_it(missing):
    script = f"import sys; sys.modules.update(dict.fromkeys({missing})); import ipcdatastore.cli as c; c.main(['-h'])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert result.returncode == USAGE
    assert result.stdout == b""
    assert b'pip install "ipcdatastore[cli]"' in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_a_pipe_never_imports_rich(directory, store):
    store["key"] = 1
    script = "import sys; from ipcdatastore.cli.root import root; root(sys.argv[1:], standalone_mode=False)"
    script += "; print('rich' in sys.modules)"
    with_key = [["get", "shop", "key"], ["wait", "shop", "key", "--since", "0"], ["clear", "shop", "--yes"]]
    others = [[verb, "shop"] for verb in ("list", "stats", "check", "repair", "doctor")]
    for verb in (*with_key, *others, ["objects", "--interval", "0"]):
        command = [sys.executable, "-c", script, *verb, "--directory", str(directory)]
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.endswith(b"False\n")
