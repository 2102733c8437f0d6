//! [`Loader`]: reads and compiles policies on a thread of its own, one at a time.
//!
//! ```text
//!  control   ask ──────────────────── ask, ask ─────── loaded ──▶ in force ── loaded ──▶ in force
//!              │ status, metrics, signals, watchdog      ▲                      ▲
//!  thread      └─▶ read, compile ────────────────────────┘ read, compile ───────┘  one more, however many asked
//! ```
//!
//! Compiling a large feed on a busy host may take longer than the service manager waits for a heartbeat, so the control
//! thread keeps running meanwhile. Requests that arrive during a load may concern files that it has not seen; together
//! they cause one more load. A gateway that stops does not wait for a load.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tracing::{info, warn};

use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::host::service::{Notice, ServiceManager};
use crate::gateway::host::source::{LoadError, PolicySource};
use crate::gateway::host::watch::fingerprint;

/// The reason for loading a policy; the greater one prevails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ReloadTrigger {
    /// A file may have changed.
    FileChange,
    /// The host has other addresses, even if no file has changed.
    Addresses,
    /// An operator requests a load, even if no file has changed.
    Signal,
}

/// Loads policies, one at a time.
pub(super) struct Loader {
    source: Arc<dyn PolicySource>,
    manager: Arc<ServiceManager>,
    /// The files as last known.
    files: Vec<PathBuf>,
    /// Fingerprint of the files as last read.
    fingerprint: u64,
    loading: Option<(Load, JoinHandle<Result<Loaded, io::Error>>)>,
    /// A load requested while another ran.
    wanted: Option<ReloadTrigger>,
    /// True if it was told that the files cannot be read for lack of descriptors or memory.
    is_told: bool,
}

/// A load that was started.
#[derive(Debug, Clone, Copy)]
struct Load {
    trigger: ReloadTrigger,
    generation: Generation,
    /// True if whoever asked for it has heard that the files cannot be read.
    is_answered: bool,
}

/// The result of a load.
pub(super) struct Loaded {
    /// The files that were read.
    pub(super) files: Vec<PathBuf>,
    /// Their fingerprint.
    pub(super) fingerprint: u64,
    /// The policy; `None` if the load was requested because of the files alone, and none has changed.
    pub(super) policy: Option<Result<CompiledPolicy, LoadError>>,
    /// Digest of the policy's text; `None` if it changed meanwhile, which is another load.
    pub(super) digest: Option<String>,
}

impl Loader {
    /// Creates a loader for `source`; `fingerprint` is that of its `files` now.
    pub(super) fn new(
        source: Arc<dyn PolicySource>,
        manager: Arc<ServiceManager>,
        files: Vec<PathBuf>,
        fingerprint: u64,
    ) -> Self {
        Self {
            source,
            manager,
            files,
            fingerprint,
            loading: None,
            wanted: None,
            is_told: false,
        }
    }

    /// Returns `true` while a policy is being loaded.
    pub(super) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Requests a load. If one is running, [`Loader::go_on`] starts this one later.
    pub(super) fn ask(&mut self, trigger: ReloadTrigger, generation: Generation) {
        if self.loading.is_some() {
            self.wanted = self.wanted.max(Some(trigger));
            return;
        }
        let asked = Load {
            trigger,
            generation,
            is_answered: false,
        };
        self.start(asked, Duration::ZERO);
    }

    fn start(&mut self, asked: Load, pause: Duration) {
        let (source, manager) = (Arc::clone(&self.source), Arc::clone(&self.manager));
        let before = self.fingerprint;
        let loading = tokio::task::spawn_blocking(move || {
            std::thread::sleep(pause);
            load(&*source, &manager, asked, before)
        });
        self.loading = Some((asked, loading));
    }

    /// Waits for the running load; without one, forever. Cancel-safe.
    ///
    /// A lack of descriptors or memory is no change of the files: it is told once, and they are read as soon as it is over.
    ///
    /// # Errors
    /// [`JoinError`] if the load panicked.
    pub(super) async fn loaded(&mut self) -> Result<Loaded, JoinError> {
        loop {
            let Some((asked, loading)) = &mut self.loading else {
                return std::future::pending().await;
            };
            let (asked, loaded) = (*asked, loading.await);
            self.loading = None;
            match loaded? {
                Ok(loaded) => {
                    if std::mem::take(&mut self.is_told) {
                        info!("the policy's files can be read again");
                    }
                    self.files.clone_from(&loaded.files);
                    self.fingerprint = loaded.fingerprint;
                    return Ok(loaded);
                }
                Err(error) => {
                    let later = self.wanted.take();
                    let is_asked = asked.trigger == ReloadTrigger::Signal && !asked.is_answered;
                    let again = Load {
                        trigger: later.map_or(asked.trigger, |later| later.max(asked.trigger)),
                        is_answered: asked.trigger == ReloadTrigger::Signal
                            && later != Some(ReloadTrigger::Signal),
                        ..asked
                    };
                    self.start(again, PAUSE);
                    let was_told = std::mem::replace(&mut self.is_told, true);
                    if is_asked {
                        return Ok(Loaded {
                            files: self.files.clone(),
                            fingerprint: self.fingerprint,
                            policy: Some(Err(LoadError::Exhausted(error))),
                            digest: None,
                        });
                    }
                    if !was_told {
                        warn!(
                            "cannot see whether the policy has changed: {}",
                            LoadError::Exhausted(error)
                        );
                    }
                }
            }
        }
    }

    /// Starts the load requested while the last one ran, if any; `generation` is the next one.
    pub(super) fn go_on(&mut self, generation: Generation) {
        if let Some(trigger) = self.wanted.take() {
            self.ask(trigger, generation);
        }
    }
}

/// Loads the policy as `asked`, unless the files have the fingerprint `before` and were all that was asked for.
///
/// # Errors
/// The system has no descriptor or memory to read them with.
fn load(
    source: &dyn PolicySource,
    manager: &ServiceManager,
    asked: Load,
    before: u64,
) -> io::Result<Loaded> {
    let files = source.files()?;
    let read = fingerprint(&files)?;
    let is_wanted = asked.trigger != ReloadTrigger::FileChange || read != before;
    let mut digest = None;
    let policy = is_wanted.then(|| {
        manager.tell(Notice::Reloading);
        let loaded;
        (loaded, digest) = load_with_digest(source, asked.generation);
        loaded
    });
    if let Some(Err(_)) = &policy {
        // What it is refused for may be a file that could not be read.
        fingerprint(&files)?;
    }
    Ok(Loaded {
        files,
        fingerprint: read,
        policy,
        digest,
    })
}

/// Loads the policy of `source`, with the digest of its text; `None` if that was another one before than after.
pub(super) fn load_with_digest(
    source: &dyn PolicySource,
    generation: Generation,
) -> (Result<CompiledPolicy, LoadError>, Option<String>) {
    let before = source.digest();
    let loaded = source.load(generation);
    let digest = source
        .digest()
        .filter(|after| before.as_ref() == Some(after));
    (loaded, digest)
}

/// The pause before another try to read the files.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::gateway::host::sample::compiled;

    /// A source that loads when the test allows it, and reports which generations it loads.
    struct SlowSource {
        begun: Mutex<Sender<Generation>>,
        allowed: Mutex<Receiver<()>>,
    }

    impl PolicySource for SlowSource {
        fn load(&self, generation: Generation) -> Result<CompiledPolicy, LoadError> {
            let begun = self.begun.lock().expect("no test panics here");
            begun.send(generation).expect("the test listens");
            let allowed = self.allowed.lock().expect("no test panics here");
            allowed.recv().expect("the test allows it");
            Ok(compiled("", generation.0))
        }

        fn files(&self) -> io::Result<Vec<PathBuf>> {
            Ok(Vec::new())
        }

        fn name(&self) -> String {
            "slow".to_owned()
        }
    }

    fn slow() -> (Loader, Receiver<Generation>, Sender<()>) {
        let (begun, has_begun) = channel();
        let (allow, allowed) = channel();
        let source = Arc::new(SlowSource {
            begun: Mutex::new(begun),
            allowed: Mutex::new(allowed),
        });
        let manager = Arc::new(ServiceManager::silent());
        let unchanged = fingerprint(&[]).expect("no file is read");
        let loader = Loader::new(source, manager, Vec::new(), unchanged);
        (loader, has_begun, allow)
    }

    /// A source whose files cannot be read for lack of descriptors, as often as it was told.
    struct StarvedSource(Mutex<u32>);

    impl PolicySource for StarvedSource {
        fn load(&self, generation: Generation) -> Result<CompiledPolicy, LoadError> {
            Ok(compiled("", generation.0))
        }

        fn files(&self) -> io::Result<Vec<PathBuf>> {
            let mut left = self.0.lock().expect("no test panics here");
            match left.checked_sub(1) {
                Some(fewer) => {
                    *left = fewer;
                    Err(io::Error::from_raw_os_error(nix::libc::EMFILE))
                }
                None => Ok(Vec::new()),
            }
        }

        fn name(&self) -> String {
            "starved".to_owned()
        }
    }

    fn starved(times: u32) -> Loader {
        let source = Arc::new(StarvedSource(Mutex::new(times)));
        let manager = Arc::new(ServiceManager::silent());
        let unchanged = fingerprint(&[]).expect("no file is read");
        Loader::new(source, manager, vec!["p.toml".into()], unchanged)
    }

    #[test]
    fn a_lack_of_descriptors_is_no_change_of_the_files() {
        on_one_thread(async {
            let mut loader = starved(2);
            loader.ask(ReloadTrigger::FileChange, Generation(2));
            let loaded = loader.loaded().await.expect("no panic");
            assert!(loaded.policy.is_none());
            assert_eq!(loaded.files, [""; 0].map(PathBuf::from));
        });
    }

    #[test]
    fn whoever_asks_during_a_lack_of_descriptors_is_answered_and_gets_the_policy_afterwards() {
        on_one_thread(async {
            let mut loader = starved(3);
            loader.ask(ReloadTrigger::FileChange, Generation(2));
            loader.ask(ReloadTrigger::Signal, Generation(2));
            let refused = loader.loaded().await.expect("no panic");
            let Some(Err(LoadError::Exhausted(_))) = refused.policy else {
                panic!("a signal is answered");
            };
            assert_eq!(refused.files, [PathBuf::from("p.toml")]);
            loader.go_on(Generation(2));
            let loaded = loader.loaded().await.expect("no panic");
            let policy = loaded.policy.expect("a signal insists").expect("a policy");
            assert_eq!(policy.generation(), Generation(2));
            loader.go_on(Generation(3));
            assert!(loader.loading.is_none());
        });
    }

    /// Bounds a test whose load never comes; a passing test takes milliseconds.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn on_one_thread(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ended = runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await });
        runtime.shutdown_background();
        ended.expect("the loader waits for a load that nobody starts");
    }

    #[test]
    fn the_control_thread_goes_on_while_a_policy_loads_and_stops_without_waiting_for_it() {
        on_one_thread(async {
            let (mut loader, has_begun, _allow) = slow();
            loader.ask(ReloadTrigger::Signal, Generation(2));
            assert_eq!(has_begun.recv_timeout(DEADLINE), Ok(Generation(2)));
            // The load is blocked. Timers, and so everything else on this thread, keep running.
            let loaded = tokio::time::timeout(Duration::from_millis(1), loader.loaded());
            assert!(loaded.await.is_err());
        });
    }

    #[test]
    fn loads_that_are_asked_for_meanwhile_come_to_one_more() {
        on_one_thread(async {
            let (mut loader, has_begun, allow) = slow();
            loader.ask(ReloadTrigger::Signal, Generation(2));
            for trigger in [
                ReloadTrigger::FileChange,
                ReloadTrigger::Signal,
                ReloadTrigger::FileChange,
            ] {
                loader.ask(trigger, Generation(2));
            }
            allow.send(()).expect("it waits");
            let first = loader.loaded().await.expect("no panic");
            assert!(matches!(first.policy, Some(Ok(_))));
            loader.go_on(Generation(3));
            allow.send(()).expect("it waits");
            let second = loader.loaded().await.expect("no panic");
            let second = second.policy.expect("a signal insists").expect("a policy");
            assert_eq!(second.generation(), Generation(3));
            loader.go_on(Generation(4));
            assert!(loader.loading.is_none());
            let begun: Vec<Generation> = has_begun.try_iter().collect();
            assert_eq!(begun, [Generation(2), Generation(3)]);
        });
    }

    #[test]
    fn the_same_files_are_loaded_for_other_addresses() {
        on_one_thread(async {
            let (mut loader, _has_begun, allow) = slow();
            allow.send(()).expect("the source waits for it");
            loader.ask(ReloadTrigger::Addresses, Generation(2));
            let loaded = loader.loaded().await.expect("no panic");
            assert!(matches!(loaded.policy, Some(Ok(_))));
        });
    }

    #[test]
    fn files_that_read_as_before_are_not_loaded() {
        on_one_thread(async {
            let (mut loader, has_begun, _allow) = slow();
            loader.ask(ReloadTrigger::FileChange, Generation(2));
            let loaded = loader.loaded().await.expect("no panic");
            assert!(loaded.policy.is_none());
            assert!(has_begun.try_recv().is_err());
        });
    }
}
