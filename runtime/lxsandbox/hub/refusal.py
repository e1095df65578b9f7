"""What the hub says of a request that it cannot do, when an errno alone would not tell."""

__all__ = ["Refused"]


class Refused(Exception):
    """`kind` is the name of an error of `lxsandbox.errors`, which the client is to raise."""

    def __init__(self, kind: str, message: str, *, hint: str = "", capability: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.hint = hint
        self.capability = capability
