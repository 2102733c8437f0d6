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
        }
    }

    /// Facts about its programs.
    pub const fn caveat(self) -> Option<&'static str> {
        match self {
            Self::Lync2010 | Self::LiveMeeting => None,
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
                "the version is part of its path: the rules have to be written again after each update",
            ),
        }
    }

    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        self.word()
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
        }
    }
}
