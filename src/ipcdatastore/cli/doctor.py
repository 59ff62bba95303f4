"""``doctor``: what is as it should be on this machine, what is not, and what to do about it."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

import click

from ipcdatastore import place

from . import complete, diagnosis, output, patient, text
from .diagnosis import Finding
from .options import LOCK_TIMEOUT, common, examples
from .root import NOT_FOUND

TOPIC = 13  # characters


@click.command(
    "doctor", epilog=examples("ipcdatastore doctor", "ipcdatastore doctor shop --json | jq .findings[].text")
)
@click.argument("name", required=False, shell_complete=complete.names)
@common
@click.pass_context
def doctor_verb(
    ctx: click.Context, name: Optional[str], directory: Optional[str], as_json: bool, timeout: float
) -> None:
    """Find out what is wrong, and say what to do about it.

    Looks at the machine, at the place of the stores, and with NAME at that store. Nothing is changed; a scratch file
    in the place is removed at once. In a pipe, a line is: good, note, warning or bad; topic; finding; advice.
    The exit code is 1 if something is bad.
    """
    found = list(sections(name, directory, min(timeout, LOCK_TIMEOUT)))
    findings = [finding for _, section in found for finding in section]
    good = not any(finding.state == "bad" for finding in findings)
    if as_json:
        output.write_json({"good": good, "findings": [finding._asdict() for finding in findings]})
    elif output.on_terminal():
        for title, section in found:
            show(title, section)
        output.say_so(*verdict(findings))
    else:
        output.write_rows(
            [one.state, one.topic, text.printable(one.text), text.printable(one.advice)] for one in findings
        )
    if not good:
        ctx.exit(NOT_FOUND)


def sections(name: Optional[str], directory: Optional[str], timeout: float) -> Iterator[Tuple[str, List[Finding]]]:
    """Titles, and what was found."""
    yield "This machine", list(diagnosis.machine())
    resolved = place.resolve_directory(directory)
    yield "The place of the stores", [*diagnosis.where(directory, resolved), *diagnosis.stores(resolved)]
    if name is not None:
        place.check_name(name)
        yield f"The store {name}", list(patient.examine(name, resolved, timeout))


def verdict(findings: List[Finding]) -> Tuple[str, str]:
    """The last line."""
    count: Dict[str, int] = {}
    for finding in findings:
        count[finding.state] = count.get(finding.state, 0) + 1
    if count.get("bad"):
        return "bad", f"{output.several(count['bad'], 'thing')} wrong"
    if count.get("warning"):
        return "warning", f"it works; {output.several(count['warning'], 'warning')}"
    return "good", "all is well"


def show(title: str, findings: List[Finding]) -> None:
    """A section on a terminal: a mark, the topic, the finding; the advice below it."""
    from rich.table import Table
    from rich.text import Text

    console = output.console()
    console.print(Text(title, "bold"))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column(width=TOPIC)
    grid.add_column(ratio=1, overflow="fold")
    for finding in findings:
        cell: Any = Text(text.printable(finding.text, exact=False))
        if finding.advice:
            cell.append(f"\n→ {text.printable(finding.advice, exact=False)}", "cyan")
        grid.add_row(output.mark(finding.state), Text(finding.topic, "dim"), cell)
    console.print(grid)
    console.print()
