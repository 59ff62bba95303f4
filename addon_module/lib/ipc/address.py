"""Names, hosts and ports, as Pyro had them, to names of served objects. There is no network: they are names only."""

import re

import ipcdatastore

SCHEME = "PYRO:"
LONGEST = 100  # bytes of an object's name; see `ipcdatastore.place`
READABLE = 50  # characters of a longer one that are kept
_PLAIN = re.compile(r"[^A-Za-z0-9_.-]")


def uri_of(name, host, port):
    """The address as Pyro wrote it."""
    return f"{SCHEME}{name}@{host}:{port}"


def object_name(uri):
    """The name under which the object at `uri` is served: ``kodi-IPC@localhost~9099``; another one for each address."""
    name, at, place = uri[len(SCHEME) :].rpartition("@") if isinstance(uri, str) else ("", "", "")
    host, colon, port = place.rpartition(":")
    if not (at and colon and uri.startswith(SCHEME)):
        raise ipcdatastore.ArgumentError(
            f"an address is like PYRO:kodi-IPC@localhost:9099, not {uri!r}", name="uri", value=uri
        )
    found = f"{escaped(name)}@{escaped(host)}~{escaped(port)}"
    if len(found) <= LONGEST:
        return found
    return f"{found[:READABLE]}%%{digest(uri)}"  # two of them in a row are in no escaped text


def escaped(text, plain=_PLAIN):
    """`text` such that it can be a file's name everywhere; another one for each text."""
    found = plain.sub(lambda match: "".join(f"%{byte:02x}" for byte in match[0].encode("utf-8", "surrogatepass")), text)
    return "%2e" + found[1:] if found.startswith(".") else found


def digest(text):
    """32 characters that are as good as the text."""
    from hashlib import blake2b

    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
