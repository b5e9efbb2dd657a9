//! The key daemon.
//!
//! It holds the key-encryption keys (KEKs), unwraps disks' keys (DEKs) for those who may have them, under a lease,
//! takes them back when a key is switched off, and writes down every use. A request passes named stages, each in its
//! own module: [`front`] reads it, [`auth`] says whether it may, [`service`] decides what happens, [`ops`] do it,
//! [`store`] makes it durable together with its [`audit`] record, [`leases`] tells those it concerns.

#![forbid(unsafe_code)]

pub mod amounts;
pub mod audit;
pub mod auth;
pub mod backups;
pub mod base64_bytes;
pub mod cli;
pub mod clock;
pub mod core;
pub mod envelope;
pub mod error;
pub mod files;
pub mod front;
pub mod harden;
pub mod hsm;
pub mod keeper;
pub mod kek;
pub mod keyring;
pub mod keyvault;
pub mod leases;
pub mod limits;
pub mod lock;
pub mod log;
pub mod model;
pub mod opened;
pub mod ops;
pub mod recovery;
pub mod root;
pub mod sandbox;
pub mod seal;
pub mod secret_file;
pub mod serve;
pub mod service;
pub mod standing;
pub mod state_dir;
pub mod store;
pub mod tls;
pub mod volume_key;
