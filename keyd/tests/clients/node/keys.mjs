// The npm client @azure/keyvault-keys, unmodified, challenge verification on.
//
// Asserted: the handshake and the scope asked for; rows 1 create, 2 import, 3 rotate, 4 get, 5 update, 6 list, 7
// versions, 8 delete, 9, 10 deleted keys, 11 recover, 12 purge, 13 backup, 14 restore, 15-18 wrap, unwrap, encrypt,
// decrypt by three algorithms against Node's own crypto, 21, 22 rotation policy; statuses and codes of the refusals.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import dns from "node:dns";
import fs from "node:fs";

const world = JSON.parse(process.env.KEYD_WORLD);

// Node asks getaddrinfo, which knows no names below localhost (RFC 6761 would have it so).
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => lookup(host.endsWith(".localhost") ? "127.0.0.1" : host, ...rest);

const { KeyClient, CryptographyClient } = await import(process.env.KEYD_NODE_CLIENT);

class Token {
  constructor(name) {
    this.text = world.tokens[name] ?? name;
    this.scopes = [];
  }
  async getToken(scopes) {
    this.scopes.push(scopes);
    return { token: this.text, expiresOnTimestamp: Date.now() + 3600_000 };
  }
}

const tls = { tlsOptions: { ca: fs.readFileSync(world.ca, "utf8") } };
const client = (name = "full", vault = world.vault) => new KeyClient(vault, new Token(name), tls);
const user = (key, name = "wrapper") => new CryptographyClient(key, new Token(name), tls);

async function problem(call) {
  try {
    await call();
  } catch (error) {
    const inner = error.details?.error?.innerError?.code ?? null;
    return [error.statusCode, error.code, inner];
  }
  assert.fail("no error");
}

const BAD = [400, "BadParameter", null];
const NOT_FOUND = [404, "KeyNotFound", null];
const keys = client();

async function makes_and_changes() {
  const credential = new Token("full");
  const first = await new KeyClient(world.vault, credential, tls).createRsaKey("node", { keySize: 2048 });
  assert.deepEqual(credential.scopes[0], [`https://localhost:${world.port}/.default`]);
  assert.deepEqual(first.keyOperations, ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]);
  assert.equal(first.id, `${world.vault}/keys/node/${first.properties.version}`);
  assert.equal(first.properties.recoveryLevel, "CustomizedRecoverable+Purgeable");

  const second = await keys.rotateKey("node");
  assert.notEqual(second.properties.version, first.properties.version);
  assert.equal((await keys.getKey("node")).id, second.id);
  assert.equal((await keys.getKey("node", { version: first.properties.version })).id, first.id);
  // The client counts seconds in 32 bits.
  const expiresOn = new Date("2037-01-01T00:00:00Z");
  const updated = await keys.updateKeyProperties("node", second.properties.version, { expiresOn, tags: { a: "b" } });
  assert.deepEqual([updated.properties.expiresOn, updated.properties.tags], [expiresOn, { a: "b" }]);

  const versions = [];
  for await (const properties of keys.listPropertiesOfKeyVersions("node")) versions.push(properties.version);
  assert.equal(versions.length, 2);
  const names = [];
  for await (const page of keys.listPropertiesOfKeys().byPage({ maxPageSize: 1 })) {
    assert.equal(page.length, 1);
    names.push(page[0].name);
  }
  assert.ok(names.includes("node"));

  const { privateKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = privateKey.export({ format: "jwk" });
  const wire = Object.fromEntries(
    Object.entries(jwk).map(([name, value]) => [name, name === "kty" ? value : Buffer.from(value, "base64url")]),
  );
  const brought = await keys.importKey("node-brought", wire);
  assert.equal(Buffer.from(brought.key.n).toString("base64url"), jwk.n);

  assert.deepEqual(await problem(() => keys.createEcKey("ec")), BAD);
  assert.deepEqual(await problem(() => keys.createRsaKey("small", { keySize: 1024 })), BAD);
  assert.deepEqual(await problem(() => keys.getKey("nothing")), NOT_FOUND);
}

async function deletes_and_brings_back() {
  const key = await keys.createRsaKey("node-gone", { keySize: 2048 });
  const blob = await keys.backupKey("node-gone");
  const gone = await (await keys.beginDeleteKey("node-gone")).pollUntilDone();
  assert.equal(gone.properties.recoveryId, `${world.vault}/deletedkeys/node-gone`);
  const taken = [409, "Conflict", "ObjectIsDeletedButRecoverable"];
  assert.deepEqual(await problem(() => keys.createRsaKey("node-gone")), taken);
  const listed = [];
  for await (const one of keys.listDeletedKeys()) listed.push(one.name);
  assert.ok(listed.includes("node-gone"));
  const back = await (await keys.beginRecoverDeletedKey("node-gone")).pollUntilDone();
  assert.equal(back.name, "node-gone");
  await (await keys.beginDeleteKey("node-gone")).pollUntilDone();
  await keys.purgeDeletedKey("node-gone");
  assert.deepEqual(await problem(() => keys.getDeletedKey("node-gone")), NOT_FOUND);
  // What was purged comes back when two have asked: unlike the service.
  assert.deepEqual(await problem(() => keys.restoreKeyBackup(blob)), [403, "Forbidden", null]);
  assert.equal((await client("second").restoreKeyBackup(blob)).id, key.id);
}

const PADDINGS = {
  "RSA1_5": { padding: crypto.constants.RSA_PKCS1_PADDING },
  "RSA-OAEP": { padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha1" },
  "RSA-OAEP-256": { padding: crypto.constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" },
};

async function uses() {
  const key = await keys.createRsaKey("node-used", { keySize: 3072 });
  const jwk = { kty: "RSA", n: Buffer.from(key.key.n).toString("base64url"), e: "AQAB" };
  const publicKey = crypto.createPublicKey({ key: jwk, format: "jwk" });
  for (const [name, padding] of Object.entries(PADDINGS)) {
    const secret = crypto.randomBytes(64);
    for (const one of [user(key, "full"), user(key.id)]) {
      const wrapped = await one.wrapKey(name, secret);
      assert.deepEqual(Buffer.from((await one.unwrapKey(name, wrapped.result)).result), secret);
      const { result } = await one.encrypt({ algorithm: name, plaintext: secret });
      const opened = await one.decrypt({ algorithm: name, ciphertext: result });
      assert.deepEqual(Buffer.from(opened.result), secret);
    }
    const cipher = crypto.publicEncrypt({ key: publicKey, ...padding }, secret);
    assert.deepEqual(Buffer.from((await user(key.id).unwrapKey(name, cipher)).result), secret);
    assert.deepEqual(await problem(() => user(key.id).unwrapKey(name, Buffer.alloc(384))), BAD);
  }
  for (const [name, hash] of Object.entries({ RS256: "sha256", RS512: "sha512", PS256: "sha256", PS384: "sha384" })) {
    const data = crypto.randomBytes(100);
    const digest = crypto.createHash(hash).update(data).digest();
    const { result } = await user(key.id, "signer").sign(name, digest);
    const padding = name[0] === "P" ? crypto.constants.RSA_PKCS1_PSS_PADDING : crypto.constants.RSA_PKCS1_PADDING;
    assert.ok(crypto.verify(hash, data, { key: publicKey, padding, saltLength: digest.length }, result), name);
    assert.equal((await user(key.id, "signer").verify(name, digest, result)).result, true);
    assert.equal((await user(key.id, "signer").verify(name, digest, Buffer.alloc(384))).result, false);
  }
  assert.equal((await keys.getRandomBytes(32)).length, 32);
  assert.equal((await keys.getKey("NODE-used")).id, key.id);
  await keys.updateKeyProperties("node-used", key.properties.version, { enabled: false });
  const disabled = await problem(() => user(key.id).unwrapKey("RSA-OAEP", Buffer.alloc(384)));
  assert.deepEqual(disabled, [403, "Forbidden", "KeyDisabled"]);
}

async function policies_and_permissions() {
  const set = await keys.updateKeyRotationPolicy("node", {
    expiresIn: "P90D",
    lifetimeActions: [{ action: "Rotate", timeAfterCreate: "P30D" }],
  });
  const got = await keys.getKeyRotationPolicy("node");
  assert.equal(got.expiresIn, "P90D");
  assert.deepEqual(got.lifetimeActions, set.lifetimeActions);
  const refused = [403, "Forbidden", "ForbiddenByPolicy"];
  assert.deepEqual(await problem(() => client("reader").createRsaKey("node")), refused);
  assert.deepEqual((await problem(() => client("keyd_stranger").getKey("node"))).slice(0, 2), [401, "Unauthorized"]);
  await assert.rejects(() => client("full", `https://127.0.0.1:${world.port}`).getKey("node"), /challenge resource/);
}

for (const step of [makes_and_changes, deletes_and_brings_back, uses, policies_and_permissions]) {
  await step();
  console.log(`${step.name}: ok`);
}
