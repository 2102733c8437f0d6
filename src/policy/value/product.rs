//! [`Product`]: the clients that a policy can name, and where their programs are.
//!
//! Paths are those of the usual installation. A variable in one must be known to the firewall's service, which runs as the
//! system: `%LOCALAPPDATA%` is not. A `*` stands for what differs from client to client: a user's name, a version.

use std::fmt;

use super::word::Word;

/// A client whose media takes another path than the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Lync 2010.
    Lync2010,
    /// Lync 2010 Attendee.
    Lync2010Attendee,
    /// Live Meeting 2007.
    LiveMeeting,
    /// Lync 2013, and Skype for Business 2015, which has its paths; both kinds of installation.
    Lync2013,
    /// Skype for Business 2016 and later, installed by Windows Installer.
    SkypeForBusinessMsi,
    /// Skype for Business 2016 and later, Click-to-Run.
    SkypeForBusinessC2r,
    /// Teams before 2024.
    TeamsClassic,
    /// Teams.
    Teams,
    /// Media of Teams in a virtual desktop, on the computer in front of the user: Microsoft's engine (SlimCore).
    TeamsVdi,
    /// Media of Teams in a Citrix session, on the computer in front of the user.
    CitrixHdx,
    /// Remote Desktop client and Windows App, which carry media of virtual desktops.
    RemoteDesktop,
    /// Zoom Workplace.
    Zoom,
    /// Webex App.
    Webex,
}

impl Product {
    /// Every product, with its name in a policy.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("lync-2010", Self::Lync2010),
        ("lync-2010-attendee", Self::Lync2010Attendee),
        ("live-meeting", Self::LiveMeeting),
        ("lync-2013", Self::Lync2013),
        ("skype-for-business-msi", Self::SkypeForBusinessMsi),
        ("skype-for-business-c2r", Self::SkypeForBusinessC2r),
        ("teams-classic", Self::TeamsClassic),
        ("teams", Self::Teams),
        ("teams-vdi", Self::TeamsVdi),
        ("citrix-hdx", Self::CitrixHdx),
        ("remote-desktop", Self::RemoteDesktop),
        ("zoom", Self::Zoom),
        ("webex", Self::Webex),
    ];

    /// Paths of its programs: those that carry media, in each width that it comes in.
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Lync2010 => &[
                r"%ProgramFiles(x86)%\Microsoft Lync\communicator.exe",
                r"%ProgramFiles%\Microsoft Lync\communicator.exe",
            ],
            Self::Lync2010Attendee => &[
                r"%ProgramFiles(x86)%\Microsoft Lync Attendee\AttendeeCommunicator.exe",
                r"%ProgramFiles%\Microsoft Lync Attendee\AttendeeCommunicator.exe",
            ],
            Self::LiveMeeting => &[
                r"%ProgramFiles(x86)%\Microsoft Office\Live Meeting 8\Console\PWConsole.exe",
                r"%ProgramFiles%\Microsoft Office\Live Meeting 8\Console\PWConsole.exe",
            ],
            Self::Lync2013 => &[
                r"%ProgramFiles%\Microsoft Office\Office15\lync.exe",
                r"%ProgramFiles(x86)%\Microsoft Office\Office15\lync.exe",
                r"%ProgramFiles%\Microsoft Office 15\root\Office15\lync.exe",
                r"%ProgramFiles(x86)%\Microsoft Office 15\root\Office15\lync.exe",
            ],
            Self::SkypeForBusinessMsi => &[
                r"%ProgramFiles%\Microsoft Office\Office16\lync.exe",
                r"%ProgramFiles(x86)%\Microsoft Office\Office16\lync.exe",
            ],
            Self::SkypeForBusinessC2r => &[
                r"%ProgramFiles%\Microsoft Office\root\Office16\lync.exe",
                r"%ProgramFiles(x86)%\Microsoft Office\root\Office16\lync.exe",
            ],
            Self::TeamsClassic => {
                &[r"%SystemDrive%\Users\*\AppData\Local\Microsoft\Teams\current\Teams.exe"]
            }
            // Since January 2026 calls run in a program of their own (Microsoft's message MC1189656).
            Self::Teams => &[
                r"%ProgramFiles%\WindowsApps\MSTeams_*__8wekyb3d8bbwe\ms-teams.exe",
                r"%ProgramFiles%\WindowsApps\MSTeams_*__8wekyb3d8bbwe\ms-teams_modulehost.exe",
            ],
            Self::TeamsVdi => &[
                r"%ProgramFiles%\WindowsApps\Microsoft.Teams.SlimCoreVdi*__8wekyb3d8bbwe\MsTeamsVdi.exe",
            ],
            Self::CitrixHdx => &[
                r"%ProgramFiles(x86)%\Citrix\ICA Client\HdxRtcEngine.exe",
                r"%ProgramFiles(x86)%\Citrix\ICA Client\HdxTeams.exe",
            ],
            Self::RemoteDesktop => &[
                r"%ProgramFiles%\Remote Desktop\msrdc.exe",
                r"%SystemDrive%\Users\*\AppData\Local\Apps\Remote Desktop\msrdc.exe",
                r"%ProgramFiles%\WindowsApps\MicrosoftCorporationII.Windows365_*\msrdc\msrdc.exe",
            ],
            Self::Zoom => &[
                r"%ProgramFiles%\Zoom\bin\Zoom.exe",
                r"%ProgramFiles(x86)%\Zoom\bin\Zoom.exe",
                r"%SystemDrive%\Users\*\AppData\Roaming\Zoom\bin\Zoom.exe",
            ],
            Self::Webex => &[
                r"%ProgramFiles%\Cisco Spark\CiscoCollabHost.exe",
                r"%ProgramFiles(x86)%\Cisco Spark\CiscoCollabHost.exe",
                r"%SystemDrive%\Users\*\AppData\Local\Programs\Cisco Spark\CiscoCollabHost.exe",
            ],
        }
    }

    /// Source of the paths of its programs, with its date.
    pub const fn source(self) -> Source {
        match self {
            Self::Lync2010
            | Self::LiveMeeting
            | Self::Lync2013
            | Self::SkypeForBusinessMsi
            | Self::SkypeForBusinessC2r
            | Self::TeamsClassic => {
                Source::Documented("folders of the usual installation, Microsoft's documents")
            }
            Self::Teams => Source::Documented(
                "Microsoft, \"New Microsoft Teams\", 2024; ms-teams_modulehost.exe: message MC1189656, January 2026",
            ),
            Self::CitrixHdx => Source::Documented(
                "Citrix, \"Tech Paper: Endpoint Security, Antivirus, and Antimalware Best Practices\": both programs, and the versions of Workspace app that have them; read in 2026",
            ),
            Self::Lync2010Attendee => Source::Unverified(
                "the program's name has been seen, its folder follows from the product's name",
            ),
            Self::TeamsVdi => Source::Unverified(
                "Microsoft, \"New VDI solution for Teams\", names the program and the beginning of the package's name; that it lies at the package's root has not been seen",
            ),
            Self::RemoteDesktop => Source::Unverified(
                "installers of the Remote Desktop client, for a computer and for a user; that of Windows App from a report of 2026",
            ),
            Self::Zoom => {
                Source::Unverified("scripts of administrators; Zoom's documents name no path")
            }
            Self::Webex => Source::Unverified(
                "Cisco's documents name the program and its folder \"Cisco Spark\"; the paths are from scripts of administrators",
            ),
        }
    }

    /// Package family name, for a client that is a package.
    pub const fn package(self) -> Option<&'static str> {
        match self {
            Self::Teams => Some("MSTeams_8wekyb3d8bbwe"),
            // The version is part of the name of SlimCore's packages.
            Self::TeamsVdi
            | Self::Lync2010
            | Self::Lync2010Attendee
            | Self::LiveMeeting
            | Self::Lync2013
            | Self::SkypeForBusinessMsi
            | Self::SkypeForBusinessC2r
            | Self::TeamsClassic
            | Self::CitrixHdx
            | Self::RemoteDesktop
            | Self::Zoom
            | Self::Webex => None,
        }
    }

    /// The client's own ports for media, first and last, where its vendor publishes them.
    ///
    /// Microsoft, "Implement Quality of Service (QoS) in Microsoft Teams": 50000-50019 audio, 50020-50039 video,
    /// 50040-50059 sharing, where the meeting settings specify port ranges.
    pub const fn local_ports(self) -> Option<(u16, u16)> {
        match self {
            Self::TeamsClassic | Self::Teams | Self::TeamsVdi => Some((50_000, 50_059)),
            Self::Lync2010
            | Self::Lync2010Attendee
            | Self::LiveMeeting
            | Self::Lync2013
            | Self::SkypeForBusinessMsi
            | Self::SkypeForBusinessC2r
            | Self::CitrixHdx
            | Self::RemoteDesktop
            | Self::Zoom
            | Self::Webex => None,
        }
    }

    /// Facts about its programs.
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Lync2010 | Self::LiveMeeting | Self::Webex => None,
            // Its folder is that of the product's name; the program's name alone has been seen.
            Self::Lync2010Attendee => {
                Some("look for its folder on a client: installations by users are elsewhere")
            }
            Self::Lync2013 | Self::SkypeForBusinessMsi | Self::SkypeForBusinessC2r => Some(
                "UcMapi.exe beside lync.exe talks to Exchange: add it to `programs` only where Exchange is reached outside the tunnel",
            ),
            Self::TeamsClassic => Some(
                "it is installed for each user: a user who comes later needs the rules written again",
            ),
            Self::Teams => Some(
                "the version is part of its path: the rules have to be written again after each update; windows-remediation-detect and windows-remediation, or windows-task, do so",
            ),
            Self::TeamsVdi => Some(
                "the version is part of its path, and changes with Teams in the virtual desktop; it runs on the computer in front of the user",
            ),
            Self::CitrixHdx => Some(
                "Workspace app has one of the two programs: HdxRtcEngine.exe since 2009.6, HdxTeams.exe before",
            ),
            Self::RemoteDesktop => Some(
                "msrdc.exe carries the session itself, too: virtual desktops at internal addresses cannot be reached from the VPN then, unless an [[allow]] says so",
            ),
            Self::Zoom => Some(
                "sharing in CptHost.exe beside it is not among the programs: add it to `programs` where it is seen to send media",
            ),
        }
    }

    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        self.word()
    }
}

/// Source of the paths of a product's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A document of the vendor, or a client on which they were seen.
    Documented(&'static str),
    /// Nothing that could be relied on; the text says as much as is known.
    Unverified(&'static str),
}

impl Source {
    /// Its text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Documented(text) | Self::Unverified(text) => text,
        }
    }

    /// Returns `true` if nobody has confirmed the paths.
    pub const fn is_unverified(self) -> bool {
        matches!(self, Self::Unverified(_))
    }
}

impl Word for Product {
    const WORDS: &'static [(&'static str, Self)] = Self::NAMES;
}

impl fmt::Display for Product {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Product;

    #[test]
    fn every_product_has_a_name_and_programs_that_the_service_can_find() {
        for (name, product) in Product::NAMES {
            assert_eq!(product.name(), *name);
            assert!(!product.programs().is_empty());
            for program in product.programs() {
                assert!(program.ends_with(".exe") && program.starts_with('%'));
                assert!(!program.contains("APPDATA") && !program.contains("USER"));
            }
            assert!(!product.source().text().is_empty());
        }
    }
}
