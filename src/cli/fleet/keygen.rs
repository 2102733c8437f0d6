//! `offramp fleet keygen`: the keys of a fleet.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::error::CliError;
use crate::gateway::fleet::release::{Protection, generate_keys};

/// Make the key pair that releases are signed with, as files of minisign
///
/// NAME.key is the secret key: it stays with those who publish. NAME.pub is the public key; its second line goes into
/// `fleet.public_keys` of every gateway's site file. Without --no-password the secret key is encrypted by a password,
/// which takes a second and 1 GiB of memory, as minisign does it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp fleet keygen contoso
  offramp fleet keygen contoso --password-file password.txt")]
pub(in crate::cli) struct Options {
    /// The files' path, without .key and .pub
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// File with the password; without it a terminal is asked
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// Do not encrypt the secret key
    #[arg(long)]
    no_password: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let path = |end: &str| {
        let mut path = options.name.clone().into_os_string();
        path.push(end);
        PathBuf::from(path)
    };
    let (secret_path, public_path) = (path(".key"), path(".pub"));
    for path in [&secret_path, &public_path] {
        if path.exists() {
            let why = format!("{} is there already: choose another NAME", path.display());
            return Err(CliError::Usage(why));
        }
    }
    let protection = match (&options.password_file, options.no_password) {
        (_, true) => Protection::Open,
        (Some(path), false) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| CliError::file("password", path, &error))?;
            Protection::Password(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, false) => Protection::Asked,
    };
    let keys = generate_keys(protection);
    let (secret, public) =
        keys.map_err(|why| {
            CliError::Failed(format!(
                "no keys can be made: {why}; without a terminal, name a file with the password (--password-file), or use --no-password"
            ))
        })?;
    write(&secret_path, &secret, 0o600)?;
    write(&public_path, &public, 0o644)?;
    let line = public.lines().nth(1).unwrap_or_default();
    crate::cli::print(&format!(
        "secret key: {}\npublic key: {}\nin the site file of every gateway:\n\n[fleet]\npublic_keys = [\"{line}\"]\n",
        secret_path.display(),
        public_path.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.map_err(|error: io::Error| CliError::file("key", path, &error))
}
