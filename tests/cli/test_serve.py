"""`serve`: one line when the store can be used, the last image at the end, and one service a store."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

import ipcdatastore
from cli.program import start
from ipcdatastore.cli.root import FAILED, OK, USAGE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture
def serve(directory, tmp_path):
    """Start `serve shop`; the process, which has said its line, and the line. None outlives the test."""
    running = []

    def serve(*arguments, name="shop"):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True}
        process = start(directory, "serve", name, "--images", str(tmp_path / name), *arguments, **pipes)
        running.append(process)
        return process, process.stdout.readline()

    yield serve
    for process in running:
        process.kill()
        process.communicate()


def open_shop(directory, **options):
    return ipcdatastore.open("shop", directory=directory, **options)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_served_store_outlives_its_region(directory, tmp_path, serve, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored here, as `nohup` has it, and so by what is started here")
    process, line = serve()
    assert line == f"ready\tshop\t{directory / 'shop.region'}\t{process.pid}\n"
    with open_shop(directory, mode="w") as store:
        version = store.set("key", "value")
    process.send_signal(number)
    assert process.communicate() == ("", "")
    assert process.returncode == OK
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["00000001.image"]
    (directory / "shop.region").unlink()
    process, line = serve("--json")
    told = json.loads(line)
    assert (told["ready"], told["pid"], told["records"]) == (True, process.pid, 1)
    assert (told["restored"]["records"], told["images"]) == (1, str(tmp_path / "shop"))
    with open_shop(directory, mode="r") as store:
        assert store.get_entry("key")[1:3] == ("value", version)
        assert store.check() == []


def test_what_is_marked_is_kept_with_no_persist(directory, tmp_path, serve):
    process, _ = serve("--no-persist", "--max-size", "1M", "--evict", "lru")
    with open_shop(directory, mode="w") as store:
        assert [store.stats()[fact] for fact in ("max_size", "evict", "persist")] == [1 << 20, "lru", "keys"]
        store["other"] = 1
        store.set("kept", 2, persist=True)
    process.terminate()
    process.communicate()
    (directory / "shop.region").unlink()
    with open_shop(directory, snapshot_directory=tmp_path / "shop") as store:
        assert dict(store) == {"kept": 2}


def test_there_is_one_service_a_store(directory, serve):
    first, _ = serve()
    second, line = serve()
    assert line == ""
    _, error = second.communicate()
    assert second.returncode == FAILED
    assert error.count("\n") == 1
    assert f"process {first.pid}" in error or not sys.platform.startswith("linux")
    _, line = serve(name="other")
    assert line.startswith("ready\tother\t")
    assert first.poll() is None


def test_a_second_one_can_wait_for_its_turn(directory, serve, tmp_path):
    first, _ = serve()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True}
    second = start(directory, "serve", "shop", "--wait", "--images", str(tmp_path / "shop"), **pipes)
    assert "waiting for its end" in second.stderr.readline()
    first.terminate()
    assert second.stdout.readline().startswith("ready\tshop\t")
    second.terminate()
    second.communicate()
    assert second.returncode == OK


def test_one_that_waits_can_be_stopped(directory, serve):
    serve()
    second = start(directory, "serve", "shop", "--wait", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    second.stderr.readline()
    second.terminate()
    assert second.communicate() == (b"", b"")
    assert second.returncode == OK


def test_a_killed_one_leaves_the_store_to_the_next(directory, serve):
    first, _ = serve()
    with open_shop(directory, mode="w") as store:
        store["key"] = "value"
    first.kill()
    first.wait()
    _, line = serve()
    assert line.startswith("ready\t")
    with open_shop(directory, mode="r") as store:
        assert store["key"] == "value"
        assert store.check() == []


def test_one_whose_region_was_removed_ends(directory, tmp_path, serve):
    process, _ = serve()
    (directory / "shop.region").unlink()
    _, error = process.communicate()
    assert process.returncode == FAILED
    assert "was removed" in error
    assert error.count("\n") == 1
    with open_shop(directory, snapshot_directory=tmp_path / "shop", persist=True) as store:
        store["key"] = 1
    assert len(list((tmp_path / "shop").iterdir())) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets")
@pytest.mark.parametrize("address", ["notify.socket", "@ipcdatastore-test-{pid}"])
def test_systemd_is_told(directory, tmp_path, serve, monkeypatch, address):
    address = address.format(pid=os.getpid())
    address = address if address.startswith("@") else str(tmp_path / address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)  # not for ever, should it have died
        manager.bind("\0" + address[1:] if address.startswith("@") else address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        process, _ = serve()
        assert manager.recv(100) == b"READY=1"
        process.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        process.communicate()
    assert process.returncode == OK


def test_a_last_image_that_cannot_be_written_is_no_good_end(directory, tmp_path, serve):
    process, _ = serve()
    (tmp_path / "shop").write_text("no directory")
    with open_shop(directory, mode="w") as store:
        store["key"] = "value"
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == FAILED
    assert error.count("\n") == 1
    assert str(tmp_path / "shop") in error


@pytest.mark.parametrize(
    "arguments",
    [(), ("shop", "--max-size", "much"), ("shop", "--evict", "all"), ("shop", "--flush-interval", "0")],
)
def test_wrong_usage(run, arguments):
    run("serve", *arguments, code=USAGE)
