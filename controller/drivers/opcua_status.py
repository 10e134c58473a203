"""OPC UA status codes as people read them, and asyncua's exceptions as our errors. No I/O, no session."""

from __future__ import annotations

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.status_codes import get_name_and_doc

from controller.errors import DeviceLostError, DeviceRefusedError, PeerError, ProtocolError

GOOD = 0
UNCERTAIN = int(ua.StatusCodes.Uncertain)
UNCERTAIN_RANGE = int(ua.StatusCodes.UncertainEngineeringUnitsExceeded)
BAD_WAITING = int(ua.StatusCodes.BadWaitingForInitialData)
BAD_OUT_OF_RANGE = int(ua.StatusCodes.BadOutOfRange)
BAD_TYPE = int(ua.StatusCodes.BadTypeMismatch)
BAD_LENGTH = int(ua.StatusCodes.BadIndexRangeDataMismatch)
BAD_NODE_UNKNOWN = int(ua.StatusCodes.BadNodeIdUnknown)

OVERFLOW_BITS = 0x0480
"""InfoType DataValue (0x0400) with the Overflow bit (0x0080): the server's queue was full (OPC 10000-4, 7.39)."""

TOO_MANY = frozenset(
    int(code)
    for code in (
        ua.StatusCodes.BadTooManyOperations,
        ua.StatusCodes.BadTooManyMonitoredItems,
        ua.StatusCodes.BadRequestTooLarge,
        ua.StatusCodes.BadResponseTooLarge,
        ua.StatusCodes.BadEncodingLimitsExceeded,
    )
)
"""Answers that a smaller request may turn into a good one."""

_SESSION_GONE = frozenset(
    int(code)
    for code in (
        ua.StatusCodes.BadSessionIdInvalid,
        ua.StatusCodes.BadSessionClosed,
        ua.StatusCodes.BadSessionNotActivated,
        ua.StatusCodes.BadSecureChannelIdInvalid,
        ua.StatusCodes.BadSecureChannelClosed,
        ua.StatusCodes.BadConnectionClosed,
        ua.StatusCodes.BadCommunicationError,
        ua.StatusCodes.BadNotConnected,
        ua.StatusCodes.BadShutdown,
        ua.StatusCodes.BadServerHalted,
        ua.StatusCodes.BadTimeout,
        ua.StatusCodes.BadSubscriptionIdInvalid,
        ua.StatusCodes.BadNoSubscription,
    )
)

_HINTS = (
    ("BadCertificate", "trust this client's certificate on the server and compare the application URI in it"),
    ("BadSecurity", "the server wants another security mode or certificate; look at its endpoint list"),
    ("BadIdentityToken", "the server wants a user; anonymous sign-in is switched off there"),
    ("BadUserAccessDenied", "give the user that signs in the right to do this on the server"),
    ("BadNodeId", "compare the tag's address and the [opcua] namespace in the equipment file with the server's nodes"),
    ("BadNotWritable", "the node is read-only on the server: correct the tag's access in the equipment file"),
    ("BadWriteNotSupported", "the server does not accept this write; see whether the node may be written at all"),
    ("BadTypeMismatch", "correct the tag's type or points in the equipment file: the node holds another type"),
    ("BadOutOfRange", "the server holds the value to be outside its limits"),
    ("BadTooManySessions", "close other OPC UA clients or raise the server's session limit"),
    ("BadTooManySubscriptions", "close other OPC UA clients or raise the server's subscription limit"),
    ("BadTooMany", "lower max_items_per_call in the equipment file, or subscribe to fewer tags"),
)


def status_name(code: int) -> str:
    """`BadNodeIdUnknown (0x80340000)`; the info bits in the low 16 bits are left out of the name only."""
    name, _ = get_name_and_doc(code & 0xFFFF0000)
    return f"{name} (0x{code & 0xFFFFFFFF:08X})"


def hint_for(code: int) -> str:
    """What a person can do about this status; empty when we know of nothing better than its name."""
    name, _ = get_name_and_doc(code & 0xFFFF0000)
    return next((hint for start, hint in _HINTS if str(name).startswith(start)), "")


def refused(what: str, code: int) -> DeviceRefusedError:
    """The error for a bad status in an answer. `what` names device, endpoint, node and operation."""
    return DeviceRefusedError(f"{what}: the server answered {status_name(code)}", hint_for(code), code)


def translate(problem: Exception, what: str) -> PeerError:
    """The PeerError for anything that asyncua raises. `what` names device, endpoint and operation."""
    if isinstance(problem, PeerError):
        return problem
    if isinstance(problem, TimeoutError):
        return DeviceLostError(f"{what}: no answer in time", "is the server running and reachable?")
    if isinstance(problem, OSError):
        return DeviceLostError(f"{what}: {problem}", "is the server running, and is host:port in the endpoint right?")
    if isinstance(problem, ServiceError | ua.UaStatusCodeError):
        code = int(problem.code)
        if code & 0xFFFF0000 in _SESSION_GONE:
            return DeviceLostError(f"{what}: the server answered {status_name(code)}", "a new session is needed")
        return refused(what, code)
    # Anything else comes out of asyncua's decoding of what the server sent (UaError, KeyError, TypeError, ...).
    return ProtocolError(f"{what}: {type(problem).__name__}: {problem}", "the server's answer cannot be understood")
