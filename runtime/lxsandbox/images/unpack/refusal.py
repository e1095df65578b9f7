"""How an archive is refused: by an error whose text goes to the user, with the names in it made harmless."""

__all__ = ["Refused", "quoted"]

_MOST_SHOWN = 200  # characters of a name: the whole text has to fit into the report of the process that unpacks


class Refused(ValueError):
    """The archive is damaged, or holds something that is not taken; the text says which entry and why."""


def quoted(name: bytes) -> str:
    """The name as it is shown: quoted, without control characters, shortened in its middle."""
    text = name.decode("utf-8", "surrogateescape")
    if len(text) > _MOST_SHOWN:
        text = f"{text[: _MOST_SHOWN // 2]}…{text[-_MOST_SHOWN // 2 :]}"
    return repr(text)
