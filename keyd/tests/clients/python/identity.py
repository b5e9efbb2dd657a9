"""azure-identity's ManagedIdentityCredential, unmodified, by IDENTITY_ENDPOINT and IDENTITY_HEADER.

Asserted: a client with it works, every process of it has the same token, none is given for another service, its token is taken from the cache the second time, client_id of the identity works and
that of another does not, a wrong secret does not, and a removed identity's tokens go on until they expire.
"""

import os

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.keys import KeyClient

from world import WORLD, equal, options, problem

assert os.environ["IDENTITY_ENDPOINT"].startswith("http://127.0.0.1:")
SCOPE = f"https://localhost:{WORLD['port']}/.default"


def refused(credential):
    try:
        credential.get_token(SCOPE)
    except ClientAuthenticationError as error:
        return str(error)
    raise AssertionError("a token was given")


keys = KeyClient(WORLD["vault"], ManagedIdentityCredential(), **options())
keys.create_rsa_key("by-identity", size=2048)
equal(keys.get_key("by-identity").name, "by-identity")

credential = ManagedIdentityCredential()
first = credential.get_token(SCOPE)
equal(credential.get_token(SCOPE).token, first.token, "the cache")

named = ManagedIdentityCredential(client_id=WORLD["identity"])
KeyClient(WORLD["vault"], named, **options()).get_key("by-identity")
assert "client_id" in refused(ManagedIdentityCredential(client_id="somebody-else"))

# The chain that applications use finds it by itself.
chain = DefaultAzureCredential(exclude_environment_credential=True)
KeyClient(WORLD["vault"], chain, **options()).get_key("by-identity")

# Another program of the same identity gets the same token, and none for another service.
for _ in range(3):
    equal(ManagedIdentityCredential().get_token(SCOPE).token, first.token, "another process")
try:
    ManagedIdentityCredential().get_token("https://management.azure.com/.default")
    raise AssertionError("a token for somebody else was given")
except ClientAuthenticationError as error:
    assert "AADSTS500011" in str(error), error

os.environ["IDENTITY_HEADER"] = "keyd_wrong"
refused(ManagedIdentityCredential())
equal(problem(lambda: keys.get_key("nothing"))[0], 404)
print("identity: ok")
