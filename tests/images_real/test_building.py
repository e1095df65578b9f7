"""`image="build:DIR"`: the steps of a Containerfile in real sandboxes, and what comes of them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from events import until
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import ImageError, Sandbox, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]
BUSYBOX = "FROM scratch AS base\nCOPY busybox /bin/\nRUN ['/bin/busybox', '--install', '-s', '/bin']\n".replace("'", '"')


@pytest.fixture
def project(place: Path) -> Path:
    """A folder to build from, with a busybox in it."""
    folder = place / "project"
    folder.mkdir()
    shutil.copy(shutil.which("busybox", path=os.environ.get("PATH", "") + ":/usr/bin:/bin") or "", folder / "busybox")
    return folder


def write(project: Path, text: str, *, base: str = BUSYBOX) -> str:
    """The Containerfile; the reference of its image."""
    (project / "Containerfile").write_text(base + text)
    return f"build:{project}"


def test_stages_are_built_from_nothing_and_copied_between(start: Start, project: Path) -> None:
    (project / "greeting").write_text("hello")
    image = write(
        project,
        """
FROM base AS compile
WORKDIR /src
COPY greeting .
RUN cat greeting > made && chmod 750 made && ln -s made link && chown 7:8 made
FROM base
COPY --from=compile --chown=3:4 /src/greeting /app/
COPY --from=compile /src/ /all/
ENV FLAVOUR=sweet
WORKDIR /app
ENTRYPOINT ["cat"]
""",
    )

    box = start(image)
    assert box.check_output(["sh", "-c", "cat greeting && pwd && echo $FLAVOUR"]) == "hello/app\nsweet\n"
    assert box.check_output(["stat", "-c", "%u:%g %a", "/app/greeting", "/all/made"]).split("\n")[:2] == ["3:4 644", "7:8 750"]
    assert box.check_output(["sh", "-c", "readlink /all/link; ls /"]).split()[0] == "made"
    assert not box.path("/src").exists()


def test_a_build_sees_files_as_links_of_the_image_lead(start: Start, project: Path) -> None:
    (project / "tool").write_text("tool")
    image = write(
        project, "RUN mkdir -p /usr/lib && ln -s usr/lib /lib && ln -s /etc/passwd /trap\nCOPY tool /lib/tool\nCOPY tool /trap\n"
    )

    box = start(image)
    assert box.path("/usr/lib/tool").read_text() == "tool"
    assert box.path("/lib").is_symlink()
    assert box.path("/trap").read_text() == "tool"
    assert not box.path("/trap").is_symlink()
    assert not box.path("/etc/passwd").exists()


def test_heredocs_are_scripts_and_files(start: Start, project: Path) -> None:
    image = write(
        project,
        """ARG who=world
RUN <<EOF
set -e
echo one > /one
echo two >> /one
EOF
RUN <<"SCRIPT"
#!/bin/env sh
echo program > /program
SCRIPT
COPY <<hello.txt <<"literal.txt" /texts/
hello $who
hello.txt
hello $who
literal.txt
""",
    )

    box = start(image)
    assert box.path("/one").read_text() == "one\ntwo\n"
    assert box.path("/program").read_text() == "program\n"
    assert box.path("/texts/hello.txt").read_text() == "hello world\n"
    assert box.path("/texts/literal.txt").read_text() == "hello $who\n"
    assert not [name for name in box.check_output(["ls", "/dev/shm"]).split() if "script" in name]


@needs("id-range")
def test_folders_that_a_workdir_makes_belong_to_the_user_at_that_place(start: Start, project: Path) -> None:
    image = write(
        project,
        """COPY <<EOF /etc/passwd
app:x:1500:1600:App:/home/app:/bin/sh
EOF
WORKDIR /first
USER app
WORKDIR second/deep
RUN id -u > who && id -g >> who && pwd >> who && echo $HOME >> who
""",
    )

    box = start(image)
    assert box.check_output(["cat", "/first/second/deep/who"]).split() == ["1500", "1600", "/first/second/deep", "/home/app"]
    owners = box.check_output(["stat", "-c", "%u:%g", "/first", "/first/second", "/first/second/deep"])
    assert owners.split() == ["0:0", "1500:1600", "1500:1600"]
    assert box.check_output(["id", "-u"]) == "1500\n"


@needs("id-range")
def test_a_tar_that_is_added_is_unpacked_and_one_that_is_copied_is_not(start: Start, project: Path) -> None:
    with tarfile.open(project / "tree.tar.gz", "w:gz") as archive:
        for name, kind in (("deep", tarfile.DIRTYPE), ("deep/file", tarfile.REGTYPE), ("deep/link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid, member.mtime = kind, 0o750, 5, 6, 1_000_000_000
            member.linkname = "file" if kind == tarfile.SYMTYPE else ""
            member.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"abc"))
        hard = tarfile.TarInfo("deep/hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "deep/file"
        archive.addfile(hard)
        outside = tarfile.TarInfo("../../outside")
        archive.addfile(outside)

    box = start(write(project, "ADD tree.tar.gz /opt/\nCOPY tree.tar.gz /opt/\nADD busybox /opt/\n"))
    found = box.check_output(["stat", "-c", "%u:%g %a %h %Y", "/opt/deep/file", "/opt/deep"]).split("\n")
    assert found[0] == "5:6 750 2 1000000000"
    assert found[1].startswith("5:6 750")
    assert box.check_output(["readlink", "/opt/deep/link"]) == "file\n"
    assert sorted(box.check_output(["ls", "/opt"]).split()) == ["busybox", "deep", "outside", "tree.tar.gz"]


def test_no_link_of_an_archive_leads_out_of_the_image(start: Start, project: Path, place: Path) -> None:
    (place / "outside").mkdir(mode=0o777)
    with tarfile.open(project / "tree.tar", "w") as archive:
        for name, target in (("link", str(place / "outside")), ("up", "../../../../../../.." + str(place / "outside"))):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo(f"{name}/{name}-file"))
    image = write(project, f"RUN mkdir -p {place}/outside\nADD tree.tar /x/\n")

    box = start(image)
    assert sorted(box.check_output(["ls", f"{place}/outside"]).split()) == ["link-file", "up-file"]
    assert os.listdir(place / "outside") == []


def test_what_dockerignore_names_is_not_there(start: Start, project: Path) -> None:
    (project / ".dockerignore").write_text("# secrets\n*.key\nskipped\n!skipped/but/this\nContainerfile\n.dockerignore\n")
    (project / "a.key").write_text("secret")
    (project / "skipped" / "but").mkdir(parents=True)
    for name in ("a.txt", "skipped/no", "skipped/but/this"):
        (project / name).write_text(name)

    box = start(write(project, "COPY . /all\n"))
    assert sorted(box.check_output(["find", "/all", "-type", "f"]).split()) == [
        "/all/a.txt", "/all/busybox", "/all/skipped/but/this",
    ]  # fmt: skip
    with pytest.raises(ImageError, match=r"Containerfile:4: COPY: there is no 'a.key' to copy"):
        start(write(project, "COPY a.key /\n"))


def test_a_link_in_the_folder_does_not_lead_out_of_it(start: Start, project: Path, place: Path) -> None:
    (place / "outside").write_text("outside")
    (project / "link").symlink_to("../outside")
    (project / "absolute").symlink_to(place / "outside")

    for name in ("link", "absolute", "../outside"):
        with pytest.raises(ImageError, match="there is no"):
            start(write(project, f"COPY {name} /x\n"))


def test_a_failing_step_says_which_and_its_last_words_and_leaves_nothing(start: Start, project: Path) -> None:
    with pytest.raises(ImageError) as caught:
        start(write(project, "RUN echo working; ls /no-such-folder\n"))

    assert f"{project}/Containerfile:4: RUN echo working; ls /no-such-folder: it exited with code 1" in caught.value.message
    assert "working\nls: /no-such-folder: No such file" in caught.value.message


def test_a_program_that_is_not_there_is_said_with_its_line(start: Start, project: Path) -> None:
    with pytest.raises(ImageError, match=r'Containerfile:4: RUN \["/bin/nothing"\]: .*/bin/nothing.* does not exist'):
        start(write(project, 'RUN ["/bin/nothing"]\n'))


def test_an_owner_that_the_image_does_not_know_is_said_by_name(start: Start, project: Path) -> None:
    with pytest.raises(
        ImageError, match=r"Containerfile:4: COPY --chown=nobody-here busybox /x: .*no user 'nobody-here'"
    ) as caught:
        start(write(project, "COPY --chown=nobody-here busybox /x\n"))
    assert caught.value.hint


def test_many_who_want_one_build_have_it_built_once(start: Start, project: Path, place: Path) -> None:
    image = write(
        project, "RUN echo made >> /counted; sleep 0.3\nRUN date +%s.%N > /when; head -c 16 /dev/urandom | od >> /when\n"
    )
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: start(image).path("/when").read_text(), range(8)))

    assert len(made) == 1


def test_several_runs_that_want_one_build_have_it_built_once(store: Path, project: Path) -> None:
    image = write(project, "RUN head -c 16 /dev/urandom | od > /when\n")

    def by_a_run_of_its_own(_: int) -> str:
        connection = ServiceConnection.open()
        try:
            with Sandbox(image, connection=connection) as box:
                return box.path("/when").read_text()
        finally:
            connection.leave()

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(by_a_run_of_its_own, range(3)))) == 1


def test_a_service_that_is_killed_in_a_step_leaves_no_process(store: Path, project: Path) -> None:
    image = write(project, "RUN echo $$ > /dev/null; exec sleep 4711.25\n")
    connection = ServiceConnection.open()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(Sandbox, image, connection=connection)
        until(lambda: _runs("4711.25"), "the step runs")
        os.kill(connection.hello.pid, signal.SIGKILL)
        assert isinstance(asking.exception(), SandboxError)
    with suppress(SandboxError):
        connection.leave()

    until(lambda: not _runs("4711.25"), "the step has ended")
    ServiceConnection.open().leave()  # and the next run removes the folders of the killed one


def test_a_client_that_leaves_in_a_step_ends_it(store: Path, project: Path) -> None:
    image = write(project, "RUN sleep 4712.25\n")
    connection = ServiceConnection.open()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(Sandbox, image, connection=connection)
        until(lambda: _runs("4712.25"), "the step runs")
        connection.leave()
        assert isinstance(asking.exception(), SandboxError)

    until(lambda: not _runs("4712.25"), "the step has ended")


def _runs(word: str) -> bool:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if f"sleep\0{word}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


def test_without_a_way_out_a_step_has_the_network_of_the_host(
    store: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LXSANDBOX_OUTLET", "none")
    image = write(project, "RUN cat /etc/resolv.conf > /seen; cat /proc/net/dev > /links\n")
    connection = ServiceConnection.open()
    try:
        with Sandbox(image, connection=connection) as box:
            assert box.path("/seen").read_text() == Path("/etc/resolv.conf").read_text()
            assert _links(box.path("/links").read_text()) == _links(Path("/proc/net/dev").read_text())
    finally:
        connection.leave()


@needs("egress")
def test_a_step_has_a_way_out_and_not_the_hosts_loopback(start: Start, project: Path) -> None:
    box = start(write(project, "RUN cat /etc/resolv.conf > /seen; cat /proc/net/dev > /links\n"))

    assert box.path("/seen").read_text().startswith("nameserver 127.0.0.11\n")
    assert _links(box.path("/links").read_text()) == {"lo", "egress0"}


def _links(text: str) -> set[str]:
    return {line.partition(":")[0].strip() for line in text.splitlines()[2:] if not line.strip().startswith("lxs")}


def test_the_hosts_own_files_are_a_base(start: Start, project: Path) -> None:
    (project / "note").write_text("note")
    image = write(
        project,
        """FROM host AS tools
COPY note /opt/note/
RUN cat /opt/note/note > /opt/copy && rm /etc/os-release
FROM host
COPY --from=tools /opt/copy /srv/from-stage
COPY --from=host /etc/passwd /opt/passwd
WORKDIR /opt/work
RUN cp /srv/from-stage here
""",
        base="",
    )

    box = start(image)
    assert box.check_output(["cat", "/srv/from-stage", "here"]) == "notenote"
    assert box.path("/opt/passwd").read_text() == Path("/etc/passwd").read_text()
    assert box.path("/etc/os-release").exists()
    assert not box.path("/opt/copy").exists()
    assert not Path("/srv/from-stage").exists()

    tools = start(f"{image}?target=tools")
    assert tools.check_output(["cat", "/opt/copy", "/opt/note/note"]) == "notenote"
    assert not tools.path("/etc/os-release").exists()


def test_an_image_of_a_file_is_a_base(start: Start, project: Path, shelf: Shelf) -> None:
    base = shelf.layout("text of the base", env={"FROM_BASE": "1"}, working_dir="/srv/deep", user="0:0")
    image = write(project, f"FROM {base}\nRUN echo $FROM_BASE $PWD > /made\n", base="")

    box = start(image)
    assert box.path("/text").read_text() == "text of the base"
    assert box.path("/made").read_text() == "1 /srv/deep\n"


@needs("skopeo", "umoci")
def test_other_tools_read_what_was_built(start: Start, project: Path, place: Path, store: Path) -> None:
    start(write(project, "RUN echo x > /x && mkdir /d && echo y > /d/y\nRUN rm -r /d /x\nENV A=1\n"))
    layout = place / "layout"
    (project / "Containerfile").write_text((project / "Containerfile").read_text())
    run = ["lxsandbox", "image", "export", f"build:{project}", f"oci:{layout}:it"]
    subprocess.run(run, check=True, capture_output=True)

    subprocess.run(["skopeo", "copy", f"oci:{layout}:it", f"oci:{place}/copy:it"], check=True, capture_output=True)
    shown = subprocess.run(["skopeo", "inspect", "--config", f"oci:{place}/copy:it"], check=True, capture_output=True)
    config = json.loads(shown.stdout)
    assert config["config"]["Env"] == ["A=1"]
    assert sum(not entry.get("empty_layer") for entry in config["history"]) == len(config["rootfs"]["diff_ids"]) == 4
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(["umoci", "unpack", *rootless, "--image", f"{layout}:it", place / "bundle"], check=True, capture_output=True)
    assert sorted(os.listdir(place / "bundle" / "rootfs")) == ["bin"]
