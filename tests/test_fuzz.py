"""``python -m fuzz`` in short: it passes, Hypothesis finds nothing by itself, and a library that lies is found out."""

import json
import random

import hypothesis
import pytest
from hypothesis import strategies

import fuzz
from corruption import FINE
from ipcdatastore import chain, layout, rebuild


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(fuzz, "limit_memory", lambda: None)  # it would be this whole process's
    monkeypatch.setattr(fuzz.warnings, "simplefilter", lambda action: None)


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["fuzz", "--json", *arguments])
    code = fuzz.main()
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore::ipcdatastore.RestoreWarning")
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_short_run(capsys, monkeypatch, quiet, target):
    code, found = run(capsys, monkeypatch, target, "--cases", "1500", "--seed", "5")
    assert (code, found["cases"], found["wrong"]) == (0, 1500, "nothing")


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return fuzz.Region(str(tmp_path_factory.mktemp("fuzz")))


WORDS = strategies.integers(layout.LENGTH, layout.RESERVED_WORDS[1]) | strategies.integers(96, 1500 * 4)
VALUES = strategies.sampled_from([0, 1, 2, 1 << 16, 1 << 31, 0xFFFFFFFF]) | strategies.integers(0, 0xFFFFFFFF)
STORES = strategies.lists(strategies.tuples(WORDS, VALUES), min_size=1, max_size=6)


@hypothesis.settings(max_examples=300)
@hypothesis.given(
    stores=strategies.lists(strategies.tuples(WORDS, VALUES), min_size=1, max_size=6), number=strategies.integers(0, 3)
)
def test_any_words_may_be_anything(target, stores, number):
    damaged = bytearray(target.image)
    for word, value in stores:
        damaged[4 * word : 4 * word + 4] = value.to_bytes(4, "little")
    assert target.judge(bytes(damaged), number) == FINE


def test_a_region_without_damage(target):
    for number in range(4):
        assert target.judge(target.image, number) == FINE


# --- what it would find ------------------------------------------------------------------------------------
def broken_chain(target):
    damaged = bytearray(target.image)
    damaged[4 * layout.CHUNK_FIRST : 4 * layout.CHUNK_FIRST + 4] = bytes(4)
    return bytes(damaged)


def unknown_policy(target):
    damaged = bytearray(target.image)
    damaged[4 * layout.EVICT] = 77
    return bytes(damaged)


def test_it_sees_records_that_are_not_saved(target, monkeypatch):
    assert target.judge(broken_chain(target), 0) == FINE
    monkeypatch.setattr(chain, "_missing", lambda region, known, link: {})
    assert "k0" in target.judge(broken_chain(target), 0)


def test_it_sees_a_repair_that_leaves_damage(target, monkeypatch):
    assert target.judge(unknown_policy(target), 0) == FINE
    monkeypatch.setattr(rebuild, "_mend_header", lambda region: None)
    assert "check() after repair" in target.judge(unknown_policy(target), 0)


def test_what_is_tried_depends_on_the_seed_only(target):
    first, second = (target.mutate(target.image, random.Random(3)) for _ in range(2))
    assert first == second
