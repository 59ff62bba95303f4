"""The contract, with the server in another process, in a thread, hosted, with several workers, and so on."""

import contextlib
import functools

import pytest

import ipcdatastore
from children import crew
from ipcdatastore import ObjectServer, futex
from waiters import POLLING

from .contract import LIMIT, Contract
from .served import Chosen, Elsewhere, Thing, polling


@contextlib.contextmanager
def elsewhere(directory, before="", **options):
    options = {"max_message": LIMIT, **options}
    with crew() as start:
        servers = [
            Elsewhere(start, directory, "thing", "Thing", before, **options),
            Elsewhere(start, directory, "chosen", "Chosen", before, **options),
        ]
        yield directory
        for server in servers:
            server.stop()


@contextlib.contextmanager
def here(directory, host, **options):
    options = {"directory": directory, "max_message": LIMIT, **options}
    with contextlib.ExitStack() as stack:
        for name, served in (("thing", Thing()), ("chosen", Chosen())):
            stack.enter_context(host(ipcdatastore.serve_object(name, served, **options)))
        yield directory


@pytest.fixture(scope="class")
def place(request, directory_of_class):
    with request.cls.served(directory_of_class) as directory:
        yield directory


class TestInAnotherProcess(Contract):
    served = staticmethod(elsewhere)


class TestInAThread(Contract):
    served = staticmethod(functools.partial(here, host=ObjectServer.start))


class TestHosted(Contract):
    served = staticmethod(functools.partial(here, host=polling))


class TestWithWorkers(Contract):
    served = staticmethod(functools.partial(elsewhere, workers=4))


class TestWithWorkersInThisProcess(Contract):
    served = staticmethod(functools.partial(here, host=ObjectServer.start, workers=3))


class TestWithJson(Contract):
    pickle = False
    served = staticmethod(functools.partial(elsewhere, serializer="json"))


class TestWithoutFutex(Contract):
    @staticmethod
    @contextlib.contextmanager
    def served(directory):
        with pytest.MonkeyPatch.context() as patch, elsewhere(directory, POLLING) as place:
            patch.setattr(futex, "_prepared", None)
            yield place
