//! [`Bpf`]: the policy as an eBPF program for tc, compiled and loaded when the benchmark starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use ipnet::Ipv4Net;

use crate::bed::{Bed, SCRATCH, try_run};
use crate::policy::{ALLOWED_PORTS, Length, Set};

/// The loaded program for each length of the policy.
#[derive(Debug)]
pub(crate) struct Bpf;

impl Bpf {
    /// Compiles and loads the program.
    ///
    /// # Errors
    /// Names the step that this host does not allow.
    pub(crate) fn load() -> Result<Self, String> {
        let (source, object) = (format!("{SCRATCH}/filter.c"), format!("{SCRATCH}/filter.o"));
        fs::write(&source, SOURCE).expect("a file in memory");
        let (first, last) = ALLOWED_PORTS;
        let mut compiler = Command::new("clang");
        compiler
            .args(["-O2", "-g", "-target", "bpf", "-Wall", "-Werror"])
            .arg(format!(
                "-I/usr/include/{}-linux-gnu",
                std::env::consts::ARCH
            ))
            .arg(format!("-DFIRST_ALLOWED={first}"))
            .arg(format!("-DLAST_ALLOWED={last}"))
            .args(["-c", &source, "-o", &object]);
        try_run(&mut compiler).map_err(|why| format!("clang: {why}"))?;
        let pinned = format!("{SCRATCH}/bpf");
        fs::create_dir(&pinned).expect("a file system in memory");
        try_run(Command::new("mount").args(["-t", "bpf", "bpf", &pinned]))
            .map_err(|why| format!("mount: {why}"))?;
        for length in LENGTHS {
            let folder = folder(length);
            let loaded = [
                "prog",
                "loadall",
                &object,
                &folder,
                "type",
                "classifier",
                "pinmaps",
            ];
            let mut bpftool = Command::new("bpftool");
            bpftool.args(loaded).arg(format!("{folder}_maps"));
            try_run(&mut bpftool).map_err(|why| format!("bpftool: {why}"))?;
            let batch = format!("{SCRATCH}/sets");
            fs::write(&batch, updates(length)).expect("a file in memory");
            try_run(Command::new("bpftool").args(["batch", "file", &batch]))
                .map_err(|why| format!("bpftool: {why}"))?;
        }
        Ok(Self)
    }

    /// Attaches the program to the ingress of the gateway's interfaces.
    pub(crate) fn attach(&self, bed: &Bed, length: Length) {
        for (interface, program) in PROGRAMS {
            let folder = folder(length);
            bed.on_gateway(&format!("tc qdisc add dev {interface} clsact"));
            bed.on_gateway(&format!(
                "tc filter add dev {interface} ingress bpf direct-action object-pinned {folder}/{program}"
            ));
        }
    }

    /// Detaches the program.
    pub(crate) fn detach(&self, bed: &Bed) {
        for (interface, _) in PROGRAMS {
            bed.on_gateway(&format!("tc qdisc del dev {interface} clsact"));
        }
    }
}

/// Writes the commands for `bpftool batch` that fill the map.
fn updates(length: Length) -> String {
    // A prefix belongs to every set that holds a prefix around it, here one of the short policy.
    let short: Vec<(Ipv4Net, u32)> = sets_of(Length::Ten).into_iter().collect();
    let entries = sets_of(length).into_iter().map(|(prefix, own)| {
        let around = short.iter().filter(|(other, _)| other.contains(&prefix));
        (prefix, around.fold(own, |bits, (_, more)| bits | more))
    });
    let mut text = String::new();
    for (prefix, bits) in entries {
        let bytes = |bytes: &[u8]| -> String {
            let words = bytes.iter().map(|byte| format!(" {byte:#04x}"));
            words.collect()
        };
        let length_bytes = bytes(&u32::from(prefix.prefix_len()).to_ne_bytes());
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "map update pinned {}_maps/sets key{length_bytes}{} value{}",
            folder(length),
            bytes(&prefix.addr().octets()),
            bytes(&bits.to_ne_bytes())
        );
    }
    text
}

/// Returns each prefix, with a bit for each set that holds it.
fn sets_of(length: Length) -> BTreeMap<Ipv4Net, u32> {
    let mut sets = BTreeMap::new();
    for (bit, set) in Set::ALL.into_iter().enumerate() {
        for prefix in set.prefixes(length) {
            *sets.entry(prefix).or_default() |= 1 << bit;
        }
    }
    sets
}

/// Returns the directory where the program and the maps of a policy are pinned.
fn folder(length: Length) -> String {
    let name = match length {
        Length::Ten => "ten",
        Length::TenThousand => "ten_thousand",
    };
    format!("{SCRATCH}/bpf/{name}")
}

/// The program of each interface.
const PROGRAMS: [(&str, &str); 2] = [("tun0", "tun"), ("gso0", "wire")];

const LENGTHS: [Length; 2] = [Length::Ten, Length::TenThousand];

const SOURCE: &str = include_str!("filter.bpf.c");
