"""Compares `offramp verify --against` with the kernel routes that real VPN clients have.

    unshare -nm --propagation private python3 tests/against/routes.py [openvpn|ocserv|wireguard]...

As root, since ocserv changes its user. For each configuration below it starts the server and its client (OpenVPN; ocserv and openconnect; wg-quick with wireguard-go),
asks the client's kernel where packets to addresses of the policy go, and compares. "acquitted" is a service that enters the tunnel, or an
office that does not, and nothing that offramp says of it (exit code 1); "false alarm" is the contrary; a configuration of which offramp says
that it did not read a part is acquitted by neither. OFFRAMP is the program, target/debug/offramp by default.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

OFFRAMP = os.environ.get("OFFRAMP", os.path.abspath(f"{os.path.dirname(__file__)}/../../target/debug/offramp"))
SERVER, CLIENT = "203.0.113.1", "203.0.113.10"
# One that has a file of its own, where there are such files, and one that has none.
CLIENTS = ["client", "other"]
POLICY = """
[vpn]
interfaces = ["tun0"]
client_subnets = ["172.30.0.0/16", "fd00:30::/64"]
[corporate]
subnets = ["10.0.0.0/8", "192.168.64.0/18", "fd00:10::/32"]
[media]
match = "ice"
[routes]
gateways = ["203.0.113.1"]
[[public]]
name = "Teams"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
[[public]]
name = "Edge"
addresses = ["198.51.100.20", "2001:db8:51::20"]
[[public]]
name = "Exchange"
addresses = ["40.96.0.0/13"]
"""
# Where packets are sent: the ends of each prefix, and the middle.
PROBES = {
    "Teams": ["52.112.0.1", "52.115.255.254", "52.114.7.7", "52.122.0.1", "52.123.255.254", "2603:1063::1", "2603:1063:3ff::1"],
    "Edge": ["198.51.100.20", "2001:db8:51::20"],
    "Exchange": ["40.96.0.1", "40.103.255.254", "40.99.1.1"],
    "offices": ["10.0.0.1", "10.255.255.254", "10.77.1.2", "192.168.64.1", "192.168.127.254", "fd00:10::1", "fd00:10:ffff::1"],
}

# Each as people write them: (name, server's lines, lines of ccd/client or None).
OPENVPN = [
    ("road warrior, everything", 'push "redirect-gateway def1 bypass-dhcp"\npush "dhcp-option DNS 1.1.1.1"', None),
    ("road warrior, both families", 'push "redirect-gateway def1 ipv6 bypass-dhcp"', None),
    ("IPv6 alone is redirected", 'push "redirect-gateway ipv6 !ipv4"', None),
    ("without def1", 'push "redirect-gateway autolocal"', None),
    ("redirect-private pushes nothing", 'push "redirect-private def1"\npush "route 10.0.0.0 255.0.0.0"', None),
    ("offices", 'push "route 10.0.0.0 255.0.0.0"\npush "route 192.168.64.0 255.255.192.0"\npush "route-ipv6 fd00:10::/32"', None),
    ("offices with metrics", 'push "route 10.0.0.0 255.0.0.0 vpn_gateway 50"\npush "route 192.168.64.0 255.255.192.0 vpn_gateway 50"', None),
    ("single quotes and tabs", "push\t'route 10.0.0.0 255.0.0.0'\n\tpush 'route 192.168.64.0 255.255.192.0'", None),
    ("dashes", '--push "route 10.0.0.0 255.0.0.0"\n--push "route 192.168.64.0 255.255.192.0"', None),
    ("everything but Teams", 'push "redirect-gateway def1"\npush "route 52.112.0.0 255.252.0.0 net_gateway"\npush "route 52.122.0.0 255.254.0.0 net_gateway"', None),
    ("all but all services", 'push "redirect-gateway def1"\n' + "".join(f'push "route {net} {mask} net_gateway"\n' for net, mask in [("52.112.0.0", "255.252.0.0"), ("52.122.0.0", "255.254.0.0"), ("40.96.0.0", "255.248.0.0"), ("198.51.100.20", "255.255.255.255")]), None),
    ("halves by hand", 'push "route 0.0.0.0 128.0.0.0"\npush "route 128.0.0.0 128.0.0.0"', None),
    ("one half", 'push "route 0.0.0.0 128.0.0.0"', None),
    ("a wide summary", 'push "route 40.0.0.0 248.0.0.0"\npush "route 10.0.0.0 255.0.0.0"', None),
    ("a host route to the Edge", 'push "route 10.0.0.0 255.0.0.0"\npush "route 198.51.100.20"', None),
    ("commented out", '# push "redirect-gateway def1"\n;push "route 40.96.0.0 255.248.0.0"\npush "route 10.0.0.0 255.0.0.0" # offices', None),
    ("the client's file pushes more", 'push "route 10.0.0.0 255.0.0.0"\nclient-config-dir ccd', 'push "redirect-gateway def1"'),
    ("the client's file removes", 'push "redirect-gateway def1"\npush "route 10.0.0.0 255.0.0.0"\nclient-config-dir ccd', "push-remove redirect-gateway"),
    ("the client's file begins anew", 'push "redirect-gateway def1"\nclient-config-dir ccd', 'push-reset\npush "route 10.0.0.0 255.0.0.0"\npush "route-gateway 172.30.0.1"\npush "topology subnet"'),
    ("DEFAULT for others", 'push "route 10.0.0.0 255.0.0.0"\nclient-config-dir ccd', "DEFAULT"),
    ("the server's own routes", "route 40.96.0.0 255.248.0.0\nroute 52.112.0.0 255.252.0.0\n" + 'push "route 10.0.0.0 255.0.0.0"', None),
    ("IPv6 halves", 'push "route-ipv6 ::/1"\npush "route-ipv6 8000::/1"\npush "route 10.0.0.0 255.0.0.0"', None),
    ("IPv6 of all that is assigned", 'push "route-ipv6 2000::/3"\npush "route 10.0.0.0 255.0.0.0"', None),
    ("an included part", 'config routes.conf', None),
]
OCSERV = [
    ("no route at all", ""),
    ("default", "route = default"),
    ("offices", "route = 10.0.0.0/8\nroute = 192.168.64.0/18\nroute = fd00:10::/32"),
    ("netmasks", "route = 10.0.0.0/255.0.0.0\nroute = 192.168.64.0/255.255.192.0"),
    ("everything but Teams", "route = default\nno-route = 52.112.0.0/14\nno-route = 52.122.0.0/255.254.0.0"),
    ("excluded without a default", "no-route = 52.112.0.0/14\nno-route = 52.122.0.0/15\nno-route = 40.96.0.0/13\nno-route = 198.51.100.20/255.255.255.255"),
    ("a summary over Exchange", "route = 10.0.0.0/8\nroute = 40.0.0.0/9"),
    ("commented out", "#route = default\nroute = 10.0.0.0/8\n# route = 40.96.0.0/13"),
    ("spaces and quotes", "route   =   10.0.0.0/8\nroute=192.168.64.0/18"),
    ("the user's file", "route = 10.0.0.0/8\nconfig-per-user = USERS", "route = 40.96.0.0/13"),
    ("everything, and offices beside", "route = default\nroute = 10.0.0.0/8"),
]
WIREGUARD = [
    ("everything", "0.0.0.0/0, ::/0"),
    ("IPv4 alone", "0.0.0.0/0"),
    ("halves", "0.0.0.0/1, 128.0.0.0/1"),
    ("offices", "10.0.0.0/8, 192.168.64.0/18, fd00:10::/32"),
    ("no spaces", "10.0.0.0/8,192.168.64.0/18"),
    ("two lines", "10.0.0.0/8\nAllowedIPs = 40.96.0.0/13"),
    ("host bits", "10.77.1.2/8, 192.168.65.1/18"),
    ("a wide summary", "10.0.0.0/8, 40.0.0.0/8"),
    ("a host", "10.0.0.0/8, 198.51.100.20"),
    ("comment behind", "10.0.0.0/8, 192.168.64.0/18 # not 40.96.0.0/13"),
    ("all public addresses of a calculator", "0.0.0.0/5, 8.0.0.0/7, 10.0.0.0/8, 11.0.0.0/8, 12.0.0.0/6, 16.0.0.0/4, 32.0.0.0/5, 41.0.0.0/8, 64.0.0.0/2"),
]

folder = tempfile.mkdtemp(prefix="offramp-routes-")
children = []


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


class Host:
    """A network namespace, which lasts as long as its process."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE)
        self.process.stdout.readline()
        children.append(self.process)
        self("ip", "link", "set", "lo", "up")

    def inside(self, words):
        return ["nsenter", "-t", str(self.process.pid), "-n", *words]

    def __call__(self, *words):
        return run(*self.inside(words))

    def start(self, log, *words, **more):
        process = subprocess.Popen(self.inside(words), stdout=open(log, "w"), stderr=subprocess.STDOUT, start_new_session=True, **more)
        children.append(process)
        return process


def wait_for(what, ready, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{what}: nothing after {seconds} s")


def log_has(path, text):
    def ready():
        with open(path, errors="replace") as log:
            return text in log.read()

    return ready


def stop(process):
    """Ends a program that is asked to, or is killed."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def write(name, text):
    path = f"{folder}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def make_certificates():
    with open(os.devnull, "w") as nothing:
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, cwd=folder, stdout=nothing, stderr=nothing)

        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
        write("server.ext", f"subjectAltName = IP:{SERVER}\nextendedKeyUsage = serverAuth\nkeyUsage = digitalSignature\n")
        for name in CLIENTS:
            write(f"{name}.ext", "extendedKeyUsage = clientAuth\nkeyUsage = digitalSignature\n")
        for name in ["server", "client", "other"]:
            openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                    "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def make_site():
    server, client = Host(), Host()
    run("ip", "link", "add", "wan0", "netns", str(server.process.pid), "type", "veth", "peer", "name", "eth0", "netns", str(client.process.pid))
    server("ip", "address", "add", f"{SERVER}/24", "dev", "wan0")
    server("ip", "link", "set", "wan0", "up")
    server("ip", "address", "add", "2001:db8:1::1/64", "dev", "wan0", "nodad")
    client("ip", "address", "add", f"{CLIENT}/24", "dev", "eth0")
    client("ip", "address", "add", "2001:db8:1::10/64", "dev", "eth0", "nodad")
    client("ip", "link", "set", "eth0", "up")
    client("ip", "route", "add", "default", "via", SERVER)
    client("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
    return server, client


def where(client, inside):
    """Notes, by probe, the places to which the client's kernel sends it."""
    for addresses in PROBES.values():
        for address in addresses:
            route = client("ip", "route", "get", address)
            inside.setdefault(address, set()).add("outside" if "dev eth0" in route else "inside")


def through_openvpn(server, client, lines, of_client):
    head = (f"port 1194\nproto udp\ndev tun0\ntopology subnet\ndisable-dco\nserver 172.30.0.0 255.255.0.0\n"
            "server-ipv6 fd00:30::/64\nca ca.pem\ncert server.pem\nkey server.key\ndh none\nkeepalive 10 60\n")
    if of_client is not None:
        name = "DEFAULT" if of_client == "DEFAULT" else "client"
        text = 'push "redirect-gateway def1"' if of_client == "DEFAULT" else of_client
        for old in ["DEFAULT", "client"]:
            if os.path.exists(f"{folder}/ccd/{old}"):
                os.remove(f"{folder}/ccd/{old}")
        write(f"ccd/{name}", text + "\n")
    write("routes.conf", 'push "route 40.96.0.0 255.248.0.0"\npush "route 10.0.0.0 255.0.0.0"\n')
    config = write("server.conf", head + lines + "\n")
    inside, log = {}, f"{folder}/server.log"
    daemon = server.start(log, "openvpn", "--cd", folder, "--config", "server.conf")
    try:
        wait_for("openvpn, server", log_has(log, "Initialization Sequence Completed"))
        for name in CLIENTS if of_client is not None else CLIENTS[:1]:
            write("client.conf", f"client\nremote {SERVER} 1194 udp\nnobind\ndev tun0\ndisable-dco\nca ca.pem\ncert {name}.pem\n"
                  f"key {name}.key\nremote-cert-tls server\nverb 3\n")
            log = f"{folder}/client.log"
            connected = client.start(log, "openvpn", "--cd", folder, "--config", "client.conf")
            try:
                wait_for("openvpn, client", log_has(log, "Initialization Sequence Completed"))
                where(client, inside)
            finally:
                stop(connected)
        return config, inside
    finally:
        stop(daemon)


def through_ocserv(server, client, lines, of_user=None):
    users = f"{folder}/users"
    if of_user is not None:
        write("users/client", of_user + "\n")
    head = (f"auth = certificate\ncert-user-oid = 2.5.4.3\nca-cert = {folder}/ca.pem\nserver-cert = {folder}/server.pem\n"
            f"server-key = {folder}/server.key\ntcp-port = 443\nudp-port = 443\nsocket-file = {folder}/socket\n"
            f"pid-file = {folder}/ocserv.pid\ndevice = vpns\nipv4-network = 172.30.0.0/16\nipv6-network = fd00:30::/64\n"
            "ipv6-subnet-prefix = 128\nisolate-workers = false\nuse-occtl = false\nmax-clients = 8\nmax-same-clients = 0\n"
            "rate-limit-ms = 0\nkeepalive = 30\ndpd = 60\ntry-mtu-discovery = false\n")
    config = write("ocserv.conf", head + lines.replace("USERS", users) + "\n")
    inside = {}
    daemon = server.start(f"{folder}/server.log", "ocserv", "--foreground", "--debug=2", "--config", config)
    try:
        wait_for("ocserv", lambda: ":443" in server("ss", "-Hltn"))
        for name in CLIENTS if of_user is not None else CLIENTS[:1]:
            connected = client.start(
                f"{folder}/client.log", "openconnect", "--protocol", "anyconnect", "--non-inter", "--no-dtls", "--interface", "tun0",
                "--cafile", f"{folder}/ca.pem", "--certificate", f"{folder}/{name}.pem", "--sslkey", f"{folder}/{name}.key", f"https://{SERVER}:443")
            try:
                wait_for("openconnect", lambda: "tun0" in client("ip", "-o", "-4", "address"))
                wait_for_routes(client)
                where(client, inside)
            finally:
                stop(connected)
                wait_for("no tun0", lambda: "tun0" not in client("ip", "-o", "link"))
        return config, inside
    finally:
        stop(daemon)


def wait_for_routes(client):
    """Waits until the script of openconnect, which sets routes after the address, adds none any more."""
    before = None
    for _ in range(40):
        now = client("ip", "route") + client("ip", "-6", "route")
        if now == before and "tun0" in now:
            return
        before = now
        time.sleep(0.3)
    raise TimeoutError("openconnect: routes change for ever")


def through_wireguard(server, client, allowed):
    keys = {}
    for name in ["server", "client"]:
        private = run("wg", "genkey").strip()
        keys[name] = (private, run("wg", "pubkey", input=private).strip())
    text = (f"[Interface]\nPrivateKey = {keys['client'][0]}\nAddress = 172.30.0.10/16, fd00:30::10/64\nTable = auto\n\n"
            f"[Peer]\nPublicKey = {keys['server'][1]}\nEndpoint = {SERVER}:51820\nAllowedIPs = {allowed}\n")
    config = write("wg0.conf", text)
    os.chmod(config, 0o600)
    environment = {**os.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}
    run(*client.inside(["wg-quick", "up", config]), env=environment)
    try:
        inside = {}
        where(client, inside)
        return config, inside
    finally:
        run(*client.inside(["wg-quick", "down", config]), env=environment)


def judged(policy, config):
    """Returns what offramp finds: by service, that it enters; that offices stay outside; and what it did not read."""
    ended = subprocess.run([OFFRAMP, "verify", policy, "--against", config, "--json"], capture_output=True, text=True)
    if ended.returncode not in (0, 3):
        raise RuntimeError(ended.stderr)
    findings = json.loads(ended.stdout)["findings"]
    leaks = " ".join(it["what"] for it in findings if it["code"] == "LEAK")
    entering = {service for service in PROBES if f'"public: {service}"' in leaks or f'{service}"' in leaks}
    missing = any(it["code"] in ("COLLATERAL", "PARITY") for it in findings if re.search("outside the tunnel|pushes no IPv6", it["what"]))
    unread = [it["what"] for it in findings if it["code"] == "NOT-READ"]
    return entering, missing, unread


def main(kinds):
    policy = write("policy.toml", POLICY)
    make_certificates()
    server, client = make_site()
    cases = []
    for kind, table, through in [
        ("openvpn", OPENVPN, through_openvpn), ("ocserv", OCSERV, through_ocserv), ("wireguard", WIREGUARD, through_wireguard),
    ]:
        if kind in kinds:
            cases += [(kind, name, through, options) for name, *options in table]
    wrong, alarms = 0, 0
    for kind, name, through, options in cases:
        config, inside = through(server, client, *options)
        entering, missing, unread = judged(policy, config)
        entered = {service for service in PROBES if service != "offices" and any("inside" in inside[it] for it in PROBES[service])}
        left = any("outside" in inside[it] for it in PROBES["offices"])
        notes = []
        if not unread:
            notes += [f"acquitted: {service} enters the tunnel" for service in sorted(entered - entering)]
            notes += ["acquitted: an office is outside the tunnel"] if left and not missing else []
        wrong += len(notes)
        false = [f"false alarm: {service}" for service in sorted(entering - entered)]
        false += ["false alarm: offices"] if missing and not left else []
        alarms += len(false)
        said = ", ".join(sorted(entered)) or "nothing public"
        print(f"{kind}: {name}: {said} enters{', an office does not' if left else ''}{' (not read: ' + unread[0] + ')' if unread else ''}")
        for note in notes + false:
            print(f"  {note}")
            print("    " + ", ".join(f"{address} {'/'.join(sorted(places))}" for address, places in inside.items()))
    print(f"{len(cases)} configurations, {wrong} acquitted, {alarms} false alarms")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["openvpn", "ocserv", "wireguard"]))
    finally:
        for child in reversed(children):
            if child.poll() is None:
                child.kill()
                child.wait()
        shutil.rmtree(folder)
