//! `offramp top`: a live picture of what a running gateway does, in a terminal.
//!
//! ```text
//!  thread: control socket ── News ──▶ Picture (rates, history) ──▶ view ──▶ terminal
//!                                        ▲ keys
//! ```

mod conditions;
mod picture;
mod screen;
mod table;
mod view;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::picture::Picture;
use self::screen::Screen;
use self::view::Theme;
use super::error::CliError;
use super::status::{Asked, explained};
use crate::gateway::report::control::{self, Request};
use crate::gateway::report::status::Status;

/// Watch a running gateway in a terminal: rates by reason and rule, what is cut off, media, conditions, reloads
///
/// Asks the gateway for its status every second, and shows how fast its counters grow. Destinations, services and clients of
/// dropped packets come from samples, 200 a second at most for each reason: at a lower rate every drop is counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: Tab and arrows switch and scroll tables, s sorts by rate or total, p pauses, ? explains, q ends it.

Addresses of clients identify people, so they stay in the gateway unless --addresses asks for them; clients have numbers
otherwise. Addresses of servers and offices are shown.

It needs a terminal of 80 columns and 24 lines. `offramp status --watch` prints rates anywhere, `offramp status --json` is for programs.

Examples:
  offramp top
  offramp top /etc/offramp/policy.toml --addresses
  ssh -t root@gateway offramp top")]
pub(super) struct Options {
    #[command(flatten)]
    gateway: Asked,
    /// The time between two looks at the gateway
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Show addresses of clients, which identify people
    #[arg(long)]
    addresses: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(200)..=Duration::from_secs(60);
    match humantime::parse_duration(text) {
        Ok(time) if bounds.contains(&time) => Ok(time),
        Ok(_) => Err("write a time between 200ms and 1m".to_owned()),
        Err(_) => Err("write a time with its unit: 500ms, 1s, 5s".to_owned()),
    }
}

/// The outcome of asking the gateway once.
#[derive(Debug)]
enum News {
    Answer(Box<Status>),
    /// It did not answer, and the reason.
    Silence(String),
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let is_dumb = std::env::var("TERM").is_ok_and(|name| name == "dumb");
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() || is_dumb {
        return Err(CliError::Usage(
            "this is no terminal that a picture can be drawn in: `offramp status --watch` prints rates, `offramp status \
             --json` is for programs (by ssh: `ssh -t`)"
                .to_owned(),
        ));
    }
    let socket = options.gateway.socket()?;
    let request = match options.addresses {
        true => Request::Addresses,
        false => Request::Status,
    };
    // The first failure is said where it can be read afterwards.
    let first = control::request(&socket, request)
        .map_err(|error| CliError::Failed(explained(&socket, &error)))?;
    let mut picture = Picture::new(options.addresses, options.interval);
    let begun = Instant::now();
    picture.take(
        News::Answer(Box::new(first)),
        Duration::ZERO,
        SystemTime::now(),
    );
    let news = ask_from_now_on(&socket, request, options.interval)?;

    let ends = Arc::new(AtomicBool::new(false));
    let signaled = Arc::clone(&ends);
    ctrlc::set_handler(move || signaled.store(true, Ordering::Relaxed))
        .map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
    let theme = Theme::of_terminal();
    let drawn = draw_until_the_end(&mut picture, &theme, &news, begun, &ends);
    drawn.map_err(|error| CliError::Failed(format!("terminal: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

fn draw_until_the_end(
    picture: &mut Picture,
    theme: &Theme,
    news: &Receiver<News>,
    begun: Instant,
    ends: &AtomicBool,
) -> io::Result<()> {
    let mut screen = Screen::open()?;
    while !ends.load(Ordering::Relaxed) {
        for news in news.try_iter() {
            picture.take(news, begun.elapsed(), SystemTime::now());
        }
        picture.note_time(begun.elapsed());
        screen.draw(|frame| view::draw(frame, picture, theme))?;
        if !event::poll(REDRAW)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && press(picture, key) == Pressed::End
        {
            break;
        }
    }
    Ok(())
}

/// Action of a key.
#[derive(Debug, PartialEq, Eq)]
enum Pressed {
    GoOn,
    End,
}

fn press(picture: &mut Picture, key: KeyEvent) -> Pressed {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if is_control => return Pressed::End,
        KeyCode::Char('q') => return Pressed::End,
        KeyCode::Esc if picture.help => picture.help = false,
        KeyCode::Esc => return Pressed::End,
        KeyCode::Char('?' | 'h') => picture.help = !picture.help,
        KeyCode::Char('p') => picture.paused = !picture.paused,
        KeyCode::Char('s') => picture.sort_otherwise(),
        KeyCode::Tab | KeyCode::Right => picture.turn(1),
        KeyCode::BackTab | KeyCode::Left => picture.turn(-1),
        KeyCode::Char(digit @ '1'..='9') => picture.turn_to(digit),
        KeyCode::Down => picture.scroll(1),
        KeyCode::Up => picture.scroll(-1),
        KeyCode::PageDown => picture.scroll(10),
        KeyCode::PageUp => picture.scroll(-10),
        KeyCode::Home => picture.scroll(isize::MIN),
        _ => {}
    }
    Pressed::GoOn
}

/// Asks the gateway every `interval`, by a thread: one that hangs takes its time to answer.
fn ask_from_now_on(
    socket: &Path,
    request: Request,
    interval: Duration,
) -> Result<Receiver<News>, CliError> {
    let (sender, receiver) = channel();
    let socket = socket.to_owned();
    thread::Builder::new()
        .name("offramp-top".to_owned())
        .spawn(move || ask(&socket, request, interval, &sender))
        .map_err(|error| CliError::Failed(format!("cannot start a thread: {error}")))?;
    Ok(receiver)
}

fn ask(socket: &Path, request: Request, interval: Duration, sender: &Sender<News>) {
    loop {
        thread::sleep(interval);
        let news = match control::request(socket, request) {
            Ok(status) => News::Answer(Box::new(status)),
            Err(error) => News::Silence(explained(socket, &error)),
        };
        if sender.send(news).is_err() {
            return;
        }
    }
}

/// The time between two looks at keys and news.
const REDRAW: Duration = Duration::from_millis(100);
