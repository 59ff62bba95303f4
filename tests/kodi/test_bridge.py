"""The skin bridge, read as a skin reads it; and what skins and keymaps write."""

import time

import pytest

from .staging import ONE

CHANGES = 60
DEADLINE = 2.0  # generous; what it really takes is printed


def shown(kodi, name):
    return kodi.label(f"Window(Home).Property(ipc.{name})")


@pytest.fixture
def see(kodi):
    """``see(name, text)`` waits until the skin would show `text`."""

    def wait(name, text, seconds=DEADLINE):
        kodi.wait_for(lambda: shown(kodi, name) == text, seconds, f"{name} to be {text!r}, not {shown(kodi, name)!r}")

    return wait


def test_a_change_is_in_the_skin_soon(kodi, outside, note):
    skin = outside.namespace("skin")
    times = []
    for number in range(CHANGES):
        begun = time.perf_counter()
        skin["ticker"] = number
        while shown(kodi, "skin.ticker") != str(number):
            assert time.perf_counter() < begun + DEADLINE
        times.append(time.perf_counter() - begun)
        time.sleep(number % 7 * 0.01)  # not in step with the service
    times.sort()
    median, longest = times[len(times) // 2] * 1e3, times[-1] * 1e3
    note(f"skin bridge: a change is shown after {median:.0f} ms (median of {CHANGES}), {longest:.0f} ms (longest)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Käse", "Käse"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        (["a", 2, True], "a / 2 / true"),
        (0, "0"),
    ],
)
def test_values_are_shown_as_a_skin_compares_them(outside, see, value, text):
    outside[("skin", "value")] = value
    see("skin.value", text)
    outside[("skin", "value")] = None
    see("skin.value", "")


def test_kodi_survives_what_it_cannot_show(outside, see):
    """Names of files that are not UTF-8 have halves of surrogate pairs in Python: in a property they end Kodi."""
    endless = []
    endless.append(endless)
    skin = outside.namespace("skin")
    skin.update({"file": "caf\udce9.mkv", "\ud800": "x", "endless": endless, "nul": "a\0b", "large": "x" * 10**6})
    see("skin.file", "caf?.mkv")
    see("skin.endless", "…")
    skin["after"] = "alive"
    see("skin.after", "alive")
    skin.clear()


def test_a_dict_is_shown_item_by_item(outside, see):
    skin = outside.namespace("skin")
    skin["clock"] = {"hour": 12, "alarm": True, "gone": "soon"}
    see("skin.clock.hour", "12")
    see("skin.clock.alarm", "true")
    see("skin.clock.gone", "soon")
    skin["clock"] = {"hour": 13}
    see("skin.clock.hour", "13")
    see("skin.clock.gone", "")
    see("skin.clock.alarm", "")
    skin["clock"] = "noon"
    see("skin.clock", "noon")
    see("skin.clock.hour", "")
    del skin["clock"]
    see("skin.clock", "")


def test_what_is_deleted_expires_or_is_cleared_is_shown_no_more(outside, see):
    skin = outside.namespace("skin")
    skin.set_many({"one": 1, "two": 2})
    see("skin.one", "1")
    see("skin.two", "2")
    del skin["one"]
    see("skin.one", "")
    skin.set("short", "lived", expire=0.2)
    see("skin.short", "lived")
    see("skin.short", "", 5)
    outside.clear()
    see("skin.two", "")


def test_only_what_the_patterns_name_is_shown(kodi, service, outside, see):
    outside[("other", "a")] = "hidden"
    outside[(ONE, "a")] = "mine"
    outside[("skin", "b")] = "b"
    see("skin.b", "b")
    assert shown(kodi, "other.a") == shown(kodi, f"{ONE}.a") == ""
    service.set("skinpattern", f"{ONE}/* sk*/c")
    see(f"{ONE}.a", "mine")
    see("skin.b", "")
    outside[("skin", "c")] = "c"
    see("skin.c", "c")
    assert shown(kodi, "other.a") == ""


def test_switching_it_off_clears_everything_and_on_shows_it_again(service, outside, see):
    outside.namespace("skin").set_many({"on": "yes", "dict": {"a": 1}})
    see("skin.on", "yes")
    see("skin.dict.a", "1")
    service.set("skinbridge", "false")
    see("skin.on", "")
    see("skin.dict.a", "")
    outside[("skin", "meanwhile")] = "set"
    service.set("skinbridge", "true")
    see("skin.on", "yes")
    see("skin.meanwhile", "set")


# --- RunScript ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("set,color,red", "red"),
        ("set,color,12", 12),
        ("set,color,-1.5", -1.5),
        ("set,color,true", True),
        ('set,color,"a, b"', "a, b"),
        ("set,color,007", "007"),
        ("set,color,", ""),
    ],
)
def test_a_skin_sets_a_value(kodi, service, outside, arguments, value):
    outside.pop(("skin", "color"), None)
    service.builtin(f"RunScript(service.ipcdatastore,{arguments})")
    assert outside.wait(("skin", "color"), since=0, timeout=10)
    assert outside[("skin", "color")] == value
    assert type(outside[("skin", "color")]) is type(value)


def test_a_skin_sets_a_value_of_another_author(service, outside):
    service.builtin("RunScript(service.ipcdatastore,set,some.addon/a/b,1)")
    assert outside.wait(("some.addon/a", "b"), since=0, timeout=10)


def test_a_skin_toggles_increments_and_deletes(service, outside, see):
    skin = outside.namespace("skin")
    for expected in (True, False):
        version = getattr(skin.get_entry("night"), "version", 0)
        service.builtin("RunScript(service.ipcdatastore,toggle,night)")
        skin.wait("night", since=version, timeout=10)
        assert skin["night"] is expected
        see("skin.night", "true" if expected else "false")
    for arguments, expected in (("steps", 1), ("steps,5", 6), ("steps,-0.5", 5.5)):
        version = getattr(skin.get_entry("steps"), "version", 0)
        service.builtin(f"RunScript(service.ipcdatastore,increment,{arguments})")
        skin.wait("steps", since=version, timeout=10)
        assert skin["steps"] == expected
    service.builtin("RunScript(service.ipcdatastore,delete,steps)")
    see("skin.steps", "")
    assert "steps" not in skin


def test_a_mistake_is_shown_on_the_screen(kodi, service):
    kodi.expected.append("RunScript(service.ipcdatastore,")
    assert not kodi.is_true("Window.IsVisible(notification)")
    service.builtin("RunScript(service.ipcdatastore,set)")
    kodi.wait_for(lambda: kodi.is_true("Window.IsVisible(notification)"), 10, "the notification")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("set,onlyname", "set takes 2 arguments, not 1"),
        ("increment,a,b,c", "increment takes 1 or 2 arguments, not 3"),
        ("increment,text", "holds a str, which cannot be incremented"),
        ("increment,number,many", "'many' is no number"),
        ("toggle,author/", "'author/' names no value"),
        ("fly,high", "there is nothing named 'fly' to run"),
    ],
)
def test_a_call_that_means_nothing_is_said_in_the_log(kodi, service, outside, arguments, problem):
    kodi.expected.append("RunScript(service.ipcdatastore,")
    outside[("skin", "text")] = "text"
    call = f"RunScript(service.ipcdatastore,{arguments})"
    line = service.log_since(lambda: service.builtin(call), problem)
    assert call in line
    assert outside[("skin", "text")] == "text"
