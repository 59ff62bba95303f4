"""What ``RunScript(service.ipcdatastore,VERB,…)`` does, for buttons, skins and keymaps.

``set,NAME,VALUE``, ``toggle,NAME``, ``increment,NAME[,BY]`` and ``delete,NAME`` write; NAME is a name of the author
``skin``, or ``AUTHOR/NAME``. The other verbs are the buttons of the settings.
"""

import ipc
import xbmcgui

import ipcdatastore

from . import log
from .clean import clean
from .texts import NAME, text

SKIN = "skin"
WRONG = 32120


class UsageError(ValueError):
    """A call that means nothing."""


def main(arguments):
    """Do what the first argument says."""
    ipc.end_waits_with_kodi()
    verb, *rest = arguments or ["browse"]  # started from the list of programs
    try:
        if verb in WRITERS:
            write(verb, rest)
        else:
            press(verb)
    except ipcdatastore.WaitEndedError:
        return
    except (UsageError, ipcdatastore.DatastoreError, OSError) as error:
        log.warning(f"RunScript(service.ipcdatastore,{','.join(arguments)}): {error}")
        if verb in WRITERS or isinstance(error, UsageError):  # a skin asked: its user wants no dialog
            log.notify(text(WRONG, error), problem=True)
        else:
            xbmcgui.Dialog().ok(text(NAME), clean(text(WRONG, error)))


def press(verb):
    """A button of the settings."""
    from . import buttons

    if verb not in buttons.BUTTONS:
        known = ", ".join([*WRITERS, *buttons.BUTTONS])
        raise UsageError(f"there is nothing named {verb!r} to run; there are {known}")
    buttons.BUTTONS[verb]()


def write(verb, arguments):
    """A value, by a skin or a keymap."""
    function, fewest, most = WRITERS[verb]
    if not fewest <= len(arguments) <= most:
        raise UsageError(
            f"{verb} takes {fewest}{f' or {most}' if most > fewest else ''} arguments, not {len(arguments)}"
        )
    author, slash, name = arguments[0].rpartition("/")
    if not name or (slash and not author):
        raise UsageError(f"{arguments[0]!r} names no value: NAME or AUTHOR/NAME")
    with ipc.open(author or SKIN) as store:
        function(store, name, *arguments[1:])


def _set(store, name, value):
    store[name] = typed(value)


def _toggle(store, name):
    store.modify(name, lambda value: not value, default=False)


def _increment(store, name, by="1"):
    number = typed(by)
    if type(number) not in (int, float):
        raise UsageError(f"{by!r} is no number")
    store.increment(name, number)


def _delete(store, name):
    store.delete(name)


WRITERS = {"set": (_set, 2, 2), "toggle": (_toggle, 1, 1), "increment": (_increment, 1, 2), "delete": (_delete, 1, 1)}


def typed(value):
    """``true``, ``false`` and numbers as Python means them, if that is how Python itself would write them."""
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            if str(kind(value)) == value and value[-1].isdigit():  # not `inf`, not `nan`
                return kind(value)
        except ValueError:
            continue
    return value
