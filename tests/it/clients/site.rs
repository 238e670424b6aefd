//! Where a row is run: a gateway with a key of each kind, the files that clients want, and a way that breaks.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightsafe::audit::Kind;
use nightsafe::ledger::{Logged, UploadRow};
use regex::Regex;

use super::matrix::Did;
use crate::harness::{Client, Gateway, PATIENCE, Raw, Setup, TempDir, fresh_dir, keys, kind, run, string};

/// The longest that any one task of a client may take: 200 MB in a debug build, with everything else at once.
const STEP: Duration = Duration::from_secs(300);
/// How long what a client did may take to be seen; sshfs does not wait for the answer to its CLOSE.
const SEEN: Duration = Duration::from_secs(20);

pub struct Site {
    pub gateway: Gateway,
    dir: TempDir,
    /// Ports under which the gateway is known.
    ports: Mutex<Vec<u16>>,
}

/// How a client gets to the gateway: straight, or through something that breaks.
pub struct Way<'s> {
    pub site: &'s Site,
    pub port: u16,
}

impl Site {
    pub fn new() -> Self {
        let mut gateway = Gateway::prepare(Setup::new());
        gateway.edit("config/datasets/bulk.toml", "format = \"opaque\"", "format = \"opaque\"\nallow_empty = true");
        let digests = "quota = \"20GiB\"\ndigests = [\"sha256\", \"sha1\", \"md5\"]\n[[accounts]]";
        gateway.edit("config/orgs/harbour.toml", "[[accounts]]", digests);
        // JSch before 0.2 knows no ed25519: a gateway that wants it in has a second host key.
        let second = "\"../keys/host/ssh_host_ed25519_key\", \"../keys/host/ssh_host_ecdsa_key\"";
        gateway.edit("config/nightsafe.toml", "\"../keys/host/ssh_host_ed25519_key\"", second);
        let ecdsa = gateway.path("keys/host/ssh_host_ecdsa_key");
        // In PEM: of OpenSSH's own form one in 256 cannot be read (see src/ssh/keys.rs).
        keygen(&["-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "host", "-f"], &ecdsa);
        gateway.launch();
        let site = Self { gateway, dir: fresh_dir("client"), ports: Mutex::default() };
        site.write_keys();
        site.know(site.gateway.port());
        std::fs::write(site.path("ssh_config"), site.ssh_config()).unwrap();
        site
    }

    /// The private keys in the forms that clients read.
    fn write_keys(&self) {
        for (from, to) in [("harbour", "key"), ("harbour-ecdsa", "key.pem")] {
            let (from, to) = (keys().ssh(from), self.path(to));
            std::fs::copy(&from, &to).unwrap();
            std::fs::copy(from.with_extension("pub"), format!("{}.pub", to.display())).unwrap();
        }
        keygen(&["-q", "-p", "-m", "PEM", "-P", "", "-N", "", "-f"], &self.path("key.pem"));
        let mut puttygen = Command::new("puttygen");
        puttygen.arg(self.path("key")).args(["-O", "private", "--new-passphrase", "/dev/null", "-o"]);
        run(with(puttygen, &[&self.path("key.ppk")]), b"", PATIENCE).ok();
    }

    fn ssh_config(&self) -> String {
        format!(
            "Host *\n  User harbour-nightly\n  IdentityFile \"{}\"\n  IdentitiesOnly yes\n  BatchMode yes\n  \
             StrictHostKeyChecking yes\n  HostKeyAlias gateway\n  GlobalKnownHostsFile /dev/null\n  \
             UserKnownHostsFile \"{}\"\n",
            self.path("key").display(),
            self.known_hosts().display()
        )
    }

    /// Lets clients know the gateway under one more port.
    fn know(&self, port: u16) {
        let mut ports = self.ports.lock().unwrap();
        ports.push(port);
        let read = |name: &str| std::fs::read_to_string(self.gateway.path(&format!("keys/host/{name}.pub")));
        let ecdsa = read("ssh_host_ecdsa_key").unwrap();
        let both = [keys().public("host"), ecdsa.trim().to_owned()];
        let mut names = vec!["gateway".to_owned()];
        names.extend(ports.iter().map(|port| format!("[127.0.0.1]:{port}")));
        let lines: String =
            names.iter().flat_map(|name| both.iter().map(move |key| format!("{name} {key}\n"))).collect();
        std::fs::create_dir_all(self.path(".ssh")).unwrap();
        std::fs::write(self.known_hosts(), lines).unwrap();
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.path(".ssh/known_hosts")
    }

    /// The host keys' fingerprints: `SHA256:...`
    pub fn fingerprints(&self) -> [String; 2] {
        ["ssh_host_ed25519_key", "ssh_host_ecdsa_key"].map(|name| {
            let mut keygen = Command::new("ssh-keygen");
            keygen.arg("-lf").arg(self.gateway.path(&format!("keys/host/{name}")));
            run(keygen, b"", PATIENCE).ok().stdout.split_whitespace().nth(1).unwrap().to_owned()
        })
    }

    /// A path in the directory of this site's client, which is its home.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    pub fn way(&self) -> Way<'_> {
        Way { site: self, port: self.gateway.port() }
    }

    /// A way that breaks after so many bytes from the client; once.
    pub fn cutter(&self, after: u64) -> Cutter<'_> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.know(port);
        let (to, way) = (self.gateway.port(), Arc::new(Breaking { after, ..Breaking::default() }));
        let breaking = way.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if breaking.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(gateway) = TcpStream::connect(("127.0.0.1", to)) else { return };
                carry(client, gateway, breaking.clone());
            }
        });
        Cutter { site: self, port, breaking: way }
    }

    // -- what the gateway has recorded --

    /// Uploads under this path, in the order of their ends.
    pub fn uploads(&self, remote: &str) -> Vec<UploadRow> {
        let mut rows = self.gateway.uploads();
        rows.retain(|row| format!("{}{}", row.place, row.receipt.name) == remote);
        rows
    }

    /// The latest upload under this path that fits, once there is one.
    pub fn await_upload(&self, remote: &str, fits: impl Fn(&UploadRow) -> bool) -> Option<UploadRow> {
        until(|| self.uploads(remote).into_iter().rev().find(|row| fits(row)))
    }

    /// Whether each upload whose name begins so gets an end that is none of acceptance: it was rejected, or given up.
    pub fn await_no_upload(&self, name: &str) -> bool {
        until(|| {
            let events = self.gateway.events();
            let of = |kind| {
                let about = |logged: &&Logged| {
                    logged.event.kind == kind
                        && logged.event.detail["name"].as_str().is_some_and(|full| full.starts_with(name))
                };
                events.iter().filter(about).count()
            };
            let ended = of(Kind::UploadRejected) + of(Kind::UploadAborted);
            (ended > 0 && of(Kind::UploadAccepted) == 0 && ended == of(Kind::UploadBegun)).then_some(())
        })
        .is_some()
    }

    /// Waits until no session writes an upload any more; a little, where one was cut off.
    pub fn await_nothing_under_way(&self) {
        let kinds = [
            Kind::UploadAccepted,
            Kind::UploadRejected,
            Kind::UploadAborted,
            Kind::DraftClosed,
            Kind::DraftKept,
            Kind::DraftRemoved,
        ];
        until(|| {
            let events = self.gateway.events();
            let uploads = |kinds: &[Kind]| -> BTreeSet<_> {
                let of = events.iter().filter(|logged| kinds.contains(&logged.event.kind));
                of.filter_map(|logged| logged.event.upload).collect()
            };
            uploads(&[Kind::UploadBegun]).is_subset(&uploads(&kinds)).then_some(())
        });
    }

    /// Whether a listed file gets this time (seconds).
    pub fn await_modified(&self, remote: &str, modified: u64) -> bool {
        until(|| self.stat(remote).filter(|(_, time)| *time == modified)).is_some()
    }

    /// Size and time of what is listed under a path.
    pub fn stat(&self, remote: &str) -> Option<(u64, u64)> {
        let reply = self.raw(self.gateway.port()).request(kind::STAT, &string(remote.as_bytes()));
        // ATTRS: flags, size, two ids, mode, two times.
        let attrs = (reply.kind == kind::ATTRS).then_some(reply.body)?;
        let size = u64::from_be_bytes(attrs[4..12].try_into().unwrap());
        Some((size, u32::from_be_bytes(attrs[28..32].try_into().unwrap()).into()))
    }

    /// A session of packets, past INIT.
    pub fn raw(&self, port: u16) -> Raw {
        Client::new("harbour-nightly", &self.path("key"), &self.known_hosts(), port).session()
    }

    /// What a client showed, without what differs from run to run: ids, ports, times, paths of this machine, progress.
    pub fn without_accidents(&self, words: &str) -> String {
        let mut text = words.replace(&format!("{}/", self.dir.path().display()), "");
        for (pattern, becomes) in [
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
            (r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "DATE TIME"),
            (r"127\.0\.0\.1:\d+", "sftp.example.org:2222"),
            (r"127\.0\.0\.1", "sftp.example.org"),
            (r"port \d+", "port 2222"),
            (r"Attempt \d/\d", "Attempt N/3"),
            (r"\r\n", "\n"),
            // Progress, written over itself.
            (r"[^\n]*\r", ""),
        ] {
            text = Regex::new(pattern).unwrap().replace_all(&text, becomes).into_owned();
        }
        // rclone says everything once for each attempt.
        let mut lines: Vec<&str> = Vec::new();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines.join("\n")
    }
}

impl Way<'_> {
    /// A program that finds its keys and nothing of this machine's user.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.site.dir.path()).env("LC_ALL", "C.UTF-8").current_dir(self.site.dir.path());
        for name in ["SSH_AUTH_SOCK", "DISPLAY", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, command: Command, input: &str) -> Did {
        run(command, input.as_bytes(), STEP).into()
    }
}

fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SEEN;
    loop {
        match attempt() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
}

fn with(mut command: Command, files: &[&Path]) -> Command {
    command.args(files);
    command
}

fn keygen(options: &[&str], file: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(options);
    run(with(keygen, &[file]), b"", PATIENCE).ok();
}

/// A way to the gateway that breaks once.
pub struct Cutter<'s> {
    site: &'s Site,
    port: u16,
    breaking: Arc<Breaking>,
}

#[derive(Default)]
struct Breaking {
    /// Bytes from the client that the first connection may carry.
    after: u64,
    /// Bytes from clients in all connections.
    carried: AtomicU64,
    cut: AtomicBool,
    /// Nobody uses it any more.
    over: AtomicBool,
}

impl Cutter<'_> {
    pub fn way(&self) -> Way<'_> {
        Way { site: self.site, port: self.port }
    }
    pub fn has_cut(&self) -> bool {
        self.breaking.cut.load(Ordering::SeqCst)
    }
    /// Bytes that clients have sent through it.
    pub fn carried(&self) -> u64 {
        self.breaking.carried.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter<'_> {
    fn drop(&mut self) {
        self.breaking.over.store(true, Ordering::SeqCst);
        // Wakes the one who accepts.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// Carries one connection's bytes both ways, until it is the first that has carried enough.
fn carry(client: TcpStream, gateway: TcpStream, breaking: Arc<Breaking>) {
    let (mut from_gateway, mut to_client) = (gateway.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        std::io::copy(&mut from_gateway, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both).ok();
    });
    let (mut from_client, mut to_gateway) = (client, gateway);
    std::thread::spawn(move || {
        let (mut carried, mut buffer) = (0, vec![0; 16 * 1024]);
        loop {
            let count = match from_client.read(&mut buffer) {
                Ok(count) if count > 0 && to_gateway.write_all(&buffer[..count]).is_ok() => count as u64,
                _ => break,
            };
            carried += count;
            breaking.carried.fetch_add(count, Ordering::SeqCst);
            if carried > breaking.after && !breaking.cut.swap(true, Ordering::SeqCst) {
                break;
            }
        }
        from_client.shutdown(Shutdown::Both).ok();
        to_gateway.shutdown(Shutdown::Both).ok();
    });
}
