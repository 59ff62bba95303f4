"""The data that every figure is taken on, and how two things are timed against each other."""

import pickle
import random
import time


def value(number):
    """A record of a film library: a dict that pickles to about 271 bytes."""
    return {
        "title": f"Movie {number}",
        "year": 1950 + number % 70,
        "rating": (number % 100) / 10,
        "genre": ["Drama", "Comedy"],
        "plot": "x" * 120,
        "art": {"poster": f"image://p{number}", "fanart": f"image://f{number}"},
    }


VALUES = [value(number) for number in range(10_000)]
BLOBS = [pickle.dumps(item, 5) for item in VALUES]


def keys(count):
    return [f"lib.movie.{number:07d}" for number in range(count)]


def order(count, length, seed=1):
    """`length` random numbers below `count`, the same in every run."""
    draw = random.Random(seed)
    return [draw.randrange(count) for _ in range(length)]


def best_of(ours, theirs, rounds):
    """The best time of each of two functions, run in turn so that a busy machine hits both."""
    times = ([], [])
    for _ in range(rounds):
        for taken, function in zip(times, (ours, theirs)):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return min(times[0]), min(times[1])
