"""``python tools/addons.py``: build the two Kodi addons, and a repository from which a Kodi installs them.

An addon is what lies in its folder here, and, for ``script.module.ipc``, the library itself: copied, never edited.
The same checkout gives the same bytes, whoever builds it, whenever and wherever, so that anyone can build what was
published and compare. Needs only the standard library, as Kodi's own Pythons have it (3.8 and up).

Below ``--out`` (``build/addons``)::

    staged/ID/                       each addon as files: what Kodi unpacks, and what the checker looks at
    repository/addons.xml            what there is; with its .md5 and .sha256
    repository/ID/ID-VERSION.zip     each addon as Kodi downloads it; with its .md5 and .sha256
    repository/ID/resources/...      the pictures that Kodi shows before it downloads

``repository`` is a plain folder for any web server. Its address, ``--url``, is written into
``repository.ipcdatastore``, the addon by which a Kodi learns of it; without one it is for this machine only:
``python -m http.server --bind localhost --directory build/addons/repository``.
"""

import argparse
import hashlib
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "src" / "ipcdatastore"
MODULE, SERVICE, REPOSITORY = "script.module.ipc", "service.ipcdatastore", "repository.ipcdatastore"
SOURCES = {MODULE: ROOT / "addon_module", SERVICE: ROOT / "addon_service"}
IDS = (MODULE, SERVICE, REPOSITORY)

# Needs click and rich, which no Kodi has, or is only for those who look at a terminal.
NOT_IN_KODI = {"cli", "demo", "testing", "__main__.py"}
# Anything else in a folder is a mistake (an editor's copy, say), or new: then it gets its place here.
ENDINGS = {".py", ".xml", ".po", ".png", ".jpg", ".txt"}
CHECKSUMS = ("md5", "sha256")
DEFAULT_URL = "http://localhost:8000"

REPOSITORY_XML = """\
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<addon id="{id}" name="IPC Datastore repository" version="{version}" provider-name="the ipcdatastore authors">
  <requires>
    <import addon="xbmc.addon" version="12.0.0"/>
  </requires>
  <extension point="xbmc.addon.repository" name="IPC Datastore repository">
    <dir>
      <info compressed="false">{url}/addons.xml</info>
      <checksum verify="sha256">{url}/addons.xml.sha256</checksum>
      <datadir zip="true">{url}/</datadir>
      <hashes>sha256</hashes>
    </dir>
  </extension>
  <extension point="xbmc.addon.metadata">
    <summary lang="en_GB">Installs and updates the IPC Datastore</summary>
    <description lang="en_GB">The repository of script.module.ipc and service.ipcdatastore.</description>
    <platform>all</platform>
    <license>MIT</license>
    <assets>
      <icon>resources/icon.png</icon>
      <fanart>resources/fanart.jpg</fanart>
    </assets>
  </extension>
</addon>
"""


class BuildError(Exception):
    """Something in the checkout, or on the command line, is not as it has to be."""


class Package(NamedTuple):
    """One zip."""

    id: str
    version: str
    zip: Path
    sha256: str


def stage(out):
    """Copy both addons, as files, to `out`/staged, and return their directories: the module's, the service's."""
    version = project_version()
    staged = emptied(Path(out) / "staged", IDS)
    for addon_id, source in SOURCES.items():
        copy_files(source, staged / addon_id)
        # One licence for all: there is no copy of it to keep in step.
        copy_file(ROOT / "LICENSE", staged / addon_id / "LICENSE.txt")
    copy_files(LIBRARY, staged / MODULE / "lib" / "ipcdatastore", NOT_IN_KODI)
    for addon_id in SOURCES:
        require_assets(staged / addon_id, addon_id, version)
    return staged / MODULE, staged / SERVICE


def build(out, url=DEFAULT_URL):
    """Build everything below `out`, and return the three packages in `out`/repository."""
    url = checked_url(url)
    module, service = stage(out)
    repository = stage_repository(service, url)
    tree = emptied(Path(out) / "repository", [*IDS, "addons.xml", *(f"addons.xml.{name}" for name in CHECKSUMS)])
    packages = [publish(directory, tree) for directory in (module, service, repository)]
    write_index([module, service, repository], tree / "addons.xml")
    return packages


# --- what goes in ------------------------------------------------------------------------------------
def project_version():
    """The version, which is one everywhere."""
    found = {
        "pyproject.toml": searched(ROOT / "pyproject.toml", r'^version = "(.+)"$'),
        "src/ipcdatastore/__init__.py": searched(LIBRARY / "__init__.py", r'^__version__ = "(.+)"$'),
    }
    for addon_id, source in SOURCES.items():
        addon = parsed(source / "addon.xml")
        if addon.get("id") != addon_id:
            raise BuildError(f"{source.name}/addon.xml is that of {addon.get('id')!r}, not of {addon_id}")
        found[f"{source.name}/addon.xml"] = addon.get("version")
        # The service is written for this very library.
        for wanted in addon.findall(f"./requires/import[@addon='{MODULE}']"):
            found[f"{source.name}/addon.xml, import of {MODULE}"] = wanted.get("version")
    if len(set(found.values())) != 1:
        listed = "; ".join(f"{place} has {version}" for place, version in found.items())
        raise BuildError(f"the version has to be one everywhere, but {listed}")
    return found["pyproject.toml"]


def searched(path, pattern):
    """What `pattern` finds: a pattern, because Python 3.8 to 3.10 have no tomllib, and to import is to run."""
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f"{path.relative_to(ROOT).as_posix()} says no version: there is no line like {pattern}")
    return match.group(1)


def parsed(path):
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise BuildError(f"{path} is not XML: {error}") from None


def shipped_files(source, left_out=frozenset()):
    """The path, relative to `source`, of every file below it that goes into an addon, in an order of our own."""
    if not source.is_dir():
        raise BuildError(f"there is no folder {source}: the addons are built from a checkout")
    for path in sorted(source.rglob("*"), key=lambda path: path.relative_to(source).as_posix()):
        relative = path.relative_to(source)
        if relative.parts[0] in left_out or any(map(is_byproduct, relative.parts)) or not path.is_file():
            continue
        if path.suffix not in ENDINGS:
            raise BuildError(f"{path} does not look like part of an addon: delete it, or see ENDINGS in {__file__}")
        yield relative


def is_byproduct(name):
    """Is a file or folder of this name for those who work on the checkout?"""
    return name.startswith((".", "README")) or name in ("__pycache__", "py.typed") or name.endswith((".pyc", ".pyo"))


def copy_files(source, destination, left_out=frozenset()):
    for relative in shipped_files(source, left_out):
        copy_file(source / relative, destination / relative)


def copy_file(source, destination):
    """Copy the content only: Kodi's repository takes no file with the permission to be executed."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)


def assets(directory):
    """The pictures that the addon in `directory` says it has."""
    return [
        asset.text.strip() for asset in parsed(directory / "addon.xml").findall("./extension/assets/*") if asset.text
    ]


def require_assets(directory, addon_id, version):
    for asset in assets(directory):
        if not (directory / asset).is_file():
            raise BuildError(f"the addon.xml of {addon_id} {version} names {asset}, which does not exist")


# --- what comes out ----------------------------------------------------------------------------------
def emptied(directory, own):
    """`directory`, made if missing, and without what an earlier build left there.

    Who gives `--out` a folder of his own by mistake keeps what is in it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    present = sorted(path.name for path in directory.iterdir())
    strangers = [name for name in present if name not in own]
    if strangers:
        raise BuildError(f"{directory / strangers[0]} is not from an earlier build: choose another folder with --out")
    for name in present:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return directory


def checked_url(url):
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise BuildError(f"{url!r} is not the address of a folder on a web server, like https://example.org/kodi")
    return url.rstrip("/")


def stage_repository(service, url):
    """The addon by which a Kodi learns of the repository; it has the looks and the version of the service."""
    directory = service.parent / REPOSITORY
    version = parsed(service / "addon.xml").get("version")
    for name in ("LICENSE.txt", "resources/icon.png", "resources/fanart.jpg"):
        copy_file(service / name, directory / name)
    text = REPOSITORY_XML.format(id=REPOSITORY, version=version, url=escape(url))
    (directory / "addon.xml").write_bytes(text.encode("utf-8"))
    return directory


def publish(directory, tree):
    """Put the addon in `directory` into `tree`: its zip, the checksums of that, and its pictures."""
    addon = parsed(directory / "addon.xml")
    addon_id, version = addon.get("id"), addon.get("version")
    path = tree / addon_id / f"{addon_id}-{version}.zip"
    path.parent.mkdir(parents=True)
    write_zip(directory, path)
    for asset in assets(directory):
        copy_file(directory / asset, tree / addon_id / asset)
    return Package(addon_id, version, path, write_checksums(path)["sha256"])


def write_zip(directory, path):
    """Zip `directory`, which is the only top folder, as Kodi wants it.

    Stored, not deflated: the bytes that deflate gives differ between zlib, zlib-ng and their versions, and then the
    checksums of one and the same addon would. Kodi reads both. All else that a zip notes of where and when it was
    made (time, permissions, system) is set to one value.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for relative in shipped_files(directory):
            entry = zipfile.ZipInfo(f"{directory.name}/{relative.as_posix()}", (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whose permissions these are
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, (directory / relative).read_bytes())


def write_index(directories, path):
    """addons.xml: the addon.xml of every addon, as it stands, in one element."""
    texts = [(directory / "addon.xml").read_text(encoding="utf-8") for directory in directories]
    entries = [re.sub(r"^\s*<\?xml.*?\?>\s*", "", text).rstrip() for text in texts]
    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="yes"?>', "<addons>", *entries, "</addons>", ""]
    path.write_bytes("\n".join(lines).encode("utf-8"))
    parsed(path)
    write_checksums(path)


def write_checksums(path):
    """Beside `path`, one file a checksum, of which Kodi reads the first word, and `sha256sum --check` both."""
    content = path.read_bytes()
    found = {name: hashlib.new(name, content).hexdigest() for name in CHECKSUMS}
    for name, checksum in found.items():
        path.with_name(f"{path.name}.{name}").write_bytes(f"{checksum}  {path.name}\n".encode("ascii"))
    return found


# --- the program -------------------------------------------------------------------------------------
def show(packages):
    rows = [(package.zip.name, f"{package.zip.stat().st_size:,}", package.sha256[:12]) for package in packages]
    widths = [max(map(len, column)) for column in zip(("zip", "bytes", "sha256"), *rows)]
    for name, size, checksum in [("zip", "bytes", "sha256"), *rows]:
        print(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {checksum}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="addons.py", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "addons", help="where to (default: build/addons)")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"where the repository will be (default: {DEFAULT_URL})")
    chosen = parser.parse_args(arguments)
    try:
        packages = build(chosen.out, chosen.url)
    except (BuildError, OSError) as error:
        print(f"addons.py: {error}", file=sys.stderr)
        return 2
    show(packages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
