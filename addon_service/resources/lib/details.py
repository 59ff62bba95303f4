"""All about one value, as a text to be read at leisure."""

import datetime
import time

import ipcdatastore

from . import words
from .texts import text

KEY, TYPE, SIZE, WRITTEN, EXPIRES, VERSION, KEPT = 32350, 32351, 32352, 32353, 32354, 32355, 32356
YES, NO, NEVER, BY_SETTINGS = 32360, 32361, 32362, 32364
OBJECT, UNREADABLE, ELSEWHERE = 32318, 32319, 32363
AGO, AHEAD = 32365, 32366
AGES = {words.SECOND: 32330, words.MINUTE: 32331, words.HOUR: 32332, words.DAY: 32333}


def describe(store, key):
    """(version, heading, text) of the value of `key`; None if there is none any more."""
    heading = words.word(key[-1]) if type(key) is tuple and key else words.word(key)
    try:
        entry = store.get_entry(key)
    except ipcdatastore.DecodeError as error:
        version = store.wait(key, since=0, timeout=0)
        if version is None:
            return None
        kind = text(OBJECT, f"{error.module}.{error.name}") if error.module else text(UNREADABLE)
        value = text(ELSEWHERE) if error.module else str(error)
        return version, heading, _lines([(KEY, repr(key)), (TYPE, kind), (VERSION, version)], value)
    if entry is None:
        return None
    facts = [
        (KEY, repr(key)),
        (TYPE, words.type_of(entry.value)),
        (SIZE, f"{words.size(entry.size)} ({entry.size} B)" if entry.size >= 1024 else words.size(entry.size)),
        (WRITTEN, _moment(entry.written_at)),
        (EXPIRES, text(NEVER) if entry.expires_at is None else _moment(entry.expires_at)),
        (VERSION, entry.version),
        (KEPT, text(_kept(store, entry))),
    ]
    return entry.version, heading, _lines(facts, words.pretty(entry.value))


def _kept(store, entry):
    if entry.persistent:
        return YES
    return BY_SETTINGS if store.stats()["persist"] == "all" else NO


def _lines(facts, value):
    labels = {number: text(number) for number, _ in facts}
    width = max(map(len, labels.values())) + 2
    return "\n".join([*(f"{labels[number]:<{width}}{fact}" for number, fact in facts), "", value])


def _moment(seconds):
    """When, as the user's clock shows it, and how far that is from now."""
    distance = seconds - time.time()
    number, unit = words.age(abs(distance))
    far = text(AHEAD if distance > 0 else AGO, text(AGES[unit], number))
    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}  ({far})"
