"""The command `lxsandbox`: parsing by click, tables by rich, and nothing imported before the command that needs it."""

from lxsandbox.cli.entry import main

__all__ = ["main"]
