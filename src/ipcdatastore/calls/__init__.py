"""Objects whose methods other processes call, through shared memory: no socket, no port.

``files`` says where they are and who lives, ``ring`` carries messages, ``doze`` waits for the other end; ``session``
and ``server`` are one end, ``connection``, ``links`` and ``proxy`` the other. Each end imports its own half only.
"""
