"""``completion``: the script that teaches a shell the verbs, options, stores, keys, objects and methods."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from . import output
from .options import examples, json_option

PROGRAM = "ipcdatastore"
VARIABLE = "_IPCDATASTORE_COMPLETE"


@click.command(
    "completion",
    epilog=examples(
        'eval "$(ipcdatastore completion bash)"    # in ~/.bashrc',
        'eval "$(ipcdatastore completion zsh)"     # in ~/.zshrc, behind compinit',
        "ipcdatastore completion fish > ~/.config/fish/completions/ipcdatastore.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def completion_verb(shell: str, as_json: bool) -> None:
    """Write the script that completes verbs, options, stores, keys, objects and methods."""
    script = script_for(shell)
    if as_json:
        output.write_json({"shell": shell, "script": script})
    else:
        output.write_line(script)


def script_for(shell: str) -> str:
    """The script. Not by click's own ``source()``, which starts a bash to ask for its version."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this release of click knows no {shell}: upgrade it")
    script = kind(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    return str(script.source_template % script.source_vars()).strip()
