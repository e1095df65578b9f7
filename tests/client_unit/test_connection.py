from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from lxsandbox import wire
from lxsandbox.errors import SandboxError, ServiceLost, SpecError
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.launching import service_environment, start_service
from lxsandbox.sandbox.sandbox import Sandbox


def test_a_service_that_dies_is_named_with_the_end_of_its_log(box, service, tmp_path):
    (tmp_path / "service.log").write_text("Traceback …\nboom\n")
    service.hang_up()

    with pytest.raises(ServiceLost, match="has gone") as lost:
        box.stats()
    assert "boom" in lost.value.__notes__[-1]
    assert box.run(["true"]).returncode == 0  # init answers still; only its lifeline ends it


def test_a_sandbox_whose_service_died_can_be_closed(box, service):
    service.hang_up()
    box.close()
    assert box.state == "exited"


def test_the_service_gets_no_secrets_and_the_same_imports(tmp_path):
    environ = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "LXSANDBOX_MUST_RUN": "1", "XDG_RUNTIME_DIR": "/run/user/0"}

    given = service_environment(environ, ["", str(tmp_path), "/nonexistent.zip"])

    assert given == {"PATH": "/bin", "LXSANDBOX_MUST_RUN": "1", "XDG_RUNTIME_DIR": "/run/user/0", "PYTHONPATH": str(tmp_path)}


def test_a_service_that_does_not_start_says_its_last_line(tmp_path, monkeypatch):
    package = tmp_path / "lxsandbox"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "service.py").write_text("import sys; sys.exit('first\\nno room in cgroup')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    with pytest.raises(ServiceLost, match=r"did not start: no room in cgroup\n"):
        start_service(str(tmp_path))


def test_without_a_service_and_without_leave_to_start_one(tmp_path):
    with pytest.raises(ServiceLost, match="no sandbox service answers"):
        ServiceConnection.open(str(tmp_path), start=False)


def test_a_connection_says_hello_and_keeps_the_answer(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()

        def greet() -> None:
            accepted, _ = listener.accept()
            with accepted:
                message, _ = wire.receive(accepted)
                hello = {"run": "r", "cgroups": "v2", "mapping": "range", "pid": 5, "missing": [message["label"]]}
                wire.send(accepted, {"id": message["id"], "ok": hello})
                message, _ = wire.receive(accepted)
                wire.send(accepted, {"id": message["id"], "ok": {"leaked": {"mounts": 0}}})

        thread = threading.Thread(target=greet)
        thread.start()
        connection = ServiceConnection.open(str(tmp_path), label="gw3", start=False)

        assert (connection.hello.cgroups, connection.hello.missing) == ("v2", ("gw3",))
        assert connection.leave() == {"mounts": 0}
        assert connection.lost
        thread.join()


def test_an_unknown_field_is_refused_before_anything_is_started():
    with pytest.raises(SpecError, match="memry"):
        Sandbox(memry="1G")


@pytest.mark.parametrize("port", [0, 65536, -1, "80", True, None])
def test_a_port_is_a_number_in_range(box, port):
    with pytest.raises(SpecError, match="is not a port"):
        box.connect(port)


def test_connect_reaches_a_listener_and_names_a_refusal(box):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with box.connect(port) as client, server.accept()[0] as accepted:
            client.sendall(b"hi")
            assert accepted.recv(2) == b"hi"

    with pytest.raises(ConnectionRefusedError, match=f"port {port} in sandbox box"):
        box.connect(port)


def test_the_package_alone_imports_nothing_heavy():
    program = "import sys; before = set(sys.modules); import lxsandbox; print(*sorted(set(sys.modules) - before))"
    path = os.pathsep.join(sys.path)

    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["lxsandbox"]


def test_every_public_name_resolves():
    import lxsandbox

    assert all(getattr(lxsandbox, name).__name__ == name for name in lxsandbox.__all__)
    assert set(lxsandbox.__all__) <= set(dir(lxsandbox))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lxsandbox.nonsense


def test_an_answer_without_its_descriptor_is_an_error(connection, service):
    service.do_create = lambda fds, **fields: ({"sandbox": "s1", "name": "box", "hostname": "box", "pid": 1}, [])

    with pytest.raises(SandboxError, match="0 descriptors"):
        Sandbox(connection=connection)
