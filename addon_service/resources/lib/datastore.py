"""Where scripts of old import the datastore from; it is in ``script.module.ipc``."""

try:
    from . import ipc_here
except ImportError:  # with this folder on the path, as scripts of old have it
    import ipc_here  # noqa: F401

from ipc.datastore import DataObject, DataObjects, DataObjectX

__all__ = ["DataObject", "DataObjectX", "DataObjects"]
