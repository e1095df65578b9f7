"""From a Containerfile to the steps of the stages that are needed, each with the key that its result is stored by.

A key tells all that a step's result depends on: what the step before it depends on, what is run, from where and as whom, and
the content of what is copied. What changes no files (LABEL, EXPOSE …) is in no key: the steps after it are not made again.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from e2b_dockerfile_utils import parse_heredoc

from lxsandbox.errors import ImageError
from lxsandbox.images.building.copying import Copy, content_key, find_sources
from lxsandbox.images.building.settings import SETTINGS, in_shell
from lxsandbox.images.building.stages import PROXIES, Containerfile, Stage, arguments
from lxsandbox.images.building.syntax import Instruction, expanded
from lxsandbox.images.building.workshop import Command, Files
from lxsandbox.images.config import ImageConfig
from lxsandbox.images.documents import Descriptor

__all__ = ["Folder", "Plan", "Planner", "Start", "Step"]

_FORMAT = 1  # of keys: another one makes all steps anew
_EXPANDED = ("ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|git@")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of commands where the image has none
_OCTAL = re.compile(r"[0-7]{3,4}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a stage that is based on no other begins: with an image, with the host's files (`host`), or with nothing."""

    key: str
    config: ImageConfig
    image: Descriptor | None = None
    host: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A WORKDIR that is to be there, `owner`'s where it is made."""

    path: str
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What may change files. `source` is what a COPY --from copies from; without, it is the folder that is built from."""

    stage: Stage
    instruction: Instruction
    key: str
    work: Command | Copy | Folder
    source: Plan | Start | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a stage comes to be: where it begins, all steps from there, also those of stages that it is based on, and its settings.

    `told` is for the history: each instruction, and whether it is a step. `config` lacks history and layers.
    """

    start: Start
    steps: tuple[Step, ...]
    config: ImageConfig
    key: str
    told: tuple[tuple[str, bool], ...]
    arguments: Mapping[str, str]


class Planner:
    """Plans the stages of one Containerfile. `start` finds what a stage is based on, by the text of its reference."""

    def __init__(self, containerfile: Containerfile, context: Files, start: Callable[[str], Start]) -> None:
        self.containerfile = containerfile
        self.context = context
        self._start = start
        self._plans: dict[int, Plan] = {}

    def plan(self, stage: Stage) -> Plan:
        """The plan of a stage, made once. Raises ImageError."""
        if stage.number not in self._plans:
            base = (
                self.plan(self.containerfile.stages[stage.base]) if isinstance(stage.base, int) else self.start(stage.base, stage)
            )
            self._plans[stage.number] = _Planning(self, stage, base).planned()
        return self._plans[stage.number]

    def start(self, text: str, stage: Stage) -> Start:
        """An image that is no stage. Raises ImageError."""
        try:
            return self._start(text)
        except ImageError as error:
            raise ImageError(f"{stage.where}: {error.message}", hint=error.hint) from error


class _Planning:
    """A stage in the midst of being planned."""

    def __init__(self, planner: Planner, stage: Stage, base: Plan | Start) -> None:
        self.planner = planner
        self.stage = stage
        self.base = base
        self.config = base.config
        self.key = base.key
        self.arguments: dict[str, str] = dict(base.arguments) if isinstance(base, Plan) else {}
        self.steps: list[Step] = list(base.steps) if isinstance(base, Plan) else []
        self.told: list[tuple[str, bool]] = list(base.told) if isinstance(base, Plan) else []
        self.own_command = False

    def planned(self) -> Plan:
        for each in self.stage.instructions:
            before = len(self.steps)
            self._take(each)
            self.told.append((each.text, len(self.steps) > before))
        return Plan(
            start=self.base.start if isinstance(self.base, Plan) else self.base,
            steps=tuple(self.steps),
            config=self.config,
            key=self.key,
            told=tuple(self.told),
            arguments=self.arguments,
        )

    def _take(self, instruction: Instruction) -> None:
        match instruction.name:
            case "ARG":
                self._declare(instruction)
            case "RUN":
                self._run(instruction)
            case "COPY" | "ADD":
                self._copy(instruction)
            case "WORKDIR":
                self._work_in(instruction)
            case name:
                words = self._expanded_args(instruction) if name in _EXPANDED else list(instruction.args)
                self._set(instruction, words)

    def _set(self, instruction: Instruction, words: Sequence[str]) -> None:
        self.config = SETTINGS[instruction.name](self.config, instruction, words)
        self.own_command |= instruction.name == "CMD"
        if instruction.name == "ENTRYPOINT" and not self.own_command:
            self.config = replace(self.config, command=())  # Dockerfile reference: the base's CMD goes with its ENTRYPOINT

    def _declare(self, instruction: Instruction) -> None:
        given, outer = self.planner.containerfile.given, self.planner.containerfile.globals
        for name, default in arguments(instruction, self._variables, self._escape).items():
            value = given.get(name, outer.get(name) if default is None else default)
            if value is not None:
                self.arguments[name] = value

    @property
    def _escape(self) -> str:
        return self.planner.containerfile.escape

    @property
    def _variables(self) -> dict[str, str]:
        return {**self.arguments, **self.config.env}

    def _expanded(self, word: str, instruction: Instruction) -> str:
        return expanded(word, {"PATH": _PATH, **self._variables}, instruction.where, escape=self._escape)

    def _expanded_args(self, instruction: Instruction) -> list[str]:
        return [self._expanded(word, instruction) for word in instruction.args]

    @property
    def _cwd(self) -> str:
        return self.config.working_dir or "/"

    def _step(self, instruction: Instruction, work: Command | Copy | Folder, source: Plan | Start | None, *parts: object) -> None:
        self.key = _key(instruction.name, self.key, *parts)
        self.steps.append(Step(stage=self.stage, instruction=instruction, key=self.key, work=work, source=source))

    def _run(self, instruction: Instruction) -> None:
        env = self._variables
        given = self.planner.containerfile.given
        proxies = {name: given[name] for name in PROXIES & given.keys()}
        args, script = _command(self.config, instruction)
        user = self.config.user or "0"
        work = Command(args=args, env={**proxies, **env}, cwd=self._cwd, user=user, script=script)
        self._step(instruction, work, None, args, script, sorted(env.items()), self._cwd, user)

    def _work_in(self, instruction: Instruction) -> None:
        path = posixpath.normpath(posixpath.join(self._cwd, self._expanded(instruction.args[0], instruction)))
        path = "/" + path.lstrip("/")
        self.config = replace(self.config, working_dir=path)
        folder = Folder(path=path, owner=self.config.user or "0")
        self._step(instruction, folder, None, path, folder.owner)

    def _copy(self, instruction: Instruction) -> None:
        *words, goal = [word for word in instruction.args if instruction.is_exec or not _is_heredoc(word)]
        sources = tuple(self._expanded(word, instruction) for word in words)
        texts = {doc.name: self._text(doc.content, doc.expand, instruction) for doc in instruction.heredocs}
        target = self._target(self._expanded(goal, instruction))
        self._check_copy(instruction, sources, texts, target)
        source = self._source(instruction)
        work = Copy(
            sources=sources,
            target=target,
            texts=texts,
            owner=self._expanded(instruction.flags.get("chown", ""), instruction),
            mode=self._mode(instruction),
            unpacks=instruction.name == "ADD",
        )
        if source is None:
            found = find_sources(self.planner.context, sources, instruction.where)
            work = replace(work, sources=tuple(found))
            content = content_key(self.planner.context, found, instruction.where)
        else:
            content = source.key
        self._step(instruction, work, source, work.sources, content, target, sorted(texts.items()), work.owner, work.mode)

    def _text(self, content: str, expand: bool, instruction: Instruction) -> str:
        if not expand:
            return content
        return expanded(content, self._variables, instruction.where, escape=self._escape, quotes=False)

    def _target(self, goal: str) -> str:
        path = posixpath.normpath(posixpath.join(self._cwd, goal))
        is_folder = goal.endswith("/") or posixpath.basename(goal) in (".", "..")
        return "/" + path.lstrip("/") + ("/" if is_folder and path.strip("/") else "")

    def _check_copy(self, instruction: Instruction, sources: Sequence[str], texts: Mapping[str, str], target: str) -> None:
        where = instruction.where
        if not sources and not texts:
            where.refuse("it needs what to copy, and where to", hint=f"write {instruction.name} SOURCE TARGET")
        for source in sources:
            if _ADDRESS.match(source):
                where.refuse(
                    f"{source!r:.200} is an address, and only files are copied", hint="fetch it by RUN, or before the build"
                )
            if not source:
                where.refuse("the name of a source is empty", hint="see whether a variable in it has a value")
        if len(sources) + len(texts) > 1 and not target.endswith("/") and target != "/":
            where.refuse(f"several files go to {target}, which is to be a folder then", hint=f"write {target}/")

    def _mode(self, instruction: Instruction) -> int | None:
        text = self._expanded(instruction.flags.get("chmod", ""), instruction)
        if text and not _OCTAL.fullmatch(text):
            instruction.where.refuse(f"--chmod={text:.100} is no mode", hint="write it in octal digits, as --chmod=755")
        return int(text, 8) if text else None

    def _source(self, instruction: Instruction) -> Plan | Start | None:
        name = instruction.flags.get("from")
        if name is None:
            return None
        if instruction.heredocs:
            instruction.where.refuse("a text is in no image", hint="leave --from out, or the text")
        stage = self.planner.containerfile.stage(name)
        if stage is None:
            return self.planner.start(name, self.stage)
        if stage.number >= self.stage.number:
            instruction.where.refuse(f"stage {name} does not come before this one", hint="move it up")
        return self.planner.plan(stage)


def _command(config: ImageConfig, instruction: Instruction) -> tuple[tuple[str, ...], str]:
    """What is started, or the program whose text follows: Dockerfile reference, "Here-Documents"."""
    texts = instruction.heredocs
    if not texts:
        return in_shell(config, instruction, instruction.args), ""
    line = instruction.args[0]
    if len(texts) == 1 and _is_heredoc(line):
        content = texts[0].content
        return ((), content) if content.startswith("#!") else (in_shell(config, instruction, [content]), "")
    # The shell reads them itself, as they follow the command in the Containerfile.
    rest = "".join(f"\n{each.content}{each.name}" for each in texts)
    return in_shell(config, instruction, [line + rest]), ""


def _is_heredoc(word: str) -> bool:
    try:
        return parse_heredoc(word) is not None
    except ValueError:
        return False


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode("utf-8", "surrogatepass")).hexdigest()
