#!/usr/bin/env python3
"""Reads files from standard input, as JSON [{"target", "text"}], and prints of each what it sends into the tunnel.

A second opinion for the tests: it shares nothing with the program that wrote the file, and decides each range of
addresses by a scan for the longest prefix.
"""

import ipaddress
import json
import re
import shlex
import sys
import xml.etree.ElementTree as xml


def net(text):
    return ipaddress.ip_network(text, strict=True)


BOTH = [net("0.0.0.0/0"), net("::/0")]


def openvpn(text, inside, outside):
    for option in re.findall(r'^push "([^"]*)"', text, re.M):
        openvpn_option(option, inside, outside)


def openvpn_option(option, inside, outside):
    words = option.split()
    if words[0] == "redirect-gateway":
        assert words[1:] == ["def1"], words
        inside.append(BOTH[0])
    elif words[:2] == ["route", "remote_host"]:
        assert words[2:] == ["255.255.255.255", "net_gateway"], words
    elif words[0] == "route":
        prefix = net(f"{words[1]}/{words[2]}")
        (outside if words[3:] == ["net_gateway"] else inside).append(prefix)
    elif words[0] == "route-ipv6":
        assert len(words) == 2, words
        inside.append(net(words[1]))
    else:
        raise AssertionError(words)


def openvpn_push_update(text, inside, outside):
    (options,) = re.fullmatch(r'push-update-broad "([^"]*)"\n', text).groups()
    assert len(options) <= 256
    for option in options.split(","):
        openvpn_option(option, inside, outside)


def ocserv(text, inside, outside):
    for key, value in re.findall(r"^(route|no-route) = (\S+)$", text, re.M):
        if value == "default":
            inside.extend(BOTH)
        else:
            (inside if key == "route" else outside).append(net(value))


def wireguard(text, inside, outside):
    for values in re.findall(r"^AllowedIPs = (.*)$", text, re.M):
        inside.extend(net(value) for value in values.split(", "))


def strongswan(text, inside, outside):
    (values,) = re.findall(r"^local_ts = (\S*)$", text, re.M)
    inside.extend(net(value) for value in values.split(","))


def strongswan_unity(text, inside, outside):
    for key, values in re.findall(r"^ *split-(include|exclude) = (\S+)$", text, re.M):
        (inside if key == "include" else outside).extend(net(value) for value in values.split(","))
    if not inside:
        inside.append(BOTH[0])


def windows_profilexml(text, inside, outside):
    profile = xml.fromstring(text)
    assert profile.tag == "VPNProfile"
    if profile.findtext("NativeProfile/RoutingPolicyType") == "ForceTunnel":
        inside.extend(BOTH)
    assert not profile.findall("NativeProfile//Route"), "routes stand beside NativeProfile"
    for route in profile.findall("Route"):
        prefix = net(f"{route.findtext('Address')}/{route.findtext('PrefixSize')}")
        (outside if route.findtext("ExclusionRoute") == "true" else inside).append(prefix)


def windows_powershell(text, inside, outside):
    pattern = r"^Add-VpnConnectionRoute @scope -ConnectionName \$connection -DestinationPrefix '([^']+)'$"
    inside.extend(net(value) for value in re.findall(pattern, text, re.M))


def cisco_asa(text, inside, outside):
    policies = set(re.findall(r"^ (?:ipv6-)?split-tunnel-policy (\w+)$", text, re.M))
    (policy,) = policies
    lists = re.findall(r"^ split-tunnel-network-list value (\S+)$", text, re.M)
    listed = []
    for name, network in re.findall(r"^access-list (\S+) extended permit ip (.*) any[46]$", text, re.M):
        assert [name] == lists
        listed.append(net(network.replace(" ", "/")))
    if policy == "tunnelspecified":
        inside.extend(listed)
    else:
        assert policy == ("excludespecified" if listed else "tunnelall")
        inside.extend(BOTH)
        outside.extend(listed)


def globalprotect(text, inside, outside):
    path = "global-protect global-protect-gateway Contoso remote-user-tunnel-configs Contoso split-tunneling"
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:2] == [f"delete {path} access-route", f"delete {path} exclude-access-route"]
    for line in lines[2:]:
        before, prefix = line.rsplit(" ", 1)
        lists = {f"set {path} access-route": inside, f"set {path} exclude-access-route": outside}
        lists[before].append(net(prefix))


def globalprotect_xml(text, inside, outside):
    root = xml.fromstring(text)
    assert root.tag == "split-tunneling"
    assert [child.tag for child in root] == ["access-route", "exclude-access-route"]
    for part, listed in zip(root, (inside, outside)):
        assert {member.tag for member in part} <= {"member"}
        listed.extend(net(member.text) for member in part)


def fortigate_ipsec(text, inside, outside):
    tables, path = {}, []
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "config":
            path = [" ".join(words[1:])]
        elif words[0] == "edit":
            path.append(words[1])
            tables.setdefault(tuple(path), {})
        elif words[0] == "set":
            tables[tuple(path)][words[1]] = words[2:]
        elif words[0] == "next":
            path.pop()
        else:
            assert words[0] in ("end", "unset"), line
            assert len(path) == (1 if words[0] == "end" else 2), line
    tunnel = tables["vpn ipsec phase1-interface", "Contoso"]
    for family, suffix, key, whole in (("ipv4", "", "subnet", BOTH[0]), ("ipv6", "6", "ip6", BOTH[1])):
        for form, listed in (("include", inside), ("exclude", outside)):
            group = tunnel.get(f"{family}-split-{form}")
            if group is None:
                inside.extend([whole] if form == "include" else [])
                continue
            for member in tables[f"firewall addrgrp{suffix}", *group]["member"]:
                listed.append(net("/".join(tables[f"firewall address{suffix}", member][key])))


def warp(text, inside, outside):
    ((form, entries),) = json.loads(text).items()
    warp_list(form, [entry["address"] for entry in entries], inside, outside)


def warp_terraform(text, inside, outside):
    ((form, entries),) = re.findall(r"^  (include|exclude) = \[\n((?:    .*\n)*)  \]$", text, re.M)
    warp_list(form, re.findall(r'^    { address = "([^"]+)"', entries, re.M), inside, outside)


def warp_list(form, addresses, inside, outside):
    if form == "exclude":
        inside.extend(BOTH)
    {"include": inside, "exclude": outside}[form].extend(map(net, addresses))


def classless(data):
    """RFC 3442."""
    while data:
        length = data[0]
        octets = (length + 7) // 8
        address = data[1 : 1 + octets] + bytes(4 - octets)
        assert data[1 + octets : 5 + octets] == bytes([172, 16, 1, 1])
        yield net(f"{ipaddress.IPv4Address(address)}/{length}")
        data = data[5 + octets :]


def kea(text, inside, outside):
    options = json.loads(re.sub(r"^//.*$", "", text, flags=re.M))
    assert [option["code"] for option in options] == [121, 249]
    assert options[0]["data"] == options[1]["data"]
    inside.extend(classless(bytes.fromhex(options[0]["data"])))


def dnsmasq(text, inside, outside):
    options = dict(re.findall(r"^dhcp-option=(\d+),(.*)$", text, re.M))
    assert sorted(options) == ["121", "249"] and options["121"] == options["249"]
    words = options["121"].split(",")
    assert set(words[1::2]) == {"172.16.1.1"}
    inside.extend(net(value) for value in words[::2])


def prefixes(text, inside, outside):
    of = re.findall(r"^# excluded from: (\S+)$", text, re.M)
    listed = [net(line) for line in text.splitlines() if not line.startswith("#")]
    inside.extend(map(net, of) if of else listed)
    outside.extend(listed if of else [])


def json_plan(text, inside, outside):
    inside.extend(net(entry["prefix"]) for entry in json.loads(text)["includes"])


def radius(text, inside, outside):
    for name, value in re.findall(r'^\t(Framed-Route|Framed-IPv6-Route) \+= "([^"]+)",$', text, re.M):
        prefix, router, metric = value.split(" ")
        assert (name, router, metric) in (("Framed-Route", "0.0.0.0", "1"), ("Framed-IPv6-Route", "::", "1")), value
        inside.append(net(prefix))


def tailscale(text, inside, outside):
    (values,) = re.findall(r"^exec tailscale set --advertise-routes=(\S+)$", text, re.M)
    inside.extend(net(value) for value in values.split(","))
    assert not set(inside) & set(BOTH), "an exit node"


def tailscale_approvers(text, inside, outside):
    policy = json.loads(re.sub(r"^//.*$", "", text, flags=re.M))
    for prefix, tags in policy["autoApprovers"]["routes"].items():
        assert all(tag.startswith("tag:") for tag in tags)
        inside.append(net(prefix))


def netbird(text, inside, outside):
    routes = json.loads(text)
    names = [route["network_id"] for route in routes]
    assert len(set(names)) == len(names) and all(1 <= len(name) <= 40 for name in names)
    inside.extend(net(route["network"]) for route in routes)
    assert not set(inside) & set(BOTH), "an exit node"


def meraki_exclusions(text, inside, outside):
    inside.append(BOTH[0])
    for rule in json.loads(text)["custom"]:
        assert (rule["protocol"], rule["port"]) == ("any", "any")
        outside.append(net(rule["destination"]))


READERS = {
    "openvpn": openvpn,
    "openvpn-ccd": openvpn,
    "openvpn-client-connect": openvpn,
    "openvpn-push-update": openvpn_push_update,
    "ocserv": ocserv,
    "ocserv-group": ocserv,
    "radius": radius,
    "tailscale": tailscale,
    "tailscale-approvers": tailscale_approvers,
    "netbird": netbird,
    "meraki-exclusions": meraki_exclusions,
    "wireguard": wireguard,
    "strongswan": strongswan,
    "strongswan-unity": strongswan_unity,
    "windows-profilexml": windows_profilexml,
    "windows-powershell": windows_powershell,
    "cisco-asa": cisco_asa,
    "globalprotect": globalprotect,
    "globalprotect-xml": globalprotect_xml,
    "fortigate-ipsec": fortigate_ipsec,
    "cloudflare-warp": warp,
    "cloudflare-warp-terraform": warp_terraform,
    "kea": kea,
    "dnsmasq": dnsmasq,
    "prefixes": prefixes,
    "json": json_plan,
}


def tunnel(inside, outside):
    """Every range of addresses whose longest prefix is one of `inside`; an exclusion wins over an equal inclusion."""
    for version, width in ((4, 32), (6, 128)):
        decisions = [(p, True) for p in inside if p.version == version]
        decisions += [(p, False) for p in outside if p.version == version]
        edges = {int(p.network_address) for p, _ in decisions}
        edges |= {int(p.broadcast_address) + 1 for p, _ in decisions}
        edges = sorted(edges | {0, 1 << width})
        address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        for first, after in zip(edges, edges[1:]):
            holding = [(p.prefixlen, not enters) for p, enters in decisions if address(first) in p]
            if holding and not max(holding)[1]:
                yield from ipaddress.summarize_address_range(address(first), address(after - 1))


def main():
    answers = []
    for file in json.load(sys.stdin):
        inside, outside = [], []
        READERS[file["target"]](file["text"], inside, outside)
        answers.append([str(prefix) for prefix in tunnel(inside, outside)])
    json.dump(answers, sys.stdout)


main()
