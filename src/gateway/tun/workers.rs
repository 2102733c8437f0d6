//! [`Workers`]: the threads that judge packets, each from queues of the filter's device.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::counters::{IoCounters, VerdictCounters};
use super::device::{StopSignal, TunBackend, TunQueues};
use super::feedback::Feedback;
use super::publish::{Live, Published};
use super::quality::{Groups, QualityCounters};
use super::schedule::Schedule;
use crate::datapath::worker;
use crate::gateway::host::rights::Role;
use crate::packet::Traffic;
use crate::packet::media::{By, Evidence, Recognized};
use crate::verdict::{Action, Reason};

/// The threads that judge packets.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
    ends: UnboundedReceiver<String>,
    stop: StopSignal,
}

/// One worker and its counters.
#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    verdicts: Arc<VerdictCounters>,
    quality: Arc<QualityCounters>,
    io: Arc<IoCounters>,
}

impl Workers {
    /// Starts a worker for each of `queues`, those of the device called `device`; they judge by the `published`
    /// policy, and give `feedback` to the diversion.
    ///
    /// # Errors
    /// The system has no thread or no event file left.
    pub fn start(
        queues: Vec<TunQueues>,
        device: &str,
        published: &Arc<Published>,
        schedule: &Schedule,
        feedback: &Feedback,
    ) -> io::Result<Self> {
        let workers = queues.len();
        let stop = StopSignal::new()?;
        let (sender, ends) = unbounded_channel();
        let start = |(number, queues)| {
            let io = Arc::new(IoCounters::default());
            let (stop, feedback) = (stop.clone(), feedback.clone());
            let counters = Arc::clone(&io);
            let backend = TunBackend::new(queues, device, stop, counters, feedback.clone())?;
            let verdicts = Arc::new(VerdictCounters::default());
            let quality = Arc::new(QualityCounters::default());
            let live = Live::new(
                Arc::clone(published),
                number,
                Arc::clone(&verdicts),
                Arc::clone(&quality),
            );
            let live = live.with_flows(feedback.flows().cloned());
            let schedule = schedule.clone();
            let prepare = move || {
                schedule.apply(number, workers);
                // Its queue, ring and maps are open: reading and writing them takes no right.
                Role::Judge.begin();
            };
            let thread = spawn(number, prepare, backend, live, sender.clone())?;
            Ok(Worker {
                thread,
                verdicts,
                quality,
                io,
            })
        };
        let threads = queues.into_iter().enumerate().map(start);
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self {
            threads,
            ends,
            stop,
        })
    }

    /// The number of workers.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// The counters of each worker other than its verdicts.
    pub fn io(&self) -> Vec<Arc<IoCounters>> {
        self.threads.iter().map(|it| Arc::clone(&it.io)).collect()
    }

    /// Returns `true` if every worker's thread is running.
    pub fn all_live(&self) -> bool {
        self.threads.iter().all(|it| !it.thread.is_finished())
    }

    /// Waits until a worker ends, which none does unless asked to or on an error; returns the reason.
    pub async fn ended(&mut self) -> String {
        let why = self.ends.recv().await;
        why.unwrap_or_else(|| "no worker is left".to_owned())
    }

    /// Tells all workers to end once their queued packets are judged.
    pub fn stop(&self) {
        self.stop.give();
    }

    /// Waits until all workers have ended.
    pub fn join(self) {
        for worker in self.threads {
            // A panic of the worker was reported when it ended.
            _ = worker.thread.join();
        }
    }

    /// The number of packets that each worker has judged.
    pub fn judged(&self) -> Vec<u64> {
        let judged = |worker: &Worker| worker.verdicts.read().map(|(.., it)| it.packets).sum();
        self.threads.iter().map(judged).collect()
    }

    /// The workers' verdicts, by reason and action; pairs that never occurred are left out.
    pub fn verdicts(&self) -> BTreeMap<(Reason, Action), Traffic> {
        let mut sums = BTreeMap::<_, Traffic>::new();
        for worker in &self.threads {
            for (reason, action, traffic) in worker.verdicts.read() {
                *sums.entry((reason, action)).or_default() += traffic;
            }
        }
        sums.retain(|_, sum| sum.packets > 0);
        sums
    }

    /// The traffic that was forwarded though its verdict is "drop", since the policy is not enforced for its client.
    pub fn spared(&self) -> Traffic {
        let mut sum = Traffic::default();
        for worker in &self.threads {
            sum += worker.verdicts.spared();
        }
        sum
    }

    /// Forwarded packets that the kernel did not take back.
    pub fn failed_writes(&self) -> u64 {
        self.threads.iter().map(|it| it.io.failed_writes()).sum()
    }

    /// Returns `true` if every worker reads and writes a batch in one system call.
    pub fn are_batching(&self) -> bool {
        self.threads.iter().all(|it| it.io.is_batching())
    }

    /// The traffic recognized as media, by evidence; evidence that never occurred is left out.
    pub fn recognized(&self) -> BTreeMap<(Evidence, By), Traffic> {
        let mut sums = BTreeMap::<_, Traffic>::new();
        for worker in &self.threads {
            for (Recognized { evidence, by }, traffic) in worker.verdicts.recognized() {
                *sums.entry((evidence, by)).or_default() += traffic;
            }
        }
        sums.retain(|_, sum| sum.packets > 0);
        sums
    }

    /// Flows to media ports in memory, idle ones included.
    pub fn flows(&self) -> u64 {
        self.threads.iter().map(|it| it.verdicts.flows()).sum()
    }

    /// Flows evicted for lack of room before they were idle.
    pub fn evicted_flows(&self) -> u64 {
        let evicted = self.threads.iter().map(|it| it.verdicts.evicted_flows());
        evicted.sum()
    }

    /// RTP streams that are forwarded at the moment.
    pub fn streams(&self) -> u64 {
        self.threads.iter().map(|it| it.quality.streams()).sum()
    }

    /// RTP streams whose measurement ended early, for lack of room.
    pub fn evicted_streams(&self) -> u64 {
        self.threads.iter().map(|it| it.quality.evicted()).sum()
    }

    /// The quality of RTP streams that have ended, by client pool and kind of peer.
    pub fn stream_groups(&self) -> Groups {
        let mut groups = Groups::new();
        for worker in &self.threads {
            worker.quality.add_to(&mut groups);
        }
        groups
    }

    /// Answers to clients that exceeded their rate.
    pub fn suppressed_rejections(&self) -> u64 {
        let suppressed = self
            .threads
            .iter()
            .map(|it| it.verdicts.suppressed_rejections());
        suppressed.sum()
    }

    /// First fragments evicted for lack of room.
    pub fn evicted_fragments(&self) -> u64 {
        let evicted = self
            .threads
            .iter()
            .map(|it| it.verdicts.evicted_fragments());
        evicted.sum()
    }
}

fn spawn(
    number: usize,
    prepare: impl FnOnce() + Send + 'static,
    mut backend: TunBackend,
    mut live: Live,
    ends: UnboundedSender<String>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("offramp-{number}"))
        .spawn(move || {
            prepare();
            let run = AssertUnwindSafe(|| worker::run(&mut backend, &mut live));
            let why = match catch_unwind(run) {
                Ok(Ok(())) => "a worker has ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a worker has panicked".to_owned(),
            };
            // The control task has ended already, so nobody needs the message.
            _ = ends.send(why);
        })
}
