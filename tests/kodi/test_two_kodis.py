"""A second Kodi of the same user shares the store of the first, and takes over when that ends."""

import ipcdatastore

from .conftest import REGION, images_of, wait_until_up
from .staging import ONE, TWO


def look(name):
    import ipc

    with ipc.open_all() as store:
        return [ipc.is_running(), store.stats()["path"], store.get(("shared", name))]


def store_it(name, value):
    import ipc

    with ipc.open("shared") as store:
        store[name] = value


def read_as_of_old(author, name):
    from ipc.ipcclientx import IPCClientX

    return IPCClientX().get(name, author=author)


def shown(kodi, name):
    return kodi.label(f"Window(Home).Property(ipc.skin.{name})")


def test_the_second_follows_and_takes_over(kodi, booting, memory):
    second = booting("second")
    second.start()
    wait_until_up(second)
    (line,) = second.lines("is looked after by process")
    assert f"the store 'kodi' is looked after by process {kodi.pid}: followed until that ends" in line

    kodi.run(ONE, store_it, "from the first", [1])
    second.run(TWO, store_it, "from the second", {"a": 2})
    assert second.run(ONE, look, "from the first") == [True, f"{memory}/kodi.region", [1]]
    assert kodi.run(ONE, look, "from the second") == [True, f"{memory}/kodi.region", {"a": 2}]

    assert second.run(ONE, read_as_of_old, "shared", "from the first") == [1]  # the first Kodi answers
    assert len(second.lines("is served by another program")) == 2  # at both addresses

    with ipcdatastore.open(REGION, directory=memory, mode="w") as outside:
        outside[("skin", "both")] = "see it"
        for one in (kodi, second):
            one.wait_for(lambda one=one: shown(one, "both") == "see it")
        outside.set((ONE, "marked"), 1, persist=True)
        assert outside.stats()["coordinator"] == kodi.pid

        assert kodi.quit() == 0
        second.wait_for(lambda: second.lines("[service.ipcdatastore] the store /"), 20, "the second to take over")
        assert outside.stats()["coordinator"] == second.pid
        assert second.run(ONE, look, "from the first") == [True, f"{memory}/kodi.region", [1]]
        second.wait_for(lambda: second.run(ONE, read_as_of_old, "shared", "from the first") == [1])
        outside[("skin", "both")] = "still seen"
        second.wait_for(lambda: shown(second, "both") == "still seen")

        # The first comes back, and now follows.
        kodi.start()
        wait_until_up(kodi)
        assert kodi.lines(f"is looked after by process {second.pid}: followed")
        assert kodi.run(ONE, look, "from the second") == [True, f"{memory}/kodi.region", {"a": 2}]
        outside.set((ONE, "marked"), 2, persist=True)
        assert outside.check() == []
        assert second.quit() == 0
        # The region's images are where its first keeper has them, whoever writes them.
        assert images_of(kodi)
        kodi.wait_for(lambda: outside.stats()["coordinator"] == kodi.pid, 20, "the first to take over")
        assert outside.check() == []
