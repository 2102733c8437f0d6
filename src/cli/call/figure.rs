//! A prediction as a picture: two panels with the same nodes, and the path of the media in each.

use std::fmt::Write as _;

use super::Both;
use super::text::{is_tunnel, node_words};
use crate::verify::call::{Node, Pair, Prediction, Side};

/// The picture, as SVG 1.1.
pub(super) fn figure(both: &Both) -> String {
    let height = 2 * PANEL_HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    panel(&mut out, 0, "Without offramp", &both.before);
    panel(&mut out, PANEL_HEIGHT, "With offramp", &both.after);
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, top: i32, title: &str, prediction: &Prediction) {
    let winner = prediction.winner();
    let (said, color) = match winner {
        None => ("no media at all".to_owned(), BAD),
        Some(pair) if prediction.is_in_tunnel() => {
            (format!("{}, through the tunnel", pair.way()), BAD)
        }
        Some(pair) => (format!("{}, outside the tunnel", pair.way()), GOOD),
    };
    _ = writeln!(out, "<g transform=\"translate(0 {top})\">");
    _ = writeln!(
        out,
        "<text x=\"24\" y=\"30\" font-size=\"17\" font-weight=\"bold\">{title}: \
         <tspan fill=\"{color}\">{said}</tspan></text>\n\
         <text x=\"{}\" y=\"30\" text-anchor=\"end\" fill=\"{FAINT_TEXT}\">predicted, not measured</text>",
        WIDTH - 24
    );
    let path = winner.and_then(|pair| pair.outcome.as_ref().ok());
    let path = path.map_or(&[][..], |success| &success.path);
    for (from, to) in links(prediction) {
        line(out, prediction, from, to, LINK);
    }
    for ends in path.windows(2) {
        if let [from, to] = ends {
            line(
                out,
                prediction,
                *from,
                *to,
                &format!("stroke=\"{color}\" stroke-width=\"5\""),
            );
        }
    }
    if let Some(dropped) = dropped(prediction) {
        cross(out, prediction, dropped);
    }
    // What no pair speaks of has the addresses of the best one.
    let pair = winner.or(prediction.pairs.first());
    for node in nodes(prediction) {
        draw_node(out, prediction, pair, node, path.contains(&node));
    }
    out.push_str("</g>\n");
}

/// The nodes of a call.
fn nodes(prediction: &Prediction) -> Vec<Node> {
    let mut nodes = vec![Node::Gateway, Node::Company, Node::Internet, Node::Edge];
    for (number, party) in prediction.parties.iter().enumerate() {
        nodes.push(Node::Party(number));
        match party.side {
            Side::Vpn | Side::External => nodes.push(Node::Home(number)),
            Side::Internal => {}
        }
    }
    nodes
}

/// Lines between the boxes.
fn links(prediction: &Prediction) -> Vec<(Node, Node)> {
    let mut links = vec![
        (Node::Gateway, Node::Company),
        (Node::Internet, Node::Edge),
        (Node::Edge, Node::Company),
    ];
    for (number, party) in prediction.parties.iter().enumerate() {
        let own = Node::Party(number);
        let at_home = [
            (own, Node::Home(number)),
            (Node::Home(number), Node::Internet),
        ];
        match party.side {
            Side::Vpn => {
                links.extend(at_home);
                links.push((own, Node::Gateway));
            }
            Side::External => links.extend(at_home),
            Side::Internal => links.push((own, Node::Company)),
        }
    }
    links
}

/// The rule that keeps media out of the tunnel, where one does.
fn dropped(prediction: &Prediction) -> Option<String> {
    let obstacles = prediction
        .pairs
        .iter()
        .filter_map(|pair| pair.outcome.as_ref().err());
    let mut dropped = obstacles.filter(|obstacle| obstacle.is_dropped());
    dropped.next().map(ToString::to_string)
}

/// The middle of a node.
fn center(prediction: &Prediction, node: Node) -> (i32, i32) {
    let called_inside = prediction.parties[1].side == Side::Internal;
    let caller_inside = prediction.parties[0].side == Side::Internal;
    let both_by_vpn = prediction.parties.iter().all(|it| it.side == Side::Vpn);
    match node {
        // Both tunnels come in below the Edge, and no line is behind a box.
        Node::Edge if both_by_vpn => (430, 215),
        Node::Home(1) if both_by_vpn => (600, 130),
        Node::Party(1) if both_by_vpn => (790, 190),
        Node::Party(0) if caller_inside => (100, 300),
        Node::Party(0) => (100, 190),
        Node::Home(0) => (260, 130),
        Node::Internet => (430, 130),
        Node::Edge => (600, 200),
        Node::Gateway => (430, 300),
        Node::Company => (600, 300),
        Node::Home(_) => (600, 85),
        Node::Party(_) if called_inside => (790, 300),
        Node::Party(_) => (790, 130),
    }
}

fn line(out: &mut String, prediction: &Prediction, from: Node, to: Node, style: &str) {
    let ((x1, y1), (x2, y2)) = (center(prediction, from), center(prediction, to));
    let dashes = if is_tunnel(prediction, from, to) {
        " stroke-dasharray=\"12 5\""
    } else {
        ""
    };
    _ = writeln!(
        out,
        "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" {style}{dashes}/>"
    );
}

/// A red cross at the concentrator, and what is written beside it.
fn cross(out: &mut String, prediction: &Prediction, why: String) {
    let (x, y) = center(prediction, Node::Gateway);
    let (left, top) = (x - BOX_WIDTH / 2 - 14, y - 24);
    for (from, to) in [(-9, 9), (9, -9)] {
        _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{BAD}\" stroke-width=\"4\"/>",
            left - 9,
            top + from,
            left + 9,
            top + to
        );
    }
    _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"{BAD}\">{}</text>",
        y + BOX_HEIGHT / 2 + 18,
        escaped(&why)
    );
}

fn draw_node(
    out: &mut String,
    prediction: &Prediction,
    pair: Option<&Pair>,
    node: Node,
    is_on_path: bool,
) {
    let (x, y) = center(prediction, node);
    let [name, address] = match pair {
        Some(pair) => node_words(prediction, pair, node),
        None => [super::node_name(node).to_owned(), String::new()],
    };
    let (stroke, width) = if is_on_path {
        ("#222222", 2)
    } else {
        ("#999999", 1)
    };
    let (left, top) = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2);
    let corner = if node == Node::Internet {
        BOX_HEIGHT / 2
    } else {
        5
    };
    let fill = match node {
        Node::Company | Node::Gateway | Node::Edge => "#e8eef7",
        Node::Internet => "#f3f3f3",
        Node::Party(_) | Node::Home(_) => "#fdf6e3",
    };
    _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"{corner}\" \
         fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>"
    );
    let lines = [name, address];
    let lines: Vec<&String> = lines.iter().filter(|line| !line.is_empty()).collect();
    let first = y + 5 - 8 * i32::try_from(lines.len().saturating_sub(1)).unwrap_or(0);
    for (at, line) in (0_i32..).zip(lines) {
        _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            first + 16 * at,
            escaped(&shortened(line))
        );
    }
}

/// As much of a name as a box holds.
fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_CHARS - 3).collect();
    format!("{kept}...")
}

/// Text of the policy as text of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const WIDTH: i32 = 900;
const PANEL_HEIGHT: i32 = 370;
const BOX_WIDTH: i32 = 138;
const BOX_HEIGHT: i32 = 44;
/// Returns the part of these letters that fits a box.
const MAX_CHARS: usize = 20;
const GOOD: &str = "#1a7f37";
const BAD: &str = "#c62828";
const FAINT_TEXT: &str = "#777777";
const LINK: &str = "stroke=\"#bbbbbb\" stroke-width=\"1.5\"";
