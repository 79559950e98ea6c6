#!/usr/bin/env python3
"""Make demo.pcapng anew: real hosts and tools in network namespaces of their own, seen from one trunk between them.

Needs root and the Debian packages that README.md names. All namespaces, devices, processes and files but the result
lie inside the script's own mount, network, process and host name namespaces and vanish with them.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path("/run/demo")  # on the private tmpfs that covers /run
INSIDE = "SENTINIC_DEMO_INSIDE"
LIMIT_BYTES = 400 * 1024
CHECKED = ("ip", "tcp", "udp", "icmp", "icmpv6")


def enter() -> int:
    """Run this script again as the first process of new namespaces."""
    unshare = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(ROOT), "LANG": "C.UTF-8"}
    environment[INSIDE] = "1"
    return subprocess.run([*unshare, sys.executable, *sys.argv], env=environment, check=False).returncode


def capture(seed: int) -> tuple[bytes, str]:
    """Build the network, make the traffic; returns the capture without its origin, and a line about the loss."""
    import network
    import pcapng
    import traffic

    network.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for folder in (ROOT, pathlib.Path("/run/sshd"), pathlib.Path("/run/netns")):
        folder.mkdir(mode=0o755)
    network.run("hostname", "server")
    traffic.make_files(ROOT)
    for name in ("hosts", "resolv.conf"):
        network.run("mount", "--bind", str(ROOT / "etc" / name), f"/etc/{name}")
    os.chdir(ROOT)

    mirror = network.add_tap("mirror")
    pathlib.Path("/proc/sys/net/ipv6/conf/mirror/disable_ipv6").write_text("1")
    network.run("ip", "link", "set", "mirror", "mtu", "1600", "arp", "off", "up")
    raw = ROOT / "raw.pcapng"
    dumpcap = subprocess.Popen(["dumpcap", "-q", "-i", "mirror", "-s", "0", "-w", str(raw)])
    while not raw.exists() or raw.stat().st_size == 0:
        if dumpcap.poll() is not None:
            raise RuntimeError(f"dumpcap ended with {dumpcap.returncode} before the first frame")
        time.sleep(0.1)
    taps = [(wire, wire.near.create(), wire.far.create()) for wire in traffic.WIRES]
    trunk = network.Trunk(wires=taps, mirror=mirror, seed=seed)
    for wire in traffic.WIRES:
        wire.near.start()
        wire.far.start()
    trunk.start()  # not before all devices are up: a TAP that is down refuses frames
    time.sleep(3)  # duplicate address detection; servers cannot use an IPv6 address before its end
    servers = traffic.serve(ROOT)
    time.sleep(2)
    try:
        traffic.talk(ROOT)
    finally:
        for server in servers:
            server.terminate()
        time.sleep(0.5)
        trunk.stop()
        dumpcap.send_signal(signal.SIGINT)
        dumpcap.wait(timeout=10)
    lost = f"lost on the office link: {trunk.lost_before_capture} before and {trunk.lost_after_capture} after the trunk"
    return pcapng.without_origin(raw.read_bytes()), lost


def count(path: pathlib.Path, display_filter: str) -> int:
    """How many frames of a capture tshark's display filter matches, with all checksums checked."""
    options = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    command = ["tshark", "-n", "-r", str(path), *options, "-Y", display_filter, "-T", "fields", "-e", "frame.number"]
    return len(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def check(path: pathlib.Path) -> None:
    """Raise ValueError for a capture that is too large, names this machine, or is not what the README claims."""
    data = path.read_bytes()
    if len(data) >= LIMIT_BYTES:
        raise ValueError(f"capture must be below {LIMIT_BYTES} bytes, not {len(data)}")
    for text in (os.uname().release, str(HERE)):
        if text.encode() in data:
            raise ValueError(f"capture must not name this machine, not {text!r}")
    # tshark also calls it malformed when a retransmission spans two of the segments that it reassembles.
    malformed = "_ws.malformed && !_ws.malformed.reassembly"
    bad = " || ".join(f"{name}.checksum.status == 0" for name in CHECKED)
    must_be_empty = {"bad checksums": bad, "malformed": malformed, "truncated": "frame.cap_len < frame.len"}
    again = "tcp.analysis.retransmission"
    must_exist = {"frames": "frame", "TCP retransmissions": again, "of them from HTTP": again + " && tcp.srcport == 80"}
    for name in ("arp", "ip", "ipv6", "icmp", "icmpv6.type == 135", "icmpv6.type == 136", "ip.flags.mf == 1"):
        must_exist[name] = name
    for name in ("ipv6.fraghdr", "dns", "http", "tls", "ssh", "smtp", "vlan.id == 20", "ieee8021ad.id == 100"):
        must_exist[name] = name
    for name in ("tcp.flags.reset == 1", "icmp.type == 3", "ip.dst == 192.0.2.77"):
        must_exist[name] = name
    print(f"{'bytes':24} {len(data):6}")
    for name, display_filter in (must_be_empty | must_exist).items():
        found = count(path, display_filter)
        print(f"{name:24} {found:6}")
        if (found == 0) != (name in must_be_empty):
            raise ValueError(f"{name}: {found} frames")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "demo.pcapng")
    parser.add_argument("--seed", type=int, default=816, help="of the choice of lost frames")
    parser.add_argument("--check", action="store_true", help="only check an existing capture")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    if not arguments.check:
        if INSIDE not in os.environ:
            return enter()
        data, lost = capture(arguments.seed)
        output.write_bytes(data)
        print(lost)
    check(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
