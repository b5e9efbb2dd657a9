//! Who may look at secrets, what may hold one, and what those who do may not be.

use syn::{Attribute, Item, visit::Visit};

use crate::source::{PRODUCT, is_in, report, sources, uses};

/// Who may look at the bytes of a secret: each spends, wraps, seals, sends or proves it.
const EXPOSE: [&str; 23] = [
    "keyd/client/src/dek.rs",
    "keyd/client/src/dek/",
    "keyd/client/src/wire.rs",
    "images/src/crypt.rs",
    "images/src/crypt/",
    "images/src/digest.rs",
    "keyd/src/envelope.rs",            // puts a DEK's shares together
    "keyd/src/volume_key.rs",          // makes DEKs, and their digests
    "keyd/src/kek.rs",                 // wraps and unwraps
    "keyd/src/kek/",                   // likewise
    "keyd/src/keyring.rs",             // opens private keys
    "keyd/src/hsm/",                   // logs in to a token
    "keyd/src/root.rs",                // seals under the root key
    "keyd/src/root/",                  // makes, reads and unlocks it
    "keyd/src/secret_file.rs",         // reads a secret from a file
    "keyd/src/model/token.rs",         // hashes a token
    "keyd/src/ops/app.rs",             // makes them
    "keyd/src/front/http/identity.rs", // gives one out
    "keyd/src/keyvault/render.rs",     // tells what was decrypted
    "keyd/src/cli/principal.rs",       // prints a token, once
    "keyd/src/recovery/backup.rs",     // seals the root key to a recipient
    "keyd/src/cli/recovery.rs",        // puts it back
    "keyd/src/cli/release.rs",         // writes a DEK to a file: break-glass
];

/// What holds secret bytes directly: neither it nor what it is part of is copied, compared or serialised.
const HOLDERS: [&str; 4] = ["Dek", "Locked", "Zeroizing", "RootKey"];

/// Of these, what tells its bytes when it is printed.
const TELLTALES: [&str; 1] = ["Zeroizing"];

/// Secrets that travel in a message all the same: a token's only showing, and what Key Vault's API wraps and decrypts.
const TRAVEL: [&str; 2] = ["OneTimeSecret", "Octets"];

/// Types that are secrets: each says nothing of itself in a `Debug` written by hand, which its holders may derive from.
const SECRETS: [&str; 9] = [
    "Dek",
    "Locked",
    "XtsCipher",
    "Seal",
    "Sealer",
    "Schedules",
    "RootKey",
    "OneTimeSecret",
    "Octets",
];

/// Who may say that a buffer holds ciphertext: who encrypted it, and who read it from the disk.
const INTO_CIPHERTEXT: [&str; 3] = [
    "vhost-backend/src/disk/buffer.rs",
    "vhost-backend/src/seal.rs",
    "vhost-backend/src/queue/serve.rs",
];

#[test]
fn secrets_are_neither_printed_nor_cloned_nor_serialised() {
    let mut faults = Vec::new();
    for source in sources(&PRODUCT) {
        let file = syn::parse_file(&source.text).unwrap();
        for item in &file.items {
            let (name, attributes, fields) = match item {
                Item::Struct(item) => {
                    (&item.ident, &item.attrs, item.fields.iter().collect::<Vec<_>>())
                }
                Item::Enum(item) => {
                    let fields = item.variants.iter().flat_map(|variant| &variant.fields).collect();
                    (&item.ident, &item.attrs, fields)
                }
                _ => continue,
            };
            let is_one_of = |names: &[&str]| names.iter().any(|one| name == one);
            let holds = |names| fields.iter().any(|field| mentions(&field.ty, names));
            let stays = holds(&HOLDERS[..]) && !is_one_of(&TRAVEL);
            let silent = holds(&TELLTALES[..]) || is_one_of(&SECRETS);
            for derived in derives(attributes) {
                let copies = ["Clone", "Serialize", "Deserialize", "PartialEq"];
                let prints = silent && derived == "Debug";
                if prints || (stays && copies.contains(&derived.as_str())) {
                    faults.push(format!(
                        "{}: {name} is or holds a secret and derives {derived}",
                        source.path
                    ));
                }
            }
        }
    }
    report(&faults);
}

/// Whether a type names one of these, itself or inside.
fn mentions(ty: &syn::Type, names: &[&str]) -> bool {
    struct Found<'n>(&'n [&'n str], bool);
    impl<'ast> Visit<'ast> for Found<'_> {
        fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
            self.1 |= self.0.iter().any(|name| ident == name);
        }
    }
    let mut found = Found(names, false);
    found.visit_type(ty);
    found.1
}

fn derives(attributes: &[Attribute]) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = attribute.parse_nested_meta(|meta| {
            found.extend(meta.path.segments.last().map(|segment| segment.ident.to_string()));
            Ok(())
        });
    }
    found
}

#[test]
fn keys_are_exposed_and_ciphertext_is_declared_where_it_may_be() {
    let mut faults = Vec::new();
    for source in sources(&PRODUCT).iter().filter(|source| !source.is_test()) {
        for (word, places) in [(".expose()", &EXPOSE[..]), ("into_ciphertext(", &INTO_CIPHERTEXT)] {
            if !is_in(&source.path, places) && !uses(&source.shipped, word).is_empty() {
                faults.push(format!("{}: {word}", source.path));
            }
        }
    }
    report(&faults);
}
