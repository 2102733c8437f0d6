//! [`Swarm`]: agents of many gateways, each a thread, with stores that take note of what they ask.

use std::fmt::{self, Debug};
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use offramp::gateway::fleet::agent::Agent;
use offramp::gateway::fleet::layout::{CHANNELS, POLICY};
use offramp::gateway::fleet::report::GatewayReport;
use offramp::gateway::fleet::store::{self, Entry, Store, StoreResult, Version};

use crate::support::Folder;

/// Agents of many gateways.
pub(crate) struct Swarm {
    notes: Arc<Notes>,
    gateways: usize,
}

/// Requests of all agents, with their times.
#[derive(Debug, Default)]
struct Notes {
    of: Mutex<Noted>,
    stop: AtomicBool,
    /// Checks of policies that may run at the same time: more would take gigabytes, and be no faster.
    permits: Mutex<usize>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Noted {
    /// Serial and time of each policy that was received.
    received: Vec<(u64, Instant)>,
    /// Serial and time of each first report of a release in the policy file.
    in_file: Vec<(u64, Instant)>,
    /// Times at which a channel was asked for.
    looks: Vec<Instant>,
    /// Gateway and time of each answer.
    answers: Vec<(usize, Instant)>,
}

impl Swarm {
    /// Starts so many agents, whose files are in `folder`; `lines` are those of [fleet] but for the name and the policy.
    pub(crate) fn start(folder: &Folder, gateways: usize, lines: &str) -> Self {
        let notes = Arc::new(Notes {
            permits: Mutex::new(2 * thread::available_parallelism().map_or(1, usize::from)),
            ..Notes::default()
        });
        for gateway in 0..gateways {
            let own = folder.path(&format!("vpn{gateway}"));
            std::fs::create_dir(&own).expect("a folder");
            let text = format!(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n\
                 [fleet]\ngateway = \"vpn{gateway}\"\npolicy = \"{own}/policy.toml\"\n{lines}"
            );
            let site = folder.write(&format!("vpn{gateway}/site.toml"), text);
            let notes = notes.clone();
            thread::spawn(move || {
                let agent = Agent::with_store(Path::new(&site), |options| {
                    Ok(Box::new(Watched {
                        store: store::open(&options.source, &options.access)?,
                        gateway,
                        has_permit: false,
                        has: None,
                        notes,
                    }))
                });
                agent.expect("the site file is right").run()
            });
        }
        Self { notes, gateways }
    }

    /// Waits until all have the release `serial`; returns, in order, when each had received it and when its file had it.
    pub(crate) fn wait_for(&self, serial: u64) -> (Vec<Instant>, Vec<Instant>) {
        let of = |noted: &[(u64, Instant)]| -> Vec<Instant> {
            let of_it = noted.iter().filter(|(of, _)| *of == serial);
            of_it.map(|(_, at)| *at).collect()
        };
        self.wait("a release in every file", |noted| {
            let in_file = of(&noted.in_file);
            (in_file.len() >= self.gateways).then(|| (of(&noted.received), in_file))
        })
    }

    /// Waits until all were answered after `since`; returns, in order, when each was first.
    pub(crate) fn wait_until_answered_since(&self, since: Instant) -> Vec<Instant> {
        self.wait("an answer for everybody", |noted| {
            let mut first = vec![None; self.gateways];
            for (gateway, at) in noted.answers.iter().filter(|(_, at)| *at >= since) {
                first[*gateway].get_or_insert(*at);
            }
            let mut first: Vec<Instant> = first.into_iter().collect::<Option<_>>()?;
            first.sort();
            Some(first)
        })
    }

    /// Times of the looks after `since`.
    pub(crate) fn looks_since(&self, since: Instant) -> Vec<Duration> {
        let noted = self.notes.lock();
        let looks = noted.looks.iter().filter(|at| **at >= since);
        looks.map(|at| *at - since).collect()
    }

    /// Has every agent end at its next request; their threads go by themselves.
    pub(crate) fn stop(self) {
        self.notes.stop.store(true, Ordering::Relaxed);
    }

    fn wait<T>(&self, what: &str, ask: impl Fn(&Noted) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(&self.notes.lock()) {
                return answer;
            }
            assert!(Instant::now() < deadline, "it never came: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.of.lock().expect("nobody panics with it")
    }

    fn take_permit(&self) {
        let permits = self.permits.lock().expect("nobody panics with it");
        let free = self.freed.wait_while(permits, |free| *free == 0);
        *free.expect("nobody panics with it") -= 1;
    }

    fn give_permit(&self) {
        *self.permits.lock().expect("nobody panics with it") += 1;
        self.freed.notify_one();
    }
}

/// The store of one gateway, with notes of what it is asked.
struct Watched {
    store: Box<dyn Store>,
    gateway: usize,
    /// True from a policy that was received until the agent tells what became of it.
    has_permit: bool,
    /// The serial of its policy file.
    has: Option<u64>,
    notes: Arc<Notes>,
}

impl Debug for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Watched({:?})", self.store)
    }
}

impl Watched {
    fn is_done(&mut self) {
        if std::mem::take(&mut self.has_permit) {
            self.notes.give_permit();
        }
    }
}

impl Store for Watched {
    fn name(&self) -> String {
        self.store.name()
    }

    fn read(&mut self, key: &str, most: usize) -> StoreResult<Option<Entry>> {
        if self.notes.stop.load(Ordering::Relaxed) {
            // Ends the thread without a message.
            panic::resume_unwind(Box::new(()));
        }
        let is_look = key.starts_with(CHANNELS);
        if is_look {
            self.is_done();
            self.notes.lock().looks.push(Instant::now());
        }
        let entry = self.store.read(key, most)?;
        let now = Instant::now();
        if is_look {
            self.notes.lock().answers.push((self.gateway, now));
        }
        if let Some(folder) = key.strip_suffix(POLICY) {
            let serial = folder.trim_end_matches('/').rsplit('/').next();
            let serial = serial.and_then(|it| it.parse().ok()).expect("a serial");
            self.notes.lock().received.push((serial, now));
            self.notes.take_permit();
            self.has_permit = true;
        }
        Ok(entry)
    }

    fn wait(&mut self, key: &str, seen: Option<&Version>, patience: Duration) -> StoreResult {
        self.is_done();
        self.store.wait(key, seen, patience)
    }

    fn create(&mut self, key: &str, bytes: &[u8]) -> StoreResult {
        self.store.create(key, bytes)
    }

    fn exchange(&mut self, key: &str, before: Option<&Version>, bytes: &[u8]) -> StoreResult {
        self.store.exchange(key, before, bytes)
    }

    fn names(&mut self, folder: &str) -> StoreResult<Vec<String>> {
        self.store.names(folder)
    }

    fn report(&mut self, key: &str, bytes: &[u8], lease: Duration) -> StoreResult<bool> {
        self.is_done();
        let report = GatewayReport::parse(bytes).expect("the agent's own report");
        if let Some(serial) = report.has.filter(|_| report.has != self.has) {
            self.has = report.has;
            self.notes.lock().in_file.push((serial, Instant::now()));
        }
        self.store.report(key, bytes, lease)
    }
}

/// No release takes nearly this long.
const PATIENCE: Duration = Duration::from_secs(300);
