"""The init of a kernel that has netem: makes a hub with members, and one fault after the other; says what it saw, and ends it.

Run by `test_netem.py` in user-mode Linux, whose root is the host's own, read-only. Prints one JSON object a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import Any

_FINIT_MODULE = 313  # of x86-64
_POWER_OFF = 0x4321FEDC  # reboot(2)
_libc = ctypes.CDLL(None, use_errno=True)

SHAPES: list[dict[str, float]] = [
    {"delay": 0.1},
    {"delay": 0.05, "jitter": 0.01, "loss": 0.1},
    {"duplicate": 0.1},
    {"corrupt": 0.05},
    {"delay": 0.01, "reorder": 0.25},
    {"delay": 0.02, "rate": 1_000_000, "loss": 0.3, "duplicate": 0.05, "corrupt": 0.05, "reorder": 0.2},
    {"rate": 1_000_000},
]


def load_modules(folder: str, *names: str) -> None:
    """With what they need. One that is built in is in no list."""
    with open(f"{folder}/modules.dep") as file:
        needed = {path: needs.split() for path, _, needs in (line.partition(":") for line in file)}
    by_name = {os.path.basename(path).removesuffix(".ko").replace("-", "_"): path for path in needed}
    loaded: set[str] = set()

    def load(path: str) -> None:
        if path in loaded:
            return
        loaded.add(path)
        for other in reversed(needed[path]):
            load(other)
        with open(f"{folder}/{path}", "rb") as file:
            _libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0)

    for name in names:
        if name in by_name:
            load(by_name[name])


def make_hub(members: int) -> Any:
    """A hub in this process, with a network of so many namespaces."""
    from lxsandbox import wire
    from lxsandbox.hub.serve import OPERATIONS, Hub
    from lxsandbox.syscalls import clone

    hub = Hub(wire.pair()[0])
    OPERATIONS["make_network"](
        hub, {"number": 1, "name": "n", "ipv4": "10.1.0.1", "ipv6": "fd00::1", "mac": "02:00:00:00:00:01"}, []
    )
    for number in range(2, members + 2):
        pid, _ = clone.clone3(clone.CLONE_NEWNET, exit_signal=signal.SIGCHLD)
        if pid == 0:
            signal.pause()
            os._exit(0)
        port = {
            "network": 1,
            "interface": "eth0",
            "mac": f"02:00:00:00:00:{number:02x}",
            "ipv4": f"10.1.0.{number}",
            "ipv6": None,
        }
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        OPERATIONS["join"](hub, {"box": f"box{number - 1}", "names": [f"n{number}"], "ports": [port]}, [netns])
    return hub


def seen_of(hub: Any, values: dict[str, float]) -> dict[str, Any]:
    """What there is once a line is shaped, and what there is when it is healed."""
    from lxsandbox.hub.faults.operations import OPERATIONS

    asked = {"network": 1, "a": "box1", "peer": None, "directions": ["out", "in"], "values": values}
    OPERATIONS["shape"](hub, asked, [])
    at_port = subprocess.run(["/usr/sbin/tc", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
    queues = [
        row["queue"] for fault in OPERATIONS["faults"](hub, asked, [])["faults"] for row in fault["links"] if "queue" in row
    ]
    OPERATIONS["heal"](hub, {"network": 1, "fault": None}, [])
    left = subprocess.run(["/usr/sbin/tc", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
    return {
        "shape": values,
        "tc": [line for line in at_port.splitlines() if "noqueue" not in line],
        "queues": queues,
        "left": left,
    }


def main(runtime: str, modules: str) -> None:
    sys.path.insert(0, runtime)
    _libc.mount(b"proc", b"/proc", b"proc", 0, None)
    _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
    load_modules(f"{modules}/{os.uname().release}", "veth", "bridge", "nf_tables", "nft_numgen", "sch_netem", "sch_tbf")
    hub = make_hub(3)
    for values in SHAPES:
        print(json.dumps(seen_of(hub, values)), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _libc.reboot(_POWER_OFF)
