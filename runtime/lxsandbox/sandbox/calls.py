"""`Sandbox.call`: a Python function to the sandbox, and its outcome back.

The way there is cloudpickle. The way back comes from hostile code, and unpickling is running code: so only plain data and
known exceptions are taken, by name, and nothing is ever imported or called for it.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from lxsandbox.errors import CommandNotFound, SandboxError
from lxsandbox.sandbox.commands import command_fields, run_command

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["call_function", "load_plain"]

_PLAIN = {
    "builtins": {"bytearray", "complex", "frozenset", "range", "set", "slice"},
    "collections": {"Counter", "OrderedDict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "ipaddress": {"IPv4Address", "IPv4Network", "IPv6Address", "IPv6Network"},
    "pathlib": {"PosixPath", "PurePosixPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath"},  # where Python 3.13 keeps them
    "uuid": {"SafeUUID", "UUID"},
}
_STDERR_CHARACTERS = 4000
_by_value = threading.Lock()  # cloudpickle's registry of modules is global


def call_function(control: Control, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The value of `function(*args, **kwargs)` in the sandbox; what it prints is printed here. Raises its exception."""
    import_path = [entry or os.getcwd() for entry in sys.path]
    payload = pickle.dumps(import_path) + _pickled(function, (function, tuple(args), dict(kwargs)))
    # -I: neither the environment nor the current folder may choose what is imported before sys.path is set.
    source = files("lxsandbox.sandbox").joinpath("remote.py").read_text("utf-8")
    fields = command_fields([sys.executable, "-I", "-c", source], env=None, cwd=None, user=None)
    try:
        done = run_command(control, fields, data=payload, capture_output=True, text=False, check=False, timeout=None)
    except CommandNotFound as error:
        raise CommandNotFound(
            f"call() needs this interpreter inside, and sandbox {control.name} has no {sys.executable}",
            hint='use image="host", or run() with a script',
        ) from error
    printed = done.stderr.decode(errors="replace")
    if not done.stdout:
        failure = SandboxError(f"{_name(function)} did not return: its process ended with returncode {done.returncode}")
        failure.add_note("stderr: " + printed[-_STDERR_CHARACTERS:])
        raise failure
    sys.stdout.write(printed)
    return _value(load_plain(done.stdout, function), function)


def load_plain(data: bytes, function: Callable[..., Any]) -> Any:
    """Unpickle plain data. Raises SandboxError, naming the class, for anything else, and for what is no pickle."""
    try:
        return _PlainUnpickler(io.BytesIO(data)).load()
    except _Refused as refused:
        raise SandboxError(
            f"{_name(function)} returned a {refused}, which is not taken from a sandbox",
            hint="return plain data: numbers, text, bytes, lists, tuples, dicts, sets, dates, paths",
        ) from None
    except Exception as error:  # a forged pickle raises anything
        raise SandboxError(f"{_name(function)} returned what cannot be read: {error!r}") from error


class _Refused(Exception):
    """A class that is not plain data."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise _Refused(f"{module}.{name}")


def _value(outcome: Any, function: Callable[..., Any]) -> Any:
    if not isinstance(outcome, dict):
        raise SandboxError(f"{_name(function)} returned what cannot be read: a {type(outcome).__name__}")
    found = cast("dict[str, Any]", outcome)
    if "value" in found:
        return load_plain(found["value"], function)
    if "unpicklable" in found:
        raise SandboxError(f"{_name(function)} returned what cannot be pickled: {found['unpicklable']}", hint="return plain data")
    raise _error(found, function)


def _error(found: dict[str, Any], function: Callable[..., Any]) -> Exception:
    kind = _known_exception(str(found.get("module")), str(found.get("qualname")), function)
    error: Exception
    try:
        if kind is None:
            raise TypeError("not an exception that is taken from a sandbox")
        error = kind(*load_plain(found["args"], function))
    except Exception:  # noqa: BLE001  (arguments that are no plain data, or that its class does not take)
        error = SandboxError(
            f"{_name(function)} raised {found.get('module')}.{found.get('qualname')}: {found.get('text')}",
            hint="built-in and standard exceptions, and those of the function's own module, come back as themselves",
        )
    error.add_note(f"in the sandbox:\n{found.get('traceback')}")
    return error


def _known_exception(module: str, qualname: str, function: Callable[..., Any]) -> type[Exception] | None:
    if module.partition(".")[0] not in sys.stdlib_module_names and module != getattr(function, "__module__", None):
        return None
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        # vars(), not getattr: a module's own __getattr__ would import.
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _pickled(function: Callable[..., Any], call: tuple[Any, ...]) -> bytes:
    """A function of a test module goes by value: inside, the module need not be importable, nor its imports be paid for."""
    import cloudpickle as untyped  # type: ignore[import-untyped]  # here: only callers of call() pay for it

    cloudpickle: Any = untyped
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    with _by_value:
        if module is None or _is_installed(module) or module.__name__ in cloudpickle.list_registry_pickle_by_value():
            return bytes(cloudpickle.dumps(call))
        cloudpickle.register_pickle_by_value(module)
        try:
            return bytes(cloudpickle.dumps(call))
        finally:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is None or file.startswith((sys.prefix, sys.base_prefix)) or "site-packages" in file


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))
