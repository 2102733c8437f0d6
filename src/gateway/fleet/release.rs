//! [`Release`]: a version of the fleet's policy, with a [`Manifest`] that is signed.
//!
//! ```text
//!  policy.toml ── gzip ──▶ policy.toml.gz
//!       └── sha256 ──▶ manifest { serial, sha256, expires, min_version } ── minisign ──▶ manifest.minisig
//! ```
//!
//! The signature is of the manifest, and the manifest has the digest of the policy as it is before compression:
//! `minisign -V` and `sha256sum` check a release without this program.

use std::io::{Read as _, Write as _};
use std::time::SystemTime;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use minisign::{KeyPair, SecretKey, SecretKeyBox};
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::gateway::host::fleet_state::digest;
use crate::policy::MAX_FILE_SIZE;

/// A version of the fleet's policy, whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its facts.
    pub manifest: Manifest,
    /// The policy.
    pub policy: Vec<u8>,
}

/// A release as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The policy, compressed.
    pub policy: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
}

/// The facts of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// Number of the release, from 1; each has one that no other has, and gateways take rising ones.
    pub serial: u64,
    /// Digest of the policy, before compression.
    pub sha256: String,
    /// The time from which gateways warn that it is old (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The oldest version of the program that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    /// The release that has the same policy, if this one brings it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
}

/// The reason why a release is not taken.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The signature is not of this manifest by a trusted key.
    #[error("{0}")]
    Signature(String),
    /// The manifest is none, although it is signed.
    #[error("its manifest cannot be read: {0}")]
    Manifest(String),
    /// The manifest is of another release.
    #[error(
        "its manifest is that of release {found}: the store has a release in the place of another"
    )]
    OtherSerial {
        /// The serial of the manifest.
        found: u64,
    },
    /// The policy is not the one that was signed.
    #[error("its policy has the digest {found}, but the one that was signed has {signed}")]
    Digest {
        /// Of the policy.
        found: String,
        /// Of the manifest.
        signed: String,
    },
    /// The policy cannot be uncompressed.
    #[error("its policy cannot be uncompressed: {0}")]
    Compression(String),
    /// The program is older than the release wants.
    #[error(
        "it takes offramp {wanted} or later, and this is {here}: install that first",
        here = env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The version that it takes.
        wanted: String,
    },
}

impl Manifest {
    /// The facts of the release `serial` of `policy`.
    pub fn new(serial: u64, policy: &[u8]) -> Self {
        Self {
            format: FORMAT,
            serial,
            sha256: digest(policy),
            expires: None,
            min_version: None,
            again: None,
        }
    }

    /// Returns `true` if the release is older than its publisher wanted any to get.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        let expires = self.expires.as_deref();
        let expires = expires.and_then(|it| humantime::parse_rfc3339(it).ok());
        expires.is_some_and(|at| at <= now)
    }
}

impl Packed {
    /// Packs `policy` with its `manifest`, signed by `key`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(manifest: &Manifest, policy: &[u8], key: &SecretKey) -> Result<Self, String> {
        let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
        let written = compressed.write_all(policy);
        let compressed = written.and_then(|()| compressed.finish());
        let mut text = serde_json::to_string_pretty(manifest).map_err(|it| it.to_string())?;
        text.push('\n');
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let comment = format!("offramp release {} at {now}", manifest.serial);
        let signed = minisign::sign(None, key, text.as_bytes(), Some(&comment), None);
        let signed = signed.map_err(|error| format!("signing failed: {error}"))?;
        Ok(Self {
            policy: compressed.map_err(|error| error.to_string())?,
            manifest: text.into_bytes(),
            signature: signed.into_string().into_bytes(),
        })
    }

    /// Checks that it is the release `serial`, signed by one of `keys`, and for this program.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn open(&self, serial: u64, keys: &[String]) -> Result<Release, ReleaseError> {
        verify(&self.manifest, &self.signature, keys)?;
        let manifest: Manifest = serde_json::from_slice(&self.manifest)
            .map_err(|error| ReleaseError::Manifest(error.to_string()))?;
        if manifest.serial != serial {
            return Err(ReleaseError::OtherSerial {
                found: manifest.serial,
            });
        }
        if let Some(wanted) = &manifest.min_version
            && !is_at_least(env!("CARGO_PKG_VERSION"), wanted)
        {
            return Err(ReleaseError::Version {
                wanted: wanted.clone(),
            });
        }
        if manifest.format != FORMAT {
            let why = format!(
                "its format is {}, and this program reads {FORMAT}",
                manifest.format
            );
            return Err(ReleaseError::Manifest(why));
        }
        let mut policy = Vec::new();
        // One byte more than a policy may have: the digest is another then.
        let read = GzDecoder::new(&self.policy[..])
            .take(MAX_FILE_SIZE as u64 + 1)
            .read_to_end(&mut policy);
        read.map_err(|error| ReleaseError::Compression(error.to_string()))?;
        let found = digest(&policy);
        if found != manifest.sha256 {
            return Err(ReleaseError::Digest {
                found,
                signed: manifest.sha256,
            });
        }
        Ok(Release { manifest, policy })
    }
}

/// Checks that `signature` is of `bytes` by one of `keys`.
fn verify(bytes: &[u8], signature: &[u8], keys: &[String]) -> Result<(), ReleaseError> {
    let refuse = |why: &str| Err(ReleaseError::Signature(why.to_owned()));
    let signature = std::str::from_utf8(signature).ok();
    let Some(signature) = signature.and_then(|it| Signature::decode(it).ok()) else {
        return refuse("its manifest.minisig is not a signature of minisign");
    };
    for key in keys {
        let Ok(key) = PublicKey::from_base64(key) else {
            return refuse("a key of fleet.public_keys cannot be used");
        };
        if key.verify(bytes, &signature, false).is_ok() {
            return Ok(());
        }
    }
    refuse("its signature is not of this manifest by a key of fleet.public_keys")
}

/// Compares versions of three numbers; one that is none is later than all.
fn is_at_least(here: &str, wanted: &str) -> bool {
    let numbers = |version: &str| -> Option<Vec<u64>> {
        let numbers = version.split('.').map(|part| part.parse().ok());
        numbers.collect()
    };
    match (numbers(here), numbers(wanted)) {
        (Some(here), Some(wanted)) => here >= wanted,
        _ => false,
    }
}

/// Returns `true` for a version that [`Manifest::min_version`] can have.
pub fn is_version(text: &str) -> bool {
    is_at_least("9999.0.0", text)
}

/// Protection of a new secret key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// Encrypted by this password.
    Password(String),
    /// Encrypted by a password that the terminal is asked for.
    Asked,
    /// None.
    Open,
}

/// A new pair of keys, as the texts of minisign's files: the secret one, and the public one.
///
/// # Errors
/// The system gives no random numbers, has too little memory to encrypt, or no terminal to ask.
pub fn generate_keys(protection: Protection) -> Result<(String, String), String> {
    let pair = match protection {
        Protection::Password(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        Protection::Asked => KeyPair::generate_encrypted_keypair(None),
        Protection::Open => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(|error| error.to_string())?;
    let comment = Some("offramp fleet secret key");
    let secret = pair.sk.to_box(comment).map_err(|it| it.to_string())?;
    let public = pair.pk.to_box().map_err(|it| it.to_string())?;
    Ok((secret.into_string(), public.into_string()))
}

/// Reads a secret key of minisign; one that is encrypted takes `password`, or asks for it on the terminal.
///
/// # Errors
/// It is no key, or the password is wrong.
pub fn read_secret_key(text: &str, password: Option<String>) -> Result<SecretKey, String> {
    let parsed = SecretKeyBox::from_string(text).map_err(|error| error.to_string())?;
    if let Ok(key) = parsed.into_unencrypted_secret_key() {
        return Ok(key);
    }
    let parsed = SecretKeyBox::from_string(text).map_err(|error| error.to_string())?;
    let key = parsed.into_secret_key(password);
    key.map_err(|error| error.to_string())
}

/// The public key that belongs to `key`, as a site file has it.
///
/// # Errors
/// The key is damaged.
pub fn public_key(key: &SecretKey) -> Result<String, String> {
    let public = minisign::PublicKey::from_secret_key(key);
    Ok(public.map_err(|error| error.to_string())?.to_base64())
}

/// The format of manifests.
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (SecretKey, Vec<String>) {
        let (secret, _) = generate_keys(Protection::Open).expect("random numbers");
        let key = read_secret_key(&secret, None).expect("it is not encrypted");
        let public = public_key(&key).expect("it was just made");
        (key, vec![public])
    }

    fn packed(key: &SecretKey) -> Packed {
        let manifest = Manifest::new(7, b"policy");
        Packed::new(&manifest, b"policy", key).expect("random numbers")
    }

    #[test]
    fn a_release_that_was_packed_is_opened() {
        let (key, public) = key();
        let release = packed(&key).open(7, &public).expect("it is signed");
        assert_eq!(release.policy, b"policy");
        assert_eq!(release.manifest.serial, 7);
    }

    #[test]
    fn every_byte_that_is_changed_in_the_manifest_or_the_policy_is_noticed() {
        let (key, public) = key();
        let right = packed(&key);
        for at in 0..right.manifest.len() {
            let mut wrong = right.clone();
            wrong.manifest[at] ^= 1;
            let refused = wrong.open(7, &public);
            assert!(matches!(refused, Err(ReleaseError::Signature(_))), "{at}");
        }
        let mut wrong = right;
        wrong.policy = Packed::new(&Manifest::new(7, b"other"), b"other", &key)
            .expect("random numbers")
            .policy;
        assert!(matches!(
            wrong.open(7, &public),
            Err(ReleaseError::Digest { .. })
        ));
        wrong.policy = b"no gzip".to_vec();
        assert!(matches!(
            wrong.open(7, &public),
            Err(ReleaseError::Compression(_))
        ));
    }

    #[test]
    fn another_key_and_another_place_are_refused() {
        let (key, public) = key();
        let (_, others) = self::key();
        let release = packed(&key);
        assert!(matches!(
            release.open(7, &others),
            Err(ReleaseError::Signature(_))
        ));
        assert!(matches!(
            release.open(8, &public),
            Err(ReleaseError::OtherSerial { found: 7 })
        ));
        // A new key beside the old one, as keys are exchanged.
        let both = [others, public].concat();
        assert!(release.open(7, &both).is_ok());
    }

    #[test]
    fn a_release_for_a_later_program_is_refused() {
        let (key, public) = key();
        let mut manifest = Manifest::new(7, b"policy");
        manifest.min_version = Some("99.0.0".to_owned());
        let release = Packed::new(&manifest, b"policy", &key).expect("random numbers");
        let refused = release.open(7, &public).expect_err("it is too new");
        assert!(
            refused
                .to_string()
                .contains("takes offramp 99.0.0 or later")
        );
        assert!(is_at_least("0.10.0", "0.9.1"));
        assert!(!is_at_least("0.9.1", "0.10.0"));
        assert!(!is_version("soon"));
    }

    #[test]
    fn expiry_is_a_time() {
        let mut manifest = Manifest::new(1, b"");
        assert!(!manifest.is_expired(SystemTime::now()));
        manifest.expires = Some("2020-01-01T00:00:00Z".to_owned());
        assert!(manifest.is_expired(SystemTime::now()));
    }
}
