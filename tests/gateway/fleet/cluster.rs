//! Members of etcd: alone, three of a cluster that lose each other, behind TLS, and behind a network that loses every packet.

use super::{
    CLIENTS, Identities, policy, publish, publish_for, site_file, start_agent, wait_for_report,
};
use crate::site::plain::{OFFICE, PlainSite};
use crate::site::{Daemon, Host, in_nftables_sandbox};
use crate::support::fleet::Fleet;
use crate::support::stores::Member;

/// Starts `member`, with what it stores in the folder of the test; returns once it answers.
pub(super) fn start(
    host: &Host,
    of: &Fleet,
    member: &Member<'_>,
    log: &str,
    options: &[&str],
    of_control: &[&str],
) -> Daemon {
    let mut daemon = start_alone(host, of, member, log, options);
    wait_for_answer(host, member, &mut daemon, of_control);
    daemon
}

fn start_alone(
    host: &Host,
    of: &Fleet,
    member: &Member<'_>,
    log: &str,
    options: &[&str],
) -> Daemon {
    let mut command = member.command(&of.folder);
    command.args(options);
    Daemon::start(host, member.name, of.folder.path(log), &mut command)
}

/// Waits until it answers, which takes a majority of its cluster.
#[track_caller]
fn wait_for_answer(host: &Host, member: &Member<'_>, daemon: &mut Daemon, options: &[&str]) {
    let ask = [options, &["endpoint", "health"]].concat();
    daemon.wait_until("it answers", |_| {
        host.run(&mut member.control(&ask)).code == Some(0)
    });
}

#[test]
fn a_network_that_loses_every_packet_to_the_store_is_survived_and_told() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_partition");
        let mut fleet = Fleet::new("fleet_partition_store");
        fleet.store = format!("etcd://{OFFICE}:2379/contoso");
        let away = Member {
            address: OFFICE,
            ..Member::alone()
        };
        let (gateway, store) = (&site.concentrator, &site.corporate);
        let _member = start(store, &fleet, &away, "etcd.log", &[], &[]);
        publish(gateway, &fleet, &policy(false), "stable");
        site_file(&site, &fleet, "poll_seconds = 2");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");

        // Nothing refuses a connection: no answer comes at all.
        store.nft(
            "table inet lost {
                chain input {
                    type filter hook input priority 0
                    iifname eth1 tcp dport 2379 drop
                }
            }",
        );
        agent.wait_for_log("since the store does not answer");
        publish(store, &fleet, &policy(true), "stable");
        store.nft("delete table inet lost");
        agent.wait_for_log("the store answers again");
        agent.wait_for_log("release 2 is in ");
        wait_for_report(gateway, &fleet, "release 2", |report| report["has"] == 2);
    });
}

#[test]
fn etcd_behind_tls_is_followed_by_whoever_has_a_certificate() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_etcd_tls");
        let mut fleet = Fleet::new("fleet_etcd_tls_store");
        fleet.store = "etcds://127.0.0.1:2379/contoso".to_owned();
        let host = &site.concentrator;
        let tls = Identities::new(&fleet.folder, "127.0.0.1");
        let behind_tls = Member {
            scheme: "https",
            ..Member::alone()
        };
        let (certificate, key) = (&tls.server.0, &tls.server.1);
        let options = ["--cert-file", certificate, "--key-file", key];
        let asking = ["--client-cert-auth", "--trusted-ca-file", &tls.authority];
        let options = [&options[..], &asking].concat();
        let (certificate, key) = (&tls.gateway.0, &tls.gateway.1);
        let shown = ["--cacert", &tls.authority, "--cert", certificate];
        let shown = [&shown[..], &["--key", key]].concat();
        let _member = start(host, &fleet, &behind_tls, "etcd.log", &options, &shown);

        let trusted = ["--channel", "stable", "--ca", &tls.authority];
        let refused = publish_for(CLIENTS, host, &fleet, &policy(false), &trusted);
        assert!(refused.error(1).contains("https://127.0.0.1:2379/v3/"));
        let known = [&trusted[..], &tls.options()].concat();
        publish_for(CLIENTS, host, &fleet, &policy(false), &known).success();
        tls.check_who_may_look(&site, &fleet);
    });
}

#[test]
fn a_cluster_is_followed_while_it_has_a_majority_and_again_once_it_has_one() {
    in_nftables_sandbox(&["etcd", "etcdctl"], || {
        let site = PlainSite::new("fleet_cluster");
        let mut fleet = Fleet::new("fleet_cluster_store");
        let host = &site.concentrator;
        fleet.store = "etcd://127.0.0.1:2379,127.0.0.1:2389,127.0.0.1:2399/contoso".to_owned();
        let cluster = Member::three();
        let start_one =
            |it: &Member<'_>| start_alone(host, &fleet, it, &format!("{}.log", it.name), &[]);
        let mut members = cluster.each_ref().map(start_one);
        for (member, daemon) in cluster.iter().zip(&mut members) {
            wait_for_answer(host, member, daemon, &[]);
        }
        publish(host, &fleet, &policy(false), "stable");
        site_file(&site, &fleet, "");
        let mut agent = start_agent(&site, "agent.log");
        agent.wait_for_log("release 1 is in ");

        // Each goes in turn, so the one that the agent watches goes, too; the others tell of the next release.
        for (at, member) in cluster.iter().enumerate() {
            members[at].signal("KILL");
            members[at].wait();
            let is_allowed = at % 2 == 0;
            publish(host, &fleet, &policy(is_allowed), "stable");
            agent.wait_for_log(&format!("release {} is in ", at + 2));
            members[at] = start_one(member);
            wait_for_answer(host, member, &mut members[at], &[]);
        }
        wait_for_report(host, &fleet, "release 4", |report| report["has"] == 4);

        // One of three is no majority: it answers that it has no leader, or nothing.
        for member in &mut members[..2] {
            member.signal("KILL");
            member.wait();
        }
        agent.wait_for_log("since the store does not answer");
        members[0] = start_one(&cluster[0]);
        wait_for_answer(host, &cluster[0], &mut members[0], &[]);
        agent.wait_for_log("the store answers again");
        publish(host, &fleet, &policy(false), "stable");
        agent.wait_for_log("release 5 is in ");
    });
}
