"""The browse window, as a user sees and uses it.

What is on the screen is read by InfoLabels; the control ids are those of ``ipcdatastore-browse.xml``.
"""

import sys
import time
import types

import pytest

import ipcdatastore

from .conftest import REGION, wait_until_up

SERVICE = "service.ipcdatastore"
SOON = 10  # seconds: only there to end a test that hangs


def until(kodi, name, wanted):
    """Wait until an InfoLabel reads so."""
    kodi.wait_for(lambda: kodi.label(name) == wanted, SOON, f"{name} to be {wanted!r}")


def holds(kodi, name, wanted):
    """Wait until `wanted` is in an InfoLabel: a text box has its text one frame after its window."""
    kodi.wait_for(lambda: wanted in kodi.label(name), SOON, f"{wanted!r} in {name}")


def row(column, at=0):
    return f"Container(50).ListItemAbsolute({at}).{column}"


def press(kodi, *actions):
    """One by one, each when Kodi has taken the one before; scripts may need longer."""
    for action in actions:
        kodi.press(action)


def panel(kodi, wanted):
    until(kodi, "Window.Property(panel)", wanted)


@pytest.fixture
def store(outside):
    outside.clear()
    return outside


@pytest.fixture
def browse(kodi, store):
    """Opens the window once the store holds what the test wants; closes it in the end."""

    def open_window(**values):
        open_with(kodi, store, values)

    yield open_window
    kodi.to_home()


def open_with(kodi, store, values):
    for name, value in values.items():
        store["script.one", name] = value
    kodi.run_addon(SERVICE, "browse")
    until(kodi, "Container(40).ListItemAbsolute(0).Label2", str(len(store)))
    until(kodi, "System.CurrentControlId", "50" if len(store) else "40")


def test_an_empty_store(kodi, browse):
    browse()
    assert kodi.label("Container(40).ListItemAbsolute(0).Label") == "All"
    assert kodi.label("Container(50).NumItems") == "0"
    holds(kodi, "Control.GetLabel(11)", "Region kodi")
    holds(kodi, "Control.GetLabel(11)", "the service runs")


def test_columns_of_a_row(kodi, browse, store):
    browse(x=[1, 2])
    until(kodi, row("Property(type)"), "list")
    assert kodi.label(row("Label")) == "x  ·  script.one"
    assert kodi.label(row("Property(preview)")) == "[1, 2]"
    assert kodi.label(row("Property(size)")).endswith(" B")
    assert kodi.label(row("Property(age)")).endswith(" s")
    assert kodi.label(row("Label2")) == str(store.get_entry(("script.one", "x")).version)
    assert kodi.label(row("Property(kept)")) == ""


def test_changes_are_seen_without_a_key(kodi, browse, store):
    browse(b=1, d=1)
    press(kodi, "down")
    until(kodi, "Container(50).CurrentItem", "2")
    store["script.one", "b"] = "new"
    until(kodi, row("Property(type)"), "str")
    store["script.one", "a"] = 1
    until(kodi, "Container(50).CurrentItem", "3")  # still at d
    assert kodi.label("Container(50).ListItem.Label") == "d  ·  script.one"
    del store["script.one", "a"]
    until(kodi, "Container(50).CurrentItem", "2")
    store["script.two", "x"] = 1
    until(kodi, "Container(40).ListItemAbsolute(2).Label", "script.two")
    store.clear()
    until(kodi, "Container(50).NumItems", "0")
    until(kodi, "System.CurrentControlId", "40")


def test_the_names_of_one_author(kodi, browse, store):
    store["script.two", "y"] = store["plain"] = 1
    browse(x=1)
    press(kodi, "left")
    until(kodi, "System.CurrentControlId", "40")
    for at, name in ((1, "x"), (2, "y"), (3, "plain")):
        press(kodi, "down")
        until(kodi, row("Label"), name)
        until(kodi, f"Container(40).ListItemAbsolute({at}).Property(shown)", "yes")
    assert kodi.label("Container(40).ListItemAbsolute(3).Label") == "(others)"
    press(kodi, "select")
    until(kodi, "System.CurrentControlId", "50")


def test_details(kodi, browse, store):
    browse(x={"inner": 1})
    press(kodi, "select")
    panel(kodi, "details")
    until(kodi, "Control.GetLabel(91)", "x")
    holds(kodi, "Control.GetLabel(92)", "('script.one', 'x')")
    holds(kodi, "Control.GetLabel(92)", "{'inner': 1}")
    store["script.one", "x"] = "changed meanwhile"
    holds(kodi, "Control.GetLabel(92)", "changed meanwhile")
    press(kodi, "back")
    panel(kodi, "")
    until(kodi, "System.CurrentControlId", "50")


def test_keep_and_no_longer_keep(kodi, browse, store):
    browse(x=1)
    for button, kept in (("72", True), ("73", False)):
        press(kodi, "contextmenu")
        panel(kodi, "menu")
        until(kodi, "System.CurrentControlId", "71")
        press(kodi, "down")
        until(kodi, "System.CurrentControlId", button)
        press(kodi, "select")
        panel(kodi, "")
        until(kodi, row("Property(kept)"), "yes" if kept else "")
        assert store.get_entry(("script.one", "x")).persistent is kept
        until(kodi, "System.CurrentControlId", "50")


@pytest.mark.parametrize("sure", [True, False])
def test_delete_asks(kodi, browse, store, sure):
    browse(x=1, y=2)
    press(kodi, "contextmenu")
    panel(kodi, "menu")
    until(kodi, "System.CurrentControlId", "71")
    press(kodi, "down", "down")
    until(kodi, "System.CurrentControlId", "74")
    press(kodi, "select")
    panel(kodi, "question")
    until(kodi, "System.CurrentControlId", "82")
    holds(kodi, "Control.GetLabel(81)", "x  ·  script.one")
    if sure:
        press(kodi, "right")
        until(kodi, "System.CurrentControlId", "83")
    press(kodi, "select")
    panel(kodi, "")
    until(kodi, "Container(50).NumItems", "1" if sure else "2")
    assert (("script.one", "x") in store) is not sure


def test_an_object_of_a_class_that_kodi_does_not_have(kodi, browse, store, monkeypatch):
    module = types.ModuleType("other_addon_model")
    exec("class Forecast: pass", module.__dict__)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "other_addon_model", module)
        store["script.one", "x"] = module.Forecast()
    browse()
    until(kodi, row("Property(type)"), "object of other_addon_model.Forecast")
    assert kodi.label(row("Property(kept)")) == "?"


def test_ten_thousand_names(kodi, browse, store, capsys):
    store.set_many({(f"script.a{number % 20}", f"name.{number}"): {"i": number} for number in range(10000)})
    begun = time.perf_counter()
    kodi.run_addon(SERVICE, "browse")
    kodi.wait_for(lambda: kodi.label("Container(50).NumItems") == "2001", SOON, "all rows")
    with capsys.disabled():
        print(f"\nwith 10,000 names the window was open after {time.perf_counter() - begun:.2f} s")
    assert "8000" in kodi.label(row("Label", 2000))
    until(kodi, row("Property(type)"), "dict")


@pytest.mark.parametrize("opened", [(), ("select",), ("contextmenu",)], ids=["list", "details", "menu"])
def test_kodi_quits_with_the_window_open(booting, memory, opened):
    """In well under the 5 s after which Kodi kills a script, or, some versions, waits for ever."""
    kodi = booting()
    kodi.start()
    wait_until_up(kodi)
    with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
        open_with(kodi, store, {"x": 1})
        press(kodi, *opened)
        panel(kodi, {(): "", ("select",): "details", ("contextmenu",): "menu"}[opened])
        assert kodi.quit() == 0
        assert kodi.quit_seconds < 4
        assert store.check() == []
