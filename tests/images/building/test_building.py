"""From a Containerfile to an image: what steps are carried out, what is taken from the store, and what the image says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from images.building.conftest import Build, Told
from images.building.workshops import FolderWorkshops

from lxsandbox.errors import ImageError
from lxsandbox.image import Healthcheck
from lxsandbox.images.library import HeldImage

Tree = Callable[[HeldImage], Path]


def test_instructions_that_change_no_files_make_the_configuration(build: Build, workshops: FolderWorkshops) -> None:
    config = build(
        """FROM scratch
ENV A=1 B="two words"
ENV OLD the form
USER 1000:100
CMD ["serve", "-v"]
EXPOSE 80 8000-8002/udp
VOLUME ["/data"]
VOLUME /more /and
LABEL org.example="yes no" n=1
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f http://localhost
SHELL ["/bin/bash", "-c"]
ENTRYPOINT exec it
"""
    ).config

    assert config.env == {"A": "1", "B": "two words", "OLD": "the form"}
    assert config.user == "1000:100"
    assert config.command == ("serve", "-v")
    assert config.entrypoint == ("/bin/bash", "-c", "exec it")
    assert config.exposed_ports == ("80/tcp", "8000/udp", "8001/udp", "8002/udp")
    assert config.volumes == ("/and", "/data", "/more")
    assert config.labels == {"org.example": "yes no", "n": "1"}
    assert config.stop_signal == "SIGINT"
    test = ("CMD-SHELL", "curl -f http://localhost")
    assert config.healthcheck == Healthcheck(test=test, interval_seconds=90, retries=2)
    assert len(config.history) == 12
    assert all(entry.empty_layer for entry in config.history)
    assert not workshops.opened


def test_an_entrypoint_drops_the_command_of_the_base_alone(build: Build) -> None:
    base = 'FROM scratch AS base\nCMD ["old"]\n'

    assert build(base + 'FROM base\nENTRYPOINT ["new"]\n').config.command == ()
    assert build(base + 'FROM base\nCMD ["own"]\nENTRYPOINT ["new"]\n').config.command == ("own",)


def test_steps_are_run_where_as_whom_and_with_what_the_file_says(build: Build, workshops: FolderWorkshops) -> None:
    build(
        """ARG outer=o
FROM scratch
ARG outer
ARG flavour=plain
ENV A=1
WORKDIR /srv
WORKDIR app
USER 12
RUN echo $flavour > out
"""
    )

    (command,) = workshops.ran
    assert command.args == ("/bin/sh", "-c", "echo $flavour > out")
    assert (command.cwd, command.user) == ("/srv/app", "12")
    assert command.env == {"A": "1", "outer": "o", "flavour": "plain"}


def test_a_path_is_added_to_what_commands_have_where_the_image_has_none(build: Build) -> None:
    config = build("FROM scratch\nENV PATH=/opt/bin:$PATH\n").config

    assert config.env == {"PATH": "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def test_a_heredoc_is_a_script_and_its_first_line_may_name_the_program(build: Build, workshops: FolderWorkshops) -> None:
    build("FROM scratch\nRUN <<EOF\ntouch one\ntouch two\nEOF\nRUN cat <<A <<-B\n1\nA\n\t2\n\tB\n")

    assert [command.args[-1] for command in workshops.ran] == ["touch one\ntouch two\n", "cat <<A <<-B\n1\nA\n2\nB"]


def test_a_second_build_of_the_same_starts_nothing(build: Build, workshops: FolderWorkshops, told: Told, folder: Path) -> None:
    (folder / "a").write_text("a")
    text = "FROM scratch\nCOPY a /a\nRUN echo made > b\n"
    first = build(text)
    opened, ran = len(workshops.opened), len(workshops.ran)
    told.steps.clear()

    assert build(text).descriptor == first.descriptor
    assert (len(workshops.opened), len(workshops.ran)) == (opened, ran) == (2, 1)
    assert told.steps == ["COPY a /a (stored)", "RUN echo made > b (stored)"]


def test_without_workshops_a_stored_build_is_there_and_another_one_is_refused(build: Build, workshops: FolderWorkshops) -> None:
    text = "FROM scratch\nRUN echo made > b\n"
    build(text)
    workshops.closed = True

    build(text)
    with pytest.raises(ImageError, match="Containerfile:2: RUN echo other > b"):
        build("FROM scratch\nRUN echo other > b\n")


def test_fresh_means_that_all_is_run_again(build: Build, workshops: FolderWorkshops) -> None:
    text = "FROM scratch AS one\nRUN echo made > b\nFROM one\nRUN echo more > c\n"
    build(text)
    build(text, fresh=True)

    assert len(workshops.ran) == 4


def test_a_changed_file_is_copied_again_and_what_stands_before_is_not(
    build: Build, workshops: FolderWorkshops, folder: Path
) -> None:
    (folder / "code").write_text("1")
    text = "FROM scratch\nRUN echo before > b\nCOPY code /\nRUN echo after > a\n"
    build(text)
    (folder / "code").write_text("2")
    build(text)

    assert [command.args[-1] for command in workshops.ran] == ["echo before > b", "echo after > a", "echo after > a"]


def test_a_file_that_was_but_touched_is_not_another(build: Build, workshops: FolderWorkshops, folder: Path) -> None:
    (folder / "code").write_text("1")
    text = "FROM scratch\nCOPY . /\nRUN echo after > a\n"
    build(text)
    os.utime(folder / "code", (1, 1))
    (folder / "code").chmod(0o644)
    build(text)
    assert len(workshops.ran) == 1

    (folder / "code").chmod(0o755)
    build(text)
    assert len(workshops.ran) == 2


def test_settings_and_comments_are_no_reason_to_run_a_step_again(build: Build, workshops: FolderWorkshops) -> None:
    build("FROM scratch\nLABEL a=1\nRUN echo x > a\n")
    second = build("FROM scratch\nLABEL a=2\n# a word\nEXPOSE 80\nRUN echo x > a\n")

    assert len(workshops.ran) == 1
    assert second.config.labels == {"a": "2"}
    made = [(entry.created_by, entry.empty_layer) for entry in second.config.history]
    assert made == [("LABEL a=2", True), ("EXPOSE 80", True), ("RUN echo x > a", False)]


@pytest.mark.parametrize("change", ["ENV A=2\n", "USER 3\n", "WORKDIR /x\n", 'SHELL ["/bin/sh", "-e", "-c"]\n'])
def test_what_a_command_starts_from_is_a_reason(build: Build, workshops: FolderWorkshops, change: str) -> None:
    for before in ("", change):
        build(f"FROM scratch\n{before}RUN echo x > /dev/null\n")

    assert len(workshops.ran) == 2


def test_a_step_that_changes_nothing_makes_no_layer(build: Build) -> None:
    image = build("FROM scratch\nRUN true\nRUN echo x > x\nRUN true\n")

    assert len(image.manifest.layers) == 1
    assert [entry.empty_layer for entry in image.config.history] == [True, False, True]


def test_only_the_stages_that_are_needed_are_built(build: Build, workshops: FolderWorkshops, tree: Tree) -> None:
    text = """FROM scratch AS compile
RUN echo program > out
FROM scratch AS unneeded
RUN exit 1
FROM scratch AS base
RUN echo base > base
FROM base
COPY --from=compile /out /bin/
COPY --from=0 out /second
"""
    image = build(text)

    assert [command.args[-1] for command in workshops.ran] == ["echo base > base", "echo program > out"]
    files = tree(image)
    assert (files / "bin/out").read_text() == (files / "second").read_text() == "program\n"
    assert (files / "base").read_text() == "base\n"
    assert build(text, target="base").config.history == image.config.history[:1]


def test_a_stage_whose_result_is_stored_is_not_built_to_copy_from(build: Build, workshops: FolderWorkshops) -> None:
    text = "FROM scratch AS one\nRUN echo 1 > a\nFROM scratch\nCOPY --from=one a /a\nRUN echo {} > b\n"
    build(text.format(1))
    build(text.format(2))

    assert [command.args[-1] for command in workshops.ran] == ["echo 1 > a", "echo 1 > b", "echo 2 > b"]


def test_a_step_that_fails_says_where_how_and_what_it_printed(build: Build, folder: Path, told: Told) -> None:
    with pytest.raises(ImageError) as caught:
        build("FROM scratch\n\nRUN echo working && \\\n    echo 'no such thing' >&2 && exit 3\n")

    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{folder}/Containerfile:3: RUN echo working && echo 'no such thing'")
    assert "exited with code 3" in lines[0]
    assert lines[1:] == ["working", "no such thing"]
    assert told.printed == "working\nno such thing\n"


def test_what_went_well_before_a_failure_is_not_run_again(build: Build, workshops: FolderWorkshops) -> None:
    for last in ("exit 1", "true"):
        try:
            build(f"FROM scratch\nRUN echo x > x\nRUN {last}\n")
        except ImageError:
            pass

    assert [command.args[-1] for command in workshops.ran] == ["echo x > x", "exit 1", "true"]


def test_arguments_are_taken_where_they_are_declared(build: Build, workshops: FolderWorkshops, told: Told) -> None:
    text = "ARG who=nobody\nFROM scratch AS one\nRUN echo $who\nFROM one\nARG who\nARG how=${who:+by}\nRUN echo ${how} $who\n"
    build(text, args=("who=me", "typo=1", "http_proxy=proxy:1"))

    first, second = workshops.ran
    assert first.env == {"http_proxy": "proxy:1"}
    assert second.env == {"who": "me", "how": "by", "http_proxy": "proxy:1"}
    assert told.steps[0] == "build argument typo is declared by no ARG, and so of no use"


def test_a_proxy_is_no_reason_to_run_a_step_again(build: Build, workshops: FolderWorkshops) -> None:
    for proxy in ("a", "b"):
        build("FROM scratch\nRUN true\n", args=(f"HTTPS_PROXY={proxy}",))

    assert len(workshops.ran) == 1


def test_offline_no_command_is_run_and_what_is_stored_is_there(build: Build, workshops: FolderWorkshops) -> None:
    text = "FROM scratch\nRUN true\n"
    with pytest.raises(ImageError, match="offline"):
        build(text, offline=True)
    assert not workshops.ran

    build(text)
    build(text, offline=True)
    assert len(workshops.ran) == 1


def test_an_image_is_not_made_of_itself(build: Build, folder: Path) -> None:
    with pytest.raises(ImageError, match=r"Containerfile:1: FROM: .*of itself"):
        build(f"FROM build:{folder}\n")


def test_what_is_built_elsewhere_is_a_base_too(build: Build, folder: Path, workshops: FolderWorkshops) -> None:
    (folder / "base").mkdir()
    (folder / "base" / "Dockerfile").write_text("FROM scratch\nENV A=1\nRUN echo base > base\n")
    image = build("FROM build:base\nRUN cat base > copy\n")

    assert image.config.env == {"A": "1"}
    assert len(image.config.diff_ids) == 2
    assert [entry.created_by for entry in image.config.history][1:] == ["RUN echo base > base", "RUN cat base > copy"]
