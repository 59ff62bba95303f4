"""Where scripts of old import the datastore from; it is in ``script.module.ipc``."""

from ipc.datastore import DataObject, DataObjects, DataObjectX

__all__ = ["DataObject", "DataObjectX", "DataObjects"]
