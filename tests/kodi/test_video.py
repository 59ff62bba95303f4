"""The demo: what plays is a value for everybody, whether it is a file, a stream, or what a plugin found."""

import subprocess
from urllib.parse import quote

import pytest

from .addon import SERVICE
from .staging import PLUGIN
from .web import serving

KEY = (SERVICE, "videodata")
KEYS = ["pwidth", "pheight", "par", "dwidth", "dheight", "dar", "fps"]
# name: (arguments of ffmpeg, what is to be published)
CLIPS = {
    "square": (
        ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-t", "15"],
        (640, 360, 1.0, 640, 360, 16 / 9, 25.0),
    ),
    "wide": (
        ["-f", "lavfi", "-i", "testsrc2=size=720x576:rate=50", "-t", "15", "-vf", "setsar=64/45"],
        (720, 576, 64 / 45, 1024, 576, 16 / 9, 50.0),
    ),
    "film": (
        ["-f", "lavfi", "-i", "testsrc2=size=1280x536:rate=24000/1001", "-t", "15"],
        (1280, 536, 1.0, 1280, 536, 1280 / 536, 23.976),
    ),
    "short": (
        ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30", "-t", "2"],
        (320, 240, 1.0, 320, 240, 4 / 3, 30.0),
    ),
}


@pytest.fixture(scope="module")
def clips(kodi):
    """A folder with a video of each kind, where that Kodi sees it."""
    folder = kodi.home.path / "clips"
    folder.mkdir()
    for name, (arguments, _) in CLIPS.items():
        encode = ["-c:v", "mpeg4", "-q:v", "12", "-pix_fmt", "yuv420p", str(folder / f"{name}.mkv")]
        subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", *arguments, *encode], check=True)
    return folder


@pytest.fixture(scope="module")
def web(clips):
    """The same folder as a web server has it."""

    with serving(clips) as address:
        yield address


@pytest.fixture
def play(kodi, service, outside):
    """``play(address)`` plays it, and gives what was published; it is stopped after the test."""
    service.set("servevideo", "true")
    kodi.wait_for(lambda: KEY in outside)

    def play(address):
        kodi.rpc("Player.Open", item={"file": str(address)})
        return kodi.wait_for(lambda: outside.get(KEY), 20, f"the demo to see {address}")

    yield play
    stop(kodi)
    kodi.wait_for(lambda: outside.get(KEY) is None)


def stop(kodi):
    for player in kodi.rpc("Player.GetActivePlayers"):
        kodi.rpc("Player.Stop", playerid=player["playerid"])
    kodi.wait_for(lambda: not kodi.rpc("Player.GetActivePlayers"))


def assert_is(found, name):
    expected = dict(zip(KEYS, CLIPS[name][1]))
    assert list(found) == KEYS
    assert found == pytest.approx(expected, abs=0.001)
    assert [type(found[key]) for key in ("pwidth", "pheight", "dwidth", "dheight")] == [int] * 4


@pytest.mark.parametrize("name", ["square", "wide", "film"])
def test_a_local_file(kodi, outside, clips, play, name):
    assert outside[KEY] is None
    assert_is(play(clips / f"{name}.mkv"), name)
    stop(kodi)
    kodi.wait_for(lambda: KEY in outside and outside[KEY] is None)


def test_a_stream(web, play):
    assert_is(play(f"{web}/wide.mkv"), "wide")


def test_a_plugin(web, play):
    assert_is(play(f"plugin://{PLUGIN}/?{quote(f'{web}/square.mkv', safe='')}"), "square")


def test_nothing_plays_after_the_end(kodi, outside, clips, play):
    assert_is(play(clips / "short.mkv"), "short")
    kodi.wait_for(lambda: KEY in outside and outside[KEY] is None, 20, "the clip to end")
    assert kodi.rpc("Player.GetActivePlayers") == []


def test_another_video_takes_the_place_of_the_first(kodi, outside, clips, play):
    assert_is(play(clips / "square.mkv"), "square")
    kodi.rpc("Player.Open", item={"file": str(clips / "wide.mkv")})
    kodi.wait_for(lambda: (outside.get(KEY) or {}).get("pwidth") == 720)
    assert_is(outside[KEY], "wide")


def test_the_notification_is_shown_when_it_is_wanted(kodi, service, clips, play):
    def notified():
        return kodi.is_true("Window.IsVisible(notification)")

    play(clips / "square.mkv")
    assert not notified()
    stop(kodi)
    service.set("showdata", "true")
    line = service.log_since(lambda: play(clips / "wide.mkv"), "notification: ")
    kodi.wait_for(notified, 5, "the notification")
    assert line.endswith("720 × 576 · 50 fps · 1.78")


def test_switched_on_while_something_plays(kodi, service, outside, clips, play):
    service.set("servevideo", "false")
    kodi.rpc("Player.Open", item={"file": str(clips / "film.mkv")})
    kodi.wait_for(lambda: kodi.label("Player.Process(videowidth)"))
    assert outside[KEY] is None
    service.set("servevideo", "true")
    assert_is(kodi.wait_for(lambda: outside.get(KEY)), "film")
    service.set("servevideo", "false")
    kodi.wait_for(lambda: outside.get(KEY) is None)
