"""Who watches (reads the ring without the lock) and who waits (sleeps on the change word)."""

from .events_log import NOTHING, OVERRUN, TORN, read
from .events_writer import enter, raise_alert
from .steps import fence, load


def watcher(cfg, position, version, breaks, renewals):
    """Delivers for ever. Renews the alert at any time, `renewals` times."""
    if renewals:
        renew = yield ("choose",)
        if renew:
            yield from look_after(cfg)
            yield ("become", watcher, (position, version, breaks, renewals - 1))
    if cfg.get("lapses"):
        now = yield from load("breaks")
        if now != breaks:
            yield from begin_again(cfg, renewals)
    entry = yield from read(cfg, position)
    if entry == NOTHING:
        reason = yield ("sleep", (("head", position), ("breaks", breaks)))
        if reason == "dead":
            yield from look_after(cfg)
        yield ("become", watcher, (position, version, breaks, renewals))
    if entry == TORN and cfg.get("torn") != "overflow":
        yield ("become", watcher, (position, version, breaks, renewals))
    if entry in (OVERRUN, TORN):
        yield from begin_again(cfg, renewals)
    if entry[0] <= version and cfg.get("skip", True):  # entered again after a death
        yield ("become", watcher, (position + 1, version, breaks, renewals))
    if cfg.get("lapses") and cfg.get("breaks_after", True):
        now = yield from load("breaks")  # fenced since the head was loaded
        if now != breaks:
            yield from begin_again(cfg, renewals)
    yield ("event", entry)
    yield ("become", watcher, (position + 1, entry[0], breaks, renewals))


def look_after(cfg):
    """Go on being heard, and repair where a writer died."""
    got = yield ("trylock",)
    if got:
        yield from enter(cfg)
        yield from raise_alert(cfg)
        yield ("unlock",)


def begin_again(cfg, renewals):
    yield ("lock",)
    yield from enter(cfg)
    yield from raise_alert(cfg)
    position = yield from load("head")
    breaks = yield from load("breaks")
    version = yield from load("ver")
    yield ("again",)
    yield ("unlock",)
    yield ("become", watcher, (position, version, breaks, renewals))


def waiter(cfg, loc, token, asked):
    """Waits until `loc` is not `token` any more."""
    if cfg.get("look_first"):  # (variant)
        now = yield from load(loc)
        seen = yield from load("change")
    else:
        seen = yield from load("change")
        if cfg.get("seen_fence", True):
            yield from fence(cfg)
        now = yield from load(loc)
    if now != token:
        return
    if not asked and not cfg.get("silent"):
        if cfg.get("ask_unlocked"):  # (variant)
            yield from raise_alert(cfg)
        else:
            got = yield ("trylock",)
            if not got:  # polls
                yield ("become", waiter, (loc, token, False))
            mended = yield from enter(cfg)
            yield from raise_alert(cfg)
            yield ("unlock",)
            if mended:
                yield ("ring",)
    if cfg.get("late_seen"):  # (variant) the value to sleep on is loaded after the look
        seen = yield from load("change")
    slept = yield ("futex", seen, loc, token)
    if slept:
        yield ("asleep", loc, token)
    yield ("become", waiter, (loc, token, True))
