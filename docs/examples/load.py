#!/usr/bin/env python3
"""Loads what a Nightsafe gateway has queued: Python's standard library, ssh, sftp and age.

    GATEWAY_HOST=sftp.example.org PORT=2222 ACCOUNT=datateam-loader \\
    KEY=~/.ssh/id_ed25519 KNOWN_HOSTS=~/.ssh/known_hosts IDENTITY=identity.txt \\
    python3 load.py COMMAND [ARGUMENT...]

For each delivery, until the queue is empty, COMMAND gets the plaintext on standard input and the facts in NIGHTSAFE_*
variables. The rows that NIGHTSAFE_RESTRICTED_FILE names (17, or 20-24, a line) must be left out. To load in Python instead,
change `hand_over`. The same delivery may come twice: loading it twice must do no harm.
Exit status: 0 all loaded, 1 a delivery failed, 2 usage, 3 the gateway did not answer.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

LEASE = int(os.environ.get("LEASE", "900"))  # seconds


class Failed(Exception):
    """Why a delivery was not loaded; goes to the delivery's history."""


class Gateway:
    """The queue's verbs over ssh, and the fetch over sftp."""

    def __init__(self, env):
        self.account = f"{env['ACCOUNT']}@{env['GATEWAY_HOST']}"
        self.port = env.get("PORT", "22")
        self.options = ["-i", os.path.expanduser(env["KEY"])]
        for option in (
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f'UserKnownHostsFile="{os.path.expanduser(env["KNOWN_HOSTS"])}"',
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
        ):
            self.options += ["-o", option]

    def say(self, *words):
        """Runs one verb; returns its exit status and its answers. 0 done, 1 the answer is no, else it failed."""
        command = ["ssh", "-n", *self.options, "-p", self.port, self.account, *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def fetch(self, remote, local, resume=True):
        """Fetches a file, going on from what is there."""
        command = ["sftp", "-q", "-b", "-", *self.options, "-P", self.port, self.account]
        line = f'get {"-a " if resume else ""}"{remote}" "{local}"\n'
        done = subprocess.run(command, input=line, stdout=subprocess.DEVNULL, text=True)
        if done.returncode != 0:
            raise Failed(f"{os.path.basename(remote)} cannot be fetched")


class Lease(threading.Thread):
    """Extends a lease at a third of its time. When it is over, `lost` is set and the running command is ended."""

    def __init__(self, gateway, claim):
        super().__init__(daemon=True)
        self.gateway, self.claim = gateway, claim
        self.lost, self.done = threading.Event(), threading.Event()
        self.lock, self.command = threading.Lock(), None

    def run(self):
        while not self.done.wait(LEASE / 3):
            words = ("extend", self.claim["delivery"], "--lease", self.claim["lease"], "--for", f"{LEASE}s")
            status, _ = self.gateway.say(*words)
            if status == 1:
                with self.lock:
                    self.lost.set()
                    if self.command is not None and self.command.poll() is None:
                        os.killpg(self.command.pid, signal.SIGTERM)
                return

    def start_command(self, command, **how):
        """Starts a command in a process group of its own, unless the lease is lost."""
        with self.lock:
            if self.lost.is_set():
                raise Failed("the lease was lost")
            self.command = subprocess.Popen(command, start_new_session=True, **how)
            return self.command


def opened(path, identity):
    """Starts age on a sealed object; the plaintext comes from its standard output."""
    return subprocess.Popen(["age", "-d", "-i", identity, str(path)], stdout=subprocess.PIPE)


def verify(path, identity, claim):
    """Opens the whole object and compares it with the manifest; the plaintext goes nowhere."""
    if path.stat().st_size != claim["sealed_size"]:
        raise Failed("the sealed object has another size than the manifest says")
    digest, size = hashlib.sha256(), 0
    with opened(path, identity) as age:
        while piece := age.stdout.read(1 << 16):
            digest.update(piece)
            size += len(piece)
    if age.returncode != 0:
        raise Failed("age does not open the object")
    if size != claim["size"] or digest.hexdigest() != claim["sha256"]:
        raise Failed("the plaintext is not what the manifest says")


def restricted_rows(gateway, claim, path):
    """Fetches the list of rows that must not be loaded like the others, and counts it against the manifest."""
    path.write_text("")
    count = claim["restricted"]
    if count == 0:
        return
    if not claim["restricted_rows"]:
        raise Failed(f"{count} rows are restricted, and the gateway gives no list of them")
    gateway.fetch(claim["restricted_rows"], path, resume=False)
    runs = [line.split("-") for line in path.read_text().splitlines()]
    counted = sum(int(run[-1]) - int(run[0]) + 1 for run in runs)
    if counted != count:
        raise Failed(f"{count} rows are restricted, the list names {counted}")


def hand_over(path, identity, claim, manifest, restricted, lease, command):
    """Gives the verified plaintext to the command. A command that does not read all of it but exits 0 is fine."""
    facts = {
        "DELIVERY": claim["delivery"],
        "UPLOAD": claim["upload"],
        "ORG": claim["organisation"],
        "DATASET": claim["dataset"],
        "NAME": claim["name"],
        "SIZE": str(claim["size"]),
        "SHA256": claim["sha256"],
        "RECEIVED": claim["received"],
        "ACCOUNT": claim["account"],
        "ATTEMPT": str(claim["attempt"]),
        "ROWS": "" if claim["rows"] is None else str(claim["rows"]),
        "RESTRICTED": str(claim["restricted"]),
        "RESTRICTED_FILE": str(restricted),
        "FLAGS": "\n".join(claim["flags"]),
        "MANIFEST": str(manifest),
    }
    env = {**os.environ, **{f"NIGHTSAFE_{key}": value for key, value in facts.items()}}
    with opened(path, identity) as age:
        child = lease.start_command(command, stdin=age.stdout, stderr=subprocess.PIPE, env=env)
        age.stdout.close()
        last = b""
        for line in child.stderr:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            last = line.strip() or last
        status = child.wait()
    if status != 0:
        raise Failed(f"exit status {status}: {last.decode(errors='replace')}")


def deliver(gateway, claim, work, identity, command, lease):
    sealed, manifest = work / f"{claim['delivery']}.age", work / f"{claim['delivery']}.json"
    restricted = work / f"{claim['delivery']}.restricted.txt"
    manifest.write_text(json.dumps(claim, indent=2) + "\n")
    restricted_rows(gateway, claim, restricted)
    gateway.fetch(claim["object"], sealed)
    try:
        verify(sealed, identity, claim)
    except Failed:
        # What an earlier run left may be damaged: fetch all of it, once.
        sealed.unlink()
        gateway.fetch(claim["object"], sealed)
        verify(sealed, identity, claim)
    hand_over(sealed, identity, claim, manifest, restricted, lease, command)
    return sealed, manifest


def acknowledge(gateway, claim):
    """Said again when the connection breaks: the same lease may acknowledge twice."""
    for pause in (0, 1, 5, 20):
        time.sleep(pause)
        status, _ = gateway.say("ack", claim["delivery"], "--lease", claim["lease"])
        if status in (0, 1):
            return status == 0
    return False


def main(command):
    env = os.environ
    missing = [name for name in ("GATEWAY_HOST", "ACCOUNT", "KEY", "KNOWN_HOSTS", "IDENTITY") if not env.get(name)]
    if not command or missing:
        print(__doc__, *(f"{name} is not set" for name in missing), sep="\n", file=sys.stderr)
        return 2
    os.umask(0o077)
    cache = env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    work = Path(env.get("WORK") or Path(cache) / "nightsafe" / "load.py")
    work.mkdir(parents=True, exist_ok=True)
    gateway, identity = Gateway(env), os.path.expanduser(env["IDENTITY"])
    result = 0
    while True:
        status, claims = gateway.say("claim", "--max", "1", "--lease", f"{LEASE}s")
        if status != 0:
            print("the gateway does not answer the claim", file=sys.stderr)
            return 3
        if not claims:
            return result
        claim = claims[0]
        lease = Lease(gateway, claim)
        lease.start()
        try:
            files = deliver(gateway, claim, work, identity, command, lease)
            if not lease.lost.is_set() and acknowledge(gateway, claim):
                for file in files:
                    file.unlink()
            else:
                result = 1
        except (Failed, OSError, ValueError) as error:
            print(f"{claim['delivery']}: {error}", file=sys.stderr)
            result = 1
            if not lease.lost.is_set():
                reason = "".join(c if c.isalnum() or c in " .,:_/-" else " " for c in str(error))[:300]
                gateway.say("nack", claim["delivery"], "--lease", claim["lease"], "--reason", reason)
        finally:
            lease.done.set()
            (work / f"{claim['delivery']}.restricted.txt").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
