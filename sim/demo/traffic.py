"""What the demo's hosts serve and ask for. All names, addresses and keys are made for the capture and are no one's."""

import pathlib
import random
import subprocess
import sys
import time

from network import Host, Wire

__all__ = ["WIRES", "make_files", "serve", "talk"]

OFFICE = Host(name="office", mac="02:00:00:00:01:20", ipv4="192.0.2.20/24", ipv6="2001:db8:0:1::20/64")
SERVER = Host(name="server", mac="02:00:00:00:01:10", ipv4="192.0.2.10/24", ipv6="2001:db8:0:1::10/64")
KIOSK = Host(name="kiosk", mac="02:00:00:00:02:20", ipv4="198.51.100.20/24", ipv6="2001:db8:0:20::20/64")
STORE = Host(name="store", mac="02:00:00:00:02:10", ipv4="198.51.100.10/24", ipv6="2001:db8:0:20::10/64")
TENANT = Host(name="tenant", mac="02:00:00:00:03:20", ipv4="203.0.113.20/24", ipv6="2001:db8:0:30::20/64")
CLOUD = Host(name="cloud", mac="02:00:00:00:03:10", ipv4="203.0.113.10/24", ipv6="2001:db8:0:30::10/64")

WIRES = (
    Wire(near=OFFICE, far=SERVER, loss=0.01),
    Wire(near=KIOSK, far=STORE, tags=((0x8100, 20),)),
    Wire(near=TENANT, far=CLOUD, tags=((0x88A8, 100), (0x8100, 30))),
)

NAME = "www.demo.example"
SILENT = "192.0.2.77"  # has a neighbour entry and no host: frames to it leave and nothing answers
DOWNLOAD_BYTES = 120_000
CONFIGURATION = {
    "etc/hosts": "127.0.0.1 localhost\n192.0.2.10 server.demo.example server\n",
    "etc/resolv.conf": "nameserver 192.0.2.10\n",
    "web/index.html": "<!doctype html>\n<title>Demo</title>\n<p>A page made for the capture.\n",
    "message.txt": "From: alice@demo.example\r\nTo: bob@demo.example\r\nSubject: a mail made for the capture\r\n"
    "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@demo.example>\r\n\r\n" + "Nothing to say.\r\n" * 60,
}


def make_files(root: pathlib.Path) -> None:
    """Write the served files, configuration and throwaway keys under `root`."""
    for name, text in CONFIGURATION.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, newline="")
    words = random.Random(1)
    for name, size in (("large.bin", DOWNLOAD_BYTES), ("medium.bin", 18_000), ("small.bin", 6_000)):
        (root / "web" / name).write_bytes(words.randbytes(size))
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", root / name], check=True)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "3650", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", root / "tls_key.pem", "-out", root / "tls.pem"),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    (root / "sshd_config").write_text(
        f"HostKey {root}/host_key\nAuthorizedKeysFile {root}/user_key.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nUseDNS no\nPidFile none\nPrintLastLog no\nPrintMotd no\n"
        "Subsystem sftp internal-sftp\n"
    )


def serve(root: pathlib.Path) -> list["subprocess.Popen[bytes]"]:
    """Start all servers; returns their processes. Their logs go nowhere, for they name the machine that made them."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    web = [sys.executable, "-m", "http.server", "80", "--bind", "::", "--protocol", "HTTP/1.1"]
    records = ["--user=root", "-k", "-C", "/dev/null", "--no-hosts", "--no-resolv", "--local=/demo.example/"]
    records += [f"--host-record={NAME},192.0.2.10,2001:db8:0:1::10", "--mx-host=demo.example,server.demo.example,10"]
    records += ["--host-record=server.demo.example,192.0.2.10,2001:db8:0:1::10"]
    records += ["--cname=ftp.demo.example," + NAME, "--txt-record=demo.example," + "text of the demo " * 12]
    tls = ["openssl", "s_server", "-quiet", "-WWW", "-accept", "443", "-cert", "../tls.pem", "-key", "../tls_key.pem"]
    mail = [sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l"]
    return [
        *(host.popen(*web, "-d", str(root / "web"), **quiet) for host in (SERVER, STORE, CLOUD)),
        SERVER.popen(*tls, cwd=root / "web", **quiet),
        SERVER.popen("dnsmasq", *records, **quiet),
        SERVER.popen("/usr/sbin/sshd", "-D", "-f", str(root / "sshd_config"), **quiet),
        *(SERVER.popen(*mail, address + ":25", cwd=root, **quiet) for address in ("192.0.2.10", "2001:db8:0:1::10")),
    ]


def talk(root: pathlib.Path) -> None:
    """Make all the traffic, in rounds whose commands run at once; prints each command and how it ended."""
    ssh = f"-F none -i {root}/user_key -o UserKnownHostsFile={root}/known_hosts -o StrictHostKeyChecking=no"
    curl = "curl -sS --max-time 30 -o /dev/null"
    mail = f"{curl} --mail-from alice@demo.example --mail-rcpt bob@demo.example --upload-file {root}/message.txt"
    rounds: list[list[tuple[Host, str]]] = [
        # Neighbours, names, and a first look at every host.
        [
            (OFFICE, "ping -n -c 4 -i 0.3 192.0.2.10"),
            (KIOSK, "ping -n -c 3 198.51.100.10"),
            (TENANT, "ping -n -c 3 203.0.113.10"),
        ],
        [(OFFICE, "ping -n -c 4 -i 0.3 2001:db8:0:1::10"), (KIOSK, "ping -n -c 3 2001:db8:0:20::10")],
        [(TENANT, "ping -n -c 3 2001:db8:0:30::10"), (OFFICE, "ping -n -c 2 -s 3000 192.0.2.10")],
        [(OFFICE, "ping -n -c 2 -s 3000 2001:db8:0:1::10"), (OFFICE, f"dig @192.0.2.10 {NAME} A")],
        [(OFFICE, f"dig @192.0.2.10 {NAME} AAAA"), (OFFICE, "dig @2001:db8:0:1::10 demo.example MX")],
        [(OFFICE, "dig @192.0.2.10 nothing.demo.example"), (OFFICE, "dig +tcp @2001:db8:0:1::10 demo.example TXT")],
        [(OFFICE, "dig @192.0.2.10 ftp.demo.example"), (OFFICE, "dig -x 192.0.2.10")],
        # HTTP: a few short ones on one connection, then the long download over the lossy link, with others beside it.
        [(OFFICE, f"{curl} -o /dev/null -o /dev/null -4 http://{NAME}/ http://{NAME}/nothing http://{NAME}/small.bin")],
        [
            (OFFICE, f"{curl} -4 http://{NAME}/large.bin"),
            (OFFICE, "ping -n -c 5 -i 0.2 192.0.2.10"),
            (KIOSK, f"{curl} http://198.51.100.10/medium.bin"),
            (KIOSK, f"{curl} http://[2001:db8:0:20::10]/small.bin"),
            (TENANT, f"{curl} http://203.0.113.10/small.bin"),
            (TENANT, f"{curl} http://[2001:db8:0:30::10]/"),
        ],
        [(OFFICE, f"{curl} -6 http://{NAME}/medium.bin"), (OFFICE, f"{curl} -I -4 http://{NAME}/")],
        [(OFFICE, f"{curl} -4 --tls-max 1.2 --cacert {root}/tls.pem https://{NAME}/small.bin")],
        [(OFFICE, f"{curl} -6 --cacert {root}/tls.pem https://{NAME}/small.bin")],
        [(OFFICE, f"ssh -4 {ssh} root@192.0.2.10 cat {root}/web/index.html")],
        [(OFFICE, f"ssh -6 {ssh} root@2001:db8:0:1::10 cat {root}/web/small.bin")],
        [(OFFICE, f"scp -4 -q {ssh} {root}/web/medium.bin root@192.0.2.10:{root}/uploaded.bin")],
        [(OFFICE, f"{mail} smtp://192.0.2.10/office.demo.example")],
        [(OFFICE, f"{mail} smtp://[2001:db8:0:1::10]/office.demo.example")],
        # The scan: SYNs to open and closed ports, full connects over IPv6, UDP, and a host that never answers.
        [(OFFICE, "nmap -n -Pn -sS --top-ports 60 --max-retries 1 192.0.2.10")],
        [(OFFICE, "nmap -n -Pn -6 -sT --top-ports 20 --max-retries 1 2001:db8:0:1::10")],
        [(OFFICE, "nmap -n -Pn -sU -p 53,123,161,514 --max-retries 1 192.0.2.10")],
        [(OFFICE, f"nmap -n -Pn -sS --send-ip --disable-arp-ping -p 22-25,80,443,445,3389 --max-retries 1 {SILENT}")],
        [
            (KIOSK, "curl -sS --max-time 5 http://198.51.100.10:8080/"),
            (OFFICE, f"curl -sS --max-time 4 http://{SILENT}/"),
        ],
    ]
    silent = f"ip neighbour add {SILENT} lladdr 02:00:00:00:01:77 dev eth0 nud permanent"
    rounds.insert(0, [(OFFICE, silent)])
    for commands in rounds:
        running = [(host, text, host.popen(*text.split(), stdout=subprocess.DEVNULL)) for host, text in commands]
        for host, text, process in running:
            print(f"{host.name}: {text.split()[0]} ended with {process.wait(timeout=60)}: {text}", flush=True)
        time.sleep(0.2)
