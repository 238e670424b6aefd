"""The two servers that the benchmarks compare, and how they are measured.

Both run on loopback, with the same client (OpenSSH's `sftp`, its defaults), the same account key, and their data on the same
disk, under one working folder. Each measurement starts a fresh server with an empty state, so no round inherits another's.

- Nightsafe: the release binary with a minimal configuration; digest, seal, sync, ledger and queue are all on.
- OpenSSH: this machine's sshd with a configuration of its own (`internal-sftp`, no PAM, no DNS), plaintext on the disk, no sync.

What is measured, from just before the client starts until it has ended:
- wall seconds, as the client's user sees them;
- server CPU seconds (user and system): utime + stime of the server's process and of all its descendants, those that
  ended and were waited for included (/proc/PID/stat: utime, stime, cutime, cstime);
- peak memory: the highest sum of proportional set sizes (PSS, so shared pages count once) over the server's processes,
  sampled five times a second, and for Nightsafe also the kernel's own high-water mark of resident memory (VmHWM).
"""

import json
import os
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


def fail(message):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def common_arguments(parser):
    """Arguments that every benchmark takes."""
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each server, in turns (default 5)")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/nightsafe",
                        help="the Nightsafe to measure (default: target/release/nightsafe, built if missing)")
    parser.add_argument("--dir", type=Path, default=ROOT / "target",
                        help="where both servers keep their data (default: target/, so this disk)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--client-option", action="append", default=[], metavar="OPTION",
                        help="an -o option for the sftp client, such as Ciphers=aes128-gcm@openssh.com")


def binary(arguments):
    """The Nightsafe to measure, built when it is the default one."""
    if arguments.binary == ROOT / "target/release/nightsafe":
        print("building the release binary (cargo build --release) ...", file=sys.stderr)
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    if not arguments.binary.exists():
        fail(f"{arguments.binary} does not exist: build it, or name another with --binary")
    return arguments.binary.resolve()


class Bench:
    """A working folder with keys, and the client."""

    def __init__(self, arguments):
        for tool in ("ssh-keygen", "sftp", "age-keygen"):
            if not shutil.which(tool):
                fail(f"{tool} is missing: install openssh-client and age")
        arguments.dir.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=arguments.dir))
        os.chmod(self.folder, 0o755)
        self.options = arguments.client_option
        for name in ("host", "client"):
            quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.folder / name)
        quiet("age-keygen", "-o", self.folder / "identity")
        self.recipient = subprocess.run(["age-keygen", "-y", self.folder / "identity"], check=True, text=True,
                                        capture_output=True).stdout.strip()
        (self.folder / "known_hosts").write_text("gateway " + (self.folder / "host.pub").read_text())

    def random_file(self, name, size):
        """A file of bytes that do not compress. `size` in bytes."""
        path = self.folder / name
        with open(path, "wb") as out:
            left = size
            while left > 0:
                left -= out.write(os.urandom(min(left, 1 << 20)))
        return path

    def client(self, server):
        command = ["sftp", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
                   "-o", "IdentityAgent=none", "-o", "HostKeyAlias=gateway", "-o", "StrictHostKeyChecking=yes",
                   "-o", f"UserKnownHostsFile={self.folder}/known_hosts", "-o", "GlobalKnownHostsFile=/dev/null",
                   "-o", f"Port={server.port}", "-i", str(self.folder / "client")]
        for option in self.options:
            command += ["-o", option]
        return [*command, "-b", "-", f"{server.account}@127.0.0.1"]

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def quiet(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Server:
    """A running server of either kind, with its data in a folder of its own."""

    name = ""

    def __init__(self, bench):
        self.bench = bench
        self.data = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=bench.folder))
        self.log = open(self.data / "log", "w+b")
        self.process = None
        self.port = 0
        self.account = ""

    def start(self):
        raise NotImplementedError

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)

    def die(self, why):
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.process.kill()
        fail(f"{self.name}: {why}\n{text}")

    def remote(self, name):
        """Where the client puts a file of this name."""
        raise NotImplementedError

    def processes(self):
        """The server's process and its living descendants."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = stat(int(entry))
                if fields:
                    children.setdefault(int(fields[1]), []).append(int(entry))
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def cpu(self):
        """Seconds of CPU so far, of the process and of its descendants, ended or not."""
        ticks = 0
        for pid in self.processes():
            fields = stat(pid)
            if fields:
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / TICK


def stat(pid):
    """/proc/PID/stat after the command's name, so that fields[1] is the parent; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class Nightsafe(Server):
    name = "nightsafe"

    def __init__(self, bench, program, name="nightsafe"):
        self.name = name
        super().__init__(bench)
        self.program = program
        self.account = "bench"

    def audit(self):
        """The settings of the audit log, with a key for it; nothing for a Nightsafe from before it had one."""
        key = self.data / "signing.key"
        made = subprocess.run([self.program, "audit", "key", "--name", "bench.example.org/audit", "--new", key],
                              capture_output=True)
        return '[audit]\nkey = "../signing.key"\n' if made.returncode == 0 else ""

    def start(self):
        config = self.data / "config"
        for folder in (config / "orgs", config / "datasets", self.data / "keys/bench"):
            folder.mkdir(parents=True)
        shutil.copy(self.bench.folder / "host", self.data / "host")
        (config / "nightsafe.toml").write_text(
            '[server]\nname = "bench.example.org"\ncontact = "nobody"\nhost_keys = ["../host"]\n'
            '[[server.listeners]]\naddress = "127.0.0.1:0"\n'
            '[limits]\nsessions_per_account = 256\nconnections_per_address = 256\nunauthenticated = 256\n'
            '[paths]\nstate = "../state"\nruntime = "../run"\nkeys = "../keys"\n'
            '[intake]\nuploads_per_org = 4096\n[log]\nformat = "json"\nlevel = "info"\n' + self.audit())
        (config / "orgs/bench.toml").write_text(
            'name = "Bench"\ndatasets = ["bulk"]\nquota = "1TiB"\n[[accounts]]\nname = "bench"\n')
        (config / "datasets/bulk.toml").write_text('title = "Bulk"\nformat = "opaque"\nmax_size = "1TiB"\n')
        shutil.copy(self.bench.folder / "client.pub", self.data / "keys/bench/authorized_keys")
        (self.data / "keys/bench/recipients.txt").write_text(self.bench.recipient + "\n")
        command = [self.program, "serve", "--config", config / "nightsafe.toml"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not (self.port and self.says("ready")):
            listening = self.says("listening")
            if listening:
                self.port = int(field(listening, "listener.address").rpartition(":")[2])
            if self.process.poll() is not None:
                self.die("it ended before it was ready")
            if time.monotonic() > deadline:
                self.die("it is not ready after 30 s")
            time.sleep(0.02)

    def says(self, message):
        for line in (self.data / "log").read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if field(event, "message") == message:
                return event
        return None

    def remote(self, name):
        return f"/bulk/{name}"

    def high_water(self):
        """Peak resident memory in bytes, by the kernel."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None


def field(event, name):
    return event.get(name, event.get("fields", {}).get(name))


class OpenSsh(Server):
    name = "openssh"

    def __init__(self, bench):
        super().__init__(bench)
        self.account = pwd.getpwuid(os.getuid()).pw_name

    def start(self):
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        if not Path(sshd).exists():
            fail("sshd is missing: install openssh-server")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.data / "files").mkdir()
        shutil.copy(self.bench.folder / "host", self.data / "host")
        shutil.copy(self.bench.folder / "client.pub", self.data / "authorized_keys")
        (self.data / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.data}/host\n"
            f"AuthorizedKeysFile {self.data}/authorized_keys\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nUsePAM no\nUseDNS no\nStrictModes no\nPermitRootLogin prohibit-password\n"
            "PidFile none\nMaxStartups 256\nMaxSessions 256\nSubsystem sftp internal-sftp\n")
        command = [sshd, "-D", "-e", "-f", self.data / "sshd_config"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.die("it does not listen")
                time.sleep(0.02)

    def remote(self, name):
        return f"{self.data}/files/{name}"

    def high_water(self):
        return None


class Memory(threading.Thread):
    """Samples the server's memory until told to stop."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.peak = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            self.peak = max(self.peak, sum(proportional(pid) for pid in self.server.processes()))
            self.over.wait(0.2)


def proportional(pid):
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def measure(server, batches):
    """Runs one client for each batch, all at once, and returns the figures of a round. A client that fails ends it all."""
    server.start()
    # What earlier rounds left to be written is not this round's burden.
    os.sync()
    memory = Memory(server)
    memory.start()
    cpu, begun = server.cpu(), time.monotonic()
    clients = [subprocess.Popen(server.bench.client(server), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True) for _ in batches]
    # Each batch fits into its pipe.
    for client, batch in zip(clients, batches):
        client.stdin.write(batch)
        client.stdin.close()
    for client in clients:
        if client.wait() != 0:
            server.die(f"a client failed: {client.stderr.read()}")
        client.stderr.close()
    wall = time.monotonic() - begun
    # The processes of ended connections are counted once their parent has waited for them.
    deadline = time.monotonic() + 10
    while len(server.processes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    figures = {"wall_seconds": wall, "cpu_seconds": server.cpu() - cpu}
    memory.over.set()
    memory.join()
    figures["peak_pss_bytes"] = memory.peak
    figures["peak_rss_bytes"] = server.high_water()
    server.stop()
    return figures


def in_turns(arguments, makers, batches):
    """Rounds of every server in turns; `batches` gives a server's work. Returns {name: [figures]}."""
    results = {}
    for number in range(1, arguments.rounds + 1):
        # The order turns round too, so that neither always comes after the other.
        for make in makers if number % 2 else reversed(makers):
            server = make()
            figures = measure(server, batches(server))
            results.setdefault(server.name, []).append(figures)
            print(f"round {number}: {server.name:<10} {figures['wall_seconds']:8.2f} s wall "
                  f"{figures['cpu_seconds']:8.2f} s cpu", file=sys.stderr)
    return results


def median(rounds, figure):
    values = [one[figure] for one in rounds if one[figure] is not None]
    return statistics.median(values) if values else None


def mebibytes(value):
    return "-" if value is None else f"{value / (1 << 20):.1f}"


def table(head, rows):
    widths = [max(len(str(row[column])) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(str(cell).rjust(width) if place else str(cell).ljust(width)
                        for place, (cell, width) in enumerate(zip(row, widths))))


def report(arguments, what, results):
    """Writes everything measured as JSON, when asked to."""
    if arguments.json:
        uname = os.uname()
        client = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip()
        document = {"benchmark": what, "rounds": arguments.rounds, "client": client, "client_options": arguments.client_option,
                    "machine": f"{uname.sysname} {uname.release} {uname.machine}, {os.cpu_count()} CPUs", "results": results}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
