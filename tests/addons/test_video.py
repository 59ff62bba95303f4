"""The demo: what plays."""

import pytest

KEY = ("service.ipcdatastore", "videodata")
FULL_HD = {
    "Player.Process(videowidth)": "1,920",
    "Player.Process(videoheight)": "1,080",
    "Player.Process(videodar)": "1.78",
    "Player.Process(videofps)": "23.976",
}
DATA = {"pwidth": 1920, "pheight": 1080, "par": 1.0, "dwidth": 1920, "dheight": 1080, "dar": 1.7778, "fps": 23.976}


@pytest.fixture
def wishes(load):
    return load("settings").read()._replace(serve_video=True)


@pytest.fixture
def store(outside):
    return outside()


@pytest.fixture
def make(load):
    class Often(load("video").Video):
        """Looks as often as it takes: two looks must agree."""

        def tick(self, store, wishes):
            for _ in range(3):
                super().tick(store, wishes)

    return Often


@pytest.fixture
def video(make, store, wishes):
    video = make()
    video.tick(store, wishes)
    return video


def labels(width, height, shape):
    return {
        **FULL_HD,
        "Player.Process(videowidth)": str(width),
        "Player.Process(videoheight)": str(height),
        "Player.Process(videodar)": shape,
    }


def play(kodi, labels):
    kodi.playing = True
    kodi.labels.update(labels)
    kodi.players[-1].onAVStarted()


def test_nothing_plays(video, store):
    assert store.get_entry(KEY).value is None


def test_a_video(video, kodi, store, wishes):
    play(kodi, FULL_HD)
    video.tick(store, wishes)
    assert store[KEY] == DATA
    assert kodi.notifications == []


def test_pixels_that_are_not_square(video, kodi, store, wishes):
    shape = {
        "Player.Process(videowidth)": "720",
        "Player.Process(videoheight)": "576",
        "Player.Process(videodar)": "1.78",
    }
    play(kodi, {**FULL_HD, **shape})
    video.tick(store, wishes)
    assert store[KEY] == {**DATA, "pwidth": 720, "pheight": 576, "par": 1.4222, "dwidth": 1024, "dheight": 576}


def test_pixels_of_no_usual_shape(video, kodi, store, wishes):
    shape = {
        "Player.Process(videowidth)": "700",
        "Player.Process(videoheight)": "500",
        "Player.Process(videodar)": "2.03",
    }
    play(kodi, {**FULL_HD, **shape})
    video.tick(store, wishes)
    assert store[KEY] == {
        **DATA,
        "pwidth": 700,
        "pheight": 500,
        "par": 1.45,
        "dwidth": 1015,
        "dheight": 500,
        "dar": 2.03,
    }


def test_labels_come_late(video, kodi, store, wishes):
    play(kodi, {})
    video.tick(store, wishes)
    assert store[KEY] is None
    kodi.labels.update(FULL_HD)
    video.tick(store, wishes)
    assert store[KEY] == DATA


def test_labels_never_come(video, kodi, store, wishes):
    play(kodi, {})
    kodi.players[-1].until = 0.0
    kodi.labels.update(FULL_HD)
    video.tick(store, wishes)
    assert store[KEY] is None


@pytest.mark.parametrize("end", ["onPlayBackStopped", "onPlayBackEnded", "onPlayBackError"])
def test_the_end(video, kodi, store, wishes, end):
    play(kodi, FULL_HD)
    video.tick(store, wishes)
    kodi.playing = False
    getattr(kodi.players[-1], end)()
    video.tick(store, wishes)
    assert store[KEY] is None


def test_the_next_one_of_a_list(video, kodi, store, wishes):
    """The end of one and the start of the next come in one round."""
    play(kodi, FULL_HD)
    video.tick(store, wishes)
    kodi.players[-1].onPlayBackEnded()
    play(kodi, {"Player.Process(videowidth)": "640", "Player.Process(videoheight)": "360"})
    video.tick(store, wishes)
    assert store[KEY]["pwidth"] == 640


def test_two_looks_must_agree(load, kodi, store, wishes):
    """Between two videos Kodi tells the size of one and the shape of the other."""
    video = load("video").Video()
    video.tick(store, wishes)
    play(kodi, labels(720, 576, "1.78"))
    video.tick(store, wishes)
    kodi.labels.update(labels(720, 576, "1.25"))
    video.tick(store, wishes)
    assert store[KEY] is None
    video.tick(store, wishes)
    assert store[KEY]["dar"] == 1.25


def test_the_same_again_is_announced_too(video, kodi, store, wishes):
    wishes = wishes._replace(show_data=True)
    for _ in range(2):
        play(kodi, FULL_HD)
        video.tick(store, wishes)
    assert len(kodi.notifications) == 2


def test_music(video, kodi, store, wishes):
    play(kodi, FULL_HD)
    kodi.playing = False
    video.tick(store, wishes)
    assert store[KEY] is None


def test_the_notification(video, kodi, store, wishes):
    play(kodi, FULL_HD)
    for _ in range(3):
        video.tick(store, wishes._replace(show_data=True))
    assert kodi.notifications == ["1920 × 1080 · 23.976 fps · 1.78"]


def test_switched_on_while_something_plays(make, kodi, store, wishes):
    kodi.playing = True
    kodi.labels.update(FULL_HD)
    video = make()
    video.tick(store, wishes._replace(serve_video=False))
    assert KEY not in store
    video.tick(store, wishes)
    assert store[KEY] == DATA
    video.tick(store, wishes._replace(serve_video=False))
    assert store[KEY] is None


@pytest.mark.parametrize(
    ("label", "pixels"), [("1,920", 1920), ("1.920", 1920), ("1 920", 1920), ("1\u202f920", 1920), ("640", 640)]
)
def test_pixels_as_people_group_them(load, label, pixels):
    assert load("video").whole(label) == pixels


@pytest.mark.parametrize(
    ("label", "number"), [("23.976", 23.976), ("23,976", 23.976), ("25.000", 25.0), ("1,78", 1.78)]
)
def test_fractions(load, label, number):
    assert load("video").fraction(label) == number
