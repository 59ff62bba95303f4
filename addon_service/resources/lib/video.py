"""The demo: what plays, as a value for everybody. Key ``videodata`` of this addon; None while nothing plays."""

import time

import xbmc
from ipc import places

import ipcdatastore

from . import log
from .texts import text

KEY = (places.SERVICE, "videodata")
LABELS = {
    "pwidth": "Player.Process(videowidth)",
    "pheight": "Player.Process(videoheight)",
    "dar": "Player.Process(videodar)",
    "fps": "Player.Process(videofps)",
}
# The shapes that pixels have, the usual ones first: Kodi tells the picture's shape to two decimals only, and 1.78 of
# 360 lines would be 641 pixels. After the square: a DVD's, digital television's, and those of H.264.
PIXELS = [
    (1, 1),
    *((16, 15), (64, 45), (8, 9), (32, 27)),
    *((12, 11), (16, 11), (10, 11), (40, 33)),
    *((4, 3), (3, 2), (2, 1), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11), (15, 11), (64, 33), (160, 99)),
]
ROUNDED = 0.00501
PATIENCE = 5.0  # seconds in which the player is looked at after it has started
PLAYING = 32110


class Player(xbmc.Player):
    """Kodi's messages about playback, noted for the loop."""

    def __init__(self):
        super().__init__()
        self.until = 0.0  # when to give up to look at what plays: its labels come late
        self.started = self.ended = False
        if self.isPlayingVideo():
            self.onAVStarted()

    def onAVStarted(self):  # noqa: N802 - Kodi's names
        """There is a picture, or sound."""
        self.started, self.ended = True, False
        self.onAVChange()

    def onAVChange(self):  # noqa: N802
        """Another stream of the same file."""
        self.until = time.monotonic() + PATIENCE

    def onPlayBackStopped(self):  # noqa: N802
        """By the user."""
        self.until, self.started, self.ended = 0.0, False, True

    def onPlayBackEnded(self):  # noqa: N802
        """By itself."""
        self.onPlayBackStopped()

    def onPlayBackError(self):  # noqa: N802
        """By Kodi."""
        self.onPlayBackStopped()


class Video:
    """Publishes what the player shows."""

    def __init__(self):
        self._player = None
        self._seen = None  # at the last look

    def close(self, store):
        """Nobody looks any more, in this store at least."""
        if self._player is None:
            return
        self._player = self._seen = None
        try:
            if store is not None:
                store[KEY] = None
        except ipcdatastore.DatastoreError as error:
            log.warning(f"what plays is out of date in the store: {error}")

    def tick(self, store, wishes):
        """Look at the player, if something may have changed there."""
        if not wishes.serve_video:
            self.close(store)
            return
        if self._player is None:
            self._player = Player()
            store[KEY] = None
        player = self._player
        if player.ended:
            player.ended = False
            self._seen = None
            store[KEY] = None
        if time.monotonic() >= player.until:
            return
        found = look() if player.isPlayingVideo() else None
        # Between two videos Kodi tells the size of one and the shape of the other: two looks must agree.
        before, self._seen = self._seen, found
        if found is None or found != before:
            return
        if found != store.get(KEY):
            store[KEY] = found
        if player.started and wishes.show_data:
            log.notify(text(PLAYING, found["pwidth"], found["pheight"], found["fps"], found["dar"]))
        player.started = False


def look():
    """What the player says of the picture; None while it does not know all of it."""
    labels = {name: xbmc.getInfoLabel(label) for name, label in LABELS.items()}
    try:
        width, height = whole(labels["pwidth"]), whole(labels["pheight"])
        shape, rate = fraction(labels["dar"]), fraction(labels["fps"])
    except ValueError:
        return None
    if not (width and height and shape):
        return None
    pixel = pixel_shape(width, height, shape)
    return {
        "pwidth": width,
        "pheight": height,
        "par": round(pixel, 4),
        "dwidth": round(width * pixel),
        "dheight": height,
        "dar": round(width * pixel / height, 4),
        "fps": rate,
    }


def pixel_shape(width, height, shape):
    """How wide a pixel is, for its height: one of `PIXELS` if `shape` of the picture can be due to that."""
    for across, down in PIXELS:
        if abs(width * across / (height * down) - shape) < ROUNDED:
            return across / down
    return shape * height / width


def whole(label):
    """A number of pixels: Kodi groups its digits as people of that region do."""
    return int("".join(character for character in label if character.isdigit()))


def fraction(label):
    """A number that has two or three decimals, behind a point or a comma."""
    return float(label.replace(",", "."))
