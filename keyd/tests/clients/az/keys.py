"""azure-cli, unmodified: every `az keyvault key` command that has to do with keys as keyd offers them.

az is pointed at keyd as users of a cloud of their own do it: `az cloud register` names the domain of the vaults, and a
managed identity logs in. What az asks before it speaks to a vault is answered by cloud.py; its tokens for the vault are
keyd's own, of one identity for all the processes.

Asserted: create (size, ops, tags, dates), show (newest, by version, in another case), list, list-versions, set-attributes,
rotate, rotation-policy update and show (as it was sent), encrypt and decrypt, sign and verify, random, import (PEM),
download, backup and restore, delete, list-deleted, show-deleted, recover, purge; a key that is not there. One token of the
identity for all of it.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cloud

WORLD = json.loads(os.environ["KEYD_WORLD"])
HERE = Path(__file__).resolve().parent
VAULT = ["--vault-name", "prod"]


class Az:
    """az with a home of its own."""

    def __init__(self, home):
        manager, pem, endpoint = cloud.start(home, os.environ["IDENTITY_ENDPOINT"])
        trusted = home / "trusted.pem"
        trusted.write_bytes(Path(WORLD["ca"]).read_bytes() + pem)
        self.environment = {
            **os.environ,
            "AZURE_CONFIG_DIR": str(home / "azure"),
            "AZURE_CORE_COLLECT_TELEMETRY": "no",
            "AZURE_CORE_NO_COLOR": "yes",
            "REQUESTS_CA_BUNDLE": str(trusted),
            "IDENTITY_ENDPOINT": endpoint,
            "PYTHONPATH": str(HERE / "resolve"),
        }
        config = {
            "endpoints": {
                "resourceManager": manager,
                "activeDirectory": manager,
                "activeDirectoryResourceId": manager,
                "management": manager,
            },
            "suffixes": {"keyvaultDns": f".localhost:{WORLD['port']}"},
        }
        register = ["cloud", "register", "--name", "keyd", "--skip-endpoint-discovery"]
        self(*register, "--cloud-config", json.dumps(config))
        self("cloud", "set", "--name", "keyd")
        self("login", "--identity")

    def run(self, *arguments):
        command = [sys.executable, "-m", "azure.cli", *arguments, "--output", "json"]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def __call__(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, f"az {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode != 0, f"az {' '.join(arguments)}\n{done.stdout}"
        return done.stderr


def equal(got, wanted, what=""):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def main(home):
    az = Az(home)
    key = lambda *words: az("keyvault", "key", *words)
    print("logged in", flush=True)

    made = key("create", *VAULT, "--name", "Az-Key", "--size", "2048", "--tags", "owner=ops", "--expires", "2031-01-01T00:00:00Z")
    identifier = made["key"]["kid"]
    equal(made["tags"], {"owner": "ops"})
    equal(made["key"]["keyOps"], ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"])
    equal(key("show", *VAULT, "--name", "az-key")["key"]["kid"], identifier, "another case")
    equal(key("show", "--id", identifier)["key"]["n"], made["key"]["n"])
    assert "KeyNotFound" in az.refused("keyvault", "key", "show", *VAULT, "--name", "nothing")
    equal([one["name"] for one in key("list", *VAULT)], ["Az-Key"])
    changed = key("set-attributes", *VAULT, "--name", "az-key", "--not-before", "2025-01-01T00:00:00Z", "--tags", "a=b")
    equal((changed["tags"], changed["attributes"]["notBefore"]), ({"a": "b"}, "2025-01-01T00:00:00+00:00"))
    print("made and changed", flush=True)

    policy = {"lifetimeActions": [{"trigger": {"timeAfterCreate": "P18M"}, "action": {"type": "rotate"}}], "attributes": {"expiryTime": "P2Y"}}
    told = key("rotation-policy", "update", *VAULT, "--name", "az-key", "--value", json.dumps(policy))
    equal(told["expiresIn"], "P2Y")
    told = key("rotation-policy", "show", *VAULT, "--name", "az-key")
    equal(told["lifetimeActions"][0]["timeAfterCreate"], "P18M")
    assert key("rotate", *VAULT, "--name", "az-key")["key"]["kid"] != identifier
    equal(len(key("list-versions", *VAULT, "--name", "az-key")), 2)
    print("rotated", flush=True)

    use = [*VAULT, "--name", "az-key", "--algorithm"]
    secret = base64.b64encode(os.urandom(32)).decode()
    sealed = key("encrypt", *use, "RSA-OAEP-256", "--data-type", "base64", "--value", secret)
    opened = key("decrypt", *use, "RSA-OAEP-256", "--data-type", "base64", "--value", sealed["result"])
    equal(opened["result"], secret)
    for algorithm in ("RS256", "PS512"):
        digest = hashlib.new(f"sha{algorithm[2:]}", b"message").digest()
        digest = ["--digest", base64.b64encode(digest).decode()]
        signed = key("sign", *use, algorithm, *digest)
        judged = key("verify", *use, algorithm, *digest, "--signature", signed["signature"])
        equal(judged["isValid"], True, algorithm)
    print("used", flush=True)

    pem = home / "own.pem"
    subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", pem], check=True)
    own = key("import", *VAULT, "--name", "own", "--pem-file", str(pem), "--ops", "sign", "verify", "--disabled", "true", "--tags", "c=d")
    equal((own["key"]["keyOps"], own["attributes"]["enabled"], own["tags"]), (["sign", "verify"], False, {"c": "d"}))
    public = home / "public.pem"
    key("download", *VAULT, "--name", "own", "--file", str(public), "--encoding", "PEM")
    wanted = subprocess.run(["openssl", "pkey", "-in", pem, "-pubout"], check=True, capture_output=True)
    equal(public.read_bytes().strip(), wanted.stdout.strip())

    blob = home / "own.backup"
    key("backup", *VAULT, "--name", "own", "--file", str(blob))
    key("delete", *VAULT, "--name", "own")
    equal([one["name"] for one in key("list-deleted", *VAULT)], ["own"])
    equal(key("show-deleted", *VAULT, "--name", "OWN")["tags"], {"c": "d"})
    equal(key("recover", *VAULT, "--name", "own")["attributes"], own["attributes"])
    restored = key("restore", "--vault-name", "many", "--file", str(blob))
    equal((restored["key"]["n"], restored["key"]["keyOps"], restored["tags"]), (own["key"]["n"], ["sign", "verify"], {"c": "d"}))
    equal((restored["attributes"]["enabled"], restored["attributes"]["created"]), (False, own["attributes"]["created"]))
    key("delete", *VAULT, "--name", "own")
    key("purge", *VAULT, "--name", "own")
    equal(key("list-deleted", *VAULT), [])
    print("moved", flush=True)

    listed = subprocess.run([WORLD["keyd"], "token", "list", WORLD["identity"], "--json"], check=True, capture_output=True)
    fetched = [token for token in json.loads(listed.stdout) if token["label"] == "identity"]
    equal(len(fetched), 1, "one token for all the processes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place))
