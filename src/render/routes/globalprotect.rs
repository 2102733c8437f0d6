//! GlobalProtect of Palo Alto Networks: the access routes of a gateway's client settings, as `set` commands of PAN-OS.
//!
//! The more specific route decides, and the app keeps a route of its own to the gateway. Without any `access-route`
//! everything but the exclusions enters. The file writes the routes of everything out: `0.0.0.0/0` and `::/0`.
//!
//! Sources: "Client Settings Tab", PAN-OS 11.2 web interface help (docs.paloaltonetworks.com, read 2026-11), for the limits and
//! both families; "Split Tunnel to Exclude by Access Route", PAN-OS 8.0 new features guide, for the order of routes. The path
//! of the commands follows the one of the XML configuration; no firewall was at hand to try them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Measures, Options, Read, ReadError, RenderError, Rendered,
    Target, Write, code_lines,
};

/// `set` commands of PAN-OS.
pub const TARGET: Target = Target {
    name: "globalprotect",
    about: "access routes of a GlobalProtect gateway, as `set` commands (--name GATEWAY/SETTINGS)",
    accepted_by: "a second reader; the path of the commands is unverified, and no PAN-OS was tried",
    caveats: CAVEATS,
    file: "globalprotect-routes.txt",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::NamedRoutes(read),
};

/// Remarks on both targets of GlobalProtect.
pub(super) const CAVEATS: &str = "Android on Chromebooks has no exclusions, and IPv4 routes alone; \
    the limit of included routes is unverified; split tunnels by domain and by application are not compared";

/// Limits of exclusions: PAN-OS 11.2 web interface help, "Client Settings Tab".
pub(super) const LIMITS: &[Limit] = &[
    Limit {
        measure: Measure::Exclusions,
        most: 200,
        is_strict: true,
        whose: "GlobalProtect app 4.1 and later",
    },
    Limit {
        measure: Measure::Exclusions,
        most: 100,
        is_strict: false,
        whose: "GlobalProtect apps before 4.1",
    },
];

/// The gateway, and the entry of its client settings.
pub(super) struct Place {
    pub(super) gateway: String,
    pub(super) settings: String,
}

impl Place {
    /// Reads `GATEWAY/SETTINGS`; one name alone is that of both.
    pub(super) fn of(target: &'static Target, options: &Options) -> Result<Self, RenderError> {
        let name = options.name.as_deref().unwrap_or("OFFRAMP");
        let (gateway, settings) = name.split_once('/').unwrap_or((name, name));
        let is_word = |word: &str| {
            (1..=MAX_NAME).contains(&word.len())
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        if !is_word(gateway) || !is_word(settings) {
            return Err(RenderError::BadName {
                target,
                name: shorten(name),
                why: "write GATEWAY/SETTINGS: letters, digits, - _ and ., each at most 63",
            });
        }
        Ok(Self {
            gateway: gateway.to_owned(),
            settings: settings.to_owned(),
        })
    }
}

/// Everything that both targets write of a plan.
pub(super) struct Parts {
    pub(super) place: Place,
    pub(super) lists: Lists,
    pub(super) form: Form,
    pub(super) measures: Measures,
    /// The first lines of the file.
    pub(super) head: [String; 2],
}

impl Parts {
    pub(super) fn of(
        target: &'static Target,
        plan: &RoutePlan,
        options: &Options,
    ) -> Result<Self, RenderError> {
        let place = Place::of(target, options)?;
        let form = options.form.unwrap_or(match plan.mode {
            TunnelMode::Full => Form::Exclude,
            TunnelMode::Split => Form::Include,
        });
        let lists = Lists::of(plan, form, form, Gateways::LeftToClient);
        // The firewall takes an empty list of what enters for everything.
        if lists.includes.is_empty() {
            return Err(RenderError::NothingEnters { target });
        }
        let measures = Measures {
            exclusions: lists.excludes.len(),
            ..measures(lists.all())
        };
        let what = format!(
            "{} access routes, {} exclusions",
            lists.includes.len(),
            lists.excludes.len()
        );
        Ok(Self {
            place,
            form,
            measures,
            head: head(plan, &what),
            lists,
        })
    }
}

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let Parts {
        place,
        lists,
        form,
        measures,
        head: [first, second],
    } = Parts::of(&TARGET, plan, options)?;
    let path = format!(
        "global-protect global-protect-gateway {} remote-user-tunnel-configs {} split-tunneling",
        place.gateway, place.settings
    );
    let mut text = format!(
        "# {first}\n# {second}\n\
         # Unverified: nobody tried these commands on a firewall. In configuration mode `?` behind split-tunneling shows the\n\
         # words that yours takes. On Panorama, `template NAME config devices localhost.localdomain vsys vsys1` stands\n\
         # before global-protect; on a firewall with several virtual systems, `vsys NAME`.\n\
         # Lines that begin with # are for people: leave them out when you paste. `delete` says so where nothing is there.\n\
         delete {path} access-route\ndelete {path} exclude-access-route\n"
    );
    for (key, listed) in [(INCLUDE, &lists.includes), (EXCLUDE, &lists.excludes)] {
        for line in listed {
            if !line.origin.is_empty() {
                _ = writeln!(text, "# {}", line.origin);
            }
            _ = writeln!(text, "set {path} {key} {}", line.prefix);
        }
    }
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

/// The list of what enters the tunnel, in commands and in XML.
pub(super) const INCLUDE: &str = "access-route";
/// The list of what does not.
pub(super) const EXCLUDE: &str = "exclude-access-route";

/// The routes of one entry of client settings, each with its line. Those of other entries may name address objects.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) includes: Vec<(usize, String)>,
    pub(super) excludes: Vec<(usize, String)>,
}

fn prefixes(members: &[(usize, String)]) -> Result<Vec<IpNet>, ReadError> {
    let members = members.iter();
    members
        .map(|(line, text)| read_prefix(*line, text))
        .collect()
}

/// The routes that are meant, of all entries by `GATEWAY/SETTINGS`: those named, or the only ones.
pub(super) fn choose(
    mut found: BTreeMap<String, Found>,
    name: Option<&str>,
    last_line: usize,
) -> Result<Pushed, ReadError> {
    let wrong = |message: String| ReadError::new(last_line.max(1), message);
    let names = found.keys().cloned().collect::<Vec<_>>().join(", ");
    let wanted = name.map(|name| match name.split_once('/') {
        Some(_) => name.to_owned(),
        None => format!("{name}/{name}"),
    });
    // A part of a configuration may leave out whose it is.
    let chosen = match (&wanted, found.len()) {
        (Some(wanted), _) if found.contains_key(wanted) => found.remove(wanted),
        (_, 1) if wanted.is_none() || found.contains_key("") => found.pop_first().map(|it| it.1),
        (_, 0) => return Err(wrong("there is no split-tunneling in this file".to_owned())),
        (Some(wanted), _) => {
            return Err(wrong(format!(
                "there are no client settings `{}`, but: {}",
                shorten(wanted),
                shorten(&names)
            )));
        }
        (None, count) => {
            return Err(wrong(format!(
                "there are {count} client settings: name one with --name: {}",
                shorten(&names)
            )));
        }
    };
    let found = chosen.unwrap_or_default();
    let mut includes = prefixes(&found.includes)?;
    let excludes = prefixes(&found.excludes)?;
    if includes.is_empty() {
        includes.extend([false, true].map(Pushed::everything));
    }
    Ok(Pushed {
        includes,
        excludes,
        left_out: Vec::new(),
    })
}

fn read(text: &str, name: Option<&str>) -> Result<Pushed, ReadError> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for (number, line) in code_lines(text, &['#']) {
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| word.trim_matches('"'))
            .collect();
        let after = |word: &str| {
            let at = words.iter().position(|it| *it == word)?;
            words.get(at + 1).copied()
        };
        let Some(at) = words.iter().position(|it| *it == "split-tunneling") else {
            continue;
        };
        let owner = format!(
            "{}/{}",
            after("global-protect-gateway").unwrap_or_default(),
            after("remote-user-tunnel-configs").unwrap_or_default()
        );
        let entry = found.entry(owner).or_default();
        let list = match words.get(at + 1) {
            Some(&INCLUDE) => &mut entry.includes,
            Some(&EXCLUDE) => &mut entry.excludes,
            _ => continue,
        };
        let members = words.iter().skip(at + 2);
        let members = members.filter(|word| !matches!(**word, "[" | "]"));
        match words.first() {
            Some(&"set") => {
                for member in members {
                    let member = member.trim_start_matches('[').trim_end_matches(']');
                    list.push((number, member.to_owned()));
                }
            }
            Some(&"delete") => list.clear(),
            _ => {}
        }
    }
    choose(found, name, text.lines().count())
}

/// Characters of a name that the file writes.
const MAX_NAME: usize = 63;
