//! [`compare`]: how a file in place differs from a policy, in what its program makes of it.

use thiserror::Error;

use super::{Kind, Options, Read, ReadError, RenderError, Source, Target, names, render};
use crate::address::PrefixSet;
use crate::plan::{PlanDifference, RoutePlan};

/// How a file in place differs from the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// Other addresses enter the tunnel.
    Addresses(PlanDifference),
    /// Names have other answers, a line each.
    Names(Vec<String>),
    /// Settings that the file lacks, and settings that it has beside those of the policy.
    Settings {
        /// Settings of the policy that the file lacks.
        missing: Vec<String>,
        /// Settings of the file that the policy does not ask for.
        surplus: Vec<String>,
    },
    /// Lines that are no comments differ.
    Lines(LineDifference),
}

/// The first line in which a file differs from what would be written; comments and indentation do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineDifference {
    /// Its number in the file, from 1; none at the end of the file.
    pub line: Option<usize>,
    /// The line that would be written; none where the file has more lines.
    pub expected: Option<String>,
    /// The line that is there; none where the file has fewer lines.
    pub found: Option<String>,
}

/// Why a file in place cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The policy's own file cannot be written.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The file in place cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Files of the target are not compared.
    #[error("--check reads the files of {readable}, and none of {target}")]
    NotRead {
        /// The target.
        target: &'static Target,
        /// The targets of its kind whose files are read, as a list in words.
        readable: String,
    },
}

/// Compares `text`, the file of `target` in place, with `source`; `None` where they say the same.
///
/// # Errors
/// [`CompareError`] where one of them cannot be written or read.
pub fn compare<'a>(
    target: &'static Target,
    source: impl Into<Source<'a>>,
    options: &Options,
    text: &str,
) -> Result<Option<Difference>, CompareError> {
    let source = source.into();
    let needs_policy = || CompareError::Render(RenderError::NeedsPolicy { target });
    match (target.read, source) {
        (Read::Routes(read), Source::Plan(plan)) => {
            let tunnel = read(text)?.tunnel();
            Ok(difference(target, plan, &tunnel).map(Difference::Addresses))
        }
        (Read::NamedRoutes(read), Source::Plan(plan)) => {
            let tunnel = read(text, options.name.as_deref())?.tunnel();
            Ok(difference(target, plan, &tunnel).map(Difference::Addresses))
        }
        (Read::Routes(_) | Read::NamedRoutes(_), Source::Policy(policy)) => {
            compare(target, &RoutePlan::new(policy), options, text)
        }
        (Read::Names(reader), Source::Policy(policy)) => {
            let lines = names::difference(reader, policy, text)?;
            Ok((!lines.is_empty()).then_some(Difference::Names(lines)))
        }
        (Read::Settings(read), Source::Policy(policy)) => {
            let wanted = render(target, policy, options)?.text;
            let name = options.name.as_deref();
            let (wanted, found) = (read(&wanted, name)?, read(text, name)?);
            let missing: Vec<String> = wanted.difference(&found).cloned().collect();
            let surplus: Vec<String> = found.difference(&wanted).cloned().collect();
            let differs = !missing.is_empty() || !surplus.is_empty();
            Ok(differs.then_some(Difference::Settings { missing, surplus }))
        }
        (Read::Lines { comment }, Source::Policy(policy)) => {
            let expected = render(target, policy, options)?.text;
            Ok(first_difference(comment, &expected, text).map(Difference::Lines))
        }
        (Read::Names(_) | Read::Settings(_) | Read::Lines { .. }, Source::Plan(_)) => {
            Err(needs_policy())
        }
        (Read::No, _) => Err(CompareError::NotRead {
            target,
            readable: readable(target.kind()),
        }),
    }
}

/// Returns the entries of a file of routes that are for some ports, protocols or names alone, each with its line: [`compare`]
/// leaves them out.
pub fn left_out(target: &'static Target, options: &Options, text: &str) -> Vec<(usize, String)> {
    match target.read {
        Read::Routes(read) => read(text).map(|it| it.left_out).unwrap_or_default(),
        Read::NamedRoutes(read) => read(text, options.name.as_deref())
            .map(|it| it.left_out)
            .unwrap_or_default(),
        Read::Names(_) | Read::Settings(_) | Read::Lines { .. } | Read::No => Vec::new(),
    }
}

/// How a file that sends `tunnel` into the tunnel differs from `plan`, in the families that `target` can say.
pub fn difference(target: &Target, plan: &RoutePlan, tunnel: &PrefixSet) -> Option<PlanDifference> {
    if target.families.has_v6() {
        return plan.differs(tunnel);
    }
    // The other family is pushed by another way.
    plan.differs(&tunnel.only_v4().union(&plan.tunnel.only_v6()))
}

fn first_difference(comment: &str, expected: &str, found: &str) -> Option<LineDifference> {
    let (expected, found) = (code(comment, expected), code(comment, found));
    let common = expected.iter().zip(&found);
    let at = common.take_while(|(left, right)| left.1 == right.1).count();
    let (wanted, there) = (expected.get(at), found.get(at));
    (wanted.is_some() || there.is_some()).then(|| LineDifference {
        line: there.map(|line| line.0),
        expected: wanted.map(|line| line.1.to_owned()),
        found: there.map(|line| line.1.to_owned()),
    })
}

/// The lines that are no comments, with their numbers.
fn code<'t>(comment: &str, text: &'t str) -> Vec<(usize, &'t str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(comment))
        .collect()
}

/// The targets of a kind whose files are read: "a, b and c".
fn readable(kind: Kind) -> String {
    let targets = Target::of_kind(kind).filter(|it| !matches!(it.read, Read::No));
    let names: Vec<&str> = targets.map(|it| it.name).collect();
    match &names[..] {
        [] => "no target of this kind".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
