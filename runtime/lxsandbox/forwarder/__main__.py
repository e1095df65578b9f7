"""Entry point: `python -I -S …/forwarder/__main__.py CONTROL_FD RUN`; RUN, the name of the run, is for whoever lists processes.

Isolated mode has no import path of its own, so the folder of the package is put on it here.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from lxsandbox.forwarder.orders import main

    main(int(sys.argv[1]))
