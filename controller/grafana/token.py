"""Tokens come from the environment: never from the command line, where every process can read them."""

from __future__ import annotations

import os

from controller.errors import BadInputError


def from_environment(name: str, owner: str) -> str:
    """The token in variable `name`. Raises BadInputError where it is missing or is no token."""
    token = os.environ.get(name, "").strip()
    if not token:
        what = f"the token for {owner} is missing: environment variable {name} is not set"
        raise BadInputError(what, f"export {name}=... first")
    if not token.isascii() or any(c.isspace() for c in token):
        raise BadInputError(f"environment variable {name} holds no token: blanks or letters that no token has")
    return token
