"""The synchronous client of azure-keyvault-keys, unmodified, challenge verification on.

Asserted, by the rows of Key Vault's REST API for keys:
  1 create      2048, 3072, 4096 bits; the same name again; key_ops, enabled, nbf, exp, tags; EC, oct: 400
  2 import      a key of the cryptography package; one whose numbers do not fit: 400
  3 rotate      another version, another modulus
  4 get         newest and by version; no such key, no such version: 404 KeyNotFound
  5 update      newest and by version: key_ops, enabled, exp, tags
  6 list        more than a page; ids without a version
  7 versions    more than a page; ids with a version
  8 delete      recovery id and times; deleted twice: 404; its name is taken: 409 ObjectIsDeletedButRecoverable
  9, 10         deleted keys, listed and one
 11 recover     with all versions
 12 purge       gone; of a protected vault: 403
 13, 14         backup, restore; over a key that is there: 409; a blob of somebody else's: 400; of one that was
                purged: when two ask
 15 - 18        wrap, unwrap, encrypt, decrypt: three sizes by three algorithms; here and there, and by the cryptography
                package; damaged: 400; too long: 400
 19, 20         sign, verify: six algorithms, here and there, and by the cryptography package; a digest of another length: 400
 21, 22         rotation policy, unset and set, in the units in which it was set; one against the rules: 400
 23             random bytes
Names in another case: the same key, under the name that it was made with. Attributes outlive delete and recover, backup
and restore, and come with an imported key. Fifteen tags of the greatest length.
States: disabled, before nbf, after exp, without the key operation. Permissions: a reader, a wrapper, nobody.
Handshake: the first request carries no body; the scope asked for; a stranger's token; a token that expires; a host
that is not below the resource.
"""

import secrets
import sys
import time
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.keys import (
    JsonWebKey,
    KeyClient,
    KeyCurveName,
    KeyOperation,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from world import WORLD, Token, equal, keyd, options, problem

VAULT = WORLD["vault"]
FORBIDDEN = (403, "Forbidden", None)
BAD = (400, "BadParameter", None)
NOT_FOUND = (404, "KeyNotFound", None)


def client(token="full", vault=VAULT, **more):
    return KeyClient(vault, Token(token), **options(**more))


def crypto(key, token="full", **more):
    return CryptographyClient(key, Token(token), **options(**more))


def handshake():
    seen = []

    def response(got):
        sent = got.http_request
        body = sent.headers.get("Content-Length")
        seen.append((got.http_response.status_code, "Authorization" in sent.headers, body))

    # Nobody has asked this authority yet: the challenge is cached for the process.
    credential = Token()
    asked = KeyClient(VAULT, credential, **options(raw_response_hook=response))
    asked.create_rsa_key("handshake", size=2048)
    equal(seen[0], (401, False, "0"), "the first request")
    equal((seen[1][0], seen[1][1]), (200, True), "the second")
    assert int(seen[1][2]) > 0
    equal(credential.scopes[0], (f"https://localhost:{WORLD['port']}/.default",))

    stranger = KeyClient(VAULT, Token(text="keyd_" + "A" * 43), **options())
    got = problem(lambda: stranger.get_key("handshake"), ClientAuthenticationError)
    equal(got[:2], (401, "Unauthorized"))

    credential = Token(text=keyd("token", "create", "full", "--expires", "2s"))
    session = KeyClient(VAULT, credential, **options())
    session.get_key("handshake")
    time.sleep(2)
    got = problem(lambda: session.get_key("handshake"), ClientAuthenticationError)
    equal(got[:2], (401, "Unauthorized"), "the token's time is over")
    # The application gets another, and the same client goes on.
    credential.text = keyd("token", "create", "full", "--label", "renewed")
    renewed = KeyClient(VAULT, credential, **options())
    renewed.get_key("handshake")
    row = next(line for line in keyd("token", "list", "full").splitlines() if "renewed" in line)
    keyd("token", "revoke", "full", row.split()[0])
    got = problem(lambda: renewed.get_key("handshake"), ClientAuthenticationError)
    equal(got[:2], (401, "Unauthorized"), "the token was revoked")

    address = f"https://127.0.0.1:{WORLD['port']}"
    try:
        client(vault=address).get_key("x")
        raise AssertionError("a host that is not below the resource was taken")
    except ValueError as error:
        assert "challenge resource" in str(error), error
    unverified = client(vault=address, verify_challenge_resource=False)
    got = problem(lambda: unverified.get_key("x"))
    equal(got, (403, "Forbidden", "ForbiddenByPolicy"), "the default vault")


def create():
    keys = client()
    for size in (2048, 3072, 4096):
        key = keys.create_rsa_key(f"size-{size}", size=size)
        equal(len(key.key.n) * 8, size)
        equal(key.key.e, b"\x01\x00\x01")
        equal(key.key_type, "RSA")
        equal(
            [str(getattr(op, "value", op)) for op in key.key_operations],
            ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
        )
        properties = key.properties
        assert len(properties.version) == 32 and int(properties.version, 16) >= 0
        equal(key.id, f"{VAULT}/keys/size-{size}/{properties.version}")
        equal((properties.enabled, properties.tags), (True, {}) if properties.tags == {} else (True, None))
        equal(properties.recovery_level, "CustomizedRecoverable+Purgeable")
        equal(properties.recoverable_days, 7)
        assert abs(properties.created_on - datetime.now(timezone.utc)) < timedelta(minutes=5)

    begin = datetime(2030, 1, 1, tzinfo=timezone.utc)
    again = keys.create_rsa_key(
        "size-2048",
        key_operations=[KeyOperation.wrap_key],
        enabled=False,
        not_before=begin,
        expires_on=begin + timedelta(days=1),
        tags={"purpose": "tést"},
    )
    equal(again.key_operations, ["wrapKey"])
    equal((again.properties.enabled, again.properties.not_before), (False, begin))
    equal(again.properties.expires_on, begin + timedelta(days=1))
    equal(again.properties.tags, {"purpose": "tést"})
    equal(len(list(keys.list_properties_of_key_versions("size-2048"))), 2)

    equal(problem(lambda: keys.create_ec_key("ec", curve=KeyCurveName.p_256)), BAD)
    equal(problem(lambda: keys.create_oct_key("oct", size=256)), BAD)
    equal(problem(lambda: keys.create_rsa_key("small", size=1024)), BAD)
    equal(problem(lambda: keys.create_rsa_key("hsm", hardware_protected=True)), BAD)
    equal(problem(lambda: keys.create_rsa_key("odd_name")), BAD)
    equal(problem(lambda: keys.create_rsa_key("tags", tags={str(n): "" for n in range(16)})), BAD)


def numbers(key):
    """The private numbers of a key of the cryptography package, as a JWK has them."""
    secret = key.private_numbers()
    public = secret.public_numbers

    def octets(number):
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    return {
        "kty": "RSA",
        "n": octets(public.n),
        "e": octets(public.e),
        "d": octets(secret.d),
        "p": octets(secret.p),
        "q": octets(secret.q),
        "dp": octets(secret.dmp1),
        "dq": octets(secret.dmq1),
        "qi": octets(secret.iqmp),
    }


def import_key():
    keys = client()
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wire = numbers(own)
    key = keys.import_key("brought", JsonWebKey(**wire, key_ops=["wrapKey", "unwrapKey"]))
    equal((key.key.n, key.key_operations), (wire["n"], ["wrapKey", "unwrapKey"]))
    assert key.key.d is None, "the private key came back"
    secret = secrets.token_bytes(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    wrapped = own.public_key().encrypt(secret, oaep)
    unwrapped = crypto(key).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped)
    equal(unwrapped.key, secret)
    # What is wrapped there is opened by the key's own holder.
    there = crypto(key.id, "wrapper").wrap_key(KeyWrapAlgorithm.rsa_oaep_256, secret)
    equal(own.decrypt(there.encrypted_key, oaep), secret)

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    mixed = {**wire, "d": numbers(other)["d"]}
    equal(problem(lambda: keys.import_key("mixed", JsonWebKey(**mixed))), BAD)
    partial = {name: value for name, value in wire.items() if name not in ("p", "q", "dp", "dq", "qi")}
    equal(problem(lambda: keys.import_key("partial", JsonWebKey(**partial))), BAD)


def rotate():
    keys = client()
    first = keys.create_rsa_key("turned", size=2048, tags={"a": "b"})
    second = keys.rotate_key("turned")
    assert second.properties.version != first.properties.version
    assert second.key.n != first.key.n
    equal(second.properties.tags, {"a": "b"})
    equal(keys.get_key("turned").id, second.id)
    equal(problem(lambda: keys.rotate_key("nothing"), ResourceNotFoundError), NOT_FOUND)


def get_and_update():
    keys = client()
    first = keys.create_rsa_key("changed", size=2048)
    second = keys.create_rsa_key("changed", size=2048)
    equal(keys.get_key("changed").id, second.id)
    equal(keys.get_key("changed", first.properties.version).key.n, first.key.n)
    equal(problem(lambda: keys.get_key("nothing"), ResourceNotFoundError), NOT_FOUND)
    equal(problem(lambda: keys.get_key("changed", "0" * 32), ResourceNotFoundError), NOT_FOUND)

    end = datetime(2099, 1, 1, tzinfo=timezone.utc)
    updated = keys.update_key_properties("changed", tags={"x": "y"}, expires_on=end)
    equal((updated.id, updated.properties.tags), (second.id, {"x": "y"}))
    equal(updated.properties.expires_on, end)
    old = keys.update_key_properties(
        "changed", first.properties.version, enabled=False, key_operations=["decrypt"]
    )
    equal((old.id, old.properties.enabled, old.key_operations), (first.id, False, ["decrypt"]))
    equal(keys.get_key("changed").properties.enabled, True, "only that version")
    equal(keys.get_key("changed").properties.expires_on, end)
    missing = lambda: keys.update_key_properties("nothing", enabled=True)
    equal(problem(missing, ResourceNotFoundError), NOT_FOUND)


def lists():
    keys = client(vault=WORLD["many"])
    names = {f"many-{n:02}" for n in range(27)}
    for name in names:
        keys.create_rsa_key(name, size=2048)
    listed = [properties for properties in keys.list_properties_of_keys()]
    equal({properties.name for properties in listed}, names)
    equal(len(listed), 27)
    equal(listed[0].id, f"{WORLD['many']}/keys/{listed[0].name}")
    pages = [len(list(page)) for page in keys.list_properties_of_keys(max_page_size=10).by_page()]
    if not pages[0] == 10:  # versions of the client that have no page size to ask for
        pages = [len(list(page)) for page in keys.list_properties_of_keys().by_page()]
        equal(pages, [25, 2])

    for _ in range(27):
        last = keys.create_rsa_key("many-00", size=2048)
    versions = list(keys.list_properties_of_key_versions("many-00"))
    equal(len({properties.version for properties in versions}), 28)
    assert last.id in {properties.id for properties in versions}
    missing = lambda: list(keys.list_properties_of_key_versions("nothing"))
    equal(problem(missing, ResourceNotFoundError), NOT_FOUND)

    keys.begin_delete_key("many-26").wait()
    equal(len(list(keys.list_properties_of_keys())), 26)


def deleted():
    keys = client()
    key = keys.create_rsa_key("gone", size=2048)
    keys.create_rsa_key("gone", size=2048)
    gone = keys.begin_delete_key("gone").result()
    equal(gone.recovery_id, f"{VAULT}/deletedkeys/gone")
    equal(gone.scheduled_purge_date - gone.deleted_date, timedelta(days=7))
    equal(problem(lambda: keys.get_key("gone"), ResourceNotFoundError), NOT_FOUND)
    equal(problem(lambda: keys.begin_delete_key("gone"), ResourceNotFoundError), NOT_FOUND)
    taken = (409, "Conflict", "ObjectIsDeletedButRecoverable")
    equal(problem(lambda: keys.create_rsa_key("gone"), ResourceExistsError), taken)
    equal(keys.get_deleted_key("gone").recovery_id, gone.recovery_id)
    assert "gone" in {one.name for one in keys.list_deleted_keys()}
    unwrap = lambda: crypto(key.id).unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"\0" * 256)
    equal(problem(unwrap, ResourceNotFoundError), NOT_FOUND)

    back = keys.begin_recover_deleted_key("gone").result()
    equal(back.name, "gone")
    equal(len(list(keys.list_properties_of_key_versions("gone"))), 2)
    equal(problem(lambda: keys.get_deleted_key("gone"), ResourceNotFoundError), NOT_FOUND)
    equal(problem(lambda: keys.purge_deleted_key("gone"), ResourceNotFoundError), NOT_FOUND)

    keys.begin_delete_key("gone").wait()
    keys.purge_deleted_key("gone")
    equal(problem(lambda: keys.get_deleted_key("gone"), ResourceNotFoundError), NOT_FOUND)
    keys.create_rsa_key("gone", size=2048)

    locked = client(vault=WORLD["locked"])
    equal(locked.create_rsa_key("kept", size=2048).properties.recovery_level, "Recoverable")
    locked.begin_delete_key("kept").wait()
    equal(problem(lambda: locked.purge_deleted_key("kept")), FORBIDDEN)


def backup():
    keys = client()
    first = keys.create_rsa_key("saved", size=2048, tags={"a": "b"})
    second = keys.create_rsa_key("saved", size=3072)
    secret = secrets.token_bytes(64)
    wrapped = crypto(first).wrap_key(KeyWrapAlgorithm.rsa_oaep, secret)
    blob = keys.backup_key("saved")
    equal(problem(lambda: keys.restore_key_backup(blob), ResourceExistsError)[:2], (409, "Conflict"))
    keys.begin_delete_key("saved").wait()
    taken = (409, "Conflict", "ObjectIsDeletedButRecoverable")
    equal(problem(lambda: keys.restore_key_backup(blob), ResourceExistsError), taken)
    keys.purge_deleted_key("saved")
    # What was purged comes back when two have asked: unlike the service.
    equal(problem(lambda: keys.restore_key_backup(blob)), FORBIDDEN)
    restored = client("second").restore_key_backup(blob)
    equal((restored.id, restored.key.n), (second.id, second.key.n))
    equal(keys.get_key("saved", first.properties.version).properties.tags, {"a": "b"})
    unwrapped = crypto(first).unwrap_key(KeyWrapAlgorithm.rsa_oaep, wrapped.encrypted_key)
    equal(unwrapped.key, secret)

    elsewhere = client(vault=WORLD["many"]).restore_key_backup(blob)
    equal(elsewhere.id, f"{WORLD['many']}/keys/saved/{second.properties.version}")
    unwrapped = crypto(f"{WORLD['many']}/keys/saved/{first.properties.version}").unwrap_key(
        KeyWrapAlgorithm.rsa_oaep, wrapped.encrypted_key
    )
    equal(unwrapped.key, secret)
    damaged = bytearray(blob)
    damaged[len(damaged) // 2] ^= 1
    equal(problem(lambda: keys.restore_key_backup(bytes(damaged))), BAD)
    equal(problem(lambda: keys.restore_key_backup(b"")), BAD)
    equal(problem(lambda: keys.backup_key("nothing"), ResourceNotFoundError), NOT_FOUND)


PADDINGS = {
    "RSA1_5": padding.PKCS1v15(),
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}


def uses():
    keys = client()
    for size in (2048, 3072, 4096):
        key = keys.get_key(f"size-{size}") if size > 2048 else keys.create_rsa_key("used", size=2048)
        modulus = int.from_bytes(key.key.n, "big")
        public = rsa.RSAPublicNumbers(65537, modulus).public_key()
        here, there = crypto(key), crypto(key.id, "wrapper")
        for name, scheme in PADDINGS.items():
            wrapping, encryption = KeyWrapAlgorithm(name), EncryptionAlgorithm(name)
            secret = secrets.token_bytes(64)
            # The client that may read the public key wraps by itself; the other has the daemon do it.
            for one in (here, there):
                wrapped = one.wrap_key(wrapping, secret)
                equal(wrapped.key_id, key.id)
                equal(there.unwrap_key(wrapping, wrapped.encrypted_key).key, secret, name)
                cipher = one.encrypt(encryption, secret)
                equal(there.decrypt(encryption, cipher.ciphertext).plaintext, secret, name)
            equal(there.unwrap_key(wrapping, public.encrypt(secret, scheme)).key, secret, name)

            damaged = bytearray(wrapped.encrypted_key)
            damaged[7] ^= 0x10
            tampered = lambda cipher: problem(lambda: there.unwrap_key(wrapping, cipher))
            texts = set()
            for wrong in (bytes(damaged), bytes(size // 8), b"\x01", b"\xff" * (size // 8)):
                if name == "RSA1_5" and wrong == bytes(damaged):
                    continue  # its padding is right by chance once in some thousands
                equal(tampered(wrong), BAD, name)
                texts.add(message(lambda: there.unwrap_key(wrapping, wrong)))
            equal(len(texts), 1, "one answer to all")
        equal(problem(lambda: there.encrypt(EncryptionAlgorithm.rsa_oaep_256, bytes(size // 8 - 65))), BAD)
    # Without a version in its id, the client sends /keys/NAME//wrapkey.
    newest = crypto(f"{VAULT}/keys/used", "wrapper")
    wrapped = newest.wrap_key(KeyWrapAlgorithm.rsa_oaep, secret).encrypted_key
    equal(newest.unwrap_key(KeyWrapAlgorithm.rsa_oaep, wrapped).key, secret)


SIGNATURES = {
    "RS256": (hashes.SHA256(), False), "RS384": (hashes.SHA384(), False), "RS512": (hashes.SHA512(), False),
    "PS256": (hashes.SHA256(), True), "PS384": (hashes.SHA384(), True), "PS512": (hashes.SHA512(), True),
}


def signatures():
    keys = client()
    key = keys.get_key("size-3072")
    public = rsa.RSAPublicNumbers(65537, int.from_bytes(key.key.n, "big")).public_key()
    # The client that may read the public key verifies by itself; the other has the daemon do it.
    here, there = crypto(key), crypto(key.id, "signer")
    for name, (hash, pss) in SIGNATURES.items():
        algorithm = SignatureAlgorithm(name)
        digest = secrets.token_bytes(hash.digest_size)
        scheme = padding.PSS(padding.MGF1(hash), hash.digest_size) if pss else padding.PKCS1v15()
        for one in (here, there):
            signed = one.sign(algorithm, digest)
            equal(signed.key_id, key.id)
            public.verify(signed.signature, digest, scheme, utils.Prehashed(hash))
            for judge in (here, there):
                equal(judge.verify(algorithm, digest, signed.signature).is_valid, True, name)
                equal(judge.verify(algorithm, digest[1:] + b"x", signed.signature).is_valid, False, name)
                equal(judge.verify(algorithm, digest, bytes(384)).is_valid, False, name)
        equal(problem(lambda: there.sign(algorithm, digest[1:])), BAD)
    nobody = lambda: crypto(key.id, "wrapper").sign(SignatureAlgorithm.rs256, bytes(32))
    equal(problem(nobody), (403, "Forbidden", "ForbiddenByPolicy"))
    keys.create_rsa_key("unsigned", size=2048, key_operations=["verify"])
    unsigned = lambda: crypto(f"{VAULT}/keys/unsigned", "signer").sign(SignatureAlgorithm.rs256, bytes(32))
    equal(problem(unsigned), FORBIDDEN)


def random_bytes():
    for count in (1, 32, 128):
        one, other = client().get_random_bytes(count), client("wrapper").get_random_bytes(count)
        equal((len(one), len(other)), (count, count))
        assert count == 1 or one != other
    equal(problem(lambda: client().get_random_bytes(129)), BAD)
    equal(problem(lambda: client("nobody").get_random_bytes(1)), (403, "Forbidden", "ForbiddenByPolicy"))


def names():
    keys = client()
    key = keys.create_rsa_key("Mixed-Case", size=2048)
    equal(keys.get_key("MIXED-case").id, key.id)
    equal(key.name, "Mixed-Case")
    again = keys.create_rsa_key("mixed-case", size=2048)
    equal(again.name, "Mixed-Case")
    equal(len(list(keys.list_properties_of_key_versions("mixed-CASE"))), 2)
    lower = crypto(again.id.replace("Mixed-Case", "mixed-case"), "wrapper")
    wrapped = lower.wrap_key(KeyWrapAlgorithm.rsa_oaep, b"x").encrypted_key
    equal(crypto(again.id, "wrapper").unwrap_key(KeyWrapAlgorithm.rsa_oaep, wrapped).key, b"x")
    upper = client(vault=VAULT.replace("//prod", "//PROD"))
    equal(upper.get_key("mixed-case").properties.version, again.properties.version)
    keys.begin_delete_key("MIXED-CASE").wait()
    equal(problem(lambda: keys.create_rsa_key("mixed-case"), ResourceExistsError)[0], 409)
    equal(keys.begin_recover_deleted_key("mixed-case").result().id, again.id)


def attributes():
    """What a key is told to be, it is after each way on which it can leave and come back."""
    keys = client()
    begin = datetime(2025, 1, 1, tzinfo=timezone.utc)
    told = {
        "enabled": False,
        "not_before": begin,
        "expires_on": begin + timedelta(days=9999),
        "tags": {f"{n:02}" + "\U0001f600" * 254: "\U0001f600" * 256 for n in range(15)},
    }
    operations = ["sign", "verify"]

    def judged(key):
        properties = key.properties
        got = {name: getattr(properties, name) for name in told}
        equal(got, told, key.name)
        equal(key.key_operations, operations)
        return properties.created_on, properties.updated_on, properties.version

    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made = [
        judged(keys.create_rsa_key("kept-made", size=2048, key_operations=operations, **told)),
        judged(keys.import_key("kept-brought", JsonWebKey(**numbers(own), key_ops=operations), **told)),
    ]
    for name, times in zip(("kept-made", "kept-brought"), made):
        time.sleep(1.1)  # another second: what is made anew would say so
        equal(judged(keys.get_key(name)), times)
        blob = keys.backup_key(name)
        keys.begin_delete_key(name).wait()
        equal(judged(keys.begin_recover_deleted_key(name).result()), times, "recovered")
        equal(judged(client(vault=WORLD["many"]).restore_key_backup(blob)), times, "restored elsewhere")
        keys.begin_delete_key(name).wait()
        keys.purge_deleted_key(name)
        equal(problem(lambda: keys.restore_key_backup(blob)), FORBIDDEN)
        equal(judged(client("second").restore_key_backup(blob)), times, "restored")
    late = lambda: keys.update_key_properties("kept-made", not_before=told["expires_on"])
    equal(problem(late), BAD)


def message(call):
    try:
        call()
    except HttpResponseError as error:
        return error.error.message
    raise AssertionError("no error")


def states():
    keys = client()
    now = datetime.now(timezone.utc)
    secret = b"s" * 32
    oaep = KeyWrapAlgorithm.rsa_oaep_256

    key = keys.create_rsa_key("switch", size=2048)
    user = crypto(key.id, "wrapper")
    wrapped = user.wrap_key(oaep, secret).encrypted_key
    keys.update_key_properties("switch", enabled=False)
    disabled = (403, "Forbidden", "KeyDisabled")
    equal(problem(lambda: user.unwrap_key(oaep, wrapped)), disabled)
    equal(problem(lambda: user.wrap_key(oaep, secret)), disabled)
    equal(keys.get_key("switch").properties.enabled, False, "a disabled key can be read")
    keys.update_key_properties("switch", enabled=True)
    equal(user.unwrap_key(oaep, wrapped).key, secret)

    keys.update_key_properties("switch", expires_on=now - timedelta(hours=1))
    equal(problem(lambda: user.wrap_key(oaep, secret)), (403, "Forbidden", "KeyExpired"))
    equal(user.unwrap_key(oaep, wrapped).key, secret, "an expired key unwraps")

    early = keys.create_rsa_key("early", size=2048, not_before=now + timedelta(hours=1))
    user = crypto(early.id, "wrapper")
    equal(problem(lambda: user.wrap_key(oaep, secret)), (403, "Forbidden", "KeyNotYetValid"))
    public = rsa.RSAPublicNumbers(65537, int.from_bytes(early.key.n, "big")).public_key()
    cipher = public.encrypt(secret, PADDINGS["RSA-OAEP-256"])
    equal(user.unwrap_key(oaep, cipher).key, secret, "a key unwraps before its time")

    narrow = keys.create_rsa_key("narrow", size=2048, key_operations=["wrapKey", "unwrapKey"])
    user = crypto(narrow.id, "wrapper")
    equal(problem(lambda: user.encrypt(EncryptionAlgorithm.rsa_oaep, secret)), FORBIDDEN)
    user.wrap_key(oaep, secret)


def permissions():
    client().create_rsa_key("shared", size=2048)
    refused = (403, "Forbidden", "ForbiddenByPolicy")
    reader, nobody = client("reader"), client("nobody")
    reader.get_key("shared")
    assert list(reader.list_properties_of_keys())
    for call in (
        lambda: reader.create_rsa_key("shared"),
        lambda: reader.update_key_properties("shared", enabled=False),
        lambda: reader.begin_delete_key("shared"),
        lambda: reader.rotate_key("shared"),
        lambda: reader.backup_key("shared"),
        lambda: reader.restore_key_backup(b"x"),
        lambda: reader.purge_deleted_key("shared"),
        lambda: reader.get_key_rotation_policy("shared"),
        lambda: nobody.get_key("shared"),
        lambda: nobody.get_key("nothing"),
        lambda: list(nobody.list_properties_of_keys()),
        lambda: list(nobody.list_deleted_keys()),
        lambda: client("wrapper").get_key("shared"),
        lambda: crypto(f"{VAULT}/keys/shared", "nobody").wrap_key("RSA-OAEP", b"x"),
        lambda: client(vault=WORLD["default"]).get_key("shared"),
    ):
        equal(problem(call), refused)


def rotation_policy():
    keys = client()
    keys.create_rsa_key("policy", size=2048)
    unset = keys.get_key_rotation_policy("policy")
    equal((list(unset.lifetime_actions), unset.expires_in), ([], None))
    actions = [
        KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P18M"),
        KeyRotationLifetimeAction(KeyRotationPolicyAction.notify, time_before_expiry="P30D"),
    ]
    policy = KeyRotationPolicy(lifetime_actions=actions, expires_in="P2Y")
    for got in (
        keys.update_key_rotation_policy("policy", policy),
        keys.get_key_rotation_policy("policy"),
    ):
        equal(got.id, f"{VAULT}/keys/policy/rotationpolicy")
        equal(got.expires_in, "P2Y")
        told = {str(one.action).lower().split(".")[-1]: one for one in got.lifetime_actions}
        equal(told["rotate"].time_after_create, "P18M")
        equal(told["notify"].time_before_expiry, "P30D")
    rotated = keys.rotate_key("policy").properties
    made, end = rotated.created_on, rotated.expires_on
    equal((end.year, end.month, end.time()), (made.year + 2, made.month, made.time()))
    weeks = KeyRotationPolicy(expires_in="P8W", lifetime_actions=[KeyRotationLifetimeAction(
        KeyRotationPolicyAction.rotate, time_before_expiry="P1W")])
    equal(keys.update_key_rotation_policy("policy", weeks).expires_in, "P8W")

    def refused(*actions, **more):
        wrong = KeyRotationPolicy(lifetime_actions=list(actions), **more)
        equal(problem(lambda: keys.update_key_rotation_policy("policy", wrong)), BAD)

    rotate = KeyRotationPolicyAction.rotate
    refused(KeyRotationLifetimeAction(rotate, time_after_create="P6D"))
    refused(KeyRotationLifetimeAction(rotate, time_before_expiry="P30D"))
    refused(KeyRotationLifetimeAction(rotate, time_after_create="P9D"), expires_in="P27D")
    refused(*[KeyRotationLifetimeAction(rotate, time_after_create="P9D")] * 2)
    refused(KeyRotationLifetimeAction(rotate, time_after_create="9 days"))


def main():
    steps = [
        handshake, create, import_key, rotate, get_and_update, lists, deleted, backup, uses, signatures, states,
        permissions, rotation_policy, random_bytes, names, attributes,
    ]
    for step in steps:
        begun = time.monotonic()
        step()
        print(f"{step.__name__}: ok, {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
