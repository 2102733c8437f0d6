//! Options that several commands of the fleet share: the store, and the key that signs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use minisign::SecretKey;

use crate::cli::error::CliError;
use crate::gateway::fleet::publish::{Choices, PublishError};
use crate::gateway::fleet::release::{is_version, read_secret_key};
use crate::gateway::fleet::store::{self, Store, StoreError};
use crate::policy::site::{FleetAccess, FleetSource, is_word};

/// The store, and the access to it.
#[derive(Debug, clap::Args)]
pub(super) struct StoreOptions {
    /// The store: etcd://HOST:PORT,HOST:PORT/PREFIX (etcds:// with TLS), consul://HOST:PORT/PREFIX (consuls:// with TLS), or
    /// file:///FOLDER, which a web server may serve
    #[arg(long, value_name = "URL", value_parser = parse_source)]
    store: FleetSource,
    /// Authorities that the store's certificate is checked with, as PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Certificate to show to the store, as PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<String>,
    /// Private key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<String>,
    /// Proxy that leads to the store
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Name to log in to etcd with
    #[arg(long, value_name = "NAME", requires = "user_password_file")]
    user: Option<String>,
    /// File with the password of that user
    #[arg(long, value_name = "FILE", requires = "user")]
    user_password_file: Option<String>,
    /// File with the ACL token that Consul is shown
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

impl StoreOptions {
    pub(super) fn open(&self) -> Result<Box<dyn Store>, CliError> {
        let access = FleetAccess {
            ca: self.ca.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
            proxy: self.proxy.clone(),
            user: self.user.clone(),
            password_file: self.user_password_file.clone(),
            token_file: self.token_file.clone(),
        };
        let given = [("user", &self.user), ("token_file", &self.token_file)];
        for (key, _) in given.iter().filter(|(_, value)| value.is_some()) {
            if let Some(remedy) = self.store.refusal_of(key) {
                let option = key.replace('_', "-");
                let why = format!("--{option} has no effect on this store: {remedy}");
                return Err(CliError::Usage(why));
            }
        }
        store::open(&self.store, &access).map_err(|error| CliError::Failed(error.to_string()))
    }
}

/// The key that signs, and facts of a release.
#[derive(Debug, clap::Args)]
pub(super) struct SigningOptions {
    /// Secret key of `offramp fleet keygen`, or of minisign
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File with the password of the key; without it a terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Have gateways warn when the release is older than that: 90days
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// Oldest version of offramp that takes the release: 0.2.0
    #[arg(long, value_name = "VERSION")]
    min_version: Option<String>,
}

impl SigningOptions {
    pub(super) fn key(&self) -> Result<SecretKey, CliError> {
        let text = fs::read_to_string(&self.key)
            .map_err(|error| CliError::file("key", &self.key, &error))?;
        let password = self.password_file.as_ref().map(|path| {
            let text = fs::read_to_string(path);
            text.map_err(|error| CliError::file("password", path, &error))
        });
        let password = password.transpose()?;
        let password = password.map(|it| it.trim_end_matches(['\r', '\n']).to_owned());
        read_secret_key(&text, password)
            .map_err(|why| CliError::Failed(format!("key {}: {why}", self.key.display())))
    }

    pub(super) fn choices(&self) -> Result<Choices, CliError> {
        if let Some(version) = self.min_version.as_ref().filter(|it| !is_version(it)) {
            let why = format!("`{version}` is no version: write e.g. --min-version 0.2.0");
            return Err(CliError::Usage(why));
        }
        let expires = self.expires.map(|after| {
            let at = SystemTime::now().checked_add(after);
            at.filter(|at| *at < last_time())
                .map(|at| humantime::format_rfc3339_seconds(at).to_string())
                .ok_or_else(|| CliError::Usage("--expires is beyond the year 9999".to_owned()))
        });
        Ok(Choices {
            expires: expires.transpose()?,
            min_version: self.min_version.clone(),
        })
    }
}

/// The end of the year 9999: RFC 3339 writes none later.
fn last_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

fn parse_source(text: &str) -> Result<FleetSource, String> {
    FleetSource::parse(text).map_err(|why| format!("the store {why}"))
}

/// Reads the name of a channel.
pub(super) fn parse_channel(text: &str) -> Result<String, String> {
    match is_word(text) {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 64 letters, digits, dots, hyphens and underscores".to_owned()),
    }
}

/// The error that a command ends with.
pub(super) fn failed(error: PublishError) -> CliError {
    match error {
        PublishError::Channel(_) | PublishError::Store(StoreError::Unsupported(_)) => {
            CliError::Usage(error.to_string())
        }
        PublishError::Store(_) | PublishError::Key(_) | PublishError::Gateways(_) => {
            CliError::Failed(error.to_string())
        }
    }
}
