"""The asynchronous client of azure-keyvault-keys, unmodified: another transport (aiohttp), another challenge policy.

Asserted: the handshake, rows 1, 4, 5, 6, 8, 11, 12, 15, 16, 19, 20, 23 and 3, one refusal of each status.
"""

import asyncio
import time

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import KeyWrapAlgorithm, SignatureAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient
from azure.core.credentials import AccessToken

from world import WORLD, equal, options

VAULT = WORLD["vault"]


class Token:
    def __init__(self, name):
        self.text = WORLD["tokens"].get(name, name)

    async def get_token(self, *_, **__):
        return AccessToken(self.text, int(time.time()) + 3600)

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


async def problem(call, kind=HttpResponseError):
    try:
        await call
    except kind as error:
        return error.status_code, error.error.code, (error.error.innererror or {}).get("code")
    raise AssertionError("no error")


async def main():
    keys = KeyClient(VAULT, Token("full"), **options())
    async with keys:
        key = await keys.create_rsa_key("aio", size=2048)
        equal((await keys.get_key("aio")).id, key.id)
        updated = await keys.update_key_properties("aio", tags={"a": "b"})
        equal(updated.properties.tags, {"a": "b"})
        names = [properties.name async for properties in keys.list_properties_of_keys()]
        assert "aio" in names
        for token in ("full", "wrapper"):
            async with CryptographyClient(key.id, Token(token), **options()) as crypto:
                wrapped = await crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"s" * 64)
                opened = await crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key)
                equal(opened.key, b"s" * 64)
                damaged = crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"\0" * 256)
                equal(await problem(damaged), (400, "BadParameter", None))
        async with CryptographyClient(key.id, Token("signer"), **options()) as crypto:
            signed = await crypto.sign(SignatureAlgorithm.ps256, b"d" * 32)
            assert (await crypto.verify(SignatureAlgorithm.ps256, b"d" * 32, signed.signature)).is_valid
            assert not (await crypto.verify(SignatureAlgorithm.ps256, b"e" * 32, signed.signature)).is_valid
        equal(len(await keys.get_random_bytes(64)), 64)
        equal((await keys.get_key("AIO")).id, key.id)
        assert (await keys.rotate_key("aio")).id != key.id
        equal(await problem(keys.get_key("nothing")), (404, "KeyNotFound", None))
        await keys.delete_key("aio")
        taken = (409, "Conflict", "ObjectIsDeletedButRecoverable")
        equal(await problem(keys.create_rsa_key("aio")), taken)
        await keys.recover_deleted_key("aio")
        await keys.delete_key("aio")
        await keys.purge_deleted_key("aio")
    async with KeyClient(VAULT, Token("nobody"), **options()) as nobody:
        refused = (403, "Forbidden", "ForbiddenByPolicy")
        equal(await problem(nobody.get_key("aio")), refused)
    async with KeyClient(VAULT, Token("keyd_x"), **options()) as stranger:
        got = await problem(stranger.get_key("aio"), ClientAuthenticationError)
        equal(got, (401, "Unauthorized", None))
    print("aio: ok")


asyncio.run(main())
