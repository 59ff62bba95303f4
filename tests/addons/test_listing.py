"""What the browser lists, from real regions, without Kodi. What controls are told needs fakes of Kodi: not here."""

import re
import sys
import time
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ipcdatastore

RESOURCES = Path(__file__).resolve().parents[2] / "addon_service" / "resources"
sys.path.insert(0, str(RESOURCES))

from lib import listing, words  # noqa: E402

OWN = [f"name {number}" for number in range(12)]


@pytest.fixture
def store(directory):
    with ipcdatastore.open("kodi", directory=directory) as store:
        yield store
        assert store.check() == []


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def names(found):
    return [listing.name_of(key) for key in found.names]


def look(found, at=0, seconds=60):
    """What the window does five times a second."""
    found.poll()
    return found.look(at, seconds)


# --- authors and names ---------------------------------------------------------------------------------


def test_an_empty_store(store):
    found = listing.Listing(store)
    assert found.authors() == [(listing.ALL, 0)]
    assert found.names == []
    assert look(found) == []
    assert found.more == found.total == 0


def test_authors_in_order_with_their_counts_and_others_last(store):
    store.set_many({("script.B", 1): 1, ("script.a", "x"): 1, ("script.a", "y"): 1, "zero": 1, 7: 1, (1, 2): 1})
    store["a", "b", "c"] = 1
    found = listing.Listing(store)
    assert found.authors() == [(listing.ALL, 7), ("script.a", 2), ("script.B", 1), (listing.OTHERS, 4)]
    found.choose(listing.OTHERS)
    assert sorted(names(found)) == ["('a', 'b', 'c')", "(1, 2)", "7", "zero"]
    found.choose("script.a")
    assert names(found) == ["x", "y"]


def test_names_in_order_with_numbers_by_size(store):
    store.set_many({("a", name): 1 for name in ["n10", "n9", "B", "a", 100, 20, b"raw", "n"]})
    found = listing.Listing(store, "a")
    assert names(found) == ["20", "100", "a", "B", "b'raw'", "n", "n9", "n10"]


def test_authors_with_numbers_by_size(store):
    store.set_many({(author, "x"): 1 for author in ["a10", "a9", "A1"]})
    found = listing.Listing(store)
    assert [author for author, _ in found.authors()] == [listing.ALL, "A1", "a9", "a10"]
    assert [key[0] for key in found.names] == ["A1", "a9", "a10"]


def test_in_the_list_of_all_a_name_says_whose_it_is(store):
    store["script.a", "x"] = 1
    assert listing.name_of(("script.a", "x"), full=True) == "x  ·  script.a"
    assert listing.name_of("x", full=True) == "x"


def test_keys_that_look_alike_have_places_of_their_own():
    keys = [("a", "1"), ("a", 1), ("a", b"1"), ("a", "01"), "1", 1, ("A", "1"), (1, "1"), ("a", ("1",))]
    assert len({listing.place_of(key) for key in keys}) == len(keys)
    assert sorted((listing.place_of(key), key) for key in keys)  # so that keys, of any types, are never compared


def test_a_chosen_author_stays_without_names_until_another_is_chosen(store):
    store["a", "x"] = store["b", "x"] = 1
    found = listing.Listing(store, "a")
    del store["a", "x"]
    look(found)
    assert found.authors() == [(listing.ALL, 1), ("a", 0), ("b", 1)]
    found.choose(listing.ALL)
    assert found.authors() == [(listing.ALL, 1), ("b", 1)]


# --- more than can be listed -----------------------------------------------------------------------------


def test_of_many_names_the_first_are_listed_and_the_others_counted(store):
    store.set_many({("a", f"{number}"): number for number in range(listing.LIMIT + 7)})
    found = listing.Listing(store)
    assert len(found.names) == listing.LIMIT
    assert found.more == 7
    assert found.total == listing.LIMIT + 7
    del store["a", "0"]
    look(found)
    assert (len(found.names), found.more) == (listing.LIMIT, 6)
    assert names(found)[-1] == str(listing.LIMIT)


def test_only_rows_near_the_position_are_read(store):
    store.set_many({("a", f"{number}"): number for number in range(500)})
    found = listing.Listing(store, near=10)
    before = store.uncached_reads
    assert len(look(found)) == 11
    assert len(look(found, 250)) == 21
    assert store.uncached_reads == before + 32
    assert look(found, 250) == []


def test_near_rows_come_first_and_the_rest_with_more_time(store):
    store.set_many({("a", f"{number}"): number for number in range(100)})
    found = listing.Listing(store, near=2)
    assert [listing.name_of(key) for key in look(found, 50, 0)] == ["50"]
    assert {listing.name_of(key) for key in look(found, 50)} == {"48", "49", "51", "52"}


# --- rows --------------------------------------------------------------------------------------------


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "None"),
        (True, "bool"),
        (1, "int"),
        ("", "str"),
        (b"", "bytes"),
        ([], "list"),
        ({}, "dict"),
        (types.SimpleNamespace(), "types.SimpleNamespace"),
        (Path("x").parts, "tuple"),
        (Thing(), f"{Thing.__module__}.Thing"),
    ],
)
def test_types(store, value, kind):
    store["a", "x"] = value
    found = listing.Listing(store)
    look(found)
    assert found.rows["a", "x"].type == kind


def test_a_row_says_what_the_entry_does(store):
    version = store.set(("a", "x"), [1, 2], expire=3600, persist=True)
    found = listing.Listing(store)
    look(found)
    row, entry = found.rows["a", "x"], store.get_entry(("a", "x"))
    assert row.version == version
    assert row.kept is True
    assert row.missing is None
    assert row.preview == "[1, 2]"
    assert row.size == entry.size
    assert row.written_at == entry.written_at
    assert row.expires_at == pytest.approx(entry.expires_at, abs=1)


def test_an_object_of_a_class_that_is_not_here(store, monkeypatch):
    module = types.ModuleType("other_addon_model")
    exec("class Forecast: pass", module.__dict__)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "other_addon_model", module)
        version = store.set(("a", "x"), [module.Forecast()])
    store["a", "y"] = 1
    found = listing.Listing(store)
    look(found)
    row = found.rows["a", "x"]
    assert row.missing == "other_addon_model.Forecast"
    assert row.version == version
    assert (row.type, row.size, row.kept) == (None, None, None)
    assert found.rows["a", "y"].type == "int"
    del store["a", "x"]
    look(found)
    assert names(found) == ["y"]


def fail():
    raise ValueError("not today")


class Stubborn:
    def __reduce__(self):
        return fail, ()


def test_a_value_that_cannot_be_read_for_another_reason(store):
    store["a", "x"] = Stubborn()
    found = listing.Listing(store)
    look(found)
    assert found.rows["a", "x"].missing == ""


# --- changes -----------------------------------------------------------------------------------------


def test_nothing_happens_and_nothing_changes(store):
    store["a", "x"] = 1
    clock = Clock(time.time())
    found = listing.Listing(store, clock=clock)
    look(found)
    listed = found.names
    assert look(found) == []
    assert found.names is listed


def test_a_changed_value_is_the_only_row_that_changes(store):
    store.set_many({("a", name): 1 for name in OWN})
    found = listing.Listing(store, clock=Clock(time.time()))
    look(found)
    listed = found.names
    store["a", OWN[5]] = {}
    assert look(found) == [("a", OWN[5])]
    assert found.rows["a", OWN[5]].type == "dict"
    assert found.names is listed


def test_a_mark_to_be_kept_is_a_change(store):
    store["a", "x"] = 1
    found = listing.Listing(store, clock=Clock(time.time()))
    look(found)
    store.add_persistence(("a", "x"))
    assert look(found) == [("a", "x")]
    assert found.rows["a", "x"].kept
    store.remove_persistence(("a", "x"))
    assert look(found) == [("a", "x")]


def test_names_come_and_go_in_their_places(store):
    store.set_many({("a", "b"): 1, ("a", "d"): 1, ("z", "x"): 1})
    found = listing.Listing(store, "a", clock=Clock(time.time()))
    look(found)
    store["a", "c"] = 1
    store["z", "y"] = 1
    assert look(found) == [("a", "c")]
    assert names(found) == ["b", "c", "d"]
    del store["a", "b"]
    assert look(found) == []
    assert names(found) == ["c", "d"]
    assert set(found.rows) == set(found.names)
    assert found.authors() == [(listing.ALL, 4), ("a", 2), ("z", 2)]


def test_a_name_that_is_gone_before_its_row_is_read_goes(store):
    store["a", "x"] = store["a", "y"] = 1
    found = listing.Listing(store)
    del store["a", "x"]
    found.look(0, 60)  # not polled: the event is still to come
    assert names(found) == ["y"]
    look(found)
    assert (names(found), found.total) == (["y"], 1)


def test_deleted_and_stored_again(store):
    store["a", "x"] = 1
    found = listing.Listing(store)
    look(found)
    del store["a", "x"]
    store["a", "x"] = "again"
    look(found)
    assert found.rows["a", "x"].type == "str"
    assert found.total == 1


def test_a_row_out_of_sight_is_read_again_when_it_comes_into_sight(store):
    store.set_many({("a", f"{number}"): 1 for number in range(50)})
    found = listing.Listing(store, near=3, clock=Clock(time.time()))
    look(found, 0)
    store["a", "0"] = "new"
    assert ("a", "0") not in look(found, 40)
    assert ("a", "0") in look(found, 0)
    assert found.rows["a", "0"].type == "str"


def test_after_a_clear_everything_is_read_again(store):
    store.set_many({("a", name): 1 for name in OWN})
    found = listing.Listing(store, timer=Clock(100.0))  # a slow first read would put the second off
    look(found)
    store.clear()
    store["b", "x"] = 1
    look(found)
    assert found.authors() == [(listing.ALL, 1), ("b", 1)]
    assert names(found) == ["x"]
    assert set(found.rows) == {("b", "x")}


def test_lost_events_have_everything_read_again_but_not_all_the_time(store, monkeypatch):
    store["a", "x"] = 1
    timer = Clock(100.0)
    ticks = iter(range(1000))
    found = listing.Listing(store, timer=timer)
    events = [ipcdatastore.Event("overflow", None, 0)]
    monkeypatch.setattr(found._watch, "poll", lambda: events)
    reads = []
    real = store.__iter__

    def slow():
        reads.append(next(ticks))
        timer.now += 2
        return real()

    monkeypatch.setattr(type(store), "__iter__", lambda _: slow())
    store["a", "y"] = 1
    found.poll()
    assert names(found) == ["x", "y"]
    found.poll()
    timer.now += 2 * listing.READ_SHARE - 1
    found.poll()
    assert len(reads) == 1
    timer.now += 1
    events.clear()  # it is not forgotten that some were lost
    found.poll()
    found.poll()
    assert len(reads) == 2


# --- time --------------------------------------------------------------------------------------------


def test_rows_whose_age_reads_differently_change(store):
    store["a", "x"] = 1
    written = store.get_entry(("a", "x")).written_at
    clock = Clock(written + 0.2)
    found = listing.Listing(store, clock=clock)
    look(found)
    clock.now = written + 0.9
    assert look(found) == []
    clock.now = written + 1.1
    assert look(found) == [("a", "x")]
    clock.now = written + 65
    assert look(found) == [("a", "x")]
    clock.now = written + 119
    assert look(found) == []
    clock.now = written + 120.1
    assert look(found) == [("a", "x")]


def test_a_row_that_should_have_expired_is_read_again(store):
    store.set(("a", "x"), 1, expire=1000)
    clock = Clock(time.time())
    found = listing.Listing(store, clock=clock)
    look(found)
    before = store.uncached_reads
    clock.now += 2000  # this clock is wrong, or the store's has not come so far
    look(found)
    assert store.uncached_reads == before + 1
    assert names(found) == ["x"]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-5, (0, words.SECOND)),
        (0, (0, words.SECOND)),
        (59.9, (59, words.SECOND)),
        (60, (1, words.MINUTE)),
        (3599, (59, words.MINUTE)),
        (3600, (1, words.HOUR)),
        (47 * 3600 + 3599, (47, words.HOUR)),
        (48 * 3600, (2, words.DAY)),
        (400 * 86400, (400, words.DAY)),
    ],
)
def test_ages(seconds, age):
    assert words.age(seconds) == age
    lasts = words.lasts(seconds)
    assert lasts > 0
    assert words.age(seconds + lasts + 0.01) != age
    assert words.age(max(seconds + lasts - 0.02, seconds)) == age


@pytest.mark.parametrize(
    ("count", "size"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (9 << 40, "9216.0 GiB"),
    ],
)
def test_sizes(count, size):
    assert words.size(count) == size


# --- words -------------------------------------------------------------------------------------------


def test_parts_of_keys_in_one_line():
    assert words.word("a b") == "a b"
    assert words.word("") == "''"
    assert words.word("a\nb") == r"'a\nb'"
    assert words.word("\udc80") == r"'\udc80'"
    assert words.word(7) == "7"


def test_what_kodi_would_take_for_its_own():
    for markup in ("[B]x[/B]", "[COLOR red]", "[CR]", "$INFO[System.Time]", "$LOCALIZE[1]", "$ADDON[a 1]", "$COMMA"):
        shown = words.plain(f"a {markup}")
        assert shown.replace("\u200c", "") == f"a {markup}"
        assert markup not in shown
    for text in ("[1, 2]", "[Bold]", "$5", "['B']", "[b]"):
        assert words.plain(text) == text


def test_previews():
    assert words.preview({"a": [1, None]}) == "{'a': [1, None]}"
    assert words.preview("two\nlines") == r"'two\nlines'"
    assert len(words.preview("x" * 10000)) <= words.PREVIEW
    assert len(words.preview(dict.fromkeys(range(1000), "x" * 50))) <= words.PREVIEW


def test_a_long_value_is_shown_in_part():
    shown = words.pretty({f"key {number}": list(range(50)) for number in range(100000)})
    assert shown.startswith("{'key 0': [0, 1, 2")
    assert len(shown) < 3 * words.PRETTY
    assert "+999" in shown
    assert words.pretty(list(range(1000))).endswith("… +601]")
    assert words.pretty("x" * 100000).endswith("…")
    assert words.pretty({"bytes": b"x" * 100000}).count("x") <= words.PRETTY
    assert words.pretty({5, 3}) == "{3, 5}"


def test_text_is_shown_line_by_line():
    assert words.pretty("one\ntwo\tthree\n") == "one\ntwo\\tthree\n"


def test_strange_values():
    loop = [1]
    loop.append(loop)
    assert "…" in words.pretty(loop)

    class Nameless:
        def __repr__(self):
            raise RuntimeError("no")

    assert "RuntimeError" in words.pretty({"x": Nameless()})
    assert "RuntimeError" in words.preview([Nameless()])
    assert words.pretty(1 << 100000).startswith("0x1000")
    assert words.pretty((1,)) == "(1,)"
    assert words.pretty({(1, frozenset((2,))): ...}) == "{(1, frozenset({2})): Ellipsis}"


# --- what the window is made of --------------------------------------------------------------------------


def strings(language):
    lines = (RESOURCES / f"language/resource.language.{language}/strings.po").read_text("utf-8")
    found = re.findall(r'msgctxt "#(\d+)"\nmsgid "(.*)"\nmsgstr "(.*)"', lines)
    texts = {int(number): (english, translated) for number, english, translated in found}
    assert len(texts) == len(found)
    return texts


def test_every_text_of_the_window_is_there_in_both_languages_and_used():
    english, german = strings("en_gb"), strings("de_de")
    assert list(english) == list(german)
    for number, (text, translated) in german.items():
        assert english[number] == (text, "")
        assert sorted(re.findall(r"{\d.*?}", text)) == sorted(re.findall(r"{\d.*?}", translated)), number
        assert translated
    parts = [path.read_text("utf-8") for path in (RESOURCES / "lib").glob("*.py")]
    parts += [path.read_text("utf-8") for path in (RESOURCES / "skins").rglob("*.xml")]
    used = {int(number) for part in parts for number in re.findall(r"\b323\d\d\b", part)}
    used |= set(range(32350, 32357))  # a range in details
    assert used - {32357} == {number for number in english if 32300 <= number < 32400}


def test_the_controls_of_the_window():
    tree = ElementTree.parse(RESOURCES / "skins/Default/1080i/ipcdatastore-browse.xml")
    ids = [int(control.get("id")) for control in tree.iter("control") if control.get("id")]
    assert len(set(ids)) == len(ids)
    go = [element.text for tag in ("onup", "ondown", "onleft", "onright") for element in tree.iter(tag)]
    assert {int(target) for target in go if target.isdigit()} <= set(ids)
    textures = {element.text for tag in ("texture", "texturefocus", "texturenofocus") for element in tree.iter(tag)}
    media = RESOURCES / "skins/Default/media"
    assert {texture for texture in textures if texture} == {path.name for path in media.iterdir()}
