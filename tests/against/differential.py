"""Compares `offramp verify --against` with the real DNS servers, on files made at random.

    unshare -n python3 tests/against/differential.py bind|rpz|unbound|dnsmasq [SEED] [ZONES]

Starts the server on the files, with an upstream that answers every query with an internal address, asks it for every name as a
client, and compares: a name is hidden where the server denies it, or answers a null address. Prints each name that offramp
takes for hidden and that is not ("acquitted"; exit code 1), and each that it does not and that is ("false alarm"; aliases that
lead in a circle are, because clients get no answer). OFFRAMP is the program, target/debug/offramp by default.
"""

import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

A, CNAME, AAAA, SRV, HTTPS = 1, 5, 28, 33, 65
CLIENT, UPSTREAM, PORT = "172.30.0.5", "127.0.0.53", 5353
LABELS = ["sip", "fe", "pool", "web", "a", "b", "x-1", "dev", "lyncdiscoverinternal", "sipinternal"]
DISCOVERY = ["lyncdiscoverinternal", "sipinternal", "_sipinternaltls._tcp", "_sipinternal._tcp"]
OWNERS = LABELS + ["_tcp", "_sipinternaltls._tcp", "_sipinternal._tcp"]
LOCAL_ZONES = (
    "static transparent typetransparent redirect always_transparent always_nxdomain always_nodata always_null refuse "
    "always_refuse inform noview"
).split()


def wire(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def read_name(message, at):
    """Returns the name at a position, and the position behind it."""
    labels, end = [], None
    for _ in range(128):
        length = message[at]
        if length >= 192:
            end = at + 2 if end is None else end
            at = (length & 63) << 8 | message[at + 1]
        elif length == 0:
            return ".".join(labels), at + 1 if end is None else end
        else:
            labels.append(message[at + 1 : at + 1 + length].decode("latin1").lower())
            at += 1 + length
    raise ValueError("a name in a circle")


def serve_upstream():
    """Answers every query with something internal."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((UPSTREAM, PORT))
    data = {
        A: socket.inet_aton("10.99.99.99"),
        AAAA: socket.inet_pton(socket.AF_INET6, "fd00::99"),
        SRV: struct.pack(">HHH", 0, 0, 5061) + wire("front.corp.example"),
        HTTPS: struct.pack(">HBHH", 1, 0, 4, 4) + socket.inet_aton("10.99.99.99"),
    }
    while True:
        query, client = server.recvfrom(4096)
        _, end = read_name(query, 12)
        kind = struct.unpack(">H", query[end : end + 2])[0]
        answer = data.get(kind, b"")
        head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, int(bool(answer)), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 1, len(answer)) + answer
        server.sendto(head + query[12 : end + 4] + (record if answer else b""), client)


def ask(name, kind):
    """Returns the response code, and the records as (type, value)."""
    for _ in range(3):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((CLIENT, 0))
        client.settimeout(1.5)
        head = struct.pack(">HHHHHH", random.getrandbits(16), 0x0100, 1, 0, 0, 0)
        client.sendto(head + wire(name) + struct.pack(">HH", kind, 1), ("127.0.0.1", PORT))
        try:
            message, _ = client.recvfrom(8192)
        except socket.timeout:
            continue
        finally:
            client.close()
        flags, _, answers = struct.unpack(">HHH", message[2:8])
        if flags & 0x200:
            return "truncated", []
        _, at = read_name(message, 12)
        at += 4
        records = []
        for _ in range(answers):
            _, at = read_name(message, at)
            kind_of, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
            at += 10
            data = message[at : at + length]
            if kind_of == A:
                value = socket.inet_ntoa(data)
            elif kind_of == AAAA:
                value = socket.inet_ntop(socket.AF_INET6, data)
            elif kind_of in (SRV, CNAME):
                value = read_name(message, at + (6 if kind_of == SRV else 0))[0]
            else:
                value = "data"
            records.append((kind_of, value))
            at += length
        return {0: "ok", 3: "no name"}.get(flags & 15, "failed"), records
    return "no answer", []


def is_denied(name):
    """Asks as a client does, which follows aliases; returns the answers, too."""
    seen, denied = [], True
    for kind in [SRV] if name.startswith("_") else [A, AAAA, HTTPS]:
        code, records = ask(name, kind)
        seen.append((kind, code, records))
        for _ in range(8):
            values = [value for of, value in records if of == kind]
            if code != "ok" or values or not records or records[-1][0] != CNAME:
                break
            code, records = ask(records[-1][1], kind)
            seen.append(("alias", code, records))
        values = [value for of, value in records if of == kind]
        # The root as the target of SRV stands for no service.
        is_null = all(value in ("0.0.0.0", "::", "") for value in values)
        denied &= code == "no name" or (code == "ok" and is_null)
    return denied, seen


class Maker:
    """Makes files in a folder."""

    def __init__(self, folder, seed, zones):
        self.folder, self.random = folder, random.Random(seed)
        self.origins = [f"z{number}.corp" for number in range(zones)]
        names = {f"{label}.{origin}" for label in DISCOVERY for origin in self.origins}
        for origin in self.origins:
            names |= {self.name() + "." + origin for _ in range(14)}
            names |= {f"{label}.{origin}" for label in ("g1", "h9", "fe01", "ia.sub")}
        self.names = sorted(names)

    def pick(self, *choices):
        return self.random.choice(choices)

    def name(self):
        return ".".join(self.random.choice(LABELS) for _ in range(self.pick(1, 1, 1, 2, 2, 3)))

    def ttl(self):
        return self.pick("", "", "60", "1h", "1h30m", "2D", "1w")

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def names_of(self, origin):
        return [name for name in self.names if name.endswith("." + origin)]

    def record(self, origin):
        """Returns a type, and a record without its owner."""
        kind = self.pick("A", "A", "A", "AAAA", "CNAME", "TXT", "MX", "SRV", "NS", "DNAME", "HTTPS", "CAA")
        target = self.pick(self.pick(*LABELS), f"{self.pick(*LABELS)}.{origin}.", "outside.example.", "@")
        data = {
            "A": self.pick("10.1.2.3", "131.107.1.10", "0.0.0.0"),
            "AAAA": self.pick("fd00::1", "2001:db8::1", "::"),
            "TXT": self.pick('"v=spf1 (x) ; -all"', '( "a b"\n   "c;d" )', "simple"),
            "MX": "10 " + target,
            "SRV": "0 0 5061 " + target,
            "HTTPS": "1 . alpn=h2",
            "CAA": '0 issue "x;y"',
        }.get(kind, target)
        return kind, f"{self.ttl()} {self.pick('IN', '', 'in')} {self.pick(kind, kind.lower())} {data}"

    def zone(self, origin, is_plain):
        """Writes a zone that BIND loads; `is_plain` for other servers, without BIND's directives."""
        while True:
            self.write(f"{origin}.db", self.zone_text(origin, is_plain))
            check = ["named-checkzone", "-q", "-k", "ignore", "-i", "none", origin, f"{origin}.db"]
            if subprocess.run(check, cwd=self.folder, check=False).returncode == 0:
                return

    def zone_text(self, origin, is_plain):
        start = self.pick("@ IN SOA ns h 1 1h 10m 1d 60", f"{origin}. SOA ns h (\n 1 ; serial (\n 3600 600\n 86400 60 )")
        lines = ["$TTL 1h", start, "@ NS ns", "ns A 10.0.0.1"]
        types, below = {"ns": {"A"}}, ""
        for _ in range(self.random.randint(2, 14)):
            what = self.random.random()
            if what < 0.14:
                below = self.pick("", *LABELS)
                lines.append(f"$ORIGIN {below}{'.' if below else ''}{origin}.")
            elif what < 0.25 and not is_plain:
                number = self.random.randint(0, 10**9)
                self.write(f"inc{number}.db", f"i{self.pick(*LABELS)} A 10.0.0.9\n")
                lines.append(
                    self.pick(
                        "$GENERATE 1-3 g$ A 10.0.0.$",
                        "$GENERATE 1-5/2 fe${0,2} 60 IN A 10.0.${1}.1",
                        "$GENERATE 0-2 h${9,0,x} CNAME fe",
                        f'$INCLUDE "inc{number}.db"',
                        f'$INCLUDE "inc{number}.db" sub.{origin}.',
                    )
                )
            else:
                label = self.pick(*LABELS)
                owner = self.pick(self.pick(*OWNERS), f"{self.pick(*LABELS)}.{label}", "*", f"*.{label}")
                kind, record = self.record(origin)
                known = types.setdefault(f"{owner}.{below}", set())
                is_wild = owner.startswith("*") and kind in ("NS", "DNAME")
                if is_wild or "CNAME" in known or (known and kind in ("CNAME", "DNAME")):
                    continue
                known.add(kind)
                lines.append(f"{owner}\t{record}")
        return "\n".join(lines) + "\n"

    def policy_zone(self, name):
        lines, known = ["$TTL 60", "@ SOA localhost. root. 1 3600 600 86400 60", "@ NS localhost."], set()
        for trigger in self.random.sample(self.names, len(self.names) // 4):
            owner = self.pick(trigger, trigger, "*." + trigger)
            action = self.pick(
                "CNAME .", "CNAME *.", "CNAME rpz-passthru.", "A 10.3.3.3", "AAAA fd00::3", "A 0.0.0.0", f"CNAME {trigger}."
            )
            if owner not in known:
                known.add(owner)
                lines.append(f"{owner} {action}")
        self.write(name, "\n".join(lines) + "\n")

    def bind(self, has_policies=False):
        policies, zones = "", ""
        for origin in self.origins[:: 3 if has_policies else 1]:
            self.zone(origin, is_plain=False)
            zones += f'zone "{origin}" {{ type primary; file "{origin}.db"; check-names ignore; }};\n'
        if has_policies:
            listed = ""
            for name in ["two.rpz", "one.rpz", "three.rpz"]:
                self.policy_zone(f"{name}.db")
                zones += f'zone "{name}" {{ type primary; file "{name}.db"; check-names ignore; }};\n'
                listed += f'zone "{name}" {self.pick("", "", "policy nxdomain", "policy disabled", "policy passthru")}; '
            policies = f"response-policy {{ {listed}}} qname-wait-recurse no break-dnssec yes;"
        self.write(
            "named.conf",
            f'options {{ directory "{self.folder}"; recursion yes; allow-query {{ any; }}; allow-recursion {{ any; }};\n'
            f"allow-query-cache {{ any; }}; forward only; forwarders {{ {UPSTREAM} port {PORT}; }}; dnssec-validation no;\n"
            f"listen-on port {PORT} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile none;\n"
            f"{policies} }};\ncontrols {{ }};\n{zones}",
        )
        return "named.conf", ["named", "-g", "-c", f"{self.folder}/named.conf"]

    def rpz(self):
        return self.bind(has_policies=True)

    def local(self):
        """Returns local zones and data of unbound."""
        lines = []
        for origin in self.origins:
            known, redirected, names = set(), [], self.names_of(origin)
            for _ in range(self.random.randint(0, 4)):
                zone, kind = self.pick(origin, *names), self.pick(*LOCAL_ZONES)
                if zone not in known:
                    known.add(zone)
                    redirected += [zone] if kind == "redirect" else []
                    lines.append(f'  local-zone: {self.pick(zone, chr(34) + zone + "." + chr(34))} {kind}')
            owners = set()
            for _ in range(self.random.randint(0, 6)):
                name = self.pick(*names)
                if name in owners or any(name.endswith("." + zone) for zone in redirected):
                    continue
                owners.add(name)
                data = self.pick("A 10.1.1.1", "A 0.0.0.0", "AAAA fd00::5", "SRV 0 0 5061 fe.", "TXT x", "CNAME outside.example.")
                lines.append(f'  local-data: "{name}. {self.ttl()} {self.pick("IN", "")} {data}"')
        return "\n".join(lines) + "\n"

    def unbound(self):
        zones = ""
        for origin in self.origins[::4]:
            self.zone(origin, is_plain=True)
            # unbound takes the TTL and the class in this order alone, as written above.
            zones += f'auth-zone:\n  name: "{origin}"\n  zonefile: "{self.folder}/{origin}.db"\n'
        if self.pick(True, False):
            self.policy_zone("r.db")
            zones += f'rpz:\n  name: "r.rpz"\n  zonefile: "{self.folder}/r.db"\n'
        self.write("parts.conf", "server:\n" + self.local())
        clients = self.pick("10.0.0.0/8", "172.30.0.0/16", "172.16.0.0/12")
        self.write(
            "unbound.conf",
            f'server:\n  directory: "{self.folder}"\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n'
            f"  interface: 127.0.0.1@{PORT}\n  access-control: 0.0.0.0/0 allow\n  do-not-query-localhost: no\n"
            f'  module-config: "respip iterator"\n  access-control-view: {clients} vpn\n'
            f'forward-zone:\n  name: "."\n  forward-addr: {UPSTREAM}@{PORT}\ninclude: "parts.conf"\n'
            f'view:\n  name: "vpn"\n  view-first: {self.pick("yes", "no")}\n{self.local()}{zones}',
        )
        return "unbound.conf", ["unbound", "-d", "-c", f"{self.folder}/unbound.conf"]

    def dnsmasq(self):
        lines, hosts, aliases = [], [], set()
        for origin in self.origins:
            names = self.names_of(origin)
            for _ in range(self.random.randint(0, 6)):
                name = self.pick(*names)
                domain = self.pick(origin, name, "*." + name, "." + name, "*" + name)
                sign = self.pick("=", "=", " = ")
                server = self.pick("", "#", f"{UPSTREAM}#{PORT}")
                address = self.pick("", "#", "10.1.1.1", "0.0.0.0", "fd00::7", "::")
                lines.append(
                    self.pick(f"local{sign}/{domain}/", f"server{sign}/{domain}/{server}", f"address{sign}/{domain}/{address}")
                )
            for _ in range(self.random.randint(0, 4)):
                name, target = self.pick(*names), self.pick(*names)
                what = self.random.random()
                if what < 0.4:
                    lines.append(f"host-record={name},{self.pick('10.2.2.2', 'fd00::8', '10.2.2.2,fd00::8')}")
                elif what < 0.6:
                    hosts.append(f"{self.pick('10.4.4.4', '0.0.0.0', '::')} {name}")
                elif what < 0.8 and name != target and name not in aliases:
                    aliases.add(name)
                    lines.append(f"cname={name},{target}")
                elif name.startswith("_"):
                    lines.append(self.pick(f"srv-host={name},fe.corp.example,5061", f"srv-host={name}"))
        os.mkdir(f"{self.folder}/d")
        half = len(lines) // 2
        self.write("d/a.conf", "\n".join(lines[:half]) + "\n")
        self.write("d/b.bak", "address=/#/10.66.66.66\n")
        self.write("more", "\n".join(lines[half:]) + "\n")
        self.write("hosts", "\n".join(hosts) + "\n")
        self.write(
            "dnsmasq.conf",
            f"no-hosts\nno-resolv\nport={PORT}\nlisten-address=127.0.0.1\nbind-interfaces\ncache-size=0\n"
            f"server={UPSTREAM}#{PORT}\n{self.pick('', 'filter-AAAA', '')}\nconf-dir={self.folder}/d,*.conf\n"
            f"conf-file={self.folder}/more\naddn-hosts={self.folder}/hosts\n",
        )
        return "dnsmasq.conf", ["dnsmasq", "-k", "-C", f"{self.folder}/dnsmasq.conf", "--pid-file", "--user=root"]

    def policy(self):
        def quoted(words):
            return ", ".join(f'"{word}"' for word in words)

        of_domains = {f"{label}.{origin}" for label in DISCOVERY for origin in self.origins}
        hosts = [name for name in self.names if name not in of_domains]
        self.write(
            "policy.toml",
            '[vpn]\nclient_subnets = ["172.30.0.0/16"]\n[corporate]\nsubnets = ["10.0.0.0/8"]\n'
            f'[[server]]\nname = "Pool"\naddresses = ["10.7.0.20"]\nhosts = [{quoted(hosts)}]\n'
            f'[dns]\nlisten = ["172.30.0.1:53"]\nsip_domains = [{quoted(self.origins)}]\n',
        )


def main():
    kind = sys.argv[1]
    seed, zones = (int(word) for word in (sys.argv[2:] + ["1", "40"][len(sys.argv) - 2 :])[:2])
    for command in ["ip link set lo up", f"ip addr add {CLIENT}/16 dev lo"]:
        subprocess.run(command.split(), check=True)
    threading.Thread(target=serve_upstream, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        maker = Maker(folder, seed, zones)
        conf, command = getattr(maker, kind)()
        maker.policy()
        with open(f"{folder}/log", "w", encoding="ascii") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            while ask("version.bind", A)[0] == "no answer":
                if server.poll() is not None:
                    with open(f"{folder}/log", encoding="latin1") as log:
                        sys.exit(f"the server does not run: {log.read()[-500:]}")
            # Policy zones are loaded after the server has begun to answer.
            time.sleep(3)
            offramp = os.environ.get("OFFRAMP", "target/debug/offramp")
            arguments = [offramp, "verify", f"{folder}/policy.toml", "--against", f"{folder}/{conf}"]
            said = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if said.returncode not in (0, 3):
                sys.exit(said.stderr)
            open_names = set(re.findall(r": (\S+) is not hidden", said.stdout))
            with ThreadPoolExecutor(16) as pool:
                answers = list(pool.map(is_denied, maker.names))
        finally:
            server.terminate()
            server.wait()
    acquitted = alarms = 0
    for name, (denied, seen) in zip(maker.names, answers):
        if denied != (name not in open_names):
            print("false alarm" if denied else "acquitted", name, seen)
            acquitted, alarms = acquitted + (not denied), alarms + denied
    unread = said.stdout.count("NOT-READ: ")
    print(f"{kind}: {len(answers)} names, {acquitted} acquitted, {alarms} false alarms, {unread} not read")
    sys.exit(acquitted > 0)


if __name__ == "__main__":
    main()
