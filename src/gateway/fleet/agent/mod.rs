//! [`Agent`]: follows a channel of the store, and writes the policy file of this gateway.
//!
//! ```text
//!  channel ──▶ serial ──▶ the one of the file? ─────────────────────────────────▶ report
//!                │ later                                                          ▲
//!                └──▶ release ──▶ signature, digest ──▶ site file ──▶ check, tests ──▶ policy file
//!                                        └──────────────────┴────────────┴──▶ refused: the file stays
//! ```
//!
//! Whatever goes wrong, the policy file stays as it is: the store may be away, slow, full or lying. The agent says so in its log and,
//! where the store takes one, in its report.

mod check;
mod report;
mod told;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tracing::{info, warn};

pub use check::{check, read_packed};

use self::check::{host_name, read_site};
use self::told::Told;
use super::layout::{self, parse_serial};
use super::release::Release;
use super::report::GatewayReport;
use super::spool::Spool;
use super::store::{self, Store, StoreError, Version};
use crate::files::regular;
use crate::gateway::host::fleet_state::{FleetState, digest};
use crate::policy::site::{FleetOptions, Site};
use crate::policy::{self, MAX_FILE_SIZE, Style};

/// Follows a channel, for one gateway.
#[derive(Debug)]
pub struct Agent {
    site_file: PathBuf,
    options: FleetOptions,
    /// Name of this gateway.
    gateway: String,
    spool: Spool,
    store: Box<dyn Store>,
    /// The release that was refused last.
    refused: Option<Refused>,
    /// The report that was written last, and when.
    reported: Option<(GatewayReport, Instant)>,
    /// False while the gateway is still to take what its file has.
    is_settled: bool,
    /// The last of each kind of message: it is told once.
    told: Told,
}

/// A release that was refused.
#[derive(Debug)]
struct Refused {
    serial: u64,
    /// Digest of the site file with which it was.
    site_sha256: String,
    why: String,
    at: Instant,
}

/// The result of one look at the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synced {
    /// The policy file has the release of the channel, with this serial.
    Current(u64),
    /// The release of the channel was refused, for this reason.
    Refused(String),
    /// The channel has no release.
    NoRelease,
}

/// The reason why an agent does not start.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The site file has mistakes.
    #[error("{0}")]
    Site(String),
    /// The files that it writes cannot be written.
    #[error("{}: {source}", path.display())]
    Spool {
        /// The policy file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A certificate, a key or a password cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// The reason why a release is not put in place.
#[derive(Debug)]
enum Obstacle {
    /// It will be the same at the next try.
    Lasting(String),
    /// It may be over soon.
    Passing(String),
}

impl Agent {
    /// Creates the agent of the gateway with this site file.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn new(site_file: &Path) -> Result<Self, AgentError> {
        Self::with_store(site_file, |options| {
            store::open(&options.source, &options.access)
        })
    }

    /// Creates the same agent with the store that `open` returns.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn with_store(
        site_file: &Path,
        open: impl FnOnce(&FleetOptions) -> Result<Box<dyn Store>, StoreError>,
    ) -> Result<Self, AgentError> {
        let (site, _) = read_site(site_file).map_err(AgentError::Site)?;
        let options = site.fleet.ok_or_else(|| {
            let file = site_file.display();
            AgentError::Site(format!(
                "{file} has no [fleet]: say where releases come from, e.g. source = \"https://policies.contoso.com\""
            ))
        })?;
        let path = PathBuf::from(&options.policy);
        let failed = |source| AgentError::Spool {
            path: path.clone(),
            source,
        };
        let spool = Spool::of(&path).map_err(failed)?;
        spool.prepare().map_err(failed)?;
        // Serials must not fall because a file is damaged.
        spool.state().map_err(failed)?;
        let store = open(&options)?;
        let gateway = match &options.gateway {
            Some(name) => name.clone(),
            None => host_name().map_err(AgentError::Site)?,
        };
        Ok(Self {
            site_file: site_file.to_owned(),
            options,
            gateway,
            spool,
            store,
            refused: None,
            reported: None,
            is_settled: true,
            told: Told::default(),
        })
    }

    /// The folders that it reads while it runs.
    pub fn reads(&self) -> Vec<PathBuf> {
        let access = &self.options.access;
        let files = [
            Some(&self.options.policy),
            self.options.fallback.as_ref(),
            access.ca.as_ref(),
            access.password_file.as_ref(),
            access.token_file.as_ref(),
        ];
        let files = files.into_iter().flatten().map(Path::new);
        let folders = files
            .chain([self.site_file.as_path()])
            .filter_map(Path::parent);
        let source = match &self.options.source {
            // Its parent: it may be mounted later, or be a symbolic link that is switched.
            policy::site::FleetSource::Folder(folder) => {
                Path::new(folder).parent().map(Path::to_owned)
            }
            policy::site::FleetSource::Web(_)
            | policy::site::FleetSource::Etcd { .. }
            | policy::site::FleetSource::Consul { .. } => None,
        };
        folders.map(Path::to_owned).chain(source).collect()
    }

    /// The folders that it writes to.
    pub fn writes(&self) -> Vec<PathBuf> {
        self.spool.folders()
    }

    /// Follows the channel for ever.
    pub fn run(&mut self) -> ! {
        info!(
            "gateway {}: following the channel {} of {}",
            self.gateway,
            self.options.channel,
            self.store.name()
        );
        self.take_fallback();
        let channel = layout::channel(&self.options.channel);
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let waited = self.sync().and_then(|(_, seen)| {
                let patience = Duration::from_secs(self.options.poll_seconds.into());
                let patience = match self.is_settled {
                    true => patience,
                    false => patience.min(UNSETTLED_PATIENCE),
                };
                self.store.wait(&channel, seen.as_ref(), patience)
            });
            match waited {
                Ok(()) => {
                    failures = 0;
                    // A store that ends every wait at once costs a request a second.
                    thread::sleep(MIN_PAUSE.saturating_sub(began.elapsed()));
                }
                Err(error) => {
                    self.tell_trouble(&error);
                    thread::sleep(pause_after(failures, rand::random()));
                    failures += 1;
                }
            }
        }
    }

    /// Looks at the store once; returns the version of the channel, too.
    ///
    /// # Errors
    /// The store does not answer; the policy file stays.
    pub fn sync(&mut self) -> Result<(Synced, Option<Version>), StoreError> {
        let channel = layout::channel(&self.options.channel);
        let entry = self.store.read(&channel, MAX_POINTER)?;
        if let Some(trouble) = self.told.trouble.take() {
            info!("the store answers again, after: {trouble}");
        }
        let wanted = entry.as_ref().map(|entry| parse_serial(&entry.bytes));
        let synced = match wanted {
            None => Synced::NoRelease,
            Some(None) => Synced::Refused(format!("{channel} holds no serial of a release")),
            Some(Some(serial)) => match self.follow(serial)? {
                Ok(()) => Synced::Current(serial),
                Err(why) => Synced::Refused(why),
            },
        };
        self.tell_outcome(&synced);
        let state = self.note_contact();
        self.report(&synced, wanted.flatten(), &state);
        Ok((synced, entry.map(|entry| entry.version)))
    }

    /// Takes note that the store has answered. A state that cannot be read is left as it is: it has the serial.
    fn note_contact(&mut self) -> FleetState {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let contact = Some(now.unwrap_or_default().as_secs());
        let noted = self.spool.state().and_then(|state| {
            let state = FleetState { contact, ..state };
            self.spool.write_state(&state).map(|()| state)
        });
        let trouble = noted.as_ref().err().map(ToString::to_string);
        if let Some(trouble) = &trouble
            && self.told.state.as_ref() != Some(trouble)
        {
            warn!(
                "the state beside {} is not current: {trouble}",
                self.options.policy
            );
        }
        self.told.state = trouble;
        noted.or_else(|_| self.spool.state()).unwrap_or_default()
    }

    /// Has the policy file hold the release `serial`; an inner error says why it stays as it is.
    fn follow(&mut self, serial: u64) -> Result<Result<(), String>, StoreError> {
        let state = match self.spool.state() {
            Ok(state) => state,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (site, site_sha256) = match self.site() {
            Ok(site) => site,
            Err(why) => return Ok(Err(why)),
        };
        if serial < state.serial {
            return Ok(Err(format!(
                "release {serial} is earlier than {}, which this gateway has; bring it back as a later one: offramp fleet rollback",
                state.serial
            )));
        }
        let is_whole = self.spool.policy_digest().as_ref() == Some(&state.file_sha256);
        if serial == state.serial && is_whole && site_sha256 == state.site_sha256 {
            return Ok(Ok(()));
        }
        let known = self.refused.as_ref().filter(|it| {
            it.serial == serial && it.site_sha256 == site_sha256 && it.at.elapsed() < TRY_AGAIN
        });
        if let Some(known) = known {
            return Ok(Err(known.why.clone()));
        }
        if serial == state.serial && state.serial > 0 && !is_whole {
            warn!(
                "{} is not as it was written: it is written again",
                self.options.policy
            );
        }
        let kept = self.spool.release(&state.sha256);
        let done = match kept.filter(|_| serial == state.serial) {
            // Its signature was right when it was kept, and the store need not have it any more.
            Some(policy) => self.place(serial, &policy, state.expires, &site, &site_sha256),
            None => match self.fetch(serial)? {
                Err(obstacle) => Err(obstacle),
                Ok(Release { manifest, policy }) => {
                    self.place(serial, &policy, manifest.expires, &site, &site_sha256)
                }
            },
        };
        Ok(done.map_err(|obstacle| match obstacle {
            Obstacle::Passing(why) => why,
            Obstacle::Lasting(why) => {
                self.refused = Some(Refused {
                    serial,
                    site_sha256,
                    why: why.clone(),
                    at: Instant::now(),
                });
                why
            }
        }))
    }

    /// Fetches the release `serial` and checks its signature.
    fn fetch(&mut self, serial: u64) -> Result<Result<Release, Obstacle>, StoreError> {
        let packed = match read_packed(&mut *self.store, serial)? {
            Ok(packed) => packed,
            // A folder may be in the middle of a copy.
            Err(missing) => return Ok(Err(Obstacle::Passing(missing))),
        };
        let opened = packed.open(serial, &self.options.public_keys);
        Ok(opened.map_err(|error| Obstacle::Lasting(format!("release {serial}: {error}"))))
    }

    /// Completes the fleet's `policy` by the site file, checks it and writes it.
    fn place(
        &self,
        serial: u64,
        policy: &[u8],
        expires: Option<String>,
        site: &Site,
        site_sha256: &str,
    ) -> Result<(), Obstacle> {
        let origin = format!("release {serial}");
        let channel = &self.options.channel;
        let text = self.complete(
            &origin,
            policy,
            site,
            &format!("{origin} of the channel {channel}"),
        )?;
        let failed =
            |error: std::io::Error| Obstacle::Passing(format!("{}: {error}", self.options.policy));
        self.spool.write_release(policy).map_err(failed)?;
        self.spool.write_policy(text.as_bytes()).map_err(failed)?;
        let before = self.spool.state().unwrap_or_default();
        let state = FleetState {
            serial,
            sha256: digest(policy),
            channel: channel.clone(),
            file_sha256: digest(text.as_bytes()),
            site_sha256: site_sha256.to_owned(),
            since: now(),
            expires,
            contact: before.contact,
        };
        self.spool.write_state(&state).map_err(failed)?;
        info!(
            "release {serial} is in {}: sha256 {}",
            self.options.policy, state.sha256
        );
        Ok(())
    }

    /// The policy file of `policy` and the site file, once it has passed the check.
    fn complete(
        &self,
        origin: &str,
        policy: &[u8],
        site: &Site,
        content: &str,
    ) -> Result<String, Obstacle> {
        let headline = format!(
            "Written by `offramp fleet agent`: {content}, and {}. Changes here are lost.",
            site.origin()
        );
        let completed = site.complete(origin, policy, &headline);
        let text = completed.map_err(|errors| {
            Obstacle::Lasting(errors.render(Style::Plain).trim_end().to_owned())
        })?;
        match check(self.spool.policy(), &text) {
            Ok(warnings) => {
                warnings
                    .iter()
                    .for_each(|warning| warn!("{origin}: {warning}"));
                Ok(text)
            }
            Err(why) => {
                let kept = self.spool.write_refused(text.as_bytes());
                let kept = kept.map_or(String::new(), |path| {
                    format!(" (lines are those of {})", path.display())
                });
                Err(Obstacle::Lasting(format!(
                    "{origin} does not pass the check{kept}: {why}"
                )))
            }
        }
    }

    /// Writes the policy of the package or the administrator where there is none.
    fn take_fallback(&self) {
        let Some(fallback) = &self.options.fallback else {
            return;
        };
        if self.spool.policy_digest().is_some() {
            return;
        }
        let read = regular::read(Path::new(fallback), MAX_FILE_SIZE as u64 + 1);
        let done = read.map_err(|error| error.to_string()).and_then(|policy| {
            let (site, _) = read_site(&self.site_file)?;
            let text = self.complete(fallback, &policy, &site, fallback);
            let text = text.map_err(|obstacle| match obstacle {
                Obstacle::Lasting(why) | Obstacle::Passing(why) => why,
            })?;
            let written = self.spool.write_policy(text.as_bytes());
            written.map_err(|error| error.to_string())
        });
        match done {
            Ok(()) => info!(
                "{} is {fallback} until a release comes",
                self.options.policy
            ),
            Err(why) => warn!("fleet.fallback = \"{fallback}\" cannot be used: {why}"),
        }
    }

    /// Reads the site file, and tells of changes that take another start.
    fn site(&mut self) -> Result<(Site, String), String> {
        let (site, sha256) = read_site(&self.site_file)?;
        if site.fleet.as_ref() != Some(&self.options) && self.told.site.as_ref() != Some(&sha256) {
            warn!(
                "[fleet] of {} has changed: it takes effect at the next start of the agent",
                self.site_file.display()
            );
            self.told.site = Some(sha256.clone());
        }
        Ok((site, sha256))
    }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The pause after so many failures, one after the other: doubled each time, and between the half and the whole at random.
fn pause_after(failures: u32, random: u32) -> Duration {
    let longest = MIN_PAUSE
        .saturating_mul(1 << failures.min(6))
        .min(MAX_PAUSE);
    let share = f64::from(random) / f64::from(u32::MAX);
    longest.mul_f64(0.5 + share / 2.0)
}

/// Bytes of a serial.
const MAX_POINTER: usize = 64;
/// The pause between two looks, whatever ends the wait.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The time after which a release that was refused is tried again: a feed may have been fetched since.
const TRY_AGAIN: Duration = Duration::from_secs(300);
/// The pause between two looks while the gateway is still to take what its file has.
const UNSETTLED_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_failures_grow_to_a_minute() {
        assert_eq!(pause_after(0, u32::MAX), Duration::from_secs(1));
        assert_eq!(pause_after(3, u32::MAX), Duration::from_secs(8));
        assert_eq!(pause_after(3, 0), Duration::from_secs(4));
        assert_eq!(pause_after(99, u32::MAX), MAX_PAUSE);
    }
}
