"""The zips of the Kodi addons and the repository of them: what is in them, and that it is always the same."""

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ipcdatastore

from .conftest import ROOT

MODULE, SERVICE, REPOSITORY = "script.module.ipc", "service.ipcdatastore", "repository.ipcdatastore"
SOURCES = {MODULE: ROOT / "addon_module", SERVICE: ROOT / "addon_service"}
ALL = [MODULE, SERVICE, REPOSITORY]
# Not in Kodi: what needs click and rich, and what is for a terminal.
NOT_THERE = {"cli", "demo", "testing", "__main__.py"}
THIRD_PARTY = ["click", "rich", "filelock", "portalocker", "platformdirs"]


def zip_path(out, addon_id):
    (path,) = (out / "repository" / addon_id).glob("*.zip")
    return path


def files_below(directory):
    found = [path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def addon_xml(out, addon_id):
    return ElementTree.parse(out / "staged" / addon_id / "addon.xml").getroot()


def metadata(addon):
    (found,) = addon.findall("./extension[@point='xbmc.addon.metadata']")
    return found


@pytest.fixture
def checkout(tmp_path):
    """Another checkout, with all that the build needs, to be spoilt."""
    directory = tmp_path / "checkout"
    for name in ("addon_module", "addon_service", "src", "tools"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copyfile(ROOT / name, directory / name)
    return directory


def run(checkout, *arguments):
    command = [sys.executable, str(checkout / "tools" / "addons.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refusal(checkout, *arguments):
    """The one line that the program says when it refuses."""
    result = run(checkout, "--out", checkout / "out", *arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.count("\n") == 1
    return result.stderr


# --- the same bytes ----------------------------------------------------------------------------------
def test_another_checkout_gives_the_same_bytes(out, checkout, tmp_path):
    for path in sorted(checkout.rglob("*"), reverse=True):
        path.chmod(0o755)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    for folder in ("addon_module/lib", "src/ipcdatastore", "addon_service"):
        (checkout / folder / "__pycache__").mkdir(exist_ok=True)
        (checkout / folder / "__pycache__" / "service.cpython-311.pyc").write_bytes(b"\0")
        (checkout / folder / ".hidden").write_text("mine")
        (checkout / folder / "README.rst").write_text("for those who work on it")
    result = run(checkout, "--out", tmp_path / "again", "--url", "https://example.org/kodi")
    assert result.returncode == 0, result.stderr
    assert files_below(tmp_path / "again") == files_below(out)
    rows = [line.split() for line in result.stdout.splitlines()]
    zips = [zip_path(out, addon_id) for addon_id in ALL]
    wanted = [(path.name, path.read_bytes()) for path in zips]
    shown = [[name, f"{len(data):,}", hashlib.sha256(data).hexdigest()[:12]] for name, data in wanted]
    assert rows == [["zip", "bytes", "sha256"], *shown]


def test_a_build_leaves_nothing_of_the_one_before(builder, out, tmp_path):
    builder.build(tmp_path, "http://localhost:1")
    (tmp_path / "staged" / SERVICE / "gone.py").write_text("")
    (tmp_path / "repository" / SERVICE / f"{SERVICE}-0.0.1.zip").write_text("")
    packages = builder.build(tmp_path, "https://example.org/kodi")
    assert files_below(tmp_path) == files_below(out)
    assert [package.id for package in packages] == ALL


# --- the zips ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("addon_id", ALL)
def test_a_zip_is_the_staged_addon(out, addon_id):
    with zipfile.ZipFile(zip_path(out, addon_id)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        content = {name: archive.read(name) for name in names}
    staged = files_below(out / "staged" / addon_id)
    assert content == {f"{addon_id}/{name}": data for name, data in staged.items()}
    assert names == sorted(names)


@pytest.mark.parametrize("addon_id", ALL)
def test_a_zip_says_nothing_of_where_and_when_it_was_made(out, addon_id):
    with zipfile.ZipFile(zip_path(out, addon_id)) as archive:
        assert archive.comment == b""
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644
            assert entry.create_system == 3
            assert entry.compress_type == zipfile.ZIP_STORED  # what deflate gives depends on who deflates
            assert entry.extra == b""


@pytest.mark.parametrize("addon_id", SOURCES)
def test_an_addon_is_its_folder_and_no_more(out, addon_id):
    staged = set(files_below(out / "staged" / addon_id))
    own = {name for name in staged if not name.startswith("lib/ipcdatastore/")}
    tracked = {name for name in files_below(SOURCES[addon_id]) if not Path(name).name.startswith((".", "README"))}
    assert own == tracked | {"LICENSE.txt"}
    assert not [name for name in staged if name.endswith((".pyc", ".pyo", ".typed", ".md", "~"))]
    assert (out / "staged" / addon_id / "LICENSE.txt").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_library_is_in_the_module_unchanged(out):
    staged = files_below(out / "staged" / MODULE / "lib" / "ipcdatastore")
    library = files_below(ROOT / "src" / "ipcdatastore")
    wanted = {name for name in library if name.split("/")[0] not in NOT_THERE and name.endswith(".py")}
    assert staged == {name: library[name] for name in wanted}
    assert {"__init__.py", "service.py", "selftest/__init__.py"} <= set(staged)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission")
def test_nothing_staged_can_be_executed(out):
    assert not [path for path in (out / "staged").rglob("*") if path.is_file() and path.stat().st_mode & 0o111]


@pytest.mark.parametrize("flags", [[], ["-O"]], ids=["plain", "optimized"])
def test_the_library_imports_in_a_bare_interpreter(out, flags):
    library = out / "staged" / MODULE / "lib"
    script = f"""
import sys, pkgutil, importlib
sys.path.insert(0, {str(library)!r})
sys.modules.update(dict.fromkeys({THIRD_PARTY!r}))  # importing what is None there is an ImportError
import ipcdatastore
for name in ipcdatastore.__all__:
    getattr(ipcdatastore, name)
for module in pkgutil.walk_packages(ipcdatastore.__path__, "ipcdatastore."):
    importlib.import_module(module.name)
    print(module.name)
print(ipcdatastore.__file__, ipcdatastore.__version__, sys.flags.optimize)
"""
    command = [sys.executable, "-I", "-S", "-B", *flags, "-c", script]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert lines[-1] == f"{library / 'ipcdatastore' / '__init__.py'} {ipcdatastore.__version__} {len(flags)}"
    files = files_below(library / "ipcdatastore")
    dotted = {name[: -len(".py")].replace("/", ".") for name in files if not name.endswith("__init__.py")}
    assert {f"ipcdatastore.{name}" for name in dotted} <= set(lines)


# --- addon.xml ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("addon_id", ALL)
def test_the_version_is_that_of_the_library(out, addon_id):
    addon = addon_xml(out, addon_id)
    assert addon.get("id") == addon_id
    assert addon.get("version") == ipcdatastore.__version__
    assert zip_path(out, addon_id).name == f"{addon_id}-{ipcdatastore.__version__}.zip"
    for wanted in addon.findall(f"./requires/import[@addon='{MODULE}']"):
        assert wanted.get("version") == ipcdatastore.__version__


@pytest.mark.parametrize("addon_id", ALL)
def test_texts_are_as_long_as_the_official_repository_allows(out, addon_id):
    about = metadata(addon_xml(out, addon_id))
    assert all((element.text or "").strip() for element in about.iter() if not len(element))  # the checker's rule
    for name, limit in (("summary", 1500), ("description", 2500), ("news", 1500)):
        assert all(len(element.text) <= limit for element in about.findall(name))
    assert about.find("summary[@lang='en_GB']") is not None
    assert about.find("description[@lang='en_GB']") is not None
    assert about.findtext("license") == "MIT"


@pytest.mark.parametrize("addon_id", ALL)
def test_pictures_are_as_kodi_wants_them(out, addon_id):
    about = metadata(addon_xml(out, addon_id))
    icon = (out / "staged" / addon_id / about.findtext("assets/icon")).read_bytes()
    assert icon.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colour = struct.unpack_from(">IIBB", icon, 16)
    assert (width, height, depth, colour) == (512, 512, 8, 2)  # 2 is RGB without transparency
    assert len(icon) < 60_000

    fanart = (out / "staged" / addon_id / about.findtext("assets/fanart")).read_bytes()
    assert fanart.startswith(b"\xff\xd8\xff")
    assert len(fanart) < 250_000
    frame = fanart.index(b"\xff\xc0")  # the header of a baseline picture
    assert struct.unpack_from(">HH", fanart, frame + 5) == (1080, 1920)


# --- the repository ----------------------------------------------------------------------------------
def test_checksums_are_right(out):
    tree = out / "repository"
    sums = [path for path in tree.rglob("*") if path.suffix in (".md5", ".sha256")]
    assert len(sums) == 2 * (1 + len(ALL))
    for path in sums:
        content = path.with_suffix("").read_bytes()
        # Kodi reads the first word; the whole line is what `sha256sum --check` reads.
        assert path.read_bytes() == b"%s  %s\n" % (
            hashlib.new(path.suffix[1:], content).hexdigest().encode(),
            path.stem.encode(),
        )


def test_the_index_lists_every_addon_as_it_is(out):
    index = ElementTree.parse(out / "repository" / "addons.xml").getroot()
    assert index.tag == "addons"
    assert [addon.get("id") for addon in index] == ALL
    for addon in index:
        addon.tail = None
        assert ElementTree.tostring(addon) == ElementTree.tostring(addon_xml(out, addon.get("id")))


def test_the_repository_has_nothing_else(out):
    wanted = {"addons.xml", "addons.xml.md5", "addons.xml.sha256"}
    for addon_id in ALL:
        name = zip_path(out, addon_id).name
        pictures = [element.text for element in metadata(addon_xml(out, addon_id)).findall("assets/*")]
        wanted.update(f"{addon_id}/{file}" for file in [name, f"{name}.md5", f"{name}.sha256", *pictures])
    assert set(files_below(out / "repository")) == wanted


def test_the_repository_addon_says_where_it_is(out):
    (place,) = addon_xml(out, REPOSITORY).findall("./extension[@point='xbmc.addon.repository']/dir")
    assert place.findtext("info") == "https://example.org/kodi/addons.xml"
    assert place.findtext("checksum") == "https://example.org/kodi/addons.xml.sha256"
    assert place.find("checksum").get("verify") == "sha256"
    assert place.findtext("datadir") == "https://example.org/kodi/"
    assert place.find("datadir").get("zip") == "true"
    assert place.findtext("hashes") == "sha256"


# --- refusals ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("file", "old", "named"),
    [
        ("pyproject.toml", f'version = "{ipcdatastore.__version__}"', "pyproject.toml has 9.9"),
        (
            "addon_module/addon.xml",
            f' version="{ipcdatastore.__version__}"',
            "addon_module/addon.xml has 9.9",
        ),
        (
            "addon_service/addon.xml",
            f'addon="{MODULE}" version="{ipcdatastore.__version__}"',
            f"import of {MODULE} has 9.9",
        ),
    ],
)
def test_versions_that_differ(checkout, file, old, named):
    path = checkout / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, old.replace(ipcdatastore.__version__, "9.9"), 1), encoding="utf-8")
    line = refusal(checkout)
    assert "the version has to be one everywhere" in line
    assert named in line


def test_a_stray_file(checkout):
    (checkout / "addon_service" / "service.py.orig").write_text("")
    assert "service.py.orig does not look like part of an addon" in refusal(checkout)


def test_a_picture_that_is_missing(checkout):
    (checkout / "addon_module" / "resources" / "icon.png").unlink()
    assert f"{MODULE} {ipcdatastore.__version__} names resources/icon.png, which does not exist" in refusal(checkout)


def test_an_addon_xml_that_is_none(checkout):
    (checkout / "addon_service" / "addon.xml").write_text("<addon>")
    assert "is not XML" in refusal(checkout)


@pytest.mark.parametrize("place", ["staged", "repository"])
def test_a_folder_of_somebody_else_is_not_emptied(checkout, place):
    theirs = checkout / "out" / place / "holiday.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("sea")
    assert "holiday.jpg is not from an earlier build" in refusal(checkout)
    assert theirs.read_text() == "sea"


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "https://", "https://example.org/?a=b"])
def test_an_address_that_is_none(checkout, url):
    assert "is not the address of a folder on a web server" in refusal(checkout, "--url", url)
    assert not (checkout / "out").exists()
