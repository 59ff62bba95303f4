"""Whole scripts as people wrote them for the addons of 2014, with Python 3's syntax and nothing else changed."""

import os
import textwrap

import pytest

SCRIPTS = {
    "a server of one's own": """
        from ipc.ipcserver import IPCServer
        from ipc.ipcclient import IPCClient

        class Shared(object):
            def __init__(self):
                self.numbers = []
            def append(self, number):
                self.numbers.append(number)
            def total(self):
                return sum(self.numbers)
            def fail(self):
                return self.numbers[10]

        myserver = IPCServer(expose_obj=Shared(), name='mine', port=9097)
        try:
            myserver.start()
        except Exception as e:
            raise SystemExit(e)
        obj = IPCClient(name='mine', port=9097).get_exposed_object()
        obj.append(3)
        obj.append(4)
        results.append(obj.total())
        try:
            obj.fail()
        except IndexError:
            results.append('self.numbers[10]' in IPCClient.get_traceback() or 'fail' in IPCClient.get_traceback())
        myserver.stop()
        results.append(myserver.running)
    """,
    "values": """
        from resources.lib.ipcclientx import IPCClientX
        from resources.lib.datastore import DataObjects
        import resources.lib.ipcclientxerrors as ipcclientxerrors
        from ipc.ipcserver import IPCServer

        server = IPCServer(DataObjects())
        server.start()
        client = IPCClientX()
        if client.server_available():
            x = client.set('x', 20, author='service.ipcdatastore')
            results.append(client.get('x', author='service.ipcdatastore', requestor='testclient'))
            nt = client.get('x', author='service.ipcdatastore', requestor='testclient', return_tuple=True)
            results.append((nt.value, isinstance(nt.ts, float), nt.cached))
        client.raise_exception = True
        try:
            client.get('garbage')
        except ipcclientxerrors.IPCClientError as e:
            results.append((e.errno, e.message != ''))
        server.stop()
        client.raise_exception = False
        results.append(client.get('x', author='service.ipcdatastore'))
    """,
    "plain names on the path": """
        from datastore import DataObjects
        from ipcclientx import IPCClientX
        from ipcclientxerrors import VarNotFoundError
        from ipc.ipcserver import IPCServer

        server = IPCServer(DataObjects(), port=9999)
        server.start()
        client = IPCClientX(port=9999)
        client.num_of_server_retries = 1
        client.raise_exception = True
        results.append(client.uri)
        try:
            client.delete('x')
        except VarNotFoundError as error:
            results.append(error.errno)
        server.stop()
        results.append(client.server_available())
    """,
}
RESULTS = {
    "a server of one's own": [7, True, False],
    "values": [20, (20, True, True), (1, True), None],
    "plain names on the path": ["PYRO:kodi-IPC@localhost:9999", 1, False],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_as_it_is(old, name, monkeypatch):
    import resources.lib.datastore

    monkeypatch.syspath_prepend(os.path.dirname(resources.lib.datastore.__file__))
    names = {"results": [], "__name__": "__main__"}
    exec(textwrap.dedent(SCRIPTS[name]), names)
    assert names["results"] == RESULTS[name]
