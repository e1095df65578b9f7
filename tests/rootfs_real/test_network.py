"""Whose network a sandbox sees, and its name."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SpecError

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"


def connects(box: Sandbox, port: int) -> bool:
    return box.run(["/usr/bin/python3", "-I", "-S", "-c", CONNECT, str(port)]).returncode == 0


def test_the_hosts_loopback_is_seen_with_the_hosts_network_alone(make_sandbox: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert connects(make_sandbox(network="host"), port)
        assert not connects(make_sandbox(), port)


def test_an_isolated_sandbox_has_a_loopback_of_its_own_that_works(make_sandbox: Make) -> None:
    box = make_sandbox()
    script = "import socket; s = socket.create_server(('127.0.0.1', 4321)); print('up', flush=True); s.accept()"
    server = box.popen(["/usr/bin/python3", "-I", "-S", "-c", script])
    assert server.stdout is not None
    assert server.stdout.readline() == "up\n"

    assert connects(box, 4321)
    assert server.wait(30) == 0
    server.communicate()


def test_two_sandboxes_can_use_one_port(make_sandbox: Make) -> None:
    script = "import socket; s = socket.create_server(('0.0.0.0', 80)); print('up')"

    for box in (make_sandbox(), make_sandbox()):
        assert box.check_output(["/usr/bin/python3", "-I", "-S", "-c", script]) == "up\n"


def test_the_hosts_abstract_sockets_are_seen_with_the_hosts_network_alone(make_sandbox: Make) -> None:
    name = "\0lxsandbox-test-network"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"
        inside = ["/usr/bin/python3", "-I", "-S", "-c", script]
        assert make_sandbox(network="host").run(inside).returncode == 0
        assert make_sandbox().run(inside).returncode != 0


def test_an_isolated_sandbox_reaches_nothing(make_sandbox: Make) -> None:
    assert make_sandbox().check_output(["sh", "-c", "ls /sys/class/net; cat /proc/net/route | wc -l"]) == "lo\n1\n"


def test_its_name_is_the_one_asked_for_and_resolves(make_sandbox: Make) -> None:
    box = make_sandbox(hostname="box.example")

    assert box.hostname == "box.example"
    assert box.check_output(["sh", "-c", "cat /proc/sys/kernel/hostname /etc/hostname"]) == "box.example\nbox.example\n"
    lookup = "import socket; print(socket.gethostbyname('box.example'), socket.gethostbyname('localhost'))"
    assert box.check_output(["/usr/bin/python3", "-I", "-S", "-c", lookup]) == "127.0.1.1 127.0.0.1\n"


def test_without_one_it_is_the_sandboxes_name(make_sandbox: Make) -> None:
    assert make_sandbox(name="web").check_output(["cat", "/proc/sys/kernel/hostname"]) == "web\n"
    box = make_sandbox()
    assert box.check_output(["cat", "/proc/sys/kernel/hostname"]).strip() == box.hostname == box.id


def test_renaming_it_inside_renames_nothing_else(make_sandbox: Make) -> None:
    before = socket.gethostname()
    make_sandbox(capabilities=["+SYS_ADMIN"]).run(["hostname", "other"])

    assert socket.gethostname() == before


def test_parameters_of_its_network_can_be_set(make_sandbox: Make) -> None:
    sysctls = {"net.core.somaxconn": "77", "net.ipv4.ip_local_port_range": "5000 6000", "fs.mqueue.queues_max": "9"}
    box = make_sandbox(sysctls=sysctls)

    assert box.path("/proc/sys/net/core/somaxconn").read_text() == "77\n"
    assert box.path("/proc/sys/net/ipv4/ip_local_port_range").read_text() == "5000\t6000\n"
    assert box.run(["sh", "-c", "echo 1 > /proc/sys/net/core/somaxconn"]).returncode != 0
    assert make_sandbox().path("/proc/sys/net/core/somaxconn").read_text() != "77\n"


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "net/../kernel/panic", "net.../x", "kernel.hostname"])
def test_parameters_of_the_host_cannot(make_sandbox: Make, name: str) -> None:
    with pytest.raises(SpecError, match="sysctls"):
        make_sandbox(sysctls={name: "1"})


def test_neither_can_those_of_the_hosts_network(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="host's network"):
        make_sandbox(network="host", sysctls={"net.core.somaxconn": "5"})
