"""Who a command runs as: a user of the sandbox's own passwd and group files, which are not trusted.

A name that is not found, or a line that does not parse, is never taken for root.
"""

import os
import stat

from lxsandbox.syscalls.files import openat2

__all__ = ["Account", "UnknownUser", "look_up"]

_MAX_FILE_BYTES = 1 << 20  # a passwd file of a million bytes has some 20,000 users
_MAX_GROUPS = 64
_MAX_ID = 2**32 - 2  # (uid_t) -1 means "leave as it is" to setresuid(2)


class UnknownUser(Exception):
    """The text names no user of this sandbox."""


class Account:
    """The ids, groups and home folder that a command gets."""

    def __init__(self, name: str, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.name, self.uid, self.gid, self.groups, self.home = name, uid, gid, groups, home


def look_up(root: int, text: str) -> Account:
    """The account for `"name"`, `"uid"`, `"name:group"` or `"uid:gid"`; a number needs no line in any file.

    Raises UnknownUser with the reason.
    """
    user, separator, group = text.partition(":")
    if not user or (separator and not group):
        raise UnknownUser(f"user {text!r} has an empty part")
    account = _by_number(root, user) if user[0].isdigit() else _by_name(root, user)
    if group:
        account.gid = _number(group) if group[0].isdigit() else _group_by_name(root, group)
        account.groups = []
    return account


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text != "0" and text.startswith("0")) or int(text) > _MAX_ID:
        raise UnknownUser(f"{text!r} is not an id")
    return int(text)


def _by_number(root: int, text: str) -> Account:
    uid = _number(text)
    for fields in _lines(root, "/etc/passwd", 7):
        if fields[2] == text:
            return _account(root, fields)
    return Account(text, uid, 0 if uid == 0 else uid, [], "/root" if uid == 0 else "/")


def _by_name(root: int, name: str) -> Account:
    for fields in _lines(root, "/etc/passwd", 7):
        if fields[0] == name:
            return _account(root, fields)
    if name == "root":
        return Account("root", 0, 0, [], "/root")
    raise UnknownUser(f"the sandbox's /etc/passwd has no user {name!r}")


def _account(root: int, fields: list[str]) -> Account:
    name, uid, gid, home = fields[0], _number(fields[2]), _number(fields[3]), fields[5]
    return Account(name, uid, gid, _groups_of(root, name), home if home.startswith("/") else "/")


def _group_by_name(root: int, name: str) -> int:
    for fields in _lines(root, "/etc/group", 4):
        if fields[0] == name:
            return _number(fields[2])
    raise UnknownUser(f"the sandbox's /etc/group has no group {name!r}")


def _groups_of(root: int, name: str) -> list[int]:
    lines = [fields for fields in _lines(root, "/etc/group", 4) if name in fields[3].split(",")]
    return [_number(fields[2]) for fields in lines[:_MAX_GROUPS]]


def _lines(root: int, path: str, fields: int) -> list[list[str]]:
    """The well-formed lines of a colon-separated file; none where the file is absent, no regular file, or too large."""
    try:
        fd = openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return []
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES:
            return []
        with open(fd, "rb", closefd=False) as file:
            text = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return []  # a file of /proc that cannot be read so
    finally:
        os.close(fd)
    # Not splitlines: what a user may have in the comment of its own line must not begin another.
    return [parts for line in text.split("\n") if len(parts := line.split(":")) == fields]
