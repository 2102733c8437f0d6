//! Feed files: read from beside the policy that names them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::feed::{Document, MAX_FEED_SIZE};
use crate::files::regular;
use crate::policy::{Code, Feed, Policy, Remark, Withdrawn};
use crate::vendor::Vendor;

/// Returns the path of the file of `feed`, relative to the policy file at `policy`.
pub fn path(policy: &Path, feed: &Feed) -> PathBuf {
    let folder = policy.parent().unwrap_or_else(|| Path::new("."));
    folder.join(&feed.file.value)
}

/// Reads the bytes of a regular file, at most one more than a feed may have.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular::read(path, MAX_FEED_SIZE as u64 + 1)
}

/// Returns the time since `file` was written.
pub fn age(file: &Path, now: SystemTime) -> Option<Duration> {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified());
    now.duration_since(modified.ok()?).ok()
}

/// Loads every feed of `policy`, which was read from `path`, and returns remarks on them. A missing file leaves its
/// feed without prefixes, with a warning; if a remark is an error, the policy must be rejected.
pub fn load(policy: &mut Policy, path: &Path, now: SystemTime) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for position in 0..policy.feeds.len() {
        load_one(policy, position, path, now, &mut remarks);
    }
    remarks
}

fn load_one(
    policy: &mut Policy,
    position: usize,
    policy_path: &Path,
    now: SystemTime,
    remarks: &mut Vec<Remark>,
) {
    let feed = &policy.feeds[position];
    let (name, line) = (feed.name.value.clone(), feed.file.line);
    let file = path(policy_path, feed);
    let bytes = match read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(vendor) = feed.vendor {
                remarks.extend(remark_shipped(feed, vendor, &file, now));
                if let Err(error) = policy.check_shipped(position) {
                    let message = format!(
                        "profile \"{name}\" is refused: the addresses that ship with offramp: {error}"
                    );
                    remarks.push(Remark::error(Code::FeedRefused, message).at(line));
                }
                return;
            }
            let message = format!(
                "feed \"{name}\" is not loaded: there is no file {}; packets to its prefixes do not count as public",
                file.display()
            );
            let remark = Remark::warning(Code::FeedNotLoaded, message).at(line);
            remarks.push(remark.help("fetch it with `offramp feed fetch`, or save it by hand"));
            return;
        }
        Err(error) => {
            let message = format!("feed \"{name}\": {}: {error}", file.display());
            remarks.push(Remark::error(Code::FeedRefused, message).at(line));
            return;
        }
    };
    let max_age_days = u64::from(feed.max_age_days);
    let document = match policy.take_feed(position, &bytes) {
        Ok(document) => document,
        Err(error) => {
            let message = format!("feed \"{name}\" is refused: {}: {error}", file.display());
            let remark = Remark::error(Code::FeedRefused, message).at(line);
            remarks.push(remark.help("offramp loads a feed whole or not at all; `offramp feed fetch` fetches it again, and keeps the previous file beside it"));
            return;
        }
    };
    remark_spellings(&name, line, &document, remarks);
    if let Some(days) = age(&file, now).map(|age| age.as_secs() / SECONDS_OF_A_DAY)
        && days > max_age_days
    {
        let message = format!("feed \"{name}\" is {days} days old; max_age_days is {max_age_days}");
        let remark = Remark::warning(Code::FeedOld, message).at(line);
        remarks.push(remark.help("`offramp feed fetch` asks whether there is a later one"));
    }
    // Where the version before is lost or damaged, there is nothing to compare with.
    let feed = &policy.feeds[position];
    let before = read(&previous(&file)).ok();
    let before = before.and_then(|bytes| feed.read(&bytes).ok());
    for withdrawn in policy.withdrawn(&document, before.as_ref()) {
        remarks.push(remark_withdrawn(&withdrawn, &name));
    }
}

/// Remarks that the addresses of a profile are those that ship with the program, where they are old.
fn remark_shipped(feed: &Feed, vendor: Vendor, file: &Path, now: SystemTime) -> Option<Remark> {
    let (name, as_of) = (&feed.name.value, vendor.facts().addresses.as_of);
    let begins = |day: String| humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).ok();
    let made = as_of.first_day().and_then(begins);
    let age = made.map(|made| now.duration_since(made).unwrap_or_default());
    let days = age.map(|age| age.as_secs() / SECONDS_OF_A_DAY);
    let age = match days {
        Some(days) if days <= u64::from(feed.max_age_days) => return None,
        Some(days) => format!("{days} days old; max_age_days is {}", feed.max_age_days),
        None => "of an unknown date: the vendor's document has none".to_owned(),
    };
    let message = format!(
        "profile \"{name}\" has the addresses that ship with offramp, since there is no file {}; they are {age}",
        file.display()
    );
    let remark = Remark::warning(Code::FeedOld, message).at(feed.name.line);
    Some(remark.help("`offramp feed fetch` gets the vendor's list, or save it by hand"))
}

fn remark_withdrawn(withdrawn: &Withdrawn<'_>, feed: &str) -> Remark {
    let (prefix, service) = (withdrawn.prefix.value, withdrawn.service);
    let mut message =
        format!("{prefix} of [[public]] \"{service}\" is no longer in feed \"{feed}\"");
    if !withdrawn.still_there.is_empty() {
        message.push_str(&format!(", except for {}", withdrawn.still_there));
    }
    let remark = Remark::warning(Code::FeedWithdrawn, message).at(withdrawn.prefix.line);
    remark.help("take it out of the service: the feed keeps its prefixes current")
}

/// Returns the path under which the previous file is kept.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    PathBuf::from(name)
}

fn remark_spellings(name: &str, line: u32, document: &Document, remarks: &mut Vec<Remark>) {
    let notes = &document.notes;
    if notes.is_empty() {
        return;
    }
    let shown: Vec<String> = notes.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = match notes.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "feed \"{name}\" has unusual spellings: {}{more}",
        shown.join("; ")
    );
    remarks.push(Remark::warning(Code::FeedSpelling, message).at(line));
}

/// Notes of a feed that one remark has.
const SHOWN: usize = 3;
const SECONDS_OF_A_DAY: u64 = 86_400;
