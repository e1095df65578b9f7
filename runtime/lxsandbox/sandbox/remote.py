"""What runs inside a sandbox for `Sandbox.call`: its source is given to the interpreter there with -c.

It reads sys.path and the pickled call from stdin, and writes the pickled outcome to stdout. So it may use nothing but the
standard library until sys.path is set, and nothing of this package.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any, BinaryIO


def outcome(payload: BinaryIO) -> dict[str, Any]:
    """The value or the error of the call, as plain data."""
    try:
        sys.path[:] = pickle.load(payload)
        function, args, kwargs = pickle.load(payload)
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  (whatever it is, it is the caller's)
        return described(error)
    try:
        return {"value": pickle.dumps(value)}
    except Exception as error:  # noqa: BLE001  (an object's own pickling may raise anything)
        return {"unpicklable": f"a {type(value).__name__}: {error}"}


def described(error: BaseException) -> dict[str, Any]:
    """Enough to raise it again elsewhere: its class by name, its arguments, and the traceback as text."""
    import traceback  # here: only errors pay for it

    reduced = error.__reduce__()
    # OSError keeps the file name out of `args`, and in what it reduces to.
    args = reduced[1] if isinstance(reduced, tuple) and reduced[0] is type(error) else error.args
    try:
        pickled = pickle.dumps(args)
    except Exception:  # noqa: BLE001
        pickled = pickle.dumps((str(error),))
    return {
        "module": type(error).__module__,
        "qualname": type(error).__qualname__,
        "args": pickled,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def main() -> None:
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints must not mix with the outcome
    found = outcome(sys.stdin.buffer)
    sys.stdout.flush()
    with results:
        pickle.dump(found, results)


if __name__ == "__main__":
    main()
