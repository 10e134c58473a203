"""How OPC UA equipment is read, and how its own server answers (for who simulates it). No tags; see equipment.py."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from configs.schema.base import Name, NonNegative, Positive, Strict

Thumbprint = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{40}$")]
"""SHA-1 of a certificate in DER form, as OPC UA names certificates (Part 6, 6.2.2)."""

Severity = Annotated[int, Field(ge=1, le=1000)]


class SecurityPolicy(Enum):
    """Security policy and message mode of an endpoint, as OPC UA profiles name them."""

    NONE = "None"
    BASIC256SHA256_SIGN = "Basic256Sha256-Sign"
    BASIC256SHA256_ENCRYPT = "Basic256Sha256-SignAndEncrypt"
    AES128_SIGN = "Aes128_Sha256_RsaOaep-Sign"
    AES128_ENCRYPT = "Aes128_Sha256_RsaOaep-SignAndEncrypt"
    AES256_SIGN = "Aes256_Sha256_RsaPss-Sign"
    AES256_ENCRYPT = "Aes256_Sha256_RsaPss-SignAndEncrypt"


class Role(Enum):
    """What somebody who has signed in may do. OPERATOR writes, calls methods and acknowledges; OBSERVER only looks."""

    NONE = "none"
    OBSERVER = "observer"
    OPERATOR = "operator"


class OpcUaUser(Strict):
    """Somebody who may sign in at a simulated server. Not a secret: it guards a simulation."""

    name: Name = Field(description="User name.")
    password: str | None = Field(default=None, min_length=1, description="Password that signs in ...")
    thumbprint: Thumbprint | None = Field(default=None, description="... or SHA-1 thumbprint of a certificate.")
    role: Role = Field(default=Role.OPERATOR, description="observer or operator.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.password is None) == (self.thumbprint is None):
            raise ValueError("give exactly one of password and thumbprint")
        return self


class OpcUaAlarm(Strict):
    """A condition of the simulated equipment. Limits make a level alarm; `states` or `bits` an off-normal alarm."""

    name: Name = Field(description="Name of the condition; points get their number behind it.")
    tag: Name = Field(description="Tag that it watches, each of its points for itself.")
    text: str = Field(description="What the event's message says.")
    severity: Severity = Field(default=500, description="1 to 1000, as events carry it.")
    high_high: float | None = Field(default=None, description="Active from here on upwards, in the tag's unit.")
    high: float | None = Field(default=None, description="Active from here on upwards.")
    low: float | None = Field(default=None, description="Active from here on downwards.")
    low_low: float | None = Field(default=None, description="Active from here on downwards.")
    deadband: NonNegative = Field(default=0.0, description="How far a value must come back before a limit clears.")
    states: tuple[int, ...] = Field(default=(), description="Values of the tag that are off normal.")
    bits: int = Field(default=0, ge=0, description="Bits of the tag of which any is off normal.")

    @property
    def limits(self) -> tuple[float | None, float | None, float | None, float | None]:
        """LowLow, Low, High, HighHigh."""
        return (self.low_low, self.low, self.high, self.high_high)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [limit for limit in self.limits if limit is not None]
        if bool(given) + bool(self.states) + bool(self.bits) != 1:
            raise ValueError("give limits, or states, or bits: one of the three")
        if any(a >= b for a, b in pairwise(given)):
            raise ValueError("limits must rise from low_low over low and high to high_high")
        return self


class OpcUaServerOptions(Strict):
    """What the equipment's own server offers. Used by who simulates the equipment; the reading side asks the server."""

    policies: tuple[SecurityPolicy, ...] = Field(
        default=(SecurityPolicy.NONE,), min_length=1, description="Endpoints that are offered."
    )
    anonymous: Role = Field(
        default=Role.OPERATOR, description="What a client without a user may do; none: not sign in."
    )
    user: tuple[OpcUaUser, ...] = Field(default=(), description="Who may sign in.")
    trust_any: bool = Field(
        default=True,
        description="Whether an unknown client certificate is accepted; else it is put among the rejected.",
    )
    methods: bool = Field(default=True, description="Whether the commands are offered as methods too.")
    alarm: tuple[OpcUaAlarm, ...] = Field(default=(), description="Conditions that become events.")
    history: tuple[Name, ...] = Field(default=(), description="Tags whose past can be read.")
    history_values: int = Field(default=10_000, ge=1, le=1_000_000, description="Values kept for each of them.")
    max_operations: int | None = Field(
        default=None, ge=1, description="Most operations in a request of any kind; absent: max_items_per_call."
    )
    max_sessions: int = Field(default=100, ge=1, description="Most clients at once.")
    max_subscriptions: int = Field(default=100, ge=1, description="Most subscriptions at once, all clients together.")
    max_items: int = Field(default=50_000, ge=1, description="Most monitored items in one subscription.")
    max_queue: int = Field(default=10_000, ge=1, description="Longest queue of one monitored item.")
    min_publishing_interval_s: Positive = Field(default=0.01, description="Wall seconds; shorter wishes are raised.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.anonymous is Role.NONE and not self.user:
            raise ValueError("nobody may sign in: anonymous is none, and there is no user")
        names = [alarm.name for alarm in self.alarm]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError("\n".join(f"alarm '{name}' is defined twice" for name in twice))
        if any(user.thumbprint for user in self.user) and set(self.policies) == {SecurityPolicy.NONE}:
            raise ValueError("a user with a certificate needs an endpoint that signs")
        return self


class DeviceSecurity(Strict):
    """Security of an opc.tcp device. Files are relative to the line file; a password is never in it."""

    policy: SecurityPolicy = Field(default=SecurityPolicy.NONE, description="Endpoint that is used.")
    certificate: str | None = Field(default=None, description="Our certificate (DER or PEM), which a policy needs ...")
    key: str | None = Field(default=None, description="... and its private key, without a passphrase.")
    server_certificate: str | None = Field(default=None, description="The server's certificate, or ...")
    trusted: str | None = Field(
        default=None, description="... a folder with certificates of trusted servers, or of authorities that sign them."
    )
    user: str | None = Field(default=None, min_length=1, description="Who signs in; absent: anonymous.")
    password_env: str | None = Field(default=None, description="Environment variable with the password ...")
    password_file: str | None = Field(default=None, description="... or file that holds it.")
    plain_password: bool = Field(
        default=False,
        description="Whether the password may cross the network unencrypted, for a server without policy.",
    )
    user_certificate: str | None = Field(default=None, description="Certificate that signs in, in place of a user ...")
    user_key: str | None = Field(default=None, description="... and its private key.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        wrong = [*self._channel(), *self._sign_in()]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _channel(self) -> Iterator[str]:
        if (self.certificate is None) != (self.key is None):
            yield "certificate and key go together"
        anchors = (self.server_certificate is not None) + (self.trusted is not None)
        if self.policy is SecurityPolicy.NONE:
            if self.certificate or anchors:
                yield "certificates need a policy other than None"
            return
        if self.certificate is None and self.key is None:
            yield f"policy {self.policy.value} needs our certificate and key: celltwin opcua certificate makes them"
        if anchors != 1:
            yield "give exactly one of server_certificate and trusted: who else would know the server?"

    def _sign_in(self) -> Iterator[str]:
        sources = (self.password_env is not None) + (self.password_file is not None)
        if (self.user_certificate is None) != (self.user_key is None):
            yield "user_certificate and user_key go together"
        if self.user is not None and self.user_certificate is not None:
            yield "sign in as user, or with user_certificate: not both"
        if self.user is None and sources:
            yield "a password without a user"
        if self.user is not None and sources != 1:
            yield "give exactly one of password_env and password_file"
        if self.policy is SecurityPolicy.NONE:
            if self.user_certificate is not None:
                yield "a user certificate needs a policy other than None"
            if self.user is not None and not self.plain_password:
                yield "with policy None a password can be read on the network: choose a policy, or set plain_password"


class OpcUaOptions(Strict):
    """How this equipment wants to be read over OPC UA."""

    namespace: str = Field(description="Namespace URI of all node identifiers; its index is looked up at each connect.")
    publishing_interval_s: Positive = Field(default=0.1, description="Wall seconds between notification batches.")
    queue_outage_s: Positive = Field(default=30.0, description="Wall seconds of samples that the server shall queue.")
    max_items_per_call: int = Field(default=50, ge=1, le=1000, description="Monitored items or nodes in one request.")
    timeout_s: Positive = Field(default=4.0, description="Wall seconds that one request may take.")
    server: OpcUaServerOptions = OpcUaServerOptions()
