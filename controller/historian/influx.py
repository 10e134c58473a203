"""Sink for InfluxDB 1.8 and 2.x: our lines, carried by influxdb-client's async client.

Writing a point twice changes nothing in InfluxDB, so everything that is in doubt (a lost answer, half a request taken)
is simply sent again. Only a server that names a fault of the lines themselves makes us give rows up; every other
refusal, also of token or bucket, keeps them in the spool. Bodies are not compressed: the server stands in the same
plant, and the CPU is the scarcer good.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import ClientError
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

from configs.schema import InfluxSink as InfluxOptions
from controller.errors import BadInputError
from controller.historian.batch import Batch, Delivered, Outcome, RejectedRow, RetryLater, decode_all
from controller.historian.codec import FrameDecoder
from controller.historian.lines import LineEncoder, Lines
from controller.historian.sink import SinkStart

_log = logging.getLogger(__name__)

_LINE_FAULTS = (
    "partial write",
    "unable to parse",
    "field type conflict",
    "outside retention policy",
    "beyond retention",
)
"""Phrases by which 1.8 and 2.x blame the lines; a 400 without them blames the request as a whole."""
_DROPPED = re.compile(r"dropped=(\d+)")
_HINTS = {
    401: "the token is wrong or missing: check the variable or file that the line file names",
    403: "the token may not write to this bucket: give it write permission",
    404: "organisation or bucket (1.8: database) does not exist: create it or correct the line file",
}


@dataclass(frozen=True, slots=True)
class _Line:
    """One line and where it came from."""

    seq: int
    stream: str
    data: bytes


_Chunk = list[tuple[Batch, Lines]]


class _StopHere(Exception):  # noqa: N818  leaves the bisection, is no error
    """The server cannot take the lines now."""

    def __init__(self, outcome: RetryLater) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def read_token(options: InfluxOptions, folder: Path) -> str:
    """The token from the environment or from a file relative to `folder`. BadInputError names where it is missing."""
    if options.token_env is not None:
        token = os.environ.get(options.token_env, "").strip()
        if not token:
            raise BadInputError(
                f"the InfluxDB token is missing: environment variable {options.token_env} is not set",
                f"export {options.token_env}=... before the start",
            )
        return token
    path = folder / str(options.token_file)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "it is not text"
        raise BadInputError(f"the InfluxDB token file {path} cannot be read: {why}", "write the token into it") from bad
    if not token or any(c.isspace() for c in token):
        what = "has blanks or line breaks in it" if token else "is empty"
        raise BadInputError(f"the InfluxDB token file {path} {what}", "write the token, and nothing else, into it")
    return token


class InfluxSink:
    """See the module. `line` becomes a tag on every point; `folder` is the line file's, for token_file."""

    name = "influxdb"
    linger_s = 0.5  # live enough for a dashboard, and a request carries more than a handful of lines

    def __init__(self, options: InfluxOptions, line: str, folder: Path) -> None:
        self._options = options
        self._token = read_token(options, folder)
        self._where = re.sub(r"//[^/@]*@", "//", options.url)  # for messages: without a password
        self._encoder = LineEncoder(line)
        self._client: InfluxDBClientAsync | None = None
        self._decoder = FrameDecoder()
        self._thread = ThreadPoolExecutor(1, "influxdb")

    @property
    def max_rows(self) -> int:
        """Rows of one delivery."""
        return self._options.max_lines_per_write

    async def start(self, where: SinkStart) -> None:
        """Makes the client and asks the server how it is; an absent server is logged, nothing more."""
        o = self._options
        timeout_ms = int(o.timeout_s * 1000)
        self._client = InfluxDBClientAsync(o.url, token=self._token, org=o.org or "-", timeout=timeout_ms)
        try:
            if await self._client.ping():
                _log.info("InfluxDB at %s answers", self._where)
                return
        except (ClientError, InfluxDBError, OSError, TimeoutError):
            pass
        _log.warning("InfluxDB at %s does not answer yet; data wait in the spool", self._where)

    async def deliver(self, batches: Sequence[Batch]) -> Outcome:
        """One request where all is well; halves of it where the server finds it too large or finds bad lines."""
        loop = asyncio.get_running_loop()
        chunks, rejected = await loop.run_in_executor(self._thread, self._encode, batches)
        try:
            for chunk in chunks:
                rejected += await self._send(b"".join(part.data for _, part in chunk), partial(_split, chunk))
        except _StopHere as stop:
            return stop.outcome
        return Delivered(tuple(rejected))

    async def close(self) -> None:
        """Closes the connections."""
        self._thread.shutdown(wait=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _encode(self, batches: Sequence[Batch]) -> tuple[list[_Chunk], list[RejectedRow]]:
        """What goes into each request: whole Frames of together at most max_lines_per_write rows, at least one."""
        frames, rejected = decode_all(batches, self._decoder)
        chunks: list[_Chunk] = []
        rows = 0
        for batch, frame in frames:
            rows += frame.rows
            if not chunks or rows > self._options.max_lines_per_write:
                chunks.append([])
                rows = frame.rows
            chunks[-1].append((batch, self._encoder.encode(frame)))
        return chunks, rejected

    async def _send(self, body: bytes, lines: Callable[[], Sequence[_Line]], blamed: bool = False) -> list[RejectedRow]:
        """Delivers a body; `lines` takes it apart where needed. Returns the rows refused for good.

        `blamed`: the server has taken other lines like these, so a 400 is about single lines. _StopHere where the
        server cannot take them now.
        """
        if not body:
            return []
        try:
            await self._write(body)
            return []
        except InfluxDBError as bad:
            return await self._refused(bad, lines(), blamed)
        except (ClientError, TimeoutError, OSError) as bad:
            what = f"no answer within {self._options.timeout_s:g} s" if isinstance(bad, TimeoutError) else str(bad)
            raise _StopHere(RetryLater(f"InfluxDB at {self._where}: {what}", "is the server running?")) from bad

    async def _refused(self, bad: InfluxDBError, lines: Sequence[_Line], blamed: bool) -> list[RejectedRow]:
        status, reason = int(getattr(bad, "status", 0) or 0), _reason(bad)
        at_lines = status in {400, 422} and (blamed or await self._blames_lines(status, reason, lines))
        if status == 413 or at_lines:
            dropped = _DROPPED.search(reason)
            if len(lines) == 1 or (dropped is not None and int(dropped[1]) == len(lines)):
                return [_rejected(line, reason) for line in lines]
            rejected = []
            for half in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                rejected += await self._send(b"".join(line.data for line in half), partial(tuple, half), at_lines)
            return rejected
        what = f"InfluxDB at {self._where} answers {status}: {reason}"
        raise _StopHere(RetryLater(what, _HINTS.get(status, ""), _seconds(bad.retry_after))) from bad

    async def _write(self, body: bytes) -> None:
        assert self._client is not None, "start comes before deliver"
        # "ns" as a plain word: the client's enumeration holds the same strings.
        await self._client.write_api().write(self._options.bucket, record=body, write_precision="ns")

    async def _blames_lines(self, status: int, reason: str, lines: Sequence[_Line]) -> bool:
        """True when a 400 or 422 is about single lines. An unknown wording is settled by trying three of them.

        Otherwise one wrong setting that the server answers with 400 would send a whole plant's data into quarantine.
        """
        if status == 422 or any(phrase in reason for phrase in _LINE_FAULTS):
            return True
        if len(lines) == 1:
            return False
        for line in (lines[0], lines[len(lines) // 2], lines[-1]):
            try:
                await self._write(line.data)
                return True
            except InfluxDBError:
                continue
        return False


def _split(chunk: _Chunk) -> list[_Line]:
    """The chunk's lines one by one; rows without a field have none."""
    lines = []
    for batch, part in chunk:
        rows = (part.row(i) for i in range(len(part.ends)))
        lines += [_Line(batch.seq, batch.stream, row) for row in rows if row]
    return lines


def _reason(bad: InfluxDBError) -> str:
    """What the server said, in one line."""
    said = bad.message
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return " ".join(text.split())[:1000]


def _rejected(line: _Line, reason: str) -> RejectedRow:
    return RejectedRow(line.seq, line.stream, line.data.decode("utf-8", "replace").rstrip("\n"), reason)


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds, at most an hour; None where it is absent or a date: the drainer's back-off then rules."""
    if retry_after is None:
        return None
    try:
        return min(max(float(retry_after), 0.0), 3600.0)
    except ValueError:
        return None
