//! Publishing: new releases, and channels that are moved.

use std::time::SystemTime;

use minisign::SecretKey;
use thiserror::Error;

use super::agent::read_packed;
use super::layout::{self, parse_serial};
use super::release::{Manifest, Packed, Release, public_key};
use super::report::{GatewayReport, GatewayState, MAX_REPORT};
use super::store::{Store, StoreError, Version};

/// The reason why nothing was published or moved.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The key.
    #[error("{0}")]
    Key(String),
    /// Gateways speak against it.
    #[error("{}", .0.join("\n"))]
    Gateways(Vec<String>),
    /// The channel, or the release, is not as the request takes it to be.
    #[error("{0}")]
    Channel(String),
}

/// The serial that a channel is at, as it was read.
#[derive(Debug, Clone)]
pub struct Pointer {
    /// The serial; `None` if the channel has none.
    pub serial: Option<u64>,
    version: Option<Version>,
}

/// The facts of a release that its publisher chooses.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// The time from which gateways warn that it is old (RFC 3339).
    pub expires: Option<String>,
    /// The oldest version of the program that takes it.
    pub min_version: Option<String>,
}

/// Reads the serial that `channel` is at.
///
/// # Errors
/// The store does not answer, or the channel holds something else.
pub fn pointer(store: &mut dyn Store, channel: &str) -> Result<Pointer, PublishError> {
    let key = layout::channel(channel);
    let Some(entry) = store.read(&key, 64)? else {
        return Ok(Pointer {
            serial: None,
            version: None,
        });
    };
    let serial = parse_serial(&entry.bytes)
        .ok_or_else(|| PublishError::Channel(format!("{key} holds no serial of a release")))?;
    Ok(Pointer {
        serial: Some(serial),
        version: Some(entry.version),
    })
}

/// Publishes `policy` as the next release, signed by `key`, and moves `channel` to it; returns the serial.
///
/// # Errors
/// [`PublishError`]; a channel that was not moved has no part of it.
pub fn publish(
    store: &mut dyn Store,
    key: &SecretKey,
    policy: &[u8],
    channel: &str,
    choices: &Choices,
    again: Option<u64>,
) -> Result<u64, PublishError> {
    let before = pointer(store, channel)?;
    let serial = next_serial(store, before.serial)?;
    let manifest = Manifest {
        expires: choices.expires.clone(),
        min_version: choices.min_version.clone(),
        again,
        ..Manifest::new(serial, policy)
    };
    let packed = Packed::new(&manifest, policy, key).map_err(PublishError::Key)?;
    // The first one is whose the serial is, should two publish at once.
    store.create(&layout::release(serial, layout::POLICY), &packed.policy)?;
    store.create(&layout::release(serial, layout::MANIFEST), &packed.manifest)?;
    store.create(
        &layout::release(serial, layout::SIGNATURE),
        &packed.signature,
    )?;
    move_to(store, channel, &before, serial)?;
    Ok(serial)
}

/// Moves `to` to the release that `from` is at; returns its serial.
///
/// # Errors
/// [`PublishError::Gateways`] while a gateway of `from` does not have it in force, unless `is_forced`; and others.
pub fn promote(
    store: &mut dyn Store,
    from: &str,
    to: &str,
    is_forced: bool,
) -> Result<u64, PublishError> {
    let source = pointer(store, from)?;
    let serial = source
        .serial
        .ok_or_else(|| PublishError::Channel(format!("the channel {from} has no release")))?;
    let before = pointer(store, to)?;
    match before.serial {
        Some(has) if has == serial => {
            let why = format!("the channel {to} is at release {serial} already");
            return Err(PublishError::Channel(why));
        }
        Some(has) if has > serial => {
            return Err(PublishError::Channel(format!(
                "the channel {to} is at release {has}, later than {serial} of {from}: gateways take rising serials alone. \
                 Publish the policy of {serial} anew: offramp fleet rollback {from} --to {serial}"
            )));
        }
        Some(_) | None => {}
    }
    if !is_forced {
        let against = objections(store, from, serial)?;
        if !against.is_empty() {
            return Err(PublishError::Gateways(against));
        }
    }
    move_to(store, to, &before, serial)?;
    Ok(serial)
}

/// Publishes the policy of the release `earlier` as the next one, and moves `channel` to it; returns the serial.
///
/// # Errors
/// [`PublishError`].
pub fn roll_back(
    store: &mut dyn Store,
    key: &SecretKey,
    channel: &str,
    earlier: u64,
    choices: &Choices,
) -> Result<u64, PublishError> {
    let release = signed_by(store, key, earlier)?;
    publish(store, key, &release.policy, channel, choices, Some(earlier))
}

/// Reads the release `serial`, which `key` has signed.
fn signed_by(store: &mut dyn Store, key: &SecretKey, serial: u64) -> Result<Release, PublishError> {
    let packed = read_packed(store, serial)?.map_err(PublishError::Channel)?;
    let public = public_key(key).map_err(PublishError::Key)?;
    packed.open(serial, &[public]).map_err(|error| {
        PublishError::Channel(format!(
            "release {serial} cannot be brought back by this key ({error}): publish its policy anew"
        ))
    })
}

/// The objections to giving the release `serial`, which `channel` is at, to others.
fn objections(
    store: &mut dyn Store,
    channel: &str,
    serial: u64,
) -> Result<Vec<String>, PublishError> {
    let now = SystemTime::now();
    let all = gateways(store)?;
    let of_channel: Vec<&GatewayReport> = all.iter().filter(|it| it.channel == channel).collect();
    if of_channel.is_empty() {
        return Ok(vec![format!(
            "no gateway of the channel {channel} has reported: whether release {serial} is good is not known"
        )]);
    }
    let against = of_channel.iter().filter_map(|report| {
        let why = match report.lag(serial, now) {
            Some(why) => why,
            None if report.state == GatewayState::Unconfirmed => format!(
                "it has release {serial} in its policy file, and whether it judges by it is not known ({})",
                report.reason.as_deref().unwrap_or_default()
            ),
            None => return None,
        };
        Some(format!("gateway {}: {why}", report.gateway))
    });
    Ok(against.collect())
}

/// The reports of all gateways, by name.
///
/// # Errors
/// The store does not answer, or takes no reports.
pub fn gateways(store: &mut dyn Store) -> Result<Vec<GatewayReport>, PublishError> {
    let mut reports = Vec::new();
    for name in store.names(layout::GATEWAYS)? {
        let entry = store.read(&layout::gateway(&name), MAX_REPORT * 2)?;
        // One whose lease has ended meanwhile is gone.
        let Some(entry) = entry else { continue };
        let report = GatewayReport::parse(&entry.bytes).ok_or_else(|| {
            let key = layout::gateway(&name);
            PublishError::Channel(format!("{key} holds no report of a gateway"))
        })?;
        reports.push(report);
    }
    reports.sort_by(|one, other| one.gateway.cmp(&other.gateway));
    Ok(reports)
}

/// The channels and their serials, by name.
///
/// # Errors
/// The store does not answer, or a channel holds something else.
pub fn channels(store: &mut dyn Store) -> Result<Vec<(String, Option<u64>)>, PublishError> {
    let mut channels = Vec::new();
    for name in store.names(layout::CHANNELS)? {
        let at = pointer(store, &name)?;
        channels.push((name, at.serial));
    }
    channels.sort();
    Ok(channels)
}

fn next_serial(store: &mut dyn Store, at: Option<u64>) -> Result<u64, PublishError> {
    let names = store.names(layout::RELEASES)?;
    let serials = names
        .iter()
        .filter_map(|name| parse_serial(name.as_bytes()));
    let last = serials.chain(at).max().unwrap_or(0);
    Ok(last + 1)
}

fn move_to(
    store: &mut dyn Store,
    channel: &str,
    before: &Pointer,
    serial: u64,
) -> Result<(), PublishError> {
    let key = layout::channel(channel);
    let bytes = format!("{serial}\n");
    store.exchange(&key, before.version.as_ref(), bytes.as_bytes())?;
    Ok(())
}
