"""Names below localhost are this host (RFC 6761): getaddrinfo knows none, a host's resolver or /etc/hosts does."""

import socket

_getaddrinfo = socket.getaddrinfo


def _resolve(host, *rest, **named):
    text = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo("127.0.0.1" if text and text.endswith(".localhost") else host, *rest, **named)


socket.getaddrinfo = _resolve
