"""What any text must be for Kodi to take it."""


def clean(line):
    """`line` such that Kodi survives it: half a surrogate pair, which names of files may have, ends Kodi."""
    return line.encode("utf-8", "replace").decode("utf-8")
