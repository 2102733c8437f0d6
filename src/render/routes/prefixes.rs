//! Plain lists, one prefix a line, for programs of one's own.
//!
//! The include form is the tunnel, exactly. The exclude form lists what is left out, and says in comments of what.

use std::fmt::Write as _;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write, code_lines,
};

/// One prefix a line.
pub const TARGET: Target = Target {
    name: "prefixes",
    about: "one prefix a line",
    accepted_by: "a second reader",
    caveats: "",
    file: "prefixes.txt",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// Begins the comment with the prefixes that exclusions are taken from.
const OF: &str = "# excluded from: ";

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let form = options.form.unwrap_or(Form::Include);
    let lists = Lists::of(plan, form, form, Gateways::Carved);
    let listed = match form {
        Form::Include => &lists.includes,
        Form::Exclude => &lists.excludes,
    };
    let measures = measures(listed);
    let what = match form {
        Form::Include => "what enters the tunnel",
        Form::Exclude => "what does not enter the tunnel",
    };
    let [first, second] = head(plan, &format!("{what}, {} prefixes", listed.len()));
    let mut text = format!("# {first}\n# {second}\n");
    if form == Form::Exclude {
        for line in &lists.includes {
            _ = writeln!(text, "{OF}{}", line.prefix);
        }
    }
    for line in listed {
        _ = writeln!(text, "{}", line.prefix);
    }
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (index, line) in text.lines().enumerate() {
        if let Some(prefix) = line.trim().strip_prefix(OF) {
            pushed.includes.push(read_prefix(index + 1, prefix.trim())?);
        }
    }
    let is_exclusion = !pushed.includes.is_empty();
    for (number, line) in code_lines(text, &['#', ';']) {
        let net = read_prefix(number, line)?;
        if is_exclusion {
            pushed.excludes.push(net);
        } else {
            pushed.includes.push(net);
        }
    }
    Ok(pushed)
}
