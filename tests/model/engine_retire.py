"""Placeholder."""


def op_retire(cfg, key, value):
    yield from ()
