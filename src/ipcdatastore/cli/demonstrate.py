"""``demo``: the main job on real files, measured and verified."""

from __future__ import annotations

from typing import Any, Optional

import click

from ipcdatastore.demo import Report, Settings, plain, run

from . import output
from .options import Seconds, common, examples
from .root import NOT_FOUND, complain

DEFAULTS = Settings()


@click.command("demo", epilog=examples("ipcdatastore demo ~/Documents --readers 4"))
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option(
    "--readers",
    type=click.IntRange(1, 64),
    default=DEFAULTS.readers,
    show_default=True,
    metavar="N",
    help="Reader processes.",
)
@click.option(
    "--seconds",
    type=Seconds(0.1),
    default=DEFAULTS.seconds,
    show_default=True,
    metavar="S",
    help="How long they read, at least.",
)
@click.option(
    "--kills",
    type=click.IntRange(1),
    default=DEFAULTS.kills,
    show_default=True,
    metavar="N",
    help="How many writers are killed.",
)
@click.option(
    "--save-svg", metavar="FILE", type=click.Path(dir_okay=False, writable=True), help="Save a picture of the summary."
)
@common
@click.pass_context
def demo_verb(ctx: click.Context, /, save_svg: Optional[str], as_json: bool, **chosen: Any) -> None:
    """The main job on real files, verified.

    One process gathers a record for each file of FOLDER (default: this Python's standard library), others look
    them up at full speed while some are rewritten. Then a fresh process verifies every record against the disk,
    writers are killed in mid-work and the store is shown to be whole, and the same look-ups are made in a
    multiprocessing.Manager().dict(). All in a scratch store of its own, which is removed at the end.
    The exit code is 0 only if all was verified.
    """
    settings = Settings(**chosen)
    if as_json:
        report = run(settings, plain.NoDisplay())
        output.write_json(report.as_dict())
    elif output.on_terminal():
        report = _live(settings)
    else:
        report = run(settings, plain.PlainDisplay())
        click.echo(plain.summary(report))
    if save_svg:
        from ipcdatastore.demo.rich_display import save_svg as save

        save(report, save_svg)
    for problem in report.problems:
        complain(f"demo: {problem}")
    if not report.verified:
        ctx.exit(NOT_FOUND)


def _live(settings: Settings) -> Report:
    from ipcdatastore.demo.rich_display import RichDisplay, summary

    console = output.console()
    with RichDisplay(console) as display:
        report = run(settings, display)
    console.print(summary(report))
    return report
