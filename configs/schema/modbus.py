"""How Modbus equipment is read, and how its own server answers (for who simulates it). No tags; see equipment.py."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Self

from pydantic import Field, model_validator

from configs.schema.base import NonNegative, Positive, Strict

FUNCTIONS = (1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 43)
"""Function codes that simulated equipment can offer (Modbus Application Protocol V1.1b3, section 6)."""


class WordOrder(Enum):
    """Order of the 16-bit words of a 32- or 64-bit value; the standard leaves it to the equipment."""

    BIG = "big"
    LITTLE = "little"


class ByteOrder(Enum):
    """Order of the bytes within a word: big-endian in the standard (V1.1b3, 4.2), turned in some equipment."""

    BIG = "big"
    LITTLE = "little"


class UnusedRegisters(Enum):
    """What registers between tags answer."""

    ZERO = "zero"
    REFUSED = "refused"


class AbsentUnit(Enum):
    """What a request to a unit that is not there gets. On a serial line: nothing."""

    NO_ANSWER = "no_answer"  # exception 11: the gateway has waited for it
    NO_PATH = "no_path"  # exception 10: the gateway has no route to it
    SILENCE = "silence"


class Further(Enum):
    """What connections beyond the most that the equipment serves get."""

    REFUSED = "refused"  # taken and closed at once
    QUEUED = "queued"  # open, and silent until one of those before them has gone


class Pipelined(Enum):
    """What a request gets that comes before the one before it has been answered."""

    IN_ORDER = "in_order"
    REFUSED = "refused"  # exception 6
    DROPPED = "dropped"


class ModbusServerOptions(Strict):
    """What the equipment's own server is like, for who simulates it; a simulated one also refuses longer blocks."""

    absent_unit: AbsentUnit = Field(
        default=AbsentUnit.NO_ANSWER, description="Answer for a unit that is not there: exception 11, 10, or none."
    )
    connections: int = Field(default=0, ge=0, description="Most clients at a time; 0: as many as come.")
    further: Further = Field(default=Further.REFUSED, description="What connections beyond those get.")
    pipelined: Pipelined = Field(
        default=Pipelined.IN_ORDER, description="What a request gets that does not wait for the answer before it."
    )
    reply_delay_s: NonNegative = Field(default=0.0, description="Wall seconds that every answer takes.")
    busy_share: float = Field(default=0.0, ge=0, lt=1, description="Share of requests that answer exception 6.")
    functions: tuple[int, ...] | None = Field(
        default=None, description="Function codes that it offers; absent: all that its tables allow."
    )
    revision: str = Field(
        default="", max_length=32, description="Revision in its device identification; empty: modbus.revision, or 1.0."
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        for code in self.functions or ():
            if code not in FUNCTIONS:
                raise ValueError(
                    f"function code {code} cannot be simulated; there are {', '.join(map(str, FUNCTIONS))}"
                )
        return self


class ModbusOptions(Strict):
    """How this equipment wants to be read over Modbus."""

    max_block_registers: int = Field(default=125, ge=1, le=125, description="Most registers in one read.")
    max_gap_registers: int = Field(default=16, ge=0, le=124, description="Unused registers worth reading through.")
    unused_registers: UnusedRegisters = Field(
        default=UnusedRegisters.ZERO,
        description="What registers between tags answer: zero, or exception 2 and so are never read through.",
    )
    word_order: WordOrder = Field(default=WordOrder.BIG, description="Word order of multi-register values.")
    byte_order: ByteOrder = Field(default=ByteOrder.BIG, description="Byte order within a word.")
    timeout_s: Positive = Field(default=1.0, description="Wall seconds that one request may take.")
    revision: str = Field(
        default="",
        max_length=32,
        description="Revision that these addresses are for; read at each connection, another one is refused. "
        "Empty: not asked.",
    )
    server: ModbusServerOptions = ModbusServerOptions()

    @property
    def readable_gap(self) -> int:
        """Unused registers that one read may span."""
        return 0 if self.unused_registers is UnusedRegisters.REFUSED else self.max_gap_registers


class DeviceTls(Strict):
    """Certificates for modbus.tls, PEM files relative to the line file."""

    ca: str = Field(description="Who signed the equipment's certificate.")
    certificate: str | None = Field(default=None, description="Ours, which the equipment asks for; with its key ...")
    key: str | None = Field(default=None, description="... in this file.")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


Unit = Annotated[int, Field(ge=1, le=247)]
"""Number of a unit behind an endpoint (Modbus over serial line V1.02, 2.2)."""
