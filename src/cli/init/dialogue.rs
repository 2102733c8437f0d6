//! The dialogue: asks line by line for what a host cannot know. Questions go to standard error, answers come from standard
//! input; an empty line skips a question, and a wrong answer says why and is asked for again.

use std::io::{self, BufRead};

use super::answers::{self, Answers};
use super::draft::Draft;
use crate::cli::error::{CliError, say};

/// Asks for what is not known.
pub(super) fn ask(answers: &mut Answers, draft: &Draft) -> Result<(), CliError> {
    let mut asked = Asked {
        input: io::stdin().lock(),
    };
    say(format_args!(
        "An empty line skips a question; Ctrl-C ends without a file.\n"
    ));
    if draft.interfaces.is_empty() {
        asked.needed(
            "Interfaces of the VPN (e.g. tun0, vpns*)",
            answers::interface,
            &mut answers.interfaces,
        )?;
    }
    if draft.clients.is_empty() {
        asked.needed(
            "Networks that clients have addresses of (e.g. 172.16.1.0/24)",
            answers::prefix,
            &mut answers.clients,
        )?;
    }
    if draft.corporate.is_empty() {
        asked.items(
            "Internal networks (e.g. 10.0.0.0/8)",
            answers::prefix,
            &mut answers.corporate,
        )?;
    }
    if answers.sip_domains.is_empty() {
        asked.items(
            "SIP domains of Lync or Skype for Business (e.g. contoso.com)",
            answers::domain,
            &mut answers.sip_domains,
        )?;
    }
    if answers.servers.is_empty() {
        asked.entries(
            "Internal servers of Lync or Skype for Business (e.g. Front End pool=10.1.0.10,10.1.0.11)",
            answers::server,
            &mut answers.servers,
        )?;
    }
    if answers.publics.is_empty() {
        let domain = answers.sip_domains.first();
        let domain = domain.map_or("contoso.com", String::as_str);
        let question = format!(
            "Public services, as the Internet sees them (e.g. Access Edge=167.55.49.32,sip.{domain})"
        );
        asked.entries(&question, answers::public, &mut answers.publics)?;
    }
    Ok(())
}

/// Asks about Teams.
pub(super) fn ask_teams() -> Result<bool, CliError> {
    let mut asked = Asked {
        input: io::stdin().lock(),
    };
    loop {
        let answer = asked.line("Do clients use Microsoft Teams? [y/N]")?;
        match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => say(format_args!("  write y or n\n")),
        }
    }
}

struct Asked<R> {
    input: R,
}

impl<R: BufRead> Asked<R> {
    /// Reads a line; its end without one ends the dialogue.
    fn line(&mut self, question: &str) -> Result<String, CliError> {
        say(format_args!("{question}: "));
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => {
                say(format_args!("\n"));
                Err(CliError::Usage(
                    "the input has ended, and nothing was written; --yes asks nothing".to_owned(),
                ))
            }
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(CliError::Failed(format!(
                "cannot read the answer, and nothing was written: {error}"
            ))),
        }
    }

    /// Asks for values in one line, with commas or spaces between them.
    fn items<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
        into: &mut Vec<T>,
    ) -> Result<(), CliError> {
        loop {
            let answer = self.line(question)?;
            let words = answer.split([',', ' ']).filter(|it| !it.is_empty());
            match words.map(&read).collect::<Result<Vec<T>, String>>() {
                Ok(values) => {
                    into.extend(values);
                    return Ok(());
                }
                Err(why) => say(format_args!("  {why}\n")),
            }
        }
    }

    /// Asks for values until there is one.
    fn needed<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
        into: &mut Vec<T>,
    ) -> Result<(), CliError> {
        while into.is_empty() {
            self.items(question, &read, into)?;
            if into.is_empty() {
                say(format_args!("  a policy needs this one\n"));
            }
        }
        Ok(())
    }

    /// Asks for entries, one a line, until an empty one.
    fn entries<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
        into: &mut Vec<T>,
    ) -> Result<(), CliError> {
        let mut question = question;
        loop {
            let answer = self.line(question)?;
            if answer.is_empty() {
                return Ok(());
            }
            match read(&answer) {
                Ok(entry) => {
                    into.push(entry);
                    question = "  one more";
                }
                Err(why) => say(format_args!("  {why}\n")),
            }
        }
    }
}
