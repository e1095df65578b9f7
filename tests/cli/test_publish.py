"""`lxsandbox run --publish`: ports of the command on this host, as container tools write them."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import click
import pytest
from needs import needs

from lxsandbox.cli.publishing import published

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

SERVER = "import socket; s = socket.create_server(('127.0.0.1', 80)); print('up', flush=True); s.accept()[0].sendall(b'hello')"
PARAMETER: Any = click.Option(["--publish"])


def ports_of(*texts: str) -> dict[str, int | None] | None:
    return published(click.Context(click.Command("run")), PARAMETER, texts)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("8080:80", {"80/tcp": 8080}),
        ("80", {"80/tcp": None}),
        (":80", {"80/tcp": None}),
        ("5353:53/udp", {"53/udp": 5353}),
        ("127.0.0.1:8080:80/tcp", {"80/tcp": 8080}),
        ("127.0.0.1::80", {"80/tcp": None}),
        ("9000:/run/it.sock", {"/run/it.sock": 9000}),
    ],
)
def test_it_is_written_as_container_tools_have_it(text: str, ports: dict[str, int | None]) -> None:
    assert ports_of(text) == ports


@pytest.mark.parametrize("text", ["", "x", "80:x", "0", "70000", "0:80", "70000:80", "0.0.0.0:1:80", "80/sctp", "80-90", "1:2:3"])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        ports_of(text)


def test_a_port_is_published_once() -> None:
    with pytest.raises(click.BadParameter, match="twice"):
        ports_of("80", "8080:80/tcp")


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_a_published_port_leads_to_the_command(lxsandbox_process: Start, lxsandbox_command: Command) -> None:
    process = lxsandbox_process("run", "-p", "80", "host", "--", "/usr/bin/python3", "-I", "-S", "-c", SERVER)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    [row] = json.loads(lxsandbox_command("ps", "--json").stdout)
    with socket.create_connection(("127.0.0.1", row["ports"]["80/tcp"]), 10) as client:
        assert client.recv(5) == b"hello"
    assert process.wait(30) == 0


@needs("user-namespaces", "overlayfs", "libseccomp")
def test_a_port_that_is_taken_is_an_error(lxsandbox_command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = lxsandbox_command("run", "-p", f"{port}:80", "host", "--", "true")
    assert done.returncode == 125
    assert f"port {port} of this host" in done.stderr
    assert "is taken by process" in done.stderr
