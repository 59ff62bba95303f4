"""What the skin is shown."""

import pytest


@pytest.fixture
def wishes(load):
    """The settings: everything of the author `skin`, and one more."""
    return load("settings").read()._replace(skin_bridge=True, skin_patterns=("skin/*", "script.one/title"))


@pytest.fixture
def bridge(load):
    bridge = load("bridge").Bridge()
    yield bridge
    bridge.close()


@pytest.fixture
def tick(bridge, outside, wishes):
    """One look; what is shown then."""
    store = outside()

    def tick(**changes):
        for _ in range(10_000):
            if not bridge.tick(store, wishes._replace(**changes)):
                return
        pytest.fail("it never comes to an end")

    return tick


def test_what_is_there_and_what_comes(kodi, outside, tick):
    store = outside()
    store[("skin", "a")] = "first"
    tick()
    assert kodi.properties == {"ipc.skin.a": "first"}
    store[("skin", "a")] = "second"
    store[("script.one", "title")] = "Alien"
    store[("script.one", "other")] = "hidden"
    store["odd"] = store[("skin", "deep", "er")] = store[(1, 2)] = "hidden"
    tick()
    assert kodi.properties == {"ipc.skin.a": "second", "ipc.script.one.title": "Alien"}
    del store[("skin", "a")]
    tick()
    assert kodi.properties == {"ipc.script.one.title": "Alien"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (5, "5"),
        (2.5, "2.5"),
        (True, "true"),
        (False, "false"),
        (["a", 1, None], "a / 1 / "),
    ],
)
def test_values(kodi, outside, tick, value, shown):
    outside()[("skin", "a")] = value
    tick()
    assert kodi.properties == {"ipc.skin.a": shown}


@pytest.mark.parametrize("value", [None, "", {}])
def test_nothing_is_no_property(kodi, outside, tick, value):
    store = outside()
    store[("skin", "a")] = "before"
    tick()
    store[("skin", "a")] = value
    tick()
    assert kodi.properties == {}


def test_a_dict_is_a_property_for_each_item(kodi, outside, tick):
    store = outside()
    store[("skin", "film")] = {"title": "Alien", "year": 1979, "seen": True, "plot": None}
    tick()
    assert kodi.properties == {
        "ipc.skin.film.title": "Alien",
        "ipc.skin.film.year": "1979",
        "ipc.skin.film.seen": "true",
    }
    store[("skin", "film")] = {"title": "Aliens"}
    tick()
    assert kodi.properties == {"ipc.skin.film.title": "Aliens"}


class Unknown:
    """Of a class that the service cannot import."""


def test_an_object_of_another_addon_is_not_shown(kodi, outside, tick, monkeypatch):
    store = outside()
    store[("skin", "a")] = Unknown()
    store[("skin", "b")] = "fine"
    monkeypatch.delattr(f"{__name__}.Unknown")
    tick()
    assert kodi.properties == {"ipc.skin.b": "fine"}


class Rude:
    """Asked what it is, it wants to end the program; or it raises."""

    def __init__(self, error):
        self.error = error

    def __str__(self):
        raise self.error


class Ends:
    """The same when it is read."""

    def __reduce__(self):
        return exit_now, ()


def exit_now():
    raise SystemExit("a value that ends who reads it")


def endless():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("make", [lambda: Rude(ValueError("no")), lambda: Rude(SystemExit()), Ends])
def test_a_value_that_raises_is_not_shown(kodi, outside, tick, make):
    store = outside()
    store[("skin", "a")] = make()
    store[("skin", "b")] = "fine"
    tick()
    assert kodi.properties == {"ipc.skin.b": "fine"}


def test_a_value_without_end_has_one(kodi, outside, tick):
    store = outside()
    store[("skin", "a")] = endless()
    store[("skin", "b")] = list(range(10**5))
    store[("skin", "c")] = "long" * 10**6
    tick()
    assert kodi.properties["ipc.skin.a"] == "…"
    assert kodi.properties["ipc.skin.b"].endswith(" / 999")
    assert len(kodi.properties["ipc.skin.c"]) == 100_000


def test_what_kodi_would_die_of(kodi, outside, tick):
    """Names of files that are not UTF-8 come to Python with halves of surrogate pairs."""
    store = outside()
    store[("skin", "a")] = "caf\udce9.mkv"
    store[("skin", "\ud800")] = {"\udfff": "x"}
    tick()
    assert kodi.properties == {"ipc.skin.a": "caf?.mkv", "ipc.skin.?.?": "x"}


def test_names_that_are_one_to_kodi(kodi, outside, tick):
    store = outside()
    store[("skin", "Case")] = "first"
    tick()
    store[("skin", "case")] = "second"
    tick()
    assert kodi.properties == {"ipc.skin.case": "second"}
    del store[("skin", "Case")]
    tick()
    assert kodi.properties == {"ipc.skin.case": "second"}
    store[("skin", "Case")] = {"x": "y"}
    store[("skin", "case.X")] = "third"
    tick()
    assert kodi.properties == {"ipc.skin.case": "second", "ipc.skin.case.x": "third"}
    del store[("skin", "case.X")]
    tick()
    assert kodi.properties == {"ipc.skin.case": "second", "ipc.skin.case.x": "y"}


def test_a_tick_takes_so_long_and_no_longer(kodi, outside, bridge, wishes, load, monkeypatch):
    store = outside()
    for number in range(10):
        store[("skin", number)] = "x"
    monkeypatch.setattr(load("bridge"), "BUDGET", 0.0)
    assert bridge.tick(store, wishes)
    assert kodi.properties == {}
    monkeypatch.setattr(load("bridge"), "BUDGET", 1000.0)
    bridge.tick(store, wishes)
    assert len(kodi.properties) == 10


def test_only_what_changed_is_written(kodi, outside, tick, monkeypatch):
    store = outside()
    store[("skin", "a")] = store[("skin", "b")] = "x"
    tick()
    kodi.properties.clear()  # as if nobody had written
    store[("skin", "b")] = "y"
    tick()
    assert kodi.properties == {"ipc.skin.b": "y"}


def test_cleared(kodi, outside, tick):
    store = outside()
    store[("skin", "a")] = "x"
    tick()
    store.clear()
    store[("skin", "b")] = "y"
    tick()
    assert kodi.properties == {"ipc.skin.b": "y"}


def test_more_than_the_log_holds(kodi, outside, tick):
    store = outside()
    store[("skin", "gone")] = "x"
    tick()
    del store[("skin", "gone")]
    for number in range(30_000):
        store[("script.one", number % 7)] = number
    store[("skin", "a")] = "y"
    tick()
    assert kodi.properties == {"ipc.skin.a": "y"}


def test_other_patterns(kodi, outside, tick):
    store = outside()
    store[("skin", "a")] = store[("script.two", 5)] = "x"
    tick()
    tick(skin_patterns=("script.two/*",))
    tick(skin_patterns=("script.two/*",))
    assert kodi.properties == {"ipc.script.two.5": "x"}


@pytest.mark.parametrize("changes", [{"skin_bridge": False}, {"skin_patterns": ()}])
def test_switched_off(kodi, outside, tick, changes):
    outside()[("skin", "a")] = "x"
    tick()
    tick(**changes)
    assert kodi.properties == {}


def test_an_expired_value_goes(kodi, outside, tick, monkeypatch):
    store = outside()
    store.set(("skin", "a"), "x", expire=1000)
    tick()
    assert kodi.properties == {"ipc.skin.a": "x"}
    store.set(("skin", "a"), "x", expire=0.000001)
    tick()
    assert kodi.properties == {}
