import ipc

with ipc.open() as store:
    store.increment("pressed")
