"""Kodi installs the service, and with it the module, from the repository that is built here."""

import ipcdatastore

from .addon import SERVICE, YESNO_WINDOW, Service, call_builtin
from .conftest import REGION, wait_until_up
from .staging import BARE, load_builder, stage_own
from .web import serving

MODULE = "script.module.ipc"


def found(kodi, addon_id, installed):
    """What Kodi knows of this addon, if `installed` is so: True, or ``"all"`` with those of repositories."""
    answer = kodi.rpc("Addons.GetAddons", installed=installed, properties=["version", "enabled"])
    return [addon for addon in answer.get("addons", []) if addon["addonid"] == addon_id]


def test_the_service_is_installed_with_all_that_it_needs(booting, memory, tmp_path):
    builder = load_builder()
    out = tmp_path / "out"
    (out / "repository").mkdir(parents=True)
    with serving(out / "repository") as address:
        packages = {package.id: package for package in builder.build(out, address)}
        (bare,) = [directory for directory in stage_own(tmp_path / "own") if directory.name == BARE]
        kodi = booting(addons=[out / "staged" / "repository.ipcdatastore", bare])
        kodi.start()
        assert not found(kodi, SERVICE, True)
        kodi.run(BARE, call_builtin, "UpdateAddonRepos")
        kodi.wait_for(lambda: found(kodi, SERVICE, "all"), what="the repository to be read")
        kodi.run(BARE, call_builtin, f"InstallAddon({SERVICE})")
        service = Service(kodi)
        service.dialog(YESNO_WINDOW)
        service.go("left", "Yes")
        service.select()
        wait_until_up(kodi)

        for addon_id in (MODULE, SERVICE):
            (addon,) = found(kodi, addon_id, True)
            assert addon["enabled"]
            assert addon["version"] == packages[addon_id].version
            installed = kodi.home.kodi / "addons" / addon_id
            staged = out / "staged" / addon_id
            for path in staged.rglob("*.*"):
                assert path.is_dir() or (installed / path.relative_to(staged)).read_bytes() == path.read_bytes()

        with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
            kodi.run_addon(SERVICE, "set", "installed", "true")
            store.wait(("skin", "installed"), since=0, timeout=10)
            kodi.wait_for(lambda: kodi.label("Window(Home).Property(ipc.skin.installed)") == "true")
            assert store.check() == []
        assert kodi.quit() == 0
