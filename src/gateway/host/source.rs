//! [`PolicySource`]: policies for a gateway, and [`PolicyPath`], the source that reads a file and its feeds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::addresses::own_addresses;
use super::feeds;
use super::fleet_state::FleetState;
use crate::files::regular;
use crate::filter::{CompileError, CompiledPolicy, Generation};
use crate::policy::{self, Code, Diagnostics, MAX_FILE_SIZE, Policy, Remark, Style};
use crate::verify::broken_expectations;

/// A source of policies. Loading may take long, so it happens on a thread of its own.
pub trait PolicySource: Send + Sync {
    /// Reads the current policy and compiles it for this host.
    ///
    /// # Errors
    /// [`LoadError`].
    fn load(&self, generation: Generation) -> Result<CompiledPolicy, LoadError>;

    /// The files that the policy is made of.
    ///
    /// # Errors
    /// The system has no descriptor or memory to find out ([`regular::is_exhausted`]).
    fn files(&self) -> io::Result<Vec<PathBuf>>;

    /// The name of the source, for messages.
    fn name(&self) -> String;

    /// Reads the policy again for a review of the one in force, with what there is to say of its feeds; `None` if it is refused.
    ///
    /// By default nothing is said of feeds.
    fn read_for_review(&self) -> Option<Reviewed> {
        None
    }

    /// The release of a fleet that the text is, by the agent of the fleet; `None` without one.
    fn fleet(&self) -> Option<FleetState> {
        None
    }
}

/// A policy as its files have it, for a review.
#[derive(Debug, Clone)]
pub struct Reviewed {
    /// The policy.
    pub policy: Policy,
    /// Warnings about it and its feeds.
    pub diagnostics: Diagnostics,
    /// The age of the file of each feed, where the system tells it.
    pub feed_ages: Vec<Option<Duration>>,
}

/// The reason why a policy is rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("policy {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The policy has mistakes, or one of its feeds has.
    #[error("{}", .0.render(Style::Plain))]
    Mistakes(Box<Diagnostics>),
    /// A feed is gone that the policy in force may still have.
    #[error("{}", .0.render(Style::Plain))]
    FeedGone(Box<Diagnostics>),
    /// The policy is too large to compile.
    #[error("policy {}: {source}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound that it exceeds.
        source: CompileError,
    },
    /// The system has no descriptor or memory to read it with.
    #[error(
        "the policy's files cannot be read at the moment: {0}; they are read as soon as that is over (too many open files: see \
         `LimitNOFILE=` of the service, or `ulimit -n`)"
    )]
    Exhausted(io::Error),
    /// The kernel does not tell the addresses of this host.
    #[error("cannot read the addresses of this host: {0}")]
    Addresses(io::Error),
    /// One of the policy's own tests fails.
    #[error(
        "{origin} is refused: test \"{test}\" expects {expected}, but the outcome is {outcome}; `offramp check` says why"
    )]
    TestFailed {
        /// The policy.
        origin: String,
        /// The name of its test.
        test: String,
        /// The outcome that the test expects.
        expected: String,
        /// The actual outcome, and its reason.
        outcome: String,
    },
}

/// The policy file at a path, read again at each load.
#[derive(Debug, Clone)]
pub struct PolicyPath(pub PathBuf);

impl PolicySource for PolicyPath {
    fn load(&self, generation: Generation) -> Result<CompiledPolicy, LoadError> {
        let path = &self.0;
        let read = read(path).map_err(|source| LoadError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let policy = match read {
            // A feed that does not exist yet must not prevent a start; one that has disappeared keeps its earlier
            // prefixes.
            Ok((_, warnings))
                if generation > Generation(1)
                    && warnings.iter().any(|it| it.code() == Code::FeedNotLoaded) =>
            {
                return Err(LoadError::FeedGone(Box::new(warnings)));
            }
            Ok((policy, _)) => policy,
            Err(errors) => return Err(LoadError::Mistakes(Box::new(errors))),
        };
        let too_large = |source| LoadError::TooLarge {
            path: path.clone(),
            source,
        };
        // Its tests are about the policy alone: they hold or fail alike wherever it is checked.
        if !policy.tests.is_empty() {
            let anywhere = CompiledPolicy::new(policy.clone(), generation);
            check_tests(&anywhere.map_err(too_large)?)?;
        }
        let own = own_addresses().map_err(LoadError::Addresses)?;
        CompiledPolicy::at_gateway(policy, generation, &own).map_err(too_large)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let path = &self.0;
        let mut files = vec![path.clone()];
        match read_alone(path) {
            Ok(Ok((policy, _))) => {
                files.extend(policy.feeds.iter().map(|feed| feeds::path(path, feed)));
            }
            Err(error) if regular::is_exhausted(&error) => return Err(error),
            // A policy that cannot be read names no feeds.
            Ok(Err(_)) | Err(_) => {}
        }
        Ok(files)
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn read_for_review(&self) -> Option<Reviewed> {
        let path = &self.0;
        let (policy, diagnostics) = read(path).ok()?.ok()?;
        let now = SystemTime::now();
        let age = |feed| feeds::age(&feeds::path(path, feed), now);
        Some(Reviewed {
            feed_ages: policy.feeds.iter().map(age).collect(),
            policy,
            diagnostics,
        })
    }

    fn fleet(&self) -> Option<FleetState> {
        FleetState::beside(&self.0)
    }
}

/// Rejects a policy if one of its own tests fails.
///
/// # Errors
/// [`LoadError::TestFailed`].
pub fn check_tests(policy: &CompiledPolicy) -> Result<(), LoadError> {
    let broken = broken_expectations(policy);
    let [first, ..] = &broken[..] else {
        return Ok(());
    };
    Err(LoadError::TestFailed {
        origin: policy.policy().origin.clone(),
        test: first.test.name.value.clone(),
        expected: first.test.claim.expected(),
        outcome: format!("{}: {}", first.outcome, first.because),
    })
}

/// A policy with its warnings, or the mistakes for which it is rejected.
pub type Read = Result<(Policy, Diagnostics), Diagnostics>;

/// Reads the policy at `path` without its feeds.
///
/// # Errors
/// The file cannot be read.
pub fn read_alone(path: &Path) -> io::Result<Read> {
    // One byte more than a policy may have: the parser reports the excess.
    let text = regular::read(path, MAX_FILE_SIZE as u64 + 1)?;
    Ok(policy::parse(&path.display().to_string(), &text))
}

/// Reads the policy at `path` and loads its feeds.
///
/// # Errors
/// The policy file cannot be read.
pub fn read(path: &Path) -> io::Result<Read> {
    Ok(match read_alone(path)? {
        Ok((policy, diagnostics)) => load_feeds(path, policy, diagnostics),
        Err(errors) => Err(errors),
    })
}

/// Loads the feeds of `policy`, which was read from `path`; remarks on them are added to `diagnostics`.
///
/// # Errors
/// All diagnostics, if a feed is rejected.
pub fn load_feeds(path: &Path, mut policy: Policy, mut diagnostics: Diagnostics) -> Read {
    let remarks = feeds::load(&mut policy, path, SystemTime::now());
    remarks.iter().for_each(|remark| diagnostics.remark(remark));
    if remarks.iter().any(Remark::is_error) {
        Err(diagnostics)
    } else {
        Ok((policy, diagnostics))
    }
}
