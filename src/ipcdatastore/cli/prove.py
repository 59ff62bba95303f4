"""``selftest``: what the library proves about itself on this machine."""

from __future__ import annotations

from typing import Optional

import click

from ipcdatastore.selftest import Report, Step, run

from . import output
from .options import directory_option, examples, json_option
from .root import NOT_FOUND, complain


@click.command("selftest", epilog=examples("ipcdatastore selftest", "ipcdatastore selftest --quick --json"))
@click.option("--quick", is_flag=True, help="Start no process.")
@directory_option
@json_option
@click.pass_context
def selftest_verb(ctx: click.Context, quick: bool, directory: Optional[str], as_json: bool) -> None:
    """Prove that it works on this machine.

    Takes a few seconds, in scratch stores of its own where stores are (or in DIR), which are removed at the end.
    In a pipe, a line is: ok or FAILED, seconds, what was to be proved, what was seen.
    """
    if as_json:
        report = run(quick=quick, directory=directory)
        output.write_json(report.as_dict())
    elif output.on_terminal():
        report = live(quick, directory)
    else:
        report = run(write_step, quick, directory)
    failed = [step for step in report.steps if not step.ok]
    if failed:
        complain(f"selftest: {len(failed)} of {len(report.steps)} steps failed: {failed[0].name}: {failed[0].detail}")
        ctx.exit(NOT_FOUND)


def write_step(step: Step) -> None:
    """A line in a pipe."""
    output.write_rows([["ok" if step.ok else "FAILED", f"{step.seconds:.3f}", step.name, step.detail]])
    output.flush()


def live(quick: bool, directory: Optional[str]) -> Report:
    """A line a step as it comes, and what is being tried at the end of them."""
    from rich.text import Text

    console = output.console()
    with console.status("the self-test begins", spinner="dots"):

        def show(step: Step) -> None:
            kind = "good" if step.ok else "bad"
            line = Text.assemble(output.mark(kind), f" {step.name:<34}", (f"{step.seconds * 1000:7,.0f} ms  ", "dim"))
            console.print(line.append(step.detail, "dim" if step.ok else "red"), soft_wrap=True)

        report = run(show, quick, directory)
    count = output.several(len(report.steps), "step")
    if report.ok:
        output.say_so("good", f"all {count} in {report.seconds:.1f} s")
    return report
