"""The three example addons of docs/kodi.md do what they are for."""

import pytest

from .conftest import wait_until_up
from .staging import ONE, ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*/"))
GATHERED, TELL, WEATHER = "plugin.video.example.gathered", "script.example.tell", "script.example.weather"


@pytest.fixture(scope="module")
def kodi(booting, staged):
    kodi = booting(addons=[*staged, *EXAMPLES])
    kodi.start()
    wait_until_up(kodi)
    yield kodi
    assert kodi.quit() == 0


def test_a_service_gathers_what_a_plugin_lists_at_once(kodi, outside):
    kodi.wait_for(lambda: (GATHERED, "films") in outside, what="the example's service to gather")
    listed = kodi.rpc("Files.GetDirectory", directory=f"plugin://{GATHERED}/", media="video")
    assert [file["label"] for file in listed["files"]] == [f"Film {number}" for number in range(1, 21)]
    assert outside.get_entry((GATHERED, "films")).persistent


def test_a_script_tells_a_running_service(kodi, outside):
    for times in range(1, 4):
        kodi.run_addon(TELL)
        kodi.wait_for(lambda times=times: outside.get((TELL, "pressed")) == times, what=f"{times} presses")
    kodi.wait_for(lambda: kodi.is_true("Window.IsVisible(notification)"), what="the example's service to show it")


def test_several_addons_share_what_is_gathered_once(kodi, outside):
    kodi.run_addon(WEATHER)
    kodi.wait_for(lambda: ("example.weather", "now") in outside, what="the weather")
    version = outside.get_entry(("example.weather", "now")).version
    assert kodi.run(ONE, look_at_the_weather) == {"text": "sunny", "degrees": 21}
    kodi.run_addon(WEATHER)
    assert outside.get_entry(("example.weather", "now")).version == version


def look_at_the_weather():
    import ipc

    def gather():
        raise AssertionError("it was gathered already")

    with ipc.open("example.weather") as store:
        return store.get_or_set("now", gather)
