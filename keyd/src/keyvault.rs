//! Azure Key Vault's REST API for keys as types: what may be asked ([`Request`]), what is answered ([`Reply`]), what is
//! said instead ([`Problem`]). Requests are judged here as a whole and nowhere else; nothing here knows of sockets, of
//! permissions or of the store.
//!
//! Names and numbers are those of the API's description (Azure/azure-rest-api-specs, `keyvault/data-plane`, versions
//! 7.0 to 2025-07-01) and of replies of the service that the SDKs' tests have recorded.

pub mod api_version;
mod attributes;
pub mod base64url;
mod body;
pub mod crypto;
pub mod new_key;
pub mod origin;
pub mod problem;
pub mod query;
pub mod render;
pub mod reply;
pub mod request;
mod rotation;
pub mod tags;
pub mod target;

pub use api_version::ApiVersion;
pub use base64url::Octets;
pub use crypto::Use;
pub use origin::Origin;
pub use problem::{Kind, Problem};
pub use query::Query;
pub use reply::Reply;
pub use request::Request;
pub use target::{KeyRef, Target};
