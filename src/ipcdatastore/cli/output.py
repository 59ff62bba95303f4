"""Three ways to say something: a table on a terminal, tab-separated lines in a pipe, JSON on demand."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, Sequence, Tuple

from . import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def on_terminal() -> bool:
    """Whether a person looks at it."""
    return sys.stdout.isatty()


def console() -> Console:
    """Where tables go."""
    from rich.console import Console

    return Console(highlight=False)


def several(number: int, thing: str) -> str:
    """A number of things.

    >>> several(1, "key"), several(1200, "key")
    ('1 key', '1,200 keys')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


LEAST = 12  # columns of a terminal for what gives way
PADDING = 2  # between two columns of a table
MARKS = {"good": ("✔", "green"), "warning": ("!", "yellow"), "bad": ("✘", "bold red"), "note": ("·", "dim")}


def mark(kind: str) -> Text:
    """A tick, a cross, or what is between them."""
    from rich.text import Text

    return Text(*MARKS[kind])


def say_so(kind: str, line: str) -> None:
    """A line with its mark, on a terminal."""
    from rich.text import Text

    console().print(Text.assemble(mark(kind), " ", text.printable(line, exact=False)), soft_wrap=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Something on a terminal that takes its time."""
    if not on_terminal():
        yield
        return
    with console().status(text.printable(what, exact=False), spinner="dots"):
        yield


def write_line(line: str) -> None:
    """A line of UTF-8, whatever the locale says: a script shall find the same everywhere."""
    write_bytes(text.utf8(line) + b"\n")


def write_bytes(data: bytes) -> None:
    """Bytes as they are."""
    sys.stdout.buffer.write(data)


def flush() -> None:
    """Now: somebody waits for the line."""
    sys.stdout.flush()


def write_json(document: Any) -> None:
    """One JSON document, on one line."""
    write_line(text.one_line(document))


def write_json_array(items: Iterable[Any]) -> None:
    """A JSON array, an item a line, as they come."""
    write_bytes(b"[")
    separator = "\n"
    for item in items:
        write_bytes(f"{separator}{text.one_line(item)}".encode())
        separator = ",\n"
    write_bytes(b"\n]\n")


def write_rows(rows: Iterable[Sequence[str]]) -> None:
    """Tab-separated lines."""
    for row in rows:
        write_line("\t".join(row))


def write_table(columns: Sequence[Tuple[str, str]], rows: Sequence[Sequence[Any]], folds: str, cut: str) -> None:
    """A :func:`table`, at once."""
    console().print(table(columns, rows, folds, cut))


def table(columns: Sequence[Tuple[str, str]], rows: Sequence[Sequence[Any]], folds: str, cut: str) -> Table:
    """A table as wide as the terminal at most; each column is a heading and ``"left"`` or ``"right"``.

    Long lines of the column `folds` take several; those of `cut` end where the terminal does. No other is touched.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    widths = {
        heading: max(len(heading), max((row[number].cell_len for row in cells), default=0))
        for number, (heading, _) in enumerate(columns)
    }
    room = console().width - sum(width + PADDING for heading, width in widths.items() if heading not in (folds, cut))
    if cut:
        room -= 2 * PADDING + 1
        widths[folds] = min(widths[folds], max(LEAST, room * 2 // 5))
        widths[cut] = min(widths[cut], max(LEAST, room - widths[folds]))
    else:
        widths[folds] = min(widths[folds], max(LEAST, room - PADDING - 1))
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for heading, justify in columns:
        made.add_column(
            heading,
            justify="right" if justify == "right" else "left",
            no_wrap=heading != folds,
            overflow="fold" if heading == folds else "ellipsis",
            width=widths[heading] if heading in (folds, cut) else None,
        )
    for row in cells:
        made.add_row(*row)
    return made


def write_facts(facts: Dict[str, Any]) -> None:
    """Names and figures: a grid on a terminal, lines in a pipe."""
    if not on_terminal():
        write_rows((name, "" if value is None else str(value)) for name, value in facts.items())
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 3))
    for name, value in facts.items():
        grid.add_row(Text(name.replace("_", " "), "dim"), Text(text.printable(str(value))))
    console().print(grid)
