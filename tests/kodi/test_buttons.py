"""Every button of the settings, pressed by keys; what its dialog says, and what it did."""

import re

import pytest

from .addon import OK_WINDOW, PROGRESS_WINDOW, SERVICE, SETTINGS_WINDOW, TEXT_OF_DIALOG, TEXT_WINDOW, YESNO_WINDOW
from .conftest import images_of
from .staging import ONE, ROOT


@pytest.fixture
def press(kodi, service):
    """``press(label)`` opens the settings and presses that button; the dialog that follows is on the screen then."""

    def press(label):
        kodi.to_home()
        service.open()
        service.category("Tests and tools")
        service.focus(label)
        service.select()

    return press


def close(kodi, service, following=SETTINGS_WINDOW):
    """Press the button that has the focus, and see where that leads."""
    service.select()
    service.wait_for_window(following)


def test_the_connection_is_tested(kodi, service, outside, press, memory):
    outside[(ONE, "a")] = 1
    keys = set(outside)
    press("Test connection")
    title, text = service.dialog()
    assert title == "Test connection"
    lines = text.splitlines()
    assert re.fullmatch(r"Written, read and deleted in \d+ µs\.", lines[0])
    assert re.fullmatch(r"The service answered in \d+ ms\.", lines[1])
    assert re.fullmatch(r"Values: \d+, in [\d.]+ MiB of at most 64\.0 MiB", lines[2])
    assert lines[3] == f"{memory}/kodi.region"
    close(kodi, service)
    assert set(outside) - {(SERVICE, "pong")} == keys - {(SERVICE, "pong")}


def test_the_connection_is_tested_without_the_service(service, press):
    service.set("startserver", "false")
    press("Test connection")
    assert service.dialog()[1].splitlines()[1] == "The service does not answer: is it switched on?"


def test_the_full_self_test_shows_its_progress_and_a_report(kodi, service, outside, press):
    outside[(ONE, "mine")] = "untouched"
    seen = []

    def is_over():
        if kodi.window() == PROGRESS_WINDOW:
            seen.append(kodi.label(f"Control.GetLabel({TEXT_OF_DIALOG})"))
        return kodi.window() == TEXT_WINDOW

    press("Run full self-test")
    kodi.wait_for(is_over, 60, "the report")
    title, text = service.report()
    steps = re.findall(r"(?m)^(ok|FAILED) +(.+?)  \(\d+ ms\)$", text)
    assert any(text.startswith(name + ": ") for _, name in steps for text in seen)
    assert title == f"Self-test: all {len(steps)} steps passed"
    assert {result for result, _ in steps} == {"ok"}
    assert len(steps) > 10
    assert "The service answered in" in text
    assert re.search(
        r"ipcdatastore \d+\.\d+\.\d+, service\.ipcdatastore \d+\.\d+\.\d+\nKodi 2\d.*\nPython 3\.\d+\.\d+, Linux", text
    )
    path = kodi.home.addon_data(SERVICE) / "selftest.txt"
    assert text.splitlines()[-1] == f"This report is in {path}"
    written = path.read_text("utf-8")
    assert written.startswith(title)
    assert all(name in written for _, name in steps)
    kodi.press("back")
    service.wait_for_window(SETTINGS_WINDOW)
    assert outside[(ONE, "mine")] == "untouched"


def test_the_full_self_test_can_be_cancelled(kodi, service, press):
    path = kodi.home.addon_data(SERVICE) / "selftest.txt"
    path.unlink()
    press("Run full self-test")
    service.wait_for_window(PROGRESS_WINDOW)
    kodi.press("back")
    service.wait_for_window(SETTINGS_WINDOW)
    assert not path.exists()


def test_flush_says_so_when_there_is_nothing_to_keep(kodi, service, outside, press):
    outside[(ONE, "plain")] = 1
    press("Flush now")
    assert service.dialog() == (
        "Flush now",
        "There is nothing to keep: no value is marked, and the setting to keep everything is off.",
    )
    close(kodi, service)
    assert images_of(kodi) == []


def test_flush_writes_an_image(kodi, service, outside, press, content_of):
    service.set("persist", "true")
    outside[(ONE, "plain")] = "x" * 5000
    press("Flush now")
    title, text = service.dialog()
    newest = images_of(kodi)[-1]
    assert title == "Flush now"
    assert text == f"Saved: {newest.stat().st_size / 1024 / 1024:.1f} MiB in {newest}"
    assert content_of(newest)[(ONE, "plain")] == outside[(ONE, "plain")]
    close(kodi, service)


def test_clear_with_no_keeps_everything(kodi, service, outside, press):
    outside[(ONE, "precious")] = 1
    press("Clear")
    title, text = service.dialog(YESNO_WINDOW)
    assert title == "Clear"
    assert text == f"Delete all values ({len(outside)}), of every add-on, from memory and disk?"
    assert service.focused() == "No"
    close(kodi, service)
    assert outside[(ONE, "precious")] == 1


def test_clear_with_yes_deletes_everything_from_the_disk_too(kodi, service, outside, press, content_of):
    service.set("persist", "true")
    outside[(ONE, "precious")] = 1
    flushed = outside.flush()
    count = len(outside)
    press("Clear")
    service.dialog(YESNO_WINDOW)
    service.go("right", "Yes")
    service.select()
    assert service.dialog(OK_WINDOW) == ("Clear", f"Values deleted: {count}")
    close(kodi, service)
    assert (ONE, "precious") not in outside
    assert len(outside) == 0
    assert flushed not in map(str, images_of(kodi))
    assert [content_of(image) for image in images_of(kodi)] == [{}]


@pytest.mark.skipif(
    not (ROOT / "addon_service/resources/lib/browse.py").exists(), reason="there is no window to browse in yet"
)
def test_browse_opens_its_window(kodi, press):
    press("Browse the datastore")
    # Where Kodi's numbers for the windows of scripts begin.
    kodi.wait_for(lambda: kodi.window() >= 13000, 10, "a window of a script")
