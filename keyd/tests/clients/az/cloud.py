"""A cloud for az, on loopback: what it asks before it speaks to a vault, and no more.

Azure Resource Manager, to which az logs in: one subscription. A managed-identity endpoint (App Service, 2019-08-01) that
gives a token of its own for it, and sends whoever wants one for anything else on to keyd's endpoint.
"""

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TENANT = "00000000-0000-0000-0000-000000000000"
SUBSCRIPTION = {
    "id": f"/subscriptions/{TENANT}",
    "subscriptionId": TENANT,
    "tenantId": TENANT,
    "displayName": "portcullis",
    "state": "Enabled",
}


def certificate(directory):
    """A self-signed certificate of 127.0.0.1, with its key in one file; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a cloud of a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    path = directory / "cloud.pem"
    path.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path, pem


def unsigned_token():
    """A JWT that says which tenant it is of: az looks for no more."""
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return f"{part({'alg': 'none'})}.{part({'tid': TENANT})}."


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ResourceManager(Handler):
    def do_GET(self):
        if urlsplit(self.path).path.rstrip("/") == "/subscriptions":
            self.answer(200, {"value": [SUBSCRIPTION]})
        else:
            self.answer(404, {"error": {"code": "NotFound", "message": self.path}})


def identities(manager, keyd):
    class Identities(Handler):
        def do_GET(self):
            resource = parse_qs(urlsplit(self.path).query)["resource"][0]
            if resource.rstrip("/") == manager:
                token = {"access_token": unsigned_token(), "expires_on": "4102444800"}
                return self.answer(200, {**token, "resource": resource, "token_type": "Bearer"})
            wanted = urllib.request.Request(f"{keyd}?{urlsplit(self.path).query}")
            wanted.add_header("X-IDENTITY-HEADER", self.headers["X-IDENTITY-HEADER"])
            try:
                with urllib.request.urlopen(wanted) as got:
                    self.answer(got.status, got.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read())

    return Identities


def serve(handler, tls=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def start(directory, keyd):
    """Starts it. Returns the resource manager's URL and certificate, and the identity endpoint."""
    tls, pem = certificate(directory)
    manager = f"https://127.0.0.1:{serve(ResourceManager, tls)}"
    port = serve(identities(manager, keyd))
    return manager, pem, f"http://127.0.0.1:{port}/msi/token"
