"""The words of the addon, in each of its languages."""

import re

import pytest

from addons.fakes import ROOT, read_strings

ADDON = ROOT / "addon_service"
LANGUAGES = sorted(path.name.split(".")[-1] for path in (ADDON / "resources/language").iterdir())
PLACEHOLDER = re.compile(r"\{.*?\}")


def numbers_used():
    """Every number of a text in code, settings and windows."""
    found = set()
    for path in [*ADDON.rglob("*.py"), *ADDON.rglob("*.xml")]:
        found.update(map(int, re.findall(r"\b32\d{3}\b", path.read_text(encoding="utf-8"))))
    return found


def test_there_is_more_than_one_language():
    assert "en_gb" in LANGUAGES
    assert len(LANGUAGES) > 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there(language):
    strings = read_strings(language)
    assert numbers_used() - set(strings) == set()
    assert [number for number, text in strings.items() if not text.strip()] == []


def test_no_text_is_left_over():
    assert set(read_strings("en_gb")) - numbers_used() == set()


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en_gb"])
def test_translations_have_the_same_places_for_values(language):
    english, other = read_strings("en_gb"), read_strings(language)
    assert english.keys() == other.keys()
    for number, text in english.items():
        assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(other[number])), number


def test_every_setting_has_a_help_text():
    text = (ADDON / "resources/settings.xml").read_text(encoding="utf-8")
    settings = re.findall(r'<setting id="(\w+)" type="\w+" label="(\d+)" help="(\d*)"', text)
    assert len(settings) == text.count("<setting ")
    assert [name for name, _, help_text in settings if not help_text] == []


def test_the_settings_of_the_original_have_their_names():
    text = (ADDON / "resources/settings.xml").read_text(encoding="utf-8")
    for name in ("data_name", "host", "port", "startserver", "testclient", "servevideo", "showdata", "runtests"):
        assert f'<setting id="{name}"' in text
