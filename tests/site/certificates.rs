//! Certificates for a site: an authority, a server, two clients.

use std::process::Command;

use crate::support::{Folder, run};

/// Makes `ca.pem`, and for the server and each client a certificate (`NAME.pem`) and its key (`NAME.key`), in `folder`.
pub fn make(folder: &Folder) {
    // The extensions that openssl's own configuration adds differ between systems.
    folder.write("openssl.cnf", "[req]\ndistinguished_name = none\n[none]\n");
    issue(folder, "ca", &["basicConstraints=critical,CA:TRUE"], None);
    let server = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=digitalSignature",
        "extendedKeyUsage=serverAuth",
        "subjectAltName=IP:192.0.2.2",
    ];
    issue(folder, "server", &server, Some("ca"));
    let client = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=digitalSignature",
        "extendedKeyUsage=clientAuth",
    ];
    for name in ["client1", "client2"] {
        issue(folder, name, &client, Some("ca"));
    }
}

fn issue(folder: &Folder, name: &str, extensions: &[&str], authority: Option<&str>) {
    let path = |name: &str, end: &str| folder.path(&format!("{name}.{end}"));
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-config", &folder.path("openssl.cnf")])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-keyout", &path(name, "key"), "-out", &path(name, "pem")]);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    if let Some(authority) = authority {
        let certificate = path(authority, "pem");
        command.args(["-CA", &certificate, "-CAkey", &path(authority, "key")]);
    }
    run(&mut command).success();
}
