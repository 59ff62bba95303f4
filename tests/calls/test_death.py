"""Servers and clients that are killed, stopped and started again, at any moment and under load."""

import gc
import os
import random
import signal
import threading

import pytest

import ipcdatastore
from waiters import Catching

from .served import BRIEFLY, PATIENCE, Elsewhere, Thing, eventually, left_in, noted, swept

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX processes and signals")
SEED = int(os.environ.get("IPCDATASTORE_SEED") or random.randrange(10**9))
KILLS = int(os.environ.get("IPCDATASTORE_KILLS", "40"))


def link(directory, **options):
    return ipcdatastore.Link("thing", directory, PATIENCE, **options)


def open_gate(path):
    open(path, "w").close()


# --- nobody there ----------------------------------------------------------------------------------------
def test_nobody_serves(directory):
    with pytest.raises(ipcdatastore.ServerUnavailableError, match="nobody serves thing in .*start its server") as caught:
        ipcdatastore.connect("thing", directory=directory)
    assert (caught.value.name, caught.value.started) == ("thing", False)
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        ipcdatastore.connect("thing", directory=directory, wait=BRIEFLY)
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        ipcdatastore.connect("thing", directory=directory / "absent")
    assert left_in(directory) == []
    lazy = link(directory)
    assert not lazy.available()
    for use in (
        lambda: lazy.proxy.give(1),
        lambda: lazy.describe(),
        lambda: lazy.tell("give", (1,), {}, None),
        lambda: lazy.batch().give(1) and None,
    ):
        try:
            use()
        except ipcdatastore.ServerUnavailableError as error:
            assert error.started is False
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        assert lazy.available()
        assert lazy.proxy.give(1) == 1
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        lazy.proxy.give(1)
    assert left_in(directory) == []


def test_connect_waits_for_a_server(directory):
    waiter = Catching(lambda: ipcdatastore.connect("thing", directory=directory, wait=PATIENCE).give(7))
    waiter.start()
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        assert waiter.result() == 7


def test_one_server_of_a_name(directory, start):
    server = Elsewhere(start, directory)
    with pytest.raises(ipcdatastore.ObjectServedError, match=f"process {server.pid}.*another name") as caught:
        ipcdatastore.serve_object("thing", Thing(), directory=directory)
    assert caught.value.holder == server.pid
    assert isinstance(caught.value, ipcdatastore.LockTimeoutError)
    with ipcdatastore.serve_object("other", Thing(), directory=directory):
        assert [info.name for info in ipcdatastore.objects(directory)] == ["other", "thing"]
    server.stop()
    with ipcdatastore.serve_object("thing", Thing(), directory=directory):
        pass
    assert left_in(directory) == []


def race_to_serve(directory, rounds):
    from calls.served import Thing

    for number in range(rounds):
        say("ready")  # noqa: F821
        hear()  # noqa: F821
        try:
            server = ipcdatastore.serve_object("thing", Thing(), directory=directory)
        except ipcdatastore.ObjectServedError:
            say("refused")  # noqa: F821
            hear()  # noqa: F821
        else:
            say("serves")  # noqa: F821
            hear()  # noqa: F821
            server.stop()
        assert number >= 0


def test_many_want_to_serve(directory, start):
    children = [start(race_to_serve, directory, 20) for _ in range(3)]
    for _ in range(20):
        assert [child.hear() for child in children] == ["ready"] * 3
        for child in children:
            child.say("go")
        assert sorted(child.hear() for child in children) == ["refused", "refused", "serves"]
        for child in children:
            child.say("end")
    for child in children:
        child.finish()
    assert left_in(directory) == []


# --- a server that ends ----------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [1, 3])
def test_a_server_that_is_killed_in_the_middle_of_a_call(directory, start, tmp_path, workers):
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    server = Elsewhere(start, directory, workers=workers)
    thing = ipcdatastore.connect("thing", directory=directory)
    running = thing.hold_marked.submit(log, 1, gate)
    queued = [thing.note.submit(log, number) for number in range(2, 30)]
    for number in range(30, 60):
        thing.note.oneway(log, number)
    other = Catching(lambda: ipcdatastore.connect("thing", directory=directory).give(5))
    eventually(lambda: noted(log) == ["1"])
    if workers > 1:
        other.start()
        assert other.result() == 5, "one client does not hold up another"
    server.kill()
    with pytest.raises(ipcdatastore.ServerUnavailableError, match="died; this call had begun") as caught:
        running.result()
    assert caught.value.started is True
    for call in queued:
        with pytest.raises(ipcdatastore.ServerUnavailableError, match="never ran, and may be made again") as caught:
            call.result()
        assert caught.value.started is False
        assert call.done()
    for use in (lambda: thing.give(1), lambda: thing.give.oneway(1), lambda: thing.give.submit(1)):
        with pytest.raises(ipcdatastore.ServerUnavailableError, match="nobody serves"):
            use()
    replacement = Elsewhere(start, directory)
    assert thing.give(6) == 6
    assert noted(log) == ["1"]
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        running.result()
    replacement.stop()
    ipcdatastore.link(thing).close()
    del queued, running, call
    assert swept(directory) == []


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_everybody_who_waits_is_told(directory, start, tmp_path, how):
    log, gate = str(tmp_path / "log"), str(tmp_path / "gate")
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory)
    waiting = [Catching(lambda number=number: thing.hold_marked(log, number, gate)) for number in range(5)]
    for thread in waiting:
        thread.start()
    eventually(lambda: len(noted(log)) == 1)
    eventually(lambda: len(os.listdir(directory / "thing.object")) == 1 + 6)
    if how == "kill":
        server.kill()
    else:
        server.child.say("stop")
        open_gate(gate)
    outcomes = []
    for thread in waiting:
        try:
            outcomes.append(thread.result())
        except ipcdatastore.ServerUnavailableError as error:
            outcomes.append(f"started: {error.started}")
    ran = noted(log)
    assert len(set(ran)) == len(ran)
    for number, outcome in enumerate(outcomes):
        assert (str(number) in ran) == (outcome in (number, "started: True")), outcomes
    if how == "stop":
        server.child.finish()
        assert "started: True" not in outcomes, "a call that runs is finished first"
    del waiting, thread
    gc.collect()  # an exception and the frames that it went through hold each other
    ipcdatastore.link(thing).close()
    assert swept(directory) == []


def test_a_server_that_starts_again_and_again(directory, start):
    proxies = []
    for number in range(6):
        server = Elsewhere(start, directory)
        if not proxies:
            proxies = [ipcdatastore.connect("thing", directory=directory) for _ in range(3)]
        for proxy in proxies:
            assert proxy.give(number) == number
            assert proxy.pid() == server.pid
            proxy.give.oneway(1)
        if number % 2:
            server.stop()
        else:
            server.kill()
        for proxy in proxies:
            with pytest.raises(ipcdatastore.ServerUnavailableError):
                proxy.give(1)
    for proxy in proxies:
        ipcdatastore.link(proxy).close()
    assert swept(directory) == []


def test_another_object_under_the_same_name(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        proxy = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        give = proxy.give
        assert give(1) == 1

    class Other:
        def greet(self):
            return "hello"

    with ipcdatastore.serve_object("thing", Other(), directory=directory, serializer="json").start():
        assert proxy.greet() == "hello"
        with pytest.raises((ipcdatastore.NotExposedError, ipcdatastore.RemoteError)):
            give(1)
        assert dir(proxy) == ["greet"]


def test_a_stream_whose_server_dies(directory, start):
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory)
    stream = thing.count(10**9)
    assert [next(stream) for _ in range(10)] == list(range(10))
    server.kill()
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        while True:
            next(stream)
    stream.close()
    del stream
    ipcdatastore.link(thing).close()
    assert swept(directory) == []


# --- load --------------------------------------------------------------------------------------------------
def load(directory, log, number, seed):
    """Calls that note themselves, of all kinds, until it is killed; says what came of each."""
    from calls.served import note

    rng = random.Random(seed)
    thing = ipcdatastore.Link("thing", directory, 60).proxy
    say("ready")  # noqa: F821
    turn = 0
    while True:
        turn += 1
        text = f"{number}.{turn}"
        try:
            dice = rng.random()
            if dice < 0.5:
                assert thing.note(log, text) == text
            elif dice < 0.6:
                thing.note.oneway(log, text)
                continue
            elif dice < 0.7:
                assert thing.note.submit(log, text).result() == text
            elif dice < 0.8:
                assert thing.note_big(log + ".big", "x" * rng.randrange(400_000)) is not None
                continue
            elif dice < 0.9:
                assert len(thing.make(rng.randrange(400_000))) >= 0
                continue
            else:
                assert list(thing.count(30)) == list(range(30))
                continue
            note(log + ".done", text)
        except ipcdatastore.ServerUnavailableError as error:
            if not error.started and 0.6 <= dice < 0.7 or dice < 0.5 and not error.started:
                note(log + ".never", text)


def wait_for_more(log, bytes_more):
    known = os.path.getsize(log) if os.path.exists(log) else 0
    eventually(lambda: os.path.exists(log) and os.path.getsize(log) > known + bytes_more)


def judge(log):
    """Nothing ran twice; what was answered ran; what was said never to have begun did not."""
    ran, done, never = noted(log), set(noted(log + ".done")), set(noted(log + ".never"))
    assert len(ran) == len(set(ran)), "a call ran twice"
    assert done <= set(ran), "a call that was answered never ran"
    assert not never & set(ran), "a call ran that was said never to have begun"
    return len(ran)


def test_servers_killed_under_load(directory, start, tmp_path):
    log = str(tmp_path / "log")
    rng = random.Random(SEED)
    server = Elsewhere(start, directory, workers=1)
    clients = [start(load, directory, log, number, SEED + number) for number in range(3)]
    for client in clients:
        assert client.hear() == "ready"
    for turn in range(KILLS // 4):
        wait_for_more(log, rng.randrange(300))
        server.kill()
        server = Elsewhere(start, directory, workers=1 + 2 * (turn % 2))
    for client in clients:
        assert client.process.poll() is None, client.finish()
        client.kill()
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 0)
    server.stop()
    assert judge(log) > KILLS
    assert swept(directory) == []


def test_clients_killed_under_load(directory, start, tmp_path):
    log = str(tmp_path / "log")
    rng = random.Random(SEED)
    server = Elsewhere(start, directory, workers=2)
    witness = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    clients = [start(load, directory, log, number, SEED + number) for number in range(4)]
    for client in clients:
        assert client.hear() == "ready"
    for turn in range(KILLS // 4):
        victim = clients.pop(0)
        wait_for_more(log, rng.randrange(100))
        victim.kill()
        assert witness.give(turn) == turn
        clients.append(start(load, directory, log, 100 + turn, SEED + 100 + turn))
        assert clients[-1].hear() == "ready"
    for client in clients:
        assert client.process.poll() is None, client.finish()
        client.kill()
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 1)
    eventually(lambda: len(os.listdir(directory / "thing.object")) == 2)
    judge(log)
    server.stop()
    assert left_in(directory) == []


def test_a_dead_client_frees_its_place_while_another_one_is_busy(directory, start, tmp_path):
    server = Elsewhere(start, directory)
    busy = start(load, directory, str(tmp_path / "log"), 1, SEED)
    victim = start(load, directory, str(tmp_path / "log"), 2, SEED)
    assert [busy.hear(), victim.hear()] == ["ready", "ready"]
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 2)
    victim.kill()
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 1)
    assert busy.process.poll() is None
    busy.kill()
    server.stop()


# --- stopped, not dead -------------------------------------------------------------------------------------
def test_a_server_that_sleeps_is_not_dead(directory, start):
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    thing.give(0)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        call = thing.give.submit(1)
        with pytest.raises(ipcdatastore.CallTimeoutError):
            call.result(timeout=0.3)
        with pytest.raises(ipcdatastore.CallTimeoutError):
            thing.give.within(0.3)(2)
        assert ipcdatastore.link(thing).available()
        with pytest.raises(ipcdatastore.ObjectServedError):
            ipcdatastore.serve_object("thing", Thing(), directory=directory)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert call.result() == 1
    assert thing.give(3) == 3
    server.stop()


def greedy(directory):
    """Asks for more than the ring holds, and takes nothing."""
    thing = ipcdatastore.connect("thing", directory=directory)
    calls = [thing.make.submit(100_000) for _ in range(20)]
    say("asked")  # noqa: F821
    assert hear() == "go on"  # noqa: F821
    assert [len(call.result()) for call in calls] == [100_000] * 20
    say("done")  # noqa: F821


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_sleeps_holds_up_nobody(directory, start, workers):
    server = Elsewhere(start, directory, workers=workers)
    sleepers = [start(greedy, directory) for _ in range(2)]
    for sleeper in sleepers:
        assert sleeper.hear() == "asked"
        os.kill(sleeper.pid, signal.SIGSTOP)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    try:
        for number in range(300):
            assert thing.give(number) == number
        assert len(thing.make(500_000)) == 500_000
    finally:
        for sleeper in sleepers:
            os.kill(sleeper.pid, signal.SIGCONT)
    sleepers[0].say("go on")
    assert sleepers[0].hear() == "done"
    sleepers[1].kill()  # with its ring full
    eventually(lambda: ipcdatastore.objects(directory)[0].clients == 1)
    server.stop()
    assert left_in(directory) == []


def test_a_one_way_flood_holds_up_its_sender(directory, start):
    """The server is stopped: what the ring holds goes, and then nothing more is taken."""
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    thing.taken()
    os.kill(server.pid, signal.SIGSTOP)
    sent = 0
    try:
        with pytest.raises(ipcdatastore.CallTimeoutError):
            for number in range(100_000):
                thing.append.within(BRIEFLY).oneway([number, "x" * 1000])
                sent += 1
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert 50 < sent < 200
    assert [item[0] for item in thing.taken()] == list(range(sent))
    server.stop()


def test_a_flood_of_one_client_does_not_starve_another(directory, start, tmp_path):
    server = Elsewhere(start, directory)
    ended = threading.Event()

    def flood():
        thing = ipcdatastore.connect("thing", directory=directory)
        while not ended.is_set():
            thing.give.oneway("x" * 100)

    floods = [Catching(flood) for _ in range(2)]
    for thread in floods:
        thread.start()
    try:
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        for number in range(200):
            assert thing.give(number) == number
    finally:
        ended.set()
    for thread in floods:
        thread.result()
    server.stop()


def test_a_one_way_call_to_a_dead_server_is_refused(directory, start):
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory)
    tell = thing.give.oneway
    tell(1)
    server.kill()
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        tell(2)
    ipcdatastore.link(thing).close()
    assert swept(directory) == []
