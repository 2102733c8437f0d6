//! FreeRADIUS answers with the rendered routes, as the plan.

use std::process::{Command, Stdio};

use offramp::address::PrefixSet;
use offramp::render::{difference, routes};

use super::{plan, rendered, split};
use crate::support::host::Daemon;
use crate::support::sandbox::in_sandbox;
use crate::support::{Folder, run};

#[test]
fn freeradius_answers_with_the_routes_of_the_plan() {
    in_sandbox(&["freeradius", "radclient"], || {
        let plan = plan(&split());
        let folder = Folder::new("radius");
        let file = folder.write("routes", rendered(&routes::radius::TARGET, &plan, None));
        let users = format!("$INCLUDE {file}\nuser Cleartext-Password := \"secret\"\n");
        let users = folder.write("users", users);
        let here = folder.path("");
        let config = format!(
            "prefix = /usr\nlogdir = {here}\nrun_dir = {here}\nlibdir = /usr/lib/freeradius\n\
             client test {{\nipaddr = 127.0.0.1\nsecret = testing123\n}}\n\
             modules {{\npap {{\n}}\nfiles {{\nfilename = {users}\n}}\n}}\n\
             server default {{\nlisten {{\ntype = auth\nipaddr = 127.0.0.1\nport = 1812\n}}\n\
             authorize {{\nfiles\npap\n}}\nauthenticate {{\npap\n}}\n}}\n"
        );
        folder.write("radiusd.conf", config);
        let mut server = Daemon::start_here(
            "freeradius",
            folder.path("freeradius.log"),
            Command::new("freeradius")
                .args(["-f", "-l", "stdout", "-x", "-n", "radiusd", "-d", &here]),
        );
        server.wait_for_log("Ready to process");
        let asked = folder.write(
            "asked",
            "User-Name = \"user\", User-Password = \"secret\"\n",
        );
        let answer = run(Command::new("radclient")
            .args(["-x", "-f", &asked, "127.0.0.1:1812", "auth", "testing123"])
            .stdin(Stdio::null()))
        .success();
        let attributes = answer.lines().filter(|line| line.contains("-Route = "));
        let prefix = |line: &str| -> ipnet::IpNet {
            let value = line.split('"').nth(1).expect("a text");
            let prefix = value.split(' ').next().expect("a prefix");
            prefix.parse().expect("a prefix")
        };
        let given: PrefixSet = attributes.map(prefix).collect();
        assert_eq!(
            difference(&routes::radius::TARGET, &plan, &given),
            None,
            "{answer}"
        );
    });
}
