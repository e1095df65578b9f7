"""Entry point: `python -I -S …/spawner/__main__.py CONTROL_FD MODE`, MODE being `host`, `unshare`, `join:FD` or `mapped`.

`host` makes sandboxes as the host's root. `unshare` makes a user namespace first, and goes on as `mapped` once it has ids;
`join:FD` does so in the user namespace behind that descriptor, which has them.

Isolated mode has no import path of its own, so the folder of the package is put on it here.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from lxsandbox.spawner.loop import main

    main(int(sys.argv[1]), sys.argv[2])
