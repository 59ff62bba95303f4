"""``serve``: look after a store until told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any, Dict, Iterator, List, Optional

import click

import ipcdatastore

from . import output
from .options import Seconds, common, examples, name_argument, parse_size
from .root import FAILED, complain

TRY_AGAIN = 0.25  # seconds
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")


@click.command(
    "serve",
    epilog=examples(
        "ipcdatastore serve shop --max-size 512M --evict lru",
        "ipcdatastore serve shop --images ~/shop --flush-interval 10",
    ),
)
@name_argument
@click.option("--images", metavar="DIR", type=click.Path(file_okay=False), help="Where the images go.")
@click.option(
    "--flush-interval",
    type=Seconds(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="What a crash may lose, at most.",
)
@click.option(
    "--persist/--no-persist", default=True, show_default=True, help="Keep every key on disk, or only those marked so."
)
@click.option(
    "--max-size", type=parse_size, metavar="SIZE", help="What the store may grow to: bytes, or with K, M or G."
)
@click.option("--evict", type=click.Choice(["none", "lru"]), help="What happens then: refuse, or drop the least used.")
@click.option("--wait", is_flag=True, help="If somebody else serves it, wait for his end.")
@common
@click.pass_context
def serve_verb(
    ctx: click.Context,
    name: str,
    images: Optional[str],
    flush_interval: float,
    persist: bool,
    max_size: Optional[int],
    evict: Optional[str],
    wait: bool,
    directory: Optional[str],
    as_json: bool,
    timeout: float,
) -> None:
    """Look after the store NAME until told to stop; creates it.

    Restores it from its last image if it was not there, then writes it to disk every so often, and takes back the
    space of what has expired. One line is written when the store can be used. SIGTERM and Ctrl-C write it to disk a
    last time and end with exit code 0; a second one in the middle of that gives the last image up. There is one
    service for a store: a second one ends with code 3, and says who the first is.
    """
    stop = threading.Event()
    problems: List[ipcdatastore.DatastoreError] = []

    def note(problem: ipcdatastore.DatastoreError) -> None:
        problems.append(problem)
        with contextlib.suppress(OSError):  # whoever read stderr may be gone: no reason to stop serving
            complain(str(problem))

    service = ipcdatastore.Service(
        name,
        directory=directory,
        persist=persist,
        flush_interval=flush_interval,
        snapshot_directory=images,
        max_size=max_size,
        evict=evict,
        timeout=timeout,
        on_problem=note,
    )
    with told_to_stop(stop):
        if not start(service, wait, stop):
            return
        try:
            announce(service, as_json)
            service.run(stop)
        finally:
            notify("STOPPING=1")
            if output.on_terminal():
                output.say_so("note", "writing the last image; a second Ctrl-C gives it up")
            problems.clear()
            service.stop()
    if problems:  # that the last image could not be written is no good end
        ctx.exit(FAILED)


@contextlib.contextmanager
def told_to_stop(stop: threading.Event) -> Iterator[None]:
    """The first signal sets `stop`; the next does what it always does, should the end take too long."""
    before: Dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:  # noqa: ARG001 - signal's signature
        stop.set()
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(service: ipcdatastore.Service, wait: bool, stop: threading.Event) -> bool:
    """Become the service of the store. False if told to stop before that."""
    told = False
    while not stop.is_set():
        try:
            service.start()
            return True
        except ipcdatastore.ServiceRunningError as error:
            if not wait:
                raise
            if not told:
                complain(f"{error}; waiting for its end")
                told = True
        time.sleep(TRY_AGAIN)  # not `stop.wait`, which a signal handler that sets it must not interrupt
    return False


def announce(service: ipcdatastore.Service, as_json: bool) -> None:
    """One line for whoever waits for the store, and a word to the service manager."""
    facts = service.store.stats()
    if as_json:
        told = {"images": facts["snapshot_directory"], **{fact: facts[fact] for fact in ("records", "restored")}}
        output.write_json({"ready": True, "pid": os.getpid(), "name": facts["name"], "path": facts["path"], **told})
    elif output.on_terminal():
        records = output.several(facts["records"], "record")
        output.say_so("good", f"{facts['name']} is served from {facts['path']} ({records}); Ctrl-C ends it")
        if facts["persist"] == "all":
            output.say_so("note", f"images in {facts['snapshot_directory']}")
    else:
        output.write_rows([["ready", facts["name"], facts["path"], str(os.getpid())]])
    output.flush()
    notify("READY=1")


def notify(message: str) -> None:
    """Tell systemd, if it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # a socket without a file
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(message.encode("ascii"), address)
