"""What skins and keymaps run, and the buttons of the settings."""

import pytest

import ipcdatastore
from ipcdatastore.selftest import step_names

STEPS = len(step_names(quick=True))


@pytest.fixture
def run(load):
    main = load("actions").main
    return lambda *arguments: main(list(arguments))


@pytest.fixture
def service(load, kodi):
    """The service, running as far as it answers."""
    host = load("host").Host()
    host.tick()
    yield host
    host.close()


class TestWriting:
    def test_set(self, run, outside):
        run("set", "clock", "on")
        run("set", "script.one/volume", "5")
        assert dict(outside()) == {("skin", "clock"): "on", ("script.one", "volume"): 5}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("true", True),
            ("false", False),
            ("5", 5),
            ("-5", -5),
            ("2.5", 2.5),
            ("05", "05"),
            ("1_000", "1_000"),
            ("inf", "inf"),
            ("nan", "nan"),
            ("1e5", "1e5"),
            ("", ""),
            ("ü 1", "ü 1"),
        ],
    )
    def test_values(self, run, outside, text, value):
        run("set", "a", text)
        found = outside()[("skin", "a")]
        assert (type(found), found) == (type(value), value)

    def test_toggle(self, run, outside):
        store = outside().namespace("skin")
        seen = []
        for _ in range(3):
            run("toggle", "a")
            seen.append(store["a"])
        assert seen == [True, False, True]

    def test_increment(self, run, outside):
        run("increment", "a")
        run("increment", "a", "5")
        run("increment", "a", "-0.5")
        assert outside()[("skin", "a")] == 5.5

    def test_delete(self, run, outside):
        run("set", "a", "x")
        run("delete", "a")
        run("delete", "a")
        assert len(outside()) == 0

    @pytest.mark.parametrize(
        "arguments",
        [
            ("set", "a"),
            ("set", "a", "b", "c"),
            ("toggle",),
            ("increment", "a", "much"),
            ("set", "", "x"),
            ("set", "author/", "x"),
            ("set", "/name", "x"),
            ("jump",),
            ("jump", "a"),
        ],
    )
    def test_what_means_nothing(self, run, kodi, outside, arguments):
        run(*arguments)
        assert len(outside()) == 0
        assert len(kodi.notifications) == 1
        assert f"RunScript(service.ipcdatastore,{','.join(arguments)})" in kodi.lines()

    def test_counting_a_word(self, run, kodi, outside):
        run("set", "a", "word")
        run("increment", "a")
        assert outside()[("skin", "a")] == "word"
        assert len(kodi.notifications) == 1


class TestButtons:
    def test_connection(self, run, kodi, service):
        kodi.steps = []
        service_tick = service.tick
        # The service answers while the script waits.
        ipcdatastore.on_wait(None)
        import ipc

        ipc._ends = lambda: None
        ipcdatastore.on_wait(service_tick)
        run("test")
        ipcdatastore.on_wait(None)
        ((heading, message),) = kodi.dialogs
        assert heading == "Test connection"
        assert "Written, read and deleted" in message
        assert "kodi.region" in message
        assert "The service answered" in message

    def test_connection_without_the_service(self, run, kodi, outside):
        outside()["a"] = 1
        run("test")
        ((_, message),) = kodi.dialogs
        assert "does not answer" in message
        assert list(outside()) == ["a"]

    def test_full_selftest(self, run, kodi, outside):
        outside()["a"] = 1
        run("selftest")
        (heading, updates), (title, report) = kodi.dialogs
        assert heading == "Run full self-test"
        assert [update[0] for update in updates[:-1]] == sorted(update[0] for update in updates[:-1])
        assert updates[-2][0] == 100
        assert updates[-1] == "closed"
        assert title == f"Self-test: all {STEPS} steps passed"
        assert report.count("ok     ") == STEPS
        path = kodi.home / "profile/addon_data/service.ipcdatastore/selftest.txt"
        assert str(path) in report
        assert title in path.read_text(encoding="utf-8")
        assert dict(outside()) == {"a": 1}

    def test_a_step_that_fails(self, run, kodi, monkeypatch):
        from ipcdatastore.selftest import director

        def fail(bench):
            raise ValueError("not so")

        monkeypatch.setitem(director.STEPS, "keys expire", fail)
        run("selftest")
        title, report = kodi.dialogs[-1]
        assert title == f"Self-test: 1 of {STEPS} steps failed"
        assert "FAILED keys expire" in report
        assert "ValueError: not so" in report

    def test_cancelled(self, run, kodi, directory):
        kodi.cancel_after = 3
        run("selftest")
        ((_, updates),) = kodi.dialogs
        assert updates[-1] == "closed"
        assert not list(directory.glob("selftest-*"))

    def test_flush_with_nothing_to_keep(self, run, kodi, service):
        run("flush")
        assert "nothing to keep" in kodi.dialogs[-1][1]

    def test_flush(self, run, kodi, service):
        service.region.store.set("a", 1, persist=True)
        run("flush")
        assert ".image" in kodi.dialogs[-1][1]

    @pytest.mark.parametrize("meant", [True, False])
    def test_clear(self, run, kodi, service, meant):
        service.region.store.set("a", 1, persist=True)
        run("flush")
        kodi.answers = [meant]
        run("clear")
        assert "Delete all values (1)" in kodi.dialogs[1][1]
        assert len(service.region.store) == (0 if meant else 1)
        assert len(kodi.dialogs) == (3 if meant else 2)
