"""What a Containerfile may say; and what is refused, by the line and the name of the instruction."""

from __future__ import annotations

import pytest

from lxsandbox.errors import ImageError
from lxsandbox.images.building.settings import SETTINGS
from lxsandbox.images.building.stages import Containerfile, parse_containerfile
from lxsandbox.images.building.syntax import Where, expanded, parse_instructions
from lxsandbox.images.config import ImageConfig
from lxsandbox.images.documents import Platform

AMD64 = Platform(architecture="amd64")


def read(text: str, **given: str) -> Containerfile:
    return parse_containerfile(text, file="Containerfile", given=given, platform=AMD64)


def refusal(text: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM a\nONBUILD RUN x\n", "Containerfile:2: ONBUILD: ONBUILD is not supported"),
        ("FROM a\n\n# words\nMAINTAINER me\n", "Containerfile:4: MAINTAINER: MAINTAINER is not supported"),
        ("FROM a\nRUN --mount=type=cache,target=/x make\n", "Containerfile:2: RUN: --mount is not supported"),
        ("FROM a\nRUN --network=none make\n", "Containerfile:2: RUN: --network is not supported"),
        ("FROM a\nCOPY --link a b\n", "Containerfile:2: COPY: --link is not supported"),
        ("FROM a\nADD --checksum=x a b\n", "Containerfile:2: ADD: --checksum is not supported"),
        ("FROM a\nRUN \\\n  a \\\n  && b\nFETCH x\n", "Containerfile:5: unknown instruction: FETCH"),
        ("FROM a\nRUN <<EOF\nx\n", "Containerfile:2: unterminated heredoc"),
        ("FROM a\nENV A\n", "Containerfile:2: ENV must have two arguments"),
        ("FROM a\nENV =1\n", "Containerfile:2: ENV: a name is empty"),
        ('FROM a\nCMD ["a", 1]\n', "Containerfile:2: Only strings are supported in JSON arrays"),
        ("FROM a\nWORKDIR\n", "Containerfile:2: WORKDIR: nothing follows it"),
        ("FROM a\nCOPY --chown a b\n", "Containerfile:2: COPY: --chown needs one value"),
        ("RUN x\nFROM a\n", "Containerfile:1: RUN: it stands before the first FROM"),
        ("# nothing\n", "Containerfile has no FROM"),
        ("FROM a b\n", "Containerfile:1: FROM: 'a b' is not IMAGE [AS NAME]"),
        ("FROM $nothing\n", "Containerfile:1: FROM: '$nothing' is empty"),
        ("FROM a AS x\nFROM b AS X\n", "Containerfile:2: FROM: there are two stages x"),
        ("FROM a AS 1x\n", "Containerfile:1: FROM: '1x' is no name of a stage"),
        ("FROM --platform=linux/s390x a\n", "Containerfile:1: FROM: --platform=linux/s390x is another than this host's"),
        ("ARG 1=2\nFROM a\n", "Containerfile:1: ARG: '1' is no name of an argument"),
        ("ARG x=${y\nFROM a\n", "Containerfile:1: ARG: failed to process '${y': syntax error: missing '}'"),
        ("# escape=x\nFROM a\n", "Containerfile:1: invalid escape token"),
    ],
)
def test_what_is_not_done_is_refused_with_its_place(text: str, said: str) -> None:
    assert refusal(text).message.startswith(said)


@pytest.mark.parametrize("instruction", ["MAINTAINER me", "ONBUILD RUN x", "RUN --mount=type=bind,x", "COPY --parents a b"])
def test_a_refusal_says_what_to_write_instead(instruction: str) -> None:
    assert refusal(f"FROM a\n{instruction}\n").hint


def test_a_misspelled_instruction_has_its_neighbour_named() -> None:
    assert refusal("FROM a\nENVV A=1\n").hint == "did you mean ENV?"


def test_directives_comments_and_continuation_lines_are_dockers() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\nfrom a\nrun one `\n  # a comment\n  `\n  two\n"
    instructions, escape = parse_instructions(text, file="Containerfile")

    assert escape == "`"
    assert [(each.name, each.where.line) for each in instructions] == [("FROM", 3), ("RUN", 4)]
    assert instructions[1].shown == "run one two"


def test_stages_are_known_by_name_and_number() -> None:
    read_file = read("ARG base=debian\nFROM ${base}:12 AS Build\nFROM build AS test\nFROM scratch\n")

    first, second, third = read_file.stages
    assert (first.base, first.name) == ("debian:12", "build")
    assert (second.base, third.base) == (0, "scratch")
    assert read_file.stage("BUILD") == read_file.stage("0") == first
    assert read_file.target("") == third
    with pytest.raises(ImageError, match="has no stage 'none'") as caught:
        read_file.target("none")
    assert caught.value.hint == "there are build, test"


def test_arguments_before_the_first_stage_have_what_the_build_is_given() -> None:
    text = "ARG v=1\nARG full=a:${v}\nFROM $full\n"

    assert read(text).stages[0].base == "a:1"
    assert read(text, v="2").stages[0].base == "a:2"
    assert read("FROM --platform=$BUILDPLATFORM a:$TARGETARCH\n").stages[0].base == "a:amd64"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$x", "1"), ("${x}y", "1y"), ("$none", ""), ("${none:-d}", "d"), ("${empty:-d}", "d"), ("${empty-d}", ""),
        ("${x:+s}", "s"), ("${none:+s}", ""), ("'$x'", "$x"), ('"$x y"', "1 y"), (r"\$x", "$x"), ("${none:-${x}}", "1"),
        ("${path#/a}", "/b/c"), ("${path%/*}", "/a/b"), ("${path//\\//-}", "-a-b-c"),
    ],
)  # fmt: skip
def test_variables_are_replaced_as_docker_does(word: str, value: str) -> None:
    variables = {"x": "1", "empty": "", "path": "/a/b/c"}

    assert expanded(word, variables, Where("Containerfile", 1), escape="\\") == value


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("EXPOSE 70000", "EXPOSE: '70000' is no port"),
        ("EXPOSE 9-1", "EXPOSE: '9-1' is no range of ports"),
        ("STOPSIGNAL SIGNONE", "STOPSIGNAL 'SIGNONE' is no signal"),
        ("USER a:b:c", "USER 'a:b:c' is no user"),
        ("VOLUME relative", "VOLUME: 'relative' is not an absolute path"),
        ("SHELL /bin/sh -c", "SHELL: it needs a list"),
        ("HEALTHCHECK curl", "HEALTHCHECK: it is neither CMD with a command nor NONE"),
        ("HEALTHCHECK --interval=5 CMD x", "HEALTHCHECK: --interval=5 is no duration"),
        ("HEALTHCHECK --retries=0 CMD x", "HEALTHCHECK: --retries=0 is no number above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(instruction: str, said: str) -> None:
    (parsed,), _ = parse_instructions(f"{instruction}\n", file="Containerfile")

    with pytest.raises(ImageError) as caught:
        SETTINGS[parsed.name](ImageConfig(platform=AMD64), parsed, parsed.args)
    assert caught.value.message.startswith(f"Containerfile:1: {said}")


def test_a_healthcheck_may_be_taken_away() -> None:
    (parsed,), _ = parse_instructions("HEALTHCHECK NONE\n", file="Containerfile")

    config = SETTINGS["HEALTHCHECK"](ImageConfig(platform=AMD64), parsed, parsed.args)
    assert config.healthcheck is not None
    assert config.healthcheck.test == ("NONE",)
