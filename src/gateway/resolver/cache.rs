//! [`AnswerCache`]: answers of upstreams, and their failures, until they expire.

use std::rc::Rc;
use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

use crate::dns::{Key, Prepared};

/// Answers by question; eviction is by S3-FIFO.
#[derive(Debug)]
pub(super) struct AnswerCache {
    answers: Option<Cache<Box<Key>, Kept>>,
}

/// An answer, or that there is none.
#[derive(Debug, Clone)]
struct Kept {
    answer: Option<Rc<Prepared>>,
    since: Instant,
    until: Instant,
}

/// The cached result for a question.
pub(super) enum Known {
    /// The answer, and its age in seconds.
    Answer(Rc<Prepared>, u32),
    /// No upstream answered a moment ago.
    Failure,
}

impl AnswerCache {
    /// Returns the answers that each of `threads` keeps where all keep `entries`: none, or one at least.
    pub(super) fn part(entries: u32, threads: usize) -> u32 {
        entries.div_ceil(u32::try_from(threads).unwrap_or(u32::MAX).max(1))
    }

    /// Creates a cache for this many answers.
    pub(super) fn new(entries: u32) -> Self {
        let entries = usize::try_from(entries).unwrap_or(usize::MAX);
        Self {
            answers: (entries > 0).then(|| Cache::new(entries)),
        }
    }

    /// Returns the cached result for the question with this `key`.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Known> {
        let kept = self.answers.as_ref()?.get(key)?;
        if now >= kept.until {
            return None;
        }
        let age = now.saturating_duration_since(kept.since).as_secs();
        Some(match &kept.answer {
            Some(answer) => {
                Known::Answer(Rc::clone(answer), u32::try_from(age).unwrap_or(u32::MAX))
            }
            None => Known::Failure,
        })
    }

    /// Caches `answer` for its time to live.
    pub(super) fn keep(&mut self, key: &Key, answer: &Rc<Prepared>, now: Instant) {
        if answer.lifetime() == 0 || answer.size() > MAX_ANSWER {
            return;
        }
        let until = now + Duration::from_secs(answer.lifetime().into());
        self.insert(key, Some(Rc::clone(answer)), now, until);
    }

    /// Remembers for a second that no upstream answered (RFC 9520 §3.2).
    pub(super) fn keep_failure(&mut self, key: &Key, now: Instant) {
        self.insert(key, None, now, now + FAILURE);
    }

    fn insert(&mut self, key: &Key, answer: Option<Rc<Prepared>>, since: Instant, until: Instant) {
        if let Some(answers) = &mut self.answers {
            let kept = Kept {
                answer,
                since,
                until,
            };
            answers.insert(key.into(), kept);
        }
    }
}

/// Bytes of an answer that is kept: larger ones are rare, and would make the cache's size unpredictable.
const MAX_ANSWER: usize = 4_096;
/// The time for which a failure is remembered.
const FAILURE: Duration = Duration::from_secs(1);
