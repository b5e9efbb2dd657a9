//! The crate `azure_security_keyvault_keys`, unmodified, challenge verification on.
//!
//! Asserted: the handshake and the scope asked for; rows 1 create, 3 rotate, 4 get, 5 update, 6 list, 7 versions, 8
//! delete, 10 deleted key, 11 recover, 12 purge, 13 backup, 14 restore, 15 to 18 wrap, unwrap, encrypt, decrypt by
//! three algorithms, 19, 20 sign and verify, 21, 22 rotation policy, 23 random bytes; status and code of the refusals;
//! a host that is not below the resource.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_core::{
    credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{ClientOptions, RequestContent, RetryOptions, Transport},
    time::OffsetDateTime,
};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions, ResourceExt,
    models::{
        CreateKeyParameters, EncryptionAlgorithm, GetRandomBytesParameters, Key,
        KeyClientGetKeyOptions, KeyClientWrapKeyOptions, KeyOperationParameters, KeyType,
        SignParameters, SignatureAlgorithm, UpdateKeyPropertiesParameters, VerifyParameters,
    },
};
use futures::TryStreamExt;
use serde_json::{Value, json};

type Done = Result<(), Box<dyn std::error::Error>>;

/// A credential that has one token, and remembers for what it was asked.
#[derive(Debug, Default)]
struct Token {
    text: String,
    scopes: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl TokenCredential for Token {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.scopes.lock().unwrap().extend(scopes.iter().map(|scope| (*scope).to_owned()));
        let expires = OffsetDateTime::now_utc() + Duration::from_secs(3600);
        Ok(AccessToken::new(Secret::new(self.text.clone()), expires))
    }
}

struct World(Value);

impl World {
    fn text(&self, name: &str) -> String {
        self.0[name].as_str().unwrap().to_owned()
    }

    fn port(&self) -> u16 {
        u16::try_from(self.0["port"].as_u64().unwrap()).unwrap()
    }

    fn token(&self, name: &str) -> Arc<Token> {
        let text = self.0["tokens"][name].as_str().unwrap_or(name).to_owned();
        Arc::new(Token { text, scopes: Mutex::default() })
    }

    /// The system's resolver knows no names below localhost (RFC 6761 would have it so).
    fn client(&self, url: &str, token: Arc<Token>) -> Result<KeyClient, Box<dyn std::error::Error>> {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(self.text("ca"))?)?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()));
        let http = reqwest::Client::builder()
            .tls_certs_only([ca])
            .resolve("prod.localhost", here)
            .no_proxy()
            .build()?;
        let client_options = ClientOptions {
            transport: Some(Transport::new(Arc::new(http))),
            retry: RetryOptions::none(),
            ..Default::default()
        };
        let options = KeyClientOptions { client_options, ..Default::default() };
        Ok(KeyClient::new(url, token, Some(options))?)
    }
}

fn status_and_code(error: &azure_core::Error) -> (u16, String) {
    match error.kind() {
        ErrorKind::HttpResponse { status, error_code, .. } => {
            (u16::from(*status), error_code.clone().unwrap_or_default())
        }
        other => panic!("{other:?}: {error}"),
    }
}

async fn make(client: &KeyClient, name: &str, bits: i32) -> Result<Key, Box<dyn std::error::Error>> {
    let ask =
        CreateKeyParameters { kty: Some(KeyType::Rsa), key_size: Some(bits), ..Default::default() };
    Ok(client.create_key(name, ask.try_into()?, None).await?.into_model()?)
}

async fn makes_and_changes(world: &World) -> Done {
    let token = world.token("full");
    let client = world.client(&world.text("vault"), token.clone())?;
    let first = make(&client, "rust", 2048).await?;
    let scope = format!("https://localhost:{}/.default", world.port());
    assert_eq!(*token.scopes.lock().unwrap(), [scope]);
    let jwk = first.key.as_ref().unwrap();
    assert_eq!((jwk.e.as_deref(), jwk.n.as_ref().unwrap().len()), (Some(&[1, 0, 1][..]), 256));

    let second = client.rotate_key("rust", None).await?.into_model()?;
    let newest = client.get_key("rust", None).await?.into_model()?;
    assert_eq!(newest.resource_id()?.version, second.resource_id()?.version);
    let key_version = first.resource_id()?.version;
    assert_ne!(newest.resource_id()?.version, key_version);
    let options = KeyClientGetKeyOptions { key_version, ..Default::default() };
    let old = client.get_key("rust", Some(options)).await?.into_model()?;
    assert_eq!(old.key.unwrap().n, jwk.n);

    // What was told is sent back whole, as the client's own example does.
    let change = UpdateKeyPropertiesParameters {
        key_attributes: newest.attributes,
        tags: Some([("a".to_owned(), "b".to_owned())].into()),
        ..Default::default()
    };
    let changed = client.update_key_properties("rust", change.try_into()?, None).await?.into_model()?;
    assert_eq!(changed.tags.unwrap()["a"], "b");

    let listed: Vec<_> = client.list_key_properties(None)?.try_collect().await?;
    assert!(listed.iter().any(|key| key.resource_id().unwrap().name == "rust"));
    let versions: Vec<_> = client.list_key_properties_versions("rust", None)?.try_collect().await?;
    assert_eq!(versions.len(), 2);

    let policy = json!({
        "lifetimeActions": [{ "trigger": { "timeAfterCreate": "P30D" }, "action": { "type": "Rotate" } }],
        "attributes": { "expiryTime": "P90D" },
    });
    let policy = RequestContent::from_str(&policy.to_string());
    client.update_key_rotation_policy("rust", policy, None).await?;
    let policy = client.get_key_rotation_policy("rust", None).await?.into_model()?;
    assert_eq!(policy.attributes.unwrap().expiry_time.as_deref(), Some("P90D"));
    Ok(())
}

async fn deletes_and_brings_back(world: &World) -> Done {
    let client = world.client(&world.text("vault"), world.token("full"))?;
    let key = make(&client, "rust-gone", 2048).await?;
    let backup = client.backup_key("rust-gone", None).await?.into_model()?;
    client.delete_key("rust-gone", None).await?;
    let taken = make(&client, "rust-gone", 2048).await.unwrap_err();
    let taken = taken.downcast_ref::<azure_core::Error>().unwrap();
    assert_eq!(status_and_code(taken), (409, "Conflict".to_owned()));
    let gone = client.get_deleted_key("rust-gone", None).await?.into_model()?;
    assert!(gone.recovery_id.unwrap().ends_with("/deletedkeys/rust-gone"));
    client.recover_deleted_key("rust-gone", None).await?;
    client.delete_key("rust-gone", None).await?;
    client.purge_deleted_key("rust-gone", None).await?;
    let error = client.get_key("rust-gone", None).await.unwrap_err();
    assert_eq!(status_and_code(&error), (404, "KeyNotFound".to_owned()));
    let blob = azure_security_keyvault_keys::models::RestoreKeyParameters { key_backup: backup.value };
    // What was purged comes back when two have asked: unlike the service.
    let alone = client.restore_key(blob.clone().try_into()?, None).await.unwrap_err();
    assert_eq!(status_and_code(&alone), (403, "Forbidden".to_owned()));
    let second = world.client(&world.text("vault"), world.token("second"))?;
    let back = second.restore_key(blob.try_into()?, None).await?.into_model()?;
    assert_eq!(back.resource_id()?.version, key.resource_id()?.version);
    Ok(())
}

async fn uses(world: &World) -> Done {
    let client = world.client(&world.text("vault"), world.token("full"))?;
    let user = world.client(&world.text("vault"), world.token("wrapper"))?;
    let key = make(&client, "rust-used", 4096).await?;
    let version = key.resource_id()?.version.unwrap();
    for algorithm in
        [EncryptionAlgorithm::Rsa1_5, EncryptionAlgorithm::RsaOaep, EncryptionAlgorithm::RsaOaep256]
    {
        let ask = |value: Vec<u8>| KeyOperationParameters {
            algorithm: Some(algorithm.clone()),
            value: Some(value),
            ..Default::default()
        };
        // With the version in the path, and without.
        let wrap = KeyClientWrapKeyOptions { key_version: Some(version.clone()), ..Default::default() };
        let secret: Vec<u8> = (0..64).collect();
        let wrapped = user.wrap_key("rust-used", ask(secret.clone()).try_into()?, Some(wrap)).await?;
        let cipher = wrapped.into_model()?.result.unwrap();
        let opened = user.unwrap_key("rust-used", &version, ask(cipher).try_into()?, None).await?;
        assert_eq!(opened.into_model()?.result.as_ref(), Some(&secret));
        let sealed = user.encrypt("rust-used", ask(secret.clone()).try_into()?, None).await?;
        let cipher = sealed.into_model()?.result.unwrap();
        let opened = user.decrypt("rust-used", &version, ask(cipher).try_into()?, None).await?;
        assert_eq!(opened.into_model()?.result.as_ref(), Some(&secret));
        let damaged = ask(vec![0; 512]).try_into()?;
        let error = user.unwrap_key("rust-used", &version, damaged, None).await.unwrap_err();
        assert_eq!(status_and_code(&error), (400, "BadParameter".to_owned()));
    }
    Ok(())
}

async fn signs(world: &World) -> Done {
    let signer = world.client(&world.text("vault"), world.token("signer"))?;
    let key = make(&world.client(&world.text("vault"), world.token("full"))?, "Rust-Signs", 2048).await?;
    let version = key.resource_id()?.version.unwrap();
    for (algorithm, len) in [(SignatureAlgorithm::Rs256, 32), (SignatureAlgorithm::Ps512, 64)] {
        let digest = vec![7; len];
        let ask = SignParameters {
            algorithm: Some(algorithm.clone()),
            value: Some(digest.clone()),
            ..Default::default()
        };
        // In another case than it was made.
        let signed = signer.sign("rust-signs", ask.try_into()?, None).await?.into_model()?;
        for (digest, expected) in [(digest, true), (vec![8; len], false)] {
            let ask = VerifyParameters {
                algorithm: Some(algorithm.clone()),
                digest: Some(digest),
                signature: signed.result.clone(),
                ..Default::default()
            };
            let verified = signer.verify("rust-signs", &version, ask.try_into()?, None).await?;
            assert_eq!(verified.into_model()?.value, Some(expected));
        }
    }
    let ask = GetRandomBytesParameters { count: Some(32), ..Default::default() };
    let random = signer.get_random_bytes(ask.try_into()?, None).await?.into_model()?;
    assert_eq!(random.value.unwrap().len(), 32);
    Ok(())
}

async fn refusals(world: &World) -> Done {
    let ec = RequestContent::from_str(r#"{"kty":"EC","crv":"P-256"}"#);
    let full = world.client(&world.text("vault"), world.token("full"))?;
    let error = full.create_key("ec", ec, None).await.unwrap_err();
    assert_eq!(status_and_code(&error), (400, "BadParameter".to_owned()));
    let nobody = world.client(&world.text("vault"), world.token("nobody"))?;
    let error = nobody.get_key("rust", None).await.unwrap_err();
    assert_eq!(status_and_code(&error), (403, "Forbidden".to_owned()));
    let stranger = world.client(&world.text("vault"), world.token("keyd_stranger"))?;
    let error = stranger.get_key("rust", None).await.unwrap_err();
    assert_eq!(status_and_code(&error), (401, "Unauthorized".to_owned()));
    let address = format!("https://127.0.0.1:{}", world.port());
    let elsewhere = world.client(&address, world.token("full"))?;
    let error = elsewhere.get_key("rust", None).await.unwrap_err();
    assert!(error.to_string().contains("challenge resource"), "{error}");
    Ok(())
}

#[tokio::main]
async fn main() -> Done {
    let world = World(serde_json::from_str(&env::var("KEYD_WORLD")?)?);
    makes_and_changes(&world).await?;
    deletes_and_brings_back(&world).await?;
    uses(&world).await?;
    signs(&world).await?;
    refusals(&world).await?;
    println!("rust: ok");
    Ok(())
}
