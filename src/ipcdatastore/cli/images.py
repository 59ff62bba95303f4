"""``backup`` and ``restore``: a store as a file, and back."""

from __future__ import annotations

import os
from typing import Optional

import click

from . import output, text
from .options import common, examples, name_argument, open_store
from .root import NOT_FOUND, complain


@click.command("backup", epilog=examples('ipcdatastore backup shop "shop-$(date +%F).image"'))
@name_argument
@click.argument("file", type=click.Path(dir_okay=False))
@common
def backup_verb(name: str, file: str, directory: Optional[str], as_json: bool, timeout: float) -> None:
    """Write every record of the store to FILE.

    FILE holds the store as it was at one moment, while others went on writing. It is complete, or not there: one that
    was there before is replaced when the new one is on the disk.
    """
    # Not read only: the image is completed under the lock that keeps writers out for a moment.
    with open_store(name, directory, "w", timeout) as store, output.working(f"{name} is written to {file}"):
        records = store.backup(file)
    path = os.path.abspath(file)
    if as_json:
        output.write_json({"name": name, "path": path, "records": records, "bytes": os.path.getsize(path)})
    elif output.on_terminal():
        output.say_so("good", f"{output.several(records, 'record')} of {name} in {file}")


@click.command(
    "restore",
    epilog=examples("ipcdatastore restore shop shop-2030-01-31.image", "ipcdatastore restore new shop.image --create"),
)
@name_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--salvage", is_flag=True, help="Of a damaged FILE, take what is whole.")
@click.option("--create", is_flag=True, help="Make the store if there is none.")
@common
@click.pass_context
def restore_verb(
    ctx: click.Context,
    name: str,
    file: str,
    salvage: bool,
    create: bool,
    directory: Optional[str],
    as_json: bool,
    timeout: float,
) -> None:
    """Replace what is in the store by what is in FILE, at one moment.

    FILE is what `backup` wrote, or an image that the store wrote itself. A damaged one is refused, and the store
    stays as it is, unless --salvage is given; then the exit code is 1 if something was lost.
    """
    mode = "c" if create else "w"
    with open_store(name, directory, mode, timeout) as store, output.working(f"{name} is read from {file}"):
        done = store.restore(file, salvage=salvage)
    if as_json:
        document = {"name": name, "path": done.path, "records": done.records, "lost": done.lost}
        output.write_json({**document, "problems": list(done.problems)})
    elif output.on_terminal():
        for problem in done.problems:
            output.say_so("warning", problem)
        output.say_so("good", f"{name} holds {output.several(done.records, 'record')} of {file}")
    else:
        output.write_rows([text.printable(problem)] for problem in done.problems)
    if done.lost or done.problems:
        complain(f"{file} was damaged: {output.several(done.records, 'record')} restored, {done.lost} lost")
        ctx.exit(NOT_FOUND)
