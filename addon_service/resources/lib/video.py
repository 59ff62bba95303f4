"""The demo: what plays, as a value for everybody. Key ``videodata`` of this addon; None while nothing plays."""

import xbmc
from ipc import places

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
PATIENCE = 100  # looks until a player that tells nothing is left alone
PLAYING = 32110


class Player(xbmc.Player):
    """Kodi's messages about playback, noted for the loop."""

    def __init__(self):
        super().__init__()
        self.looks = PATIENCE if self.isPlayingVideo() else 0  # how often to look for what plays; its labels come late
        self.ended = False

    def onAVStarted(self):  # noqa: N802 - Kodi's names
        """There is a picture, or sound."""
        self.looks, self.ended = PATIENCE, False

    def onAVChange(self):  # noqa: N802
        """Another stream of the same file."""
        self.looks = PATIENCE

    def onPlayBackStopped(self):  # noqa: N802
        """By the user."""
        self.looks, self.ended = 0, True

    def onPlayBackEnded(self):  # noqa: N802
        """By itself."""
        self.looks, self.ended = 0, True

    def onPlayBackError(self):  # noqa: N802
        """By Kodi."""
        self.looks, self.ended = 0, True


class Video:
    """Publishes what the player shows."""

    def __init__(self):
        self._player = None

    def close(self):
        """Another store comes: it does not know what plays."""
        self._player = None

    def tick(self, store, wishes):
        """Look at the player, if something may have changed there."""
        if not wishes.serve_video:
            if self._player is not None:
                self._player = None
                store[KEY] = None
            return
        if self._player is None:
            self._player = Player()
            store[KEY] = None
        player = self._player
        if player.ended:
            player.ended = False
            store[KEY] = None
        if not player.looks:
            return
        player.looks -= 1
        found = look() if player.isPlayingVideo() else None
        if found is None or found == store.get(KEY):
            return
        player.looks = 0
        store[KEY] = found
        if wishes.show_data:
            log.notify(text(PLAYING, found["pwidth"], found["pheight"], found["fps"], found["dar"]))


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
