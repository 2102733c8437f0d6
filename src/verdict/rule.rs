//! [`RuleKind`] and [`RuleId`]: the kinds of rules in a policy, and the number by which a verdict names a rule.

use std::num::NonZeroU32;

/// The kind of a rule: the section of the policy file that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleKind {
    /// `[media]`: Table 1, row 1.
    Media,
    /// A `[[server]]`: Table 1, row 2.
    Server,
    /// An `[[allow]]`.
    Allow,
    /// A `[[public]]` service.
    Public,
    /// A `[[feed]]`.
    Feed,
    /// A `[[profile]]` of a vendor.
    Profile,
}

impl RuleKind {
    /// Every kind, in the order of [`RuleTable`](crate::filter::RuleTable).
    pub const ALL: [Self; 6] = [
        Self::Media,
        Self::Server,
        Self::Allow,
        Self::Public,
        Self::Feed,
        Self::Profile,
    ];

    /// The word for it in JSON and metric labels.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The header of its section in a policy file.
    pub const fn section(self) -> &'static str {
        self.row().1
    }

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Media => ("media", "[media]"),
            Self::Server => ("server", "[[server]]"),
            Self::Allow => ("allow", "[[allow]]"),
            Self::Public => ("public", "[[public]]"),
            Self::Feed => ("feed", "[[feed]]"),
            Self::Profile => ("profile", "[[profile]]"),
        }
    }
}

/// The rule of a policy that decided: its number in [`RuleTable`](crate::filter::RuleTable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(NonZeroU32);

impl RuleId {
    /// The rule at `index` (from 0) of the rule table.
    pub(crate) fn from_index(index: usize) -> Self {
        let number = u32::try_from(index)
            .ok()
            .and_then(|index| index.checked_add(1));
        Self(
            number
                .and_then(NonZeroU32::new)
                .expect("a policy file is too small to hold 2^32 rules"),
        )
    }

    /// Position in the rule table, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}
