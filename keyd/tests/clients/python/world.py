"""What every script here needs: the daemon that the test started, who may do what there, and small judges."""

import json
import os
import socket
import subprocess
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError

# What the test says: URLs of vaults, the port, the CA's file, the daemon's program, tokens by what they may do.
WORLD = json.loads(os.environ["KEYD_WORLD"])
API = os.environ.get("KEYD_API_VERSION")

# getaddrinfo knows no names below localhost (RFC 6761 would have it so); a host's resolver or /etc/hosts does.
_getaddrinfo = socket.getaddrinfo


def _resolve(host, *rest, **named):
    text = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo("127.0.0.1" if text and text.endswith(".localhost") else host, *rest, **named)


socket.getaddrinfo = _resolve


def keyd(*arguments):
    """Asks the daemon by its command line; KEYD_SOCKET says where it is."""
    done = subprocess.run([WORLD["keyd"], *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Token:
    """A credential that has one token, and says for what it was asked."""

    def __init__(self, name="full", text=None):
        self.text = text or WORLD["tokens"][name]
        self.scopes = []

    def get_token(self, *scopes, **_):
        self.scopes.append(scopes)
        return AccessToken(self.text, int(time.time()) + 3600)


def options(**more):
    """Options of a client: the CA, and the version where one is set."""
    version = {"api_version": API} if API else {}
    return {"connection_verify": WORLD["ca"], **version, **more}


def problem(call, kind=HttpResponseError):
    """The (status, code, inner code) that a call ends with."""
    try:
        got = call()
    except kind as error:
        odata = error.error
        inner = odata.innererror.get("code") if odata and odata.innererror else None
        return error.status_code, odata.code if odata else None, inner
    raise AssertionError(f"no error but {got!r}")


def equal(got, wanted, what=""):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"
