"""Runs the ASGI application on a socket of ours, for the life of a `with` block. Signals belong to the caller."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette

from controller.errors import BadInputError

GRACE_S = 2
"""Wall seconds that open requests get at the end. Event streams end at once; this is for what hangs."""


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: Ctrl-C is the application's to handle, in its own order."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextlib.asynccontextmanager
async def serve(app: Starlette, host: str, port: int) -> AsyncIterator[str]:
    """Serve `app` while the block runs; gives the page's address. Leaves no task, thread or port behind.

    Raises BadInputError when the address cannot be bound. Port 0 lets the system choose.
    """
    listener = _bind(host, port)
    try:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=256,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]), name="web")
        task.add_done_callback(lambda _: server.ready.set())
        try:
            await server.ready.wait()
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{listener.getsockname()[1]}/"
        finally:
            app.state.feed.close()
            server.should_exit = True
            await task
    finally:
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    where = f"{host}:{port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise BadInputError(f"web.host '{host}' is not an address of this machine: {error}", "use 127.0.0.1") from error
    listener = socket.socket(family, kind, proto)
    try:
        # A port in TIME_WAIT may be taken again; one that another process listens on may not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            hint = "stop the other process or change web.port in the line file"
            raise BadInputError(f"the live page's port is in use: {where}", hint) from error
        if error.errno in {errno.EACCES, errno.EADDRNOTAVAIL}:
            hint = "change web.host and web.port in the line file"
            raise BadInputError(f"the live page cannot listen on {where}: {error.strerror}", hint) from error
        raise
    return listener
