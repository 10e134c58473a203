"""Every error that celltwin raises on purpose, drawn at the top. Each class says who must act; `hint` says what to do.

CelltwinError
|- BadInputError        the person who wrote the file or the command line; exit code 2, never retried
|- PeerError            the equipment or server at the other end; the supervisor retries with back-off
|  |- DeviceLostError       the connection is gone or silent past its deadline
|  |- DeviceRefusedError    the device answered, and the answer is no (Modbus exception, OPC UA bad status)
|  '- ProtocolError         the bytes make no sense for this protocol
|- CommandError         a command to equipment was not carried out; recorded, never silent
|- StorageError         the run folder: full, read-only, damaged
'- RunError             a run failed for a reason that none of the above names; exit code 1
"""


class CelltwinError(Exception):
    """Base of all our errors. The text says what and where; `hint` (may be empty) says what to do about it."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class BadInputError(CelltwinError):
    """A file, an option or a value that a person must correct."""

    exit_code = 2


class PeerError(CelltwinError):
    """The other end of a connection failed us; trying again later may help."""


class DeviceLostError(PeerError):
    """No connection, or no answer within the deadline."""


class DeviceRefusedError(PeerError):
    """The device answered and refused. `code` is the protocol's own (Modbus exception, OPC UA status code)."""

    def __init__(self, what: str, hint: str = "", code: int = 0) -> None:
        super().__init__(what, hint)
        self.code = code


class ProtocolError(PeerError):
    """An answer that the protocol does not allow: wrong length, wrong type, wrong transaction."""


class CommandError(CelltwinError):
    """A command was refused by our own checks, not confirmed by read-back, or too late."""


class StorageError(CelltwinError):
    """The spool or a sink's folder cannot be written or read."""


class RunError(CelltwinError):
    """The run ended badly for another reason, named in the text."""
