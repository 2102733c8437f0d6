//! [`screen`]: removes from an upstream's answer the records that must not pass.
//!
//! ```text
//!  www.contoso.com   CNAME sip.contoso.com   passes
//!  sip.contoso.com   A     10.1.0.30         does not: the name is pinned, and the pinned address takes its place
//!  pool01...         A     10.1.0.10         does not: the name is hidden
//!  www.contoso.com   HTTPS sip.contoso.com ipv4hint=10.1.0.30     does not: it speaks of a pinned name
//! ```
//!
//! No record passes whose owner has a local answer by the policy, in any section, of any type. A CNAME chain is
//! followed to the first such name and continued with the policy's answer. The rest of the upstream's chain is dropped,
//! because it may hold addresses under names that the policy does not know.

use hickory_proto::op::{Message, ResponseCode as Code};
use hickory_proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record};

use super::DnsName;
use super::upstream::Upstream;
use super::wire::{
    HEADER, Header, Malformed, RecordView, Records, Section, number, read_name, stands_in_ttl,
};
use crate::name::record_type;
use crate::plan::zones::{Answer, RecordSets, Zones};

/// An upstream's answer that may be given to clients until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The message without its OPT record.
    pub(super) message: Box<[u8]>,
    /// Offsets of its TTLs.
    pub(super) ttls: Box<[u16]>,
    /// Maximum time in the cache, in seconds.
    lifetime: u32,
    /// True if records stay that other zones would take out.
    is_spared: bool,
}

impl Prepared {
    /// Returns the maximum time in the cache, in seconds; 0 if the answer serves only the clients waiting for it.
    pub const fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// Returns `true` if it has records that it would not have where the policy is enforced ([`screen_spared`]).
    pub const fn is_spared(&self) -> bool {
        self.is_spared
    }

    /// Returns the size in bytes.
    pub const fn size(&self) -> usize {
        self.message.len() + 2 * self.ttls.len()
    }
}

/// The reason why an answer is not given to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The bytes are not a DNS message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A record must not pass, and the rest cannot be rebuilt, or is too large for it.
    #[error("the records of the answer that may pass cannot be separated from the others")]
    Entangled,
}

/// Returns `message`, the answer to `asked` ([`UpstreamReply::Answer`](super::UpstreamReply::Answer)), without records that must not
/// pass.
///
/// # Errors
/// [`Unusable`]: the upstream counts as failed for this question.
pub fn screen(message: &[u8], asked: &Upstream, zones: &Zones) -> Result<Prepared, Unusable> {
    let survey = Survey::of(message, asked, zones)?;
    if !survey.is_entangled {
        let end = survey.end;
        return Ok(survey.prepare(&message[..end]));
    }
    if message.len() > MAX_REBUILT {
        return Err(Unusable::Entangled);
    }
    let rebuilt = rebuild(message, asked, zones).ok_or(Unusable::Entangled)?;
    // The rebuilt message contains the policy's own records; they do not trigger another rebuild.
    let survey = Survey::of(&rebuilt, asked, zones)?;
    Ok(survey.prepare(&rebuilt))
}

/// Screens `message` by `zones` for clients for whom the policy is not enforced; `enforced` are the zones of others.
///
/// # Errors
/// As [`screen`].
pub fn screen_spared(
    message: &[u8],
    asked: &Upstream,
    zones: &Zones,
    enforced: &Zones,
) -> Result<Prepared, Unusable> {
    let passes = screen(message, asked, zones)?;
    let of_others = screen(message, asked, enforced);
    let is_same = of_others.is_ok_and(|it| it.message == passes.message);
    Ok(Prepared {
        is_spared: !is_same,
        ..passes
    })
}

/// The results of one pass over a message.
struct Survey {
    header: Header,
    /// The message cannot pass unchanged.
    is_entangled: bool,
    /// End of the records, before a final OPT record.
    end: usize,
    ttls: Vec<u16>,
    lifetime: u32,
}

impl Survey {
    fn of(message: &[u8], asked: &Upstream, zones: &Zones) -> Result<Self, Malformed> {
        let mut header = Header::read(message).ok_or(Malformed)?;
        let start = asked.behind_question(message).ok_or(Malformed)?;
        let mut records = Records::new(message, header, start);
        let mut survey = Self {
            header,
            is_entangled: false,
            end: start,
            ttls: Vec::new(),
            lifetime: MAX_LIFETIME,
        };
        let mut opt_at = None;
        let mut has_answer = false;
        let mut has_authority = false;
        let mut owner_is_ours = false;
        for record in records.by_ref() {
            let record = record?;
            if !record.is_repeated {
                owner_is_ours = is_ours(zones, &record.owner);
            }
            if record.record_type == number::OPT {
                survey.is_entangled |= opt_at.is_some();
                if record.section == Section::Additional {
                    opt_at = Some(record.start);
                } else {
                    survey.is_entangled = true;
                }
                continue;
            }
            // An OPT record that is not the last would have to be removed.
            survey.is_entangled |= opt_at.is_some();
            survey.is_entangled |= owner_is_ours || leads_to_ours(message, &record, asked, zones);
            let target = target_at(&record);
            let changes = |at| stands_in_ttl(message, at, &survey.ttls);
            survey.is_entangled |= changes(record.start) || target.is_some_and(changes);
            survey.end = record.end;
            survey.lifetime = survey.lifetime.min(record.ttl);
            match u16::try_from(record.ttl_at) {
                Ok(at) => survey.ttls.push(at),
                Err(_) => survey.lifetime = 0,
            }
            match record.section {
                Section::Answer => {
                    has_answer |=
                        record.record_type == asked.record_type || asked.record_type == number::ANY;
                }
                Section::Authority if record.record_type == number::SOA => {
                    has_authority = true;
                    survey.lifetime = survey.lifetime.min(negative_ttl(message, &record));
                }
                Section::Authority | Section::Additional => {}
            }
        }
        // RFC 2308 §5: without a start of authority, a negative answer has no known lifetime.
        if !has_answer && !has_authority {
            survey.lifetime = 0;
        }
        header.counts[3] -= u16::from(opt_at.is_some());
        survey.header = header;
        Ok(survey)
    }

    /// Prepares `bytes`, the message surveyed, for clients.
    fn prepare(self, bytes: &[u8]) -> Prepared {
        let mut message = Vec::with_capacity(bytes.len());
        self.header.write(&mut message);
        message.extend_from_slice(bytes.get(HEADER..).unwrap_or_default());
        Prepared {
            message: message.into(),
            ttls: self.ttls.into(),
            lifetime: self.lifetime,
            is_spared: false,
        }
    }
}

/// Returns the seconds for which a start of authority allows a negative answer to be cached (RFC 2308 §4): its last
/// number.
fn negative_ttl(message: &[u8], record: &RecordView) -> u32 {
    let data = message.get(record.data..record.end).unwrap_or_default();
    data.last_chunk()
        .map_or(0, |minimum| u32::from_be_bytes(*minimum))
}

/// Returns `true` if the policy has a local answer for `name`.
fn is_ours(zones: &Zones, name: &DnsName) -> bool {
    zones.answer(name, record_type::A) != Answer::Forward
}

/// Returns `true` if `record` forces a rebuild of the message by the name that it points to.
fn leads_to_ours(message: &[u8], record: &RecordView, asked: &Upstream, zones: &Zones) -> bool {
    // A name that was itself asked for as data may pass.
    let is_step = record.section == Section::Answer && follows_aliases(asked);
    if record.record_type == number::CNAME && !is_step {
        return false;
    }
    // A target that cannot be read is useless to clients; the rebuild reports it.
    target_at(record)
        .is_some_and(|at| read_name(message, at).is_none_or(|(target, _)| is_ours(zones, &target)))
}

/// Returns the offset of the name that `record` points to: the target of an alias, or of an SVCB or HTTPS record.
fn target_at(record: &RecordView) -> Option<usize> {
    match record.record_type {
        number::SVCB | number::HTTPS => Some(record.data + 2),
        number::CNAME => Some(record.data),
        _ => None,
    }
}

/// Returns `true` if an alias is a step towards the answer, and not the answer itself.
fn follows_aliases(asked: &Upstream) -> bool {
    asked.record_type != number::CNAME && asked.record_type != number::ANY
}

/// Returns `message` without records that must not pass, and with the policy's answer if its CNAME chain leads to one.
fn rebuild(message: &[u8], asked: &Upstream, zones: &Zones) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(message).ok()?;
    message.edns = None;
    message.signature = None;
    message.metadata.authentic_data = false;
    let chain = Chain::of(&message.answers, asked, zones)?;
    if let Some(end) = chain.ours {
        message.answers.retain(|record| chain.leads_to_end(record));
        message.authorities.clear();
        message.additionals.clear();
        answer_ours(&mut message, &end, asked.record_type, zones)?;
    } else {
        let passes = |record: &Record| may_pass(record, zones);
        message.answers.retain(passes);
        message.authorities.retain(passes);
        message.additionals.retain(passes);
    }
    let bytes = message.to_vec().ok()?;
    (bytes.len() <= usize::from(u16::MAX)).then_some(bytes)
}

/// The CNAME chain from the name asked for.
struct Chain {
    /// The names of the chain, without a final name that has a local answer.
    names: Vec<DnsName>,
    /// The first name that has a local answer.
    ours: Option<DnsName>,
}

impl Chain {
    /// Follows the chain in `answers`, once around if it loops; `None` if it exceeds the maximum length.
    fn of(answers: &[Record], asked: &Upstream, zones: &Zones) -> Option<Self> {
        let mut chain = Self {
            names: Vec::new(),
            ours: None,
        };
        let mut name = asked.name;
        while chain.names.len() < MAX_CHAIN {
            if chain.names.contains(&name) {
                return Some(chain);
            }
            if is_ours(zones, &name) {
                chain.ours = Some(name);
                return Some(chain);
            }
            chain.names.push(name);
            let alias = answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if owner(record) == Some(name) => Some(&target.0),
                _ => None,
            });
            match alias {
                Some(target) if follows_aliases(asked) => name = dns_name(target)?,
                Some(_) | None => return Some(chain),
            }
        }
        None
    }

    /// Returns `true` if `record` is a step of the chain: an alias of one of its names, a DNAME of an ancestor
    /// (RFC 6672), or the signature of either.
    fn leads_to_end(&self, record: &Record) -> bool {
        let Some(owner) = owner(record) else {
            return false;
        };
        let is_step = self.names.contains(&owner);
        let is_above = self.names.iter().any(|name| name.is_below(&owner));
        match u16::from(record.record_type()) {
            number::CNAME => is_step,
            number::DNAME => is_above,
            number::RRSIG => is_step || is_above,
            _ => false,
        }
    }
}

/// Returns `true` if `record` has no data about a name with a local answer.
fn may_pass(record: &Record, zones: &Zones) -> bool {
    let is_theirs = |name: &Name| dns_name(name).is_some_and(|name| !is_ours(zones, &name));
    let target = match &record.data {
        RData::SVCB(data) => &data.target_name,
        RData::HTTPS(data) => &data.0.target_name,
        _ => return is_theirs(&record.name),
    };
    is_theirs(&record.name) && is_theirs(target)
}

/// Adds the policy's answer for `name` at the end of a chain.
fn answer_ours(
    message: &mut Message,
    name: &DnsName,
    record_type: u16,
    zones: &Zones,
) -> Option<()> {
    let ttl = zones.ttl_seconds();
    let (code, denied) = match zones.answer(name, record_type) {
        // `is_ours` has excluded this.
        Answer::Forward => return None,
        Answer::Records { sets, .. } => {
            message.answers.extend(records(name, sets, ttl)?);
            (Code::NoError, None)
        }
        Answer::NoData { owner } => (Code::NoError, Some(owner)),
        Answer::NxDomain { owner } => (Code::NXDomain, Some(owner)),
    };
    message.metadata.response_code = code;
    if let Some(owner) = denied {
        let soa = zones.soa();
        let number = |seconds: u32| i32::try_from(seconds).unwrap_or(i32::MAX);
        let data = SOA::new(
            Name::from_ascii(soa.primary).ok()?,
            Name::from_ascii(soa.mailbox).ok()?,
            soa.serial,
            number(soa.refresh_seconds),
            number(soa.retry_seconds),
            number(soa.expire_seconds),
            soa.negative_ttl_seconds,
        );
        let data = RData::SOA(data);
        let record = Record::from_rdata(hickory_name(&owner.name)?, soa.negative_ttl_seconds, data);
        message.authorities.push(record);
    }
    Some(())
}

fn records(name: &DnsName, sets: RecordSets<'_>, ttl: u32) -> Option<Vec<Record>> {
    let name = hickory_name(name)?;
    let mut data = Vec::new();
    data.extend(sets.ipv4.iter().map(|address| RData::A(A(*address))));
    data.extend(sets.ipv6.iter().map(|address| RData::AAAA(AAAA(*address))));
    for srv in sets.srv {
        let target = hickory_name(&srv.target)?;
        data.push(RData::SRV(SRV::new(
            srv.priority,
            srv.weight,
            srv.port,
            target,
        )));
    }
    let records = data.into_iter();
    Some(
        records
            .map(|data| Record::from_rdata(name.clone(), ttl, data))
            .collect(),
    )
}

fn owner(record: &Record) -> Option<DnsName> {
    dns_name(&record.name)
}

pub(super) fn dns_name(name: &Name) -> Option<DnsName> {
    DnsName::from_labels(name.iter()).ok()
}

fn hickory_name(name: &DnsName) -> Option<Name> {
    let mut hickory = Name::from_labels(name.labels()).ok()?;
    hickory.set_fqdn(true);
    Some(hickory)
}

/// Maximum size of an answer that is rebuilt, in bytes. To build a message of 64 KiB anew takes over ten milliseconds, and answers of
/// this size that mention the policy's names come from whoever wants to spend that time.
const MAX_REBUILT: usize = 16_384;
/// One day: longer than anyone waits for a change to take effect.
const MAX_LIFETIME: u32 = 86_400;
/// Names in a chain: more than resolvers follow.
const MAX_CHAIN: usize = 16;
