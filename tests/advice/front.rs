//! What clients of Key Vault are told over HTTPS, as `curl` hears it.

use std::{fs, path::PathBuf, process::Command};

use system_tests::process::{run, tool};

use crate::{
    follow::Advised,
    keys::{follows, not_followed},
    state::start_fails,
};

/// The host that names a vault here, and the one that does elsewhere.
const VAULT: &str = "default.localhost";
const PUBLIC: &str = "default.keys.example.org";

const KEYS: &str = "/keys?api-version=7.4";

/// The private key of RFC 7515, appendix A.2.
const JWK: &str = r#"{"key":{"kty":"RSA","e":"AQAB",
"n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
"d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
"p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
"q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
"dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
"dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
"qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}}"#;

/// A client, and where it asks.
struct Client {
    ca: PathBuf,
    port: u16,
    identities: u16,
    own: Vec<String>,
}

/// The port that the log tells behind a word.
fn port(log: &str, word: &str) -> u16 {
    let address = log.rsplit(word).next().and_then(|rest| rest.split([',', ' ', '\n']).next());
    let port = address.and_then(|address| address.rsplit(':').next()?.parse().ok());
    port.unwrap_or_else(|| panic!("no port behind '{word}': {log}"))
}

/// Serves there too, with further options; somebody who asks with those of curl's.
fn serve(on: &mut Advised, options: &str, own: &[&str]) -> Client {
    on.restart(&format!("--listen 127.0.0.1:0 --identity-listen 127.0.0.1:0 {options}"));
    let log = on.world.keyd.as_ref().expect("it runs").said();
    let ca = on.world.path("keyd-ca.pem");
    fs::write(&ca, on.ok("ca show")).expect("written");
    let own = own.iter().map(|&word| word.to_owned()).collect();
    Client { ca, port: port(&log, "https "), identities: port(&log, "identities "), own }
}

impl Client {
    /// Status and body.
    fn ask(&self, method: &str, host: &str, target: &str, body: &str) -> (u16, String) {
        let mut curl = Command::new(tool("curl", "curl"));
        curl.args(["-sS", "-w", "\n%{http_code}", "--cacert"]).arg(&self.ca);
        curl.args(["--resolve", &format!("{host}:{}:127.0.0.1", self.port), "-X", method]);
        if !body.is_empty() {
            curl.args(["-H", "Content-Type: application/json", "-d", body]);
        }
        answer(curl.args(&self.own).arg(format!("https://{host}:{}{target}", self.port)))
    }

    /// A token for an identity's header, at its endpoint.
    fn token(&self, header: &str) -> (u16, String) {
        let mut curl = Command::new(tool("curl", "curl"));
        curl.args(["-sS", "-w", "\n%{http_code}", "-H"])
            .arg(format!("X-IDENTITY-HEADER: {header}"));
        let resource = format!("https://localhost:{}", self.port);
        let query = format!("api-version=2019-08-01&resource={resource}");
        answer(curl.arg(format!("http://127.0.0.1:{}/msi/token?{query}", self.identities)))
    }
}

fn answer(curl: &mut Command) -> (u16, String) {
    let said = run(curl).success();
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// The header of a new token of an application.
fn bearer(on: &Advised, app: &str) -> String {
    format!("Authorization: Bearer {}", on.ok(&format!("token create {app}")).trim())
}

pub fn of_who_may_not(on: &mut Advised) {
    on.ok("principal create ci");
    let header = bearer(on, "ci");
    let client = serve(on, "", &["-H", &header]);
    let (status, told) = client.ask("GET", VAULT, KEYS, "");
    assert_eq!(status, 403, "{told}");
    on.heed(&told, "keyd vault permit", &[], "");
    let (status, told) = client.ask("GET", VAULT, KEYS, "");
    assert_eq!(status, 200, "{told}");

    // By TLS nobody is there of that name; by a name that is known another one can be asked for.
    let host = format!("Host: {PUBLIC}");
    let foreign = Client { own: vec!["-H".to_owned(), host], ..client };
    let (status, told) = foreign.ask("GET", VAULT, KEYS, "");
    assert_eq!(status, 400, "{told}");
    assert_eq!(on.taken(&told, "keyd serve"), "keyd serve --public-name");
    let options = "--listen 127.0.0.1:0 --public-name keys.example.org";
    // Its authority signs for no such name: that is said with the way out, which clients have a part in.
    let told = start_fails(on, options);
    assert!(told.contains("remove it and ca.key, and keyd makes another"), "{told}");
    for name in ["ca.pem", "ca.key"] {
        fs::remove_file(on.world.path(&format!("state/{name}"))).expect("removed");
    }
    let client = serve(on, "--public-name keys.example.org", &["-H", &header]);
    let (status, told) = client.ask("GET", PUBLIC, KEYS, "");
    assert_eq!(status, 200, "{told}");

    // Nothing can be written down: the status says why.
    on.ok("vault permit default app:ci create");
    fs::remove_file(on.world.path("state/audit.log")).expect("removed");
    let (status, told) = client.ask("POST", VAULT, "/keys/k/create?api-version=7.4", RSA);
    assert_eq!(status, 503, "{told}");
    assert_eq!(on.taken(&told, "keyd status"), "keyd status");
    let why = on.status();
    assert!(why.contains("audit.log was removed"), "{why}");
}

/// A client's certificate and key, and the authority that it is of.
fn certificate(on: &Advised) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for words in [
        format!("req -x509 {key} -subj /CN=ca -days 2 -keyout ca.key -out ca.pem"),
        format!(
            "req {key} -subj /CN=client -addext extendedKeyUsage=clientAuth -keyout client.key -out client.csr"
        ),
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy -days 2 -out client.pem"
            .to_owned(),
    ] {
        let mut openssl = Command::new(tool("openssl", "openssl"));
        openssl.args(words.split(' ')).current_dir(on.world.path(""));
        let _ = run(&mut openssl).success();
    }
}

pub fn of_whose_certificate_is_nobodys(on: &mut Advised) {
    certificate(on);
    on.ok("principal create ci");
    on.ok("vault permit default app:ci list");
    let [cert, key] =
        ["client.pem", "client.key"].map(|name| on.world.path(name).display().to_string());
    let own = ["--cert", cert.as_str(), "--key", key.as_str()];
    let client = serve(on, "--client-ca ca.pem", &own);
    let (status, told) = client.ask("GET", VAULT, KEYS, "");
    assert_eq!(status, 401, "{told}");
    on.heed(&told, "keyd principal certificates", &[], "ci --certificate client.pem");
    let (status, told) = client.ask("GET", VAULT, KEYS, "");
    assert_eq!(status, 200, "{told}");
    // By its fingerprint it is the same.
    on.ok("principal certificates ci");
    let nonsense = on.keyd("principal certificates ci --fingerprint nonsense").failure();
    let print = on.taken(&nonsense, "openssl x509").replace("FILE", &cert);
    let mut words = print.split_whitespace();
    let mut openssl = Command::new(tool(words.next().expect("a program"), "openssl"));
    let printed = run(openssl.args(words)).success();
    let print = printed.trim().rsplit('=').next().expect("a fingerprint");
    on.ok(&format!("principal certificates ci --fingerprint {print}"));
    assert_eq!(client.ask("GET", VAULT, KEYS, "").0, 200);
}

pub fn of_identities(on: &mut Advised) {
    on.ok("principal create ci");
    let client = serve(on, "", &[]);
    let (status, told) = client.token("nonsense");
    assert_eq!(status, 401, "{told}");
    let made = on.heed(&told, "keyd identity create", &[], "ci");
    let header = made.lines().find_map(|line| line.strip_prefix("IDENTITY_HEADER="));
    let header = header.unwrap_or_else(|| panic!("{made}")).to_owned();
    let (status, first) = client.token(&header);
    assert_eq!(status, 200, "{first}");
    // As the help of `token revoke` says.
    on.example("keyd token revoke ci --all", "token revoke ci --all");
    let (status, second) = client.token(&header);
    assert!(status == 200 && second != first, "{second}");
    on.example("keyd identity remove", "identity remove ci");
    assert_eq!(client.token(&header).0, 401);
}

/// The README's and the help's lines, on ports that are free.
pub fn as_it_is_shown(on: &mut Advised) {
    on.serves("keyd serve --listen 127.0.0.1:8443", "--listen 127.0.0.1:0");
    let both = "keyd serve --listen 127.0.0.1:8443 --identity-listen 127.0.0.1:8444";
    on.followed.insert(both.to_owned());
    certificate(on);
    let client = serve(on, "--client-ca ca.pem", &[]);
    assert_eq!(
        on.example("keyd ca show", "ca show"),
        fs::read_to_string(&client.ca).expect("a CA")
    );
    on.examples(&[
        "keyd vault create bank",
        "keyd principal create ci",
        "keyd vault permit bank app:ci get,list,create,sign,verify,wrapKey,unwrapKey",
    ]);
    let header = bearer(on, "ci");
    let client = Client { own: vec!["-H".to_owned(), header], ..client };
    let made = client.ask("POST", "bank.localhost", "/keys/k/create?api-version=7.4", RSA);
    assert_eq!(made.0, 200, "{}", made.1);
    on.examples(&["keyd identity create ci"]);
    fs::rename(on.world.path("client.pem"), on.world.path("ci.pem")).expect("moved");
    on.examples(&["keyd principal certificates ci --certificate ci.pem"]);
}

const RSA: &str = r#"{"kty":"RSA"}"#;

/// Both ways out, each by itself.
pub fn of_what_was_imported(on: &mut Advised) {
    on.ok("principal create ci");
    on.ok("vault permit default app:ci import");
    let header = bearer(on, "ci");
    let client = serve(on, "", &["-H", &header]);
    for (key, way) in [("i1", "keyd des set-key"), ("i2", "keyd key rotate")] {
        on.ok(&format!("key create {key} --bits 2048"));
        on.ok(&format!("des create {key} --key {key}"));
        let (status, told) = client.ask("PUT", VAULT, &format!("/keys/{key}?api-version=7.4"), JWK);
        assert_eq!(status, 200, "{told}");
        let told = not_followed(on, key);
        on.heed(&told, way, &[], "");
        follows(on, key);
    }
}
