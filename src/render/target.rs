//! [`Target`]: a file that another program reads, and how it is written and read back.
//!
//! Each target is a file in `routes/`, `names/`, `rules/` or `settings/` that exports one `TARGET`; the folder's `TARGETS` lists it.
//! Commands, completions, `--list`, `docs/targets.md` and the property tests take their targets from there.

use std::collections::BTreeSet;
use std::fmt;

use super::names::table::NameTable;
use super::{Limit, Options, Pushed, ReadError, RenderError, Rendered};
use crate::plan::{EndpointRules, RoutePlan, Ruleset, Zones};
use crate::policy::Policy;

/// A file that another program reads. Two targets are equal where they have the same name.
pub struct Target {
    /// Its name in commands; unique among all targets, lower-case letters, digits and hyphens.
    pub name: &'static str,
    /// One line about the file, for lists: what it is and how its program takes it.
    pub about: &'static str,
    /// The program, grammar or document by which the tests check the file, and whatever could not be tried.
    pub accepted_by: &'static str,
    /// Remarks on its use that neither its limits nor its warnings say; empty where there is none.
    pub caveats: &'static str,
    /// The usual name of the file.
    pub file: &'static str,
    /// True if the file is a program that others start: its mode has the executable bits.
    pub is_executable: bool,
    /// The address families that the file can have; the others are left out, and a warning says so.
    pub families: Families,
    /// How many entries or bytes its program takes.
    pub limits: &'static [Limit],
    /// Writes the file; the variant says what it is about.
    pub write: Write,
    /// Reads the file back, to compare a file in place with the policy.
    pub read: Read,
}

/// The outlet of a policy that a target belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Addresses that enter the tunnel: for VPN and DHCP servers, and clients.
    Routes,
    /// Names that VPN clients resolve: for DNS servers, and clients.
    Names,
    /// The filter's verdicts as rules of another firewall on the gateway.
    GatewayRules,
    /// Rules of the clients' own firewall, from `[[endpoint]]`.
    ClientRules,
    /// Settings of VPN clients and browsers that decide which way calls take.
    Settings,
}

impl Kind {
    /// Every kind, in the order of lists.
    pub const ALL: [Self; 5] = [
        Self::Routes,
        Self::Names,
        Self::GatewayRules,
        Self::ClientRules,
        Self::Settings,
    ];

    /// Its name in JSON, which does not tell the two kinds of rules apart.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Names => "names",
            Self::GatewayRules | Self::ClientRules => "rules",
            Self::Settings => "settings",
        }
    }
}

/// Address families that a file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// IPv4 and IPv6.
    Both,
}

impl Families {
    /// Returns `true` if IPv4 is among them.
    pub const fn has_v4(self) -> bool {
        matches!(self, Self::V4 | Self::Both)
    }

    /// Returns `true` if IPv6 is among them.
    pub const fn has_v6(self) -> bool {
        matches!(self, Self::V6 | Self::Both)
    }
}

/// Writes the file of a target from what it is about.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Write {
    /// From the routes, whatever their number: limits are checked afterwards.
    Routes(fn(&RoutePlan, &Options) -> Result<Rendered, RenderError>),
    /// From the names, of which there is at least one.
    Names(fn(&Policy, &Zones) -> Result<Rendered, RenderError>),
    /// From the filter's rules and the name of what is made.
    GatewayRules(Naming, fn(&Ruleset, &str) -> String),
    /// From the clients' rules, of which there is at least one, and the name of what is made.
    ClientRules(
        Naming,
        fn(&EndpointRules, &str) -> Result<Rendered, RenderError>,
    ),
    /// From the policy, and the name of what is made.
    Settings(Naming, fn(&Policy, &str) -> Result<Rendered, RenderError>),
}

/// Reads the file of a target.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Read {
    /// As prefixes: addresses are compared.
    Routes(fn(&str) -> Result<Pushed, ReadError>),
    /// The same, of a file that may have several things of that kind: the name says which is meant.
    NamedRoutes(fn(&str, Option<&str>) -> Result<Pushed, ReadError>),
    /// As answers: what each name resolves to is compared.
    Names(ReadNames),
    /// As settings, a line of text each: the sets are compared. The name says which is meant where a file may have several.
    Settings(fn(&str, Option<&str>) -> Result<BTreeSet<String>, ReadError>),
    /// As lines that do not begin with this comment: they are compared one by one.
    Lines {
        /// The beginning of a comment.
        comment: &'static str,
    },
    /// Not at all: the file acts once, and is not there to be compared.
    No,
}

/// Reads the answers that a file gives; only `render` can make sense of them.
#[derive(Debug, Clone, Copy)]
pub struct ReadNames {
    pub(super) read: fn(&str) -> Result<NameTable, ReadError>,
    /// True if the names below a hidden one stand in the file by themselves.
    pub(super) lists_names_below: bool,
}

/// The name of what a file of rules makes: a group, an access list, a group policy.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Naming {
    /// Its names are fixed, and `--name` is refused.
    Fixed,
    /// The operator may choose one.
    Chosen {
        /// The name without a choice.
        default: &'static str,
        /// Says why a name cannot be taken; `None` where it can.
        refuses: fn(&str) -> Option<&'static str>,
    },
    /// The operator must choose one.
    Required {
        /// A name that could be taken.
        example: &'static str,
        /// Says why a name cannot be taken; `None` where it can.
        refuses: fn(&str) -> Option<&'static str>,
    },
}

impl Target {
    /// The outlet that it belongs to.
    pub const fn kind(&self) -> Kind {
        match self.write {
            Write::Routes(_) => Kind::Routes,
            Write::Names(_) => Kind::Names,
            Write::GatewayRules(..) => Kind::GatewayRules,
            Write::ClientRules(..) => Kind::ClientRules,
            Write::Settings(..) => Kind::Settings,
        }
    }

    /// The target called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|target| target.name == name)
    }

    /// Every target, in the order of lists.
    pub fn all() -> impl Iterator<Item = &'static Self> + Clone {
        let folders = [
            super::routes::TARGETS,
            super::names::TARGETS,
            super::rules::TARGETS,
            super::settings::TARGETS,
        ];
        folders.into_iter().flatten().copied()
    }

    /// Every target of one kind, in the order of lists.
    pub fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Self> + Clone {
        Self::all().filter(move |target| target.kind() == kind)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Target {}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Target({})", self.name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name)
    }
}

/// How a file says which addresses enter the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// It lists the prefixes that enter.
    Include,
    /// It lists the prefixes that do not enter, out of wider ones that do.
    Exclude,
}

impl Form {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Include => Self::Exclude,
            Self::Exclude => Self::Include,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_their_names_and_shown_by_them() {
        for target in Target::all() {
            let found = Target::named(target.name).expect("a target");
            assert_eq!(found.name, target.name);
            assert_eq!(format!("{target:>30}"), format!("{:>30}", target.name));
            assert_eq!(format!("{target:?}"), format!("Target({})", target.name));
        }
        assert!(Target::named("no-such-target").is_none());
    }

    #[test]
    fn kinds_families_and_forms_have_the_words_of_json_and_messages() {
        assert_eq!(
            Kind::ALL.map(Kind::name),
            ["routes", "names", "rules", "rules", "settings"]
        );
        let families = [Families::V4, Families::V6, Families::Both];
        assert_eq!(families.map(Families::has_v4), [true, false, true]);
        assert_eq!(families.map(Families::has_v6), [false, true, true]);
        let forms = [Form::Include, Form::Exclude];
        assert_eq!(forms.map(|it| it.to_string()), ["include", "exclude"]);
        assert_eq!(forms.map(Form::other), [Form::Exclude, Form::Include]);
    }
}
