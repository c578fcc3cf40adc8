"""Asking before money or credits move."""

import sys

import click


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if a person says so, or the command line did with --yes.

    UsageError where nobody can be asked: a script must not hang, nor take silence for consent.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this moves money or credits, and there is nobody to ask: say --yes")
    # On standard error, so that standard output has the outcome only.
    click.confirm(question, abort=True, err=True)
