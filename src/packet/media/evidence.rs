//! [`Evidence`]: the reasons why a packet is media, as a closed set, and the [`Profile`] that accepts each.

use std::fmt;

use super::Sighting;

/// The evidence that counts; each profile accepts all that the previous one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Checks and relay control of Lync, Skype for Business and native Teams: evidence with a mark that only
    /// Microsoft's software sets.
    Microsoft,
    /// Everything that has a relay to fall back to: ICE, TURN, and what resembles them.
    Ice,
    /// Real-time media of any kind, phones and cameras without ICE among it.
    Any,
}

impl Profile {
    /// True if the profile accepts `sighting`.
    pub(super) fn takes(self, sighting: Sighting) -> bool {
        self >= sighting.evidence.row().from && (self != Self::Microsoft || sighting.is_microsoft)
    }
}

/// Why a packet was recognized as media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Evidence {
    /// A connectivity check.
    StunCheck,
    /// Another STUN message with the magic cookie.
    Stun,
    /// A STUN message without the cookie.
    StunClassic,
    /// A binding request without attributes.
    StunBare,
    /// MS-TURN, by its cookie attribute.
    MsTurn,
    /// STUN inside Multiplexed TURN.
    MsMultiplexed,
    /// STUN inside ChannelData.
    ChannelData,
    /// Zoom's own STUN.
    ZoomStun,
    /// A DTLS handshake that agrees on SRTP.
    DtlsSrtp,
    /// ZRTP key agreement.
    Zrtp,
    /// An RTCP compound packet.
    Rtcp,
    /// Two RTCP or SRTCP packets of one source.
    Srtcp,
    /// A row of RTP packets whose stamps move as a media clock does.
    Rtp,
    /// ICE over TCP.
    IceTcp,
    /// TURN over TCP.
    TurnTcp,
    /// MS-TURN over TCP.
    MsTurnTcp,
    /// The pseudo-TLS hello of Microsoft's relays.
    MsPseudoTls,
    /// The pseudo-SSL hello of Google's relays.
    GooglePseudoSsl,
    /// A row of RTP packets in TCP frames.
    RtpTcp,
}

/// A kind of evidence: its word, its meaning, its source, and the narrowest profile that accepts it.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceRow {
    /// The evidence.
    pub evidence: Evidence,
    /// As logs, metrics and captures name it.
    pub word: &'static str,
    /// One line for a person.
    pub meaning: &'static str,
    /// The document that defines the bytes.
    pub source: &'static str,
    /// The narrowest profile that takes it.
    pub from: Profile,
}

impl Evidence {
    /// Every evidence, in the order of the enum: the one table of them.
    pub const TABLE: [EvidenceRow; 19] = [
        EvidenceRow {
            evidence: Self::StunCheck,
            word: "stun-check",
            meaning: "connectivity check: a STUN binding request with a user name",
            source: "RFC 8445 §7.1, RFC 8489, MS-ICE2 §2.2.2",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::Stun,
            word: "stun",
            meaning: "another STUN or TURN message with the magic cookie",
            source: "RFC 8489 §5, RFC 8656",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::StunClassic,
            word: "stun-classic",
            meaning: "STUN message without the cookie, recognized by its attributes",
            source: "RFC 3489 §11, MS-ICE §2.2",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::StunBare,
            word: "stun-bare",
            meaning: "STUN binding request without cookie and attributes",
            source: "RFC 3489 §11.1",
            from: Profile::Ice,
        },
        EvidenceRow {
            evidence: Self::MsTurn,
            word: "ms-turn",
            meaning: "TURN message of Microsoft's dialect, by its cookie attribute",
            source: "MS-TURN §2.2.2.1",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::MsMultiplexed,
            word: "ms-multiplexed",
            meaning: "STUN message in a frame of Multiplexed TURN",
            source: "MS-TURN §2.2.3",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::ChannelData,
            word: "channel-data",
            meaning: "STUN message in TURN ChannelData",
            source: "RFC 8656 §12.4",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::ZoomStun,
            word: "zoom-stun",
            meaning: "connectivity check of Zoom",
            source: "captures; no public document",
            from: Profile::Ice,
        },
        EvidenceRow {
            evidence: Self::DtlsSrtp,
            word: "dtls-srtp",
            meaning: "DTLS handshake that agrees on SRTP",
            source: "RFC 5764 §4.1.1, RFC 6347 §4.2.2",
            from: Profile::Any,
        },
        EvidenceRow {
            evidence: Self::Zrtp,
            word: "zrtp",
            meaning: "ZRTP key agreement",
            source: "RFC 6189 §5",
            from: Profile::Any,
        },
        EvidenceRow {
            evidence: Self::Rtcp,
            word: "rtcp",
            meaning: "RTCP compound packet that starts with a report",
            source: "RFC 3550 §6.1",
            from: Profile::Any,
        },
        EvidenceRow {
            evidence: Self::Srtcp,
            word: "srtcp",
            meaning: "two RTCP or SRTCP packets of one source",
            source: "RFC 3711 §3.4, RFC 5506",
            from: Profile::Any,
        },
        EvidenceRow {
            evidence: Self::Rtp,
            word: "rtp",
            meaning: "RTP packets of one source whose stamps move as a media clock does",
            source: "RFC 3550 §5.1",
            from: Profile::Any,
        },
        EvidenceRow {
            evidence: Self::IceTcp,
            word: "ice-tcp",
            meaning: "connectivity check on a TCP connection",
            source: "RFC 6544 §3, RFC 4571 §2",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::TurnTcp,
            word: "turn-tcp",
            meaning: "TURN on a TCP connection",
            source: "RFC 8656 §2.1, RFC 6062",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::MsTurnTcp,
            word: "ms-turn-tcp",
            meaning: "TURN in Microsoft's framing on a TCP connection",
            source: "MS-TURN §2.2.1",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::MsPseudoTls,
            word: "ms-pseudo-tls",
            meaning: "pseudo-TLS hello of a client of Microsoft's relays",
            source: "MS-TURN §2.2.1",
            from: Profile::Microsoft,
        },
        EvidenceRow {
            evidence: Self::GooglePseudoSsl,
            word: "google-pseudo-ssl",
            meaning: "pseudo-SSL hello of a client of Google's relays",
            source: "libnice, socket/pseudossl.c",
            from: Profile::Ice,
        },
        EvidenceRow {
            evidence: Self::RtpTcp,
            word: "rtp-tcp",
            meaning: "RTP packets of one source in the frames of a TCP connection",
            source: "RFC 4571 §2, RFC 3550 §5.1",
            from: Profile::Any,
        },
    ];

    /// Its row of the table.
    pub const fn row(self) -> &'static EvidenceRow {
        &Self::TABLE[self as usize]
    }

    /// The word for logs, metrics and captures.
    pub const fn word(self) -> &'static str {
        self.row().word
    }
}

const _: () = {
    let mut at = 0;
    while at < Evidence::TABLE.len() {
        assert!(
            Evidence::TABLE[at].evidence as usize == at,
            "the table has the order of the enum"
        );
        at += 1;
    }
};

impl fmt::Display for Evidence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn each_evidence_has_a_word_of_its_own_that_fits_labels() {
        let words: HashSet<&str> = Evidence::TABLE.iter().map(|row| row.word).collect();
        assert_eq!(words.len(), Evidence::TABLE.len());
        let fits = |char: char| char.is_ascii_lowercase() || char == '-';
        assert!(words.iter().all(|word| word.chars().all(fits)), "{words:?}");
    }

    #[test]
    fn generated_manual_of_the_evidence_is_current() {
        let mut text = String::from(INTRODUCTION);
        for row in Evidence::TABLE {
            let takes = |profile: Profile| match profile >= row.from {
                true if profile == Profile::Microsoft => "with a mark",
                true => "yes",
                false => "",
            };
            writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                row.word,
                row.meaning,
                takes(Profile::Microsoft),
                takes(Profile::Ice),
                takes(Profile::Any),
                row.source
            )
            .expect("a string takes whatever is written");
        }
        text += CONCLUSION;
        crate::generated::assert_file("docs/media.md", &text);
    }

    const INTRODUCTION: &str = "\
<!-- generated from src/packet/media/evidence.rs; `OFFRAMP_GENERATE=1 cargo test --lib generated_` writes it -->

# Media, and how it is recognized

The article's Table 1 blocks the media ports (1024-65535) of internal hosts and of other VPN clients. Remote Desktop, SQL Server, RPC
and the replies to internal callers use these ports, too. `media.match` decides what is blocked there:

| `media.match` | blocks | lives | for |
|---|---|---|---|
| `\"ports\"` (the default) | everything, as Table 1 is written | what an `[[allow]]` lifts | sites that want exactly Table 1 |
| `\"ice\"` | connectivity checks and relay control of every ICE client, and what follows in their flow | RDP, SQL, RPC, file shares; phones and cameras without ICE | new policies: all media that has a relay to fall back to |
| `\"ice-microsoft\"` | the same, of Lync, Skype for Business and native Teams alone | Teams in a browser, VDI, RDP Shortpath, WebRTC inside the company | sites whose own WebRTC must not change |
| `\"media\"` | real-time media of any kind | everything else | only where phones without ICE have another way, or silence is wanted |

A client that gets no connectivity check through builds no candidate pair in the tunnel and sends no media there: its call takes the relay of the
Edge, or goes from home to home. `media.protocols` limits the rule to TCP or to UDP. Servers (`[[server]]`) are blocked on all ports under every
value, and an `[[allow]]` lifts what it names under every value.

# Evidence

A flow is one direction between two addresses and ports. Once a packet shows evidence, everything that follows in its flow is media, until
the flow is idle for 60 seconds. The word of the evidence stands in the drop log (`evidence`, and `evidence_by`: this `packet`, or an earlier one of the
`flow`), in the comments of captures, in `status` and `replay`, and as the label of the metric `offramp_media_packets_total`.

| evidence | meaning | `\"ice-microsoft\"` | `\"ice\"` | `\"media\"` | source |
|---|---|---|---|---|---|
";

    const CONCLUSION: &str = "
\"With a mark\": the message has an attribute or a frame that only Microsoft's clients and relays send, such as IMPLEMENTATION-VERSION
([MS-ICE2] §2.2.2).

# Limits of recognition

- A UDP flow is given up after 8 datagrams without evidence (64 while a row of RTP is under way); a STUN message with the magic cookie is recognized
  in any flow at any time. A TCP connection is decided by its first bytes; one whose start was not seen, by four segments.
- A TCP call that runs when the filter starts, or when the policy is loaded anew, lives to its end. A UDP call is recognized at its next
  consent check (RFC 7675).
- RTP is recognized by its media clock, and so never DTMF alone (RFC 4733), nor text (RFC 4103).
- The first fragment of a datagram is judged by what it holds. One that shows its ports, and too little payload, passes.
- Flows are kept in memory: 131,072 of them, in about 14 MiB. When it is full, the oldest is evicted, of the same client first; its media is recognized
  again at its next check (`offramp_evicted_flows_total`).
- Rules for other firewalls (`render nftables` and others) read no payload; they are written for `match = \"ports\"` alone.

# Quality of calls

`replay` and `observe` measure every RTP stream that they see, under every `media.match`, whatever the policy makes of it. A stream is one source
(SSRC) of one flow of UDP, by itself or in TURN ChannelData; it is recognized as above and measured from its first packet to a minute of
silence. SRTP leaves the RTP header in the clear.

| figure | meaning |
|---|---|
| loss | the share of the packets promised by the sequence numbers (RFC 3550 A.1, A.3) that never arrived; a packet that arrived twice counts once. `lost` in `--json` is the difference of both as RTCP reports it, which duplicates lower |
| reordered | packets that arrived behind a later one |
| jitter | interarrival jitter (RFC 3550 §6.4.1, A.8): mean and maximum over the packets, without marked ones and comfort noise, as Wireshark has them |
| clock | by the payload type (RFC 3551). A dynamic type has none: then it is estimated from the ticks that passed in the time of the stream, and said to be (`\"basis\": \"estimated\"`); 8, 16, 24, 32, 48 and 90 kHz are told apart. Below 8 packets or one second it stays unknown |
| call | the streams of both directions between two addresses, with pauses of a minute at most |

What a client sends has passed the tunnel when it is measured; what it receives has not: the sentence about calls speaks of the former where there is any.
A call still takes the tunnel if the last packet of a stream that its client sends is forwarded. `observe` on the interface of a VPN sees what
goes from client to client twice, as duplicates. RTP in TCP connections and in TURN indications is not measured.

The running gateway measures the streams that it forwards, where `media.match` is not `\"ports\"`: phones without ICE, and what an `[[allow]]` lifts. It is
handed only what clients send, and nothing that the kernel forwards by itself. Streams are summed when they have ended: a minute after their last
packet, with the worker's next ones. `status` has them by client pool and kind of peer (`media.quality`); the histograms
`offramp_rtp_stream_loss_ratio` and `offramp_rtp_stream_jitter_seconds` have no addresses.

Bounds: `replay` and `observe` measure 8,192 streams at a time and list 16,384; a gateway measures 4,096 at a time. The oldest is evicted, ends early, and is
counted (`offramp_evicted_rtp_streams_total`); what follows of it is another stream.

# RDP Shortpath

Remote Desktop over UDP is not media, but where it finds its way by STUN its connectivity checks are those of ICE: `\"ice\"` and `\"media\"` drop them, and
the session goes on over TCP. `replay` and `observe` name the session hosts (by the datagram that opens a connection of
[MS-RDPEUDP]) and print the `[[allow]]` that keeps it. Without STUN (UDP 3389 and 3390) it is dropped by `\"ports\"` alone.
";
}
