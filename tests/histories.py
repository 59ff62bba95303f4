"""Is a recorded history of one store linearizable? Judged by versions, which put all writes into one order.

An *operation* is ``[begun, ended, reads, writes]``: two moments of one clock, ``{key: version}`` of what it found
(0 = nothing) and of what it wrote; negative: that version is a deletion's. It must have happened at one moment between
the two, so there must be a position in the order of versions, for every operation, at which

* what it found was there: each version that it read is the last of its key before that position;
* what it wrote was written: its own versions follow it, with no other's in between;
* everything that had ended before it began lies before it, and nothing that began after it had ended.

The position of a writer is known. Of a mere reader some intervals are: where all that he found was there at once.
Taking the earliest possible position for each, in the order in which they began, leaves the most room for all that
follow, so where that fails there is no order at all.
"""

import bisect

FOR_EVER = float("inf")


class HistoryError(Exception):
    """There is no order in which this can have happened."""


def check(operations):
    """Raise ``HistoryError`` unless the operations could have happened one at a time. How many there were."""
    order = writes_by_key(operations)
    possible = [positions(operation, order) for operation in operations]
    events = sorted(
        [(operation[0], 1, number) for number, operation in enumerate(operations)]
        + [(operation[1], 0, number) for number, operation in enumerate(operations)]
    )
    latest = 0  # position of the latest operation that has ended
    chosen = {}
    for _, begins, number in events:
        if begins:
            chosen[number] = next((max(low, latest) for low, high in possible[number] if latest < high), None)
            if chosen[number] is None:
                raise HistoryError(f"{operations[number]} shows what was over before it began: {latest} had happened")
        else:
            latest = max(latest, chosen[number])
    check_future(operations, chosen)
    return len(operations)


def check_future(operations, chosen):
    """Nothing was seen before it was begun: who ends before a writer begins lies before him."""
    writers = sorted((operation[0], chosen[n]) for n, operation in enumerate(operations) if operation[3])
    begun = [moment for moment, _ in writers]
    lowest = [0] * (len(writers) + 1)
    lowest[-1] = FOR_EVER
    for index in range(len(writers) - 1, -1, -1):
        lowest[index] = min(writers[index][1], lowest[index + 1])
    for number, operation in enumerate(operations):
        if chosen[number] >= lowest[bisect.bisect_right(begun, operation[1])]:
            raise HistoryError(f"{operation} saw what began only after it had ended")


def writes_by_key(operations):
    """{key: [(version, when it held: the last version of the operation that wrote it)]}, in order."""
    found = {}
    seen = set()
    for operation in operations:
        last = max(map(abs, operation[3].values()), default=0)
        for key, version in operation[3].items():
            if abs(version) in seen:
                raise HistoryError(f"version {abs(version)} was given out twice")
            seen.add(abs(version))
            found.setdefault(key, []).append((version, last))
    return {key: sorted(versions, key=lambda pair: abs(pair[0])) for key, versions in found.items()}


def positions(operation, order):
    """[(from, before)] of where the operation can have happened. A position is the version that is before it."""
    _, _, reads, writes = operation
    spans = [(0, FOR_EVER)]
    for key, version in reads.items():
        spans = [
            (max(low, lower), min(high, upper))
            for low, high in spans
            for lower, upper in valid(key, version, order.get(key, []))
            if max(low, lower) < min(high, upper)
        ]
    if not spans:
        raise HistoryError(f"{operation} shows several moments at once")
    if not writes:
        return spans
    versions = sorted(map(abs, writes.values()))
    if versions != list(range(versions[0], versions[0] + len(versions))):
        raise HistoryError(f"the versions of {operation} do not follow each other")
    if not any(low < versions[0] <= high for low, high in spans):
        raise HistoryError(f"{operation} wrote when what it had read was not so any more")
    return [(versions[-1], versions[-1] + 1)]


def valid(key, version, versions):
    """[(from, before)] of the positions at which a key was as it was read."""
    ends = [*[moment for _, moment in versions[1:]], FOR_EVER]
    spans = [(written, (moment, end)) for (written, moment), end in zip(versions, ends)]
    if not version:
        first = versions[0][1] if versions else FOR_EVER
        return [(0, first)] + [span for written, span in spans if written < 0]
    found = [span for written, span in spans if written == version]
    if not found:
        raise HistoryError(f"{key} was read at version {version}, which nobody wrote")
    return found
