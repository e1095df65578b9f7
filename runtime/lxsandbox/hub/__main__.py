"""Entry point: `python -P -S -m lxsandbox.hub CONTROL_FD`, exec'ed in a new network namespace by the spawner."""

import sys

from lxsandbox.hub.serve import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
