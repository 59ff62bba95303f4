"""The command itself: its verbs, loaded when they are used, and what its exit codes mean."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from importlib import import_module
from typing import Any, Iterator, List, Optional

import click

import ipcdatastore

from .text import printable

OK = 0
NOT_FOUND = 1
USAGE = 2
FAILED = 3
INTERRUPTED = 130
BROKEN_PIPE = 141

# A new verb is a line here, and a click command of that name in the module. The order is that of `--help`.
SECTIONS = {
    "Keys": {
        "get": "read",
        "set": "write",
        "delete": "write",
        "list": "listing",
        "wait": "follow",
        "watch": "follow",
    },
    "A store": {
        "stats": "inspect",
        "top": "live",
        "check": "inspect",
        "repair": "mend",
        "backup": "images",
        "restore": "images",
        "clear": "mend",
        "serve": "serve",
    },
    "Objects": {
        "objects": "objects",
        "call": "call",
    },
    "This machine": {
        "doctor": "doctor",
        "selftest": "prove",
        "demo": "demonstrate",
        "completion": "completion",
    },
}
VERBS = {verb: module for section in SECTIONS.values() for verb, module in section.items()}


class Verbs(click.Group):
    """Imports a verb's module when the verb is wanted, and turns every expected error into one line and a code."""

    def list_commands(self, ctx: click.Context) -> List[str]:  # noqa: ARG002 - click's signature
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:  # noqa: ARG002 - click's signature
        """The verb, None if there is no such."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f".{VERBS[cmd_name]}", __package__), f"{cmd_name}_verb")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, section by section, their columns in line."""
        width = max(map(len, VERBS))
        for section, verbs in SECTIONS.items():
            commands = [(verb, self.get_command(ctx, verb)) for verb in verbs]
            with formatter.section(section):
                formatter.write_dl([(verb.ljust(width), one.get_short_help_str(80)) for verb, one in commands if one])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        with errors_as_codes(ctx), warnings_as_lines():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def errors_as_codes(ctx: click.Context) -> Iterator[None]:
    """No traceback for what can be expected to go wrong."""
    try:
        yield
    except BrokenPipeError:
        # `| head` has seen enough. What is still buffered must not fail again when Python ends.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(BROKEN_PIPE)
    except ipcdatastore.RegionNotFoundError as error:
        hint = "--create makes it" if ctx.invoked_subcommand == "restore" else "`ipcdatastore set` creates one"
        complain(f"{str(error).split(';')[0]}; {hint}")
        ctx.exit(FAILED)
    except (ipcdatastore.DatastoreError, OSError) as error:
        complain(str(error))
        ctx.exit(FAILED)
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        ctx.exit(INTERRUPTED)


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """That an older image had to do is worth a line, but not one with the place in the source."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ipcdatastore.RestoreWarning)
        show = warnings.showwarning

        def show_one(message: Any, category: Any, *more: Any, **others: Any) -> None:
            if issubclass(category, ipcdatastore.RestoreWarning):
                complain(str(message))
            else:
                show(message, category, *more, **others)

        warnings.showwarning = show_one
        yield


def complain(line: str) -> None:
    """One line on stderr."""
    click.echo(f"ipcdatastore: {printable(' '.join(line.split()), exact=False)}", err=True)


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes:
    0  done
    1  not found, or not done (`set --add`, `set --version`, `clear`), or not in time (`wait`, `watch`);
       something wrong was found (`check`, `repair`, `doctor`, `selftest`, `demo`); the method raised (`call`)
    2  wrong usage
    3  the store, or the object, refused or failed: one line on stderr says why
  130  interrupted
  141  whoever read the output had enough

\b
On a terminal the output is a table; in a pipe it is tab-separated lines; with --json it is JSON.""",
)
@click.version_option(ipcdatastore.__version__, prog_name="ipcdatastore", message="%(prog)s %(version)s")
def root() -> None:
    """Look into, and change, the stores that the processes of this machine share; call the objects that they serve.

    NAME is the name of a store, as in `ipcdatastore.open(NAME)`, or of an object. Only `set`, `serve` and
    `restore --create` create a store.
    """
