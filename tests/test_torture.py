"""The long run of ``python -m torture`` is worth something: a short one passes, and it sees what is lost."""

import json
import signal

import pytest

import ipcdatastore
import torture

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")


def figures(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["torture", "--json", *arguments])
    code = torture.main()
    return code, json.loads(capsys.readouterr().out)


def test_a_short_run(capsys, monkeypatch):
    monkeypatch.setattr(torture, "LIFE", 3)
    code, found = figures(capsys, monkeypatch, "--kills", "9", "--seed", "1")
    assert (code, found["kills"], found["wrong"]) == (0, 9, "")
    assert min(found["operations acknowledged"], found["evictions announced"], found["operations of survivors"]) > 0


def test_with_other_keys(capsys, monkeypatch):
    code, found = figures(capsys, monkeypatch, "--kills", "2", "--keys", "30000")
    assert (code, found["kills"], found["wrong"]) == (0, 2, "")
    assert found["keys compared"] > 30000


@pytest.mark.parametrize("life", ["survivors", "eviction"])
def test_it_sees_what_is_lost(capsys, monkeypatch, life):
    whole = ipcdatastore.Datastore.get_many

    def get_many(self, keys):
        found = whole(self, keys)
        for key in list(found)[:1]:
            del found[key]
        return found

    monkeypatch.setattr(ipcdatastore.Datastore, "get_many", get_many)
    if life == "eviction":
        monkeypatch.setattr(
            torture,
            "life_with_survivors",
            lambda d, rng, kills, keys, *rest: torture.life_with_eviction(d, rng, kills, *rest),
        )
    code, found = figures(capsys, monkeypatch, "--kills", "40", "--seed", "3")
    assert code == 1
    assert "acknowledged" in found["wrong"]
