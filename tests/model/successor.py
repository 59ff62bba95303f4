"""A rejected design: growing by moving to a successor file, while clients hold cached words of the old one.

Kept because it shows what the one-load hot path asks of whoever gives up a region. The word carries the value
here.
"""

from .steps import fence, load, store, under_lock


@under_lock
def move_to_successor(cfg):
    yield ("lock",)
    moved = yield from load("moved")
    if moved:
        yield ("unlock",)
        return
    w = yield from load("w0")
    yield from store("w1", (1, w[1]))
    yield from fence(cfg)
    if cfg["retire"] == "before":
        yield from store("w0", "FF")
        yield from fence(cfg)
    yield from store("moved", 1)  # SWITCH
    if cfg["retire"] == "after":
        yield from fence(cfg)
        yield from store("w0", "FF")
    yield ("unlock",)


@under_lock
def successor_writer(cfg, values):
    if not values:
        return
    yield ("lock",)
    moved = yield from load("moved")
    current = "w1" if moved else "w0"
    if moved and cfg.get("finish"):
        yield from store("w0", "FF")
        yield from fence(cfg)
    w = yield from load(current)
    if w != "FF":
        yield from store(current, (w[0] + 1, values[0]), (("A", values[0]),))  # PUBLISH
    yield ("unlock",)
    yield ("become", successor_writer, (values[1:],))


def successor_reader(cfg, count, cache):
    if count == 0:
        return
    yield ("inv", ("A",))
    if cache is not None:
        current, w = cache
        w2 = yield from load(current)
        if w2 == w:
            yield ("ret", (w[1],))
            yield ("become", successor_reader, (count - 1, cache))
    moved = yield from load("moved")
    yield from fence(cfg)
    current = "w1" if moved else "w0"
    w = yield from load(current)
    if w == "FF":
        yield ("fallback",)
        yield ("become", successor_reader, (count - 1, cache))
    yield ("ret", (w[1],))
    yield ("become", successor_reader, (count - 1, (current, w)))
