"""`python -m lxsandbox.cli`: the command `lxsandbox` where it is not in PATH."""

from lxsandbox.cli import main

main()
