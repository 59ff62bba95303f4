"""The addons' code, with a Kodi that is none; and the program that builds the addons, with what it built."""

import functools
import importlib.util
import types

import pytest

import ipcdatastore
from addons.fakes import ROOT, Kodi, forget_addons
from addons.old import BEFORE
from children import crew

BUILDER = ROOT / "tools" / "addons.py"

# The addons are built from a checkout; the built wheel, for one, is tested without.
collect_ignore_glob = [] if (ROOT / "src" / "ipcdatastore").is_dir() and BUILDER.is_file() else ["test_*.py"]


@pytest.fixture
def kodi(tmp_path, directory, monkeypatch):
    """A Kodi whose regions are in `directory`, and whose files are in a place of its own."""
    monkeypatch.setenv("IPCDATASTORE_DIR", str(directory))
    kodi = Kodi(tmp_path / "home")
    forget_addons()
    for name, module in kodi.modules().items():
        monkeypatch.setitem(importlib.sys.modules, name, module)
    for folder in ("addon_module/lib", "addon_service"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    yield kodi
    ipcdatastore.on_wait(None)
    forget_addons()


@pytest.fixture
def load(kodi):
    """A module of the addons, by its name there."""

    def load(name):
        return importlib.import_module(name if name.startswith("ipc") else f"resources.lib.{name}")

    return load


@pytest.fixture(params=["anywhere", "kodi"])
def old(request, directory, tmp_path, monkeypatch):
    """The modules that scripts of 2014 import, by their names: where there is no Kodi, and where there seems to be one.

    Clients are closed at the end, which those scripts never did.
    """
    if request.param == "kodi":
        kodi = request.getfixturevalue("kodi")
        kodi.caller = "script.caller"
    else:
        kodi = None
        forget_addons()
        monkeypatch.setenv("IPCDATASTORE_DIR", str(directory))
        for folder in ("addon_module/lib", "addon_service"):
            monkeypatch.syspath_prepend(str(ROOT / folder))
    monkeypatch.setenv("IPCDATASTORE_IMAGES", str(tmp_path / "images"))
    names = ("ipcserver", "ipcclient", "ipcclientx", "ipcclientxerrors", "datastore", "kodi", "address", "scratch")
    modules = {name: importlib.import_module(f"ipc.{name}") for name in names}
    clients, make = [], modules["ipcclient"].IPCClient.__init__

    @functools.wraps(make)
    def note(client, *arguments, **options):
        clients.append(client)
        make(client, *arguments, **options)

    monkeypatch.setattr(modules["ipcclient"].IPCClient, "__init__", note)
    yield types.SimpleNamespace(fake=kodi, **modules)
    for client in clients:
        client.close()
    ipcdatastore.on_wait(None)
    forget_addons()


@pytest.fixture
def serve(old):
    """``serve(obj, ...)``: an ``IPCServer`` that runs."""
    made = []

    def serve(obj, *arguments, **options):
        made.append(old.ipcserver.IPCServer(obj, *arguments, **options))
        made[-1].start()
        return made[-1]

    yield serve
    for server in made:
        if server.running:
            server.stop()


@pytest.fixture
def data(old, serve):
    """A server of values at the default address; ``data.expose_obj`` is the ``DataObjects``."""
    server = serve(old.datastore.DataObjects())
    yield server
    if server.running:
        assert server.expose_obj._records.store.check() == []


@pytest.fixture
def client(old):
    """A client of the default address, which raises what is wrong."""
    client = old.ipcclientx.IPCClientX()
    client.raise_exception = True
    yield client
    client.close()


@pytest.fixture
def child():
    """``child(function, ...)``: a process in which scripts of 2014 run."""
    with crew() as start:
        yield functools.partial(start, before=BEFORE)


@pytest.fixture
def outside(directory):
    """The region as a program outside of Kodi has it."""
    opened = []

    def outside(name="kodi", **options):
        opened.append(ipcdatastore.open(name, directory=directory, **options))
        return opened[-1]

    yield outside
    for store in opened:
        if not store._engine.closed:
            assert store.check() == []
            store.close()


@pytest.fixture(scope="session")
def builder():
    """tools/addons.py as a module."""
    spec = importlib.util.spec_from_file_location("addons_builder", BUILDER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def out(builder, tmp_path_factory):
    """The folder of a finished build. Tests only read it."""
    directory = tmp_path_factory.mktemp("addons")
    builder.build(directory, "https://example.org/kodi/")
    return directory
