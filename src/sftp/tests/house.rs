//! A house behind the door, for the tests of sessions: real intake, ledger and vault in a directory of their own, and a
//! client that speaks packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::access::fixture::{account, config, key, listener};
use crate::access::{Access, Admission, Principal};
use crate::audit::Kind;
use crate::check::{Format, Rules};
use crate::config::{Config, ContractFile, Dataset};
use crate::intake::{Intake, SpoolKey};
use crate::ledger::{Filter, Ledger, Logged};
use crate::sftp::reply::string;
use crate::sftp::wire::Reader;
use crate::sftp::{Broken, Out, Services, Session};
use crate::types::*;
use crate::vault::Vault;

/// Room that no test uses up.
pub(super) const ROOM: usize = 8 * 1024 * 1024;

pub(super) struct House {
    pub services: Arc<Services>,
    /// Keeps the configuration live.
    config: watch::Sender<Arc<Config>>,
    accounts: Vec<(String, russh::keys::PrivateKey)>,
    access: Access,
    key: SpoolKey,
    _dir: tempfile::TempDir,
}

impl House {
    /// Harbour may send `ims` and `notes` (any file); meadow may send `ims`; a loader takes everything.
    pub fn new() -> Self {
        let named = [("nightly", "harbour"), ("meadow-it", "meadow"), ("loader", "team"), ("other-loader", "team")];
        let accounts: Vec<_> = named.iter().map(|(name, org)| ((*name).to_owned(), *org, key())).collect();
        let mut config = config(accounts.iter().map(|(name, org, key)| {
            let role = if *org == "team" { Role::Loader } else { Role::Provider };
            account(name, org, role, &[key.public_key()])
        }));
        config.intake.working_suffixes = vec![".part".into()];
        for (name, format, suffix) in [("ims", Format::Csv, ""), ("notes", Format::Opaque, "txt|bin")] {
            let name: DatasetName = name.parse().unwrap();
            let pattern = (!suffix.is_empty()).then(|| regex::Regex::new(&format!(r"^(?:.*\.(?:{suffix}))$")).unwrap());
            let rules = Rules { name: pattern, ..Rules::of(format, 1 << 30) };
            let dataset = Dataset::of(name.clone(), rules);
            config.datasets.insert(name, dataset);
        }
        for org in config.orgs.values_mut() {
            let datasets: &[&str] = match org.id.as_str() {
                "harbour" => &["ims", "notes"],
                "meadow" => &["ims"],
                _ => &[],
            };
            org.datasets = datasets.iter().map(|name| name.parse().unwrap()).collect();
            let (_, recipient) = crate::seal::generate_identity();
            org.recipients = vec![recipient.parse().unwrap()];
        }
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.sqlite"), crate::ledger::testing::signer()).unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let clock = Clock::fixed("2026-03-04T05:06:07Z".parse().unwrap());
        let (sender, live) = watch::channel(Arc::new(config));
        let recorder = ledger.recorder();
        let access = Access::new(live.clone(), recorder.clone(), clock.clone());
        let key = SpoolKey::generate().unwrap();
        let intake = Intake::new(live.clone(), vault.clone(), ledger.clone(), clock.clone(), key.clone());
        let services =
            Arc::new(Services { config: live, intake, ledger, vault, recorder, clock, contract: Default::default() });
        let accounts = accounts.into_iter().map(|(name, _, key)| (name, key)).collect();
        Self { services, config: sender, accounts, access, key, _dir: dir }
    }

    /// Adds a file to a dataset's contract.
    pub fn contract(&self, dataset: &str, name: &str, content: &str) {
        self.config.send_modify(|config| {
            let dataset = Arc::make_mut(config).datasets.get_mut(&dataset.parse().unwrap()).unwrap();
            dataset.contract.push(ContractFile { name: name.into(), content: content.into() });
        });
    }

    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        self.config.send_modify(|config| change(Arc::make_mut(config)));
    }

    /// The daemon was killed, and starts anew: nothing of what it held in memory is ended, all of it is forgotten. Its
    /// clients are to be forgotten, too.
    pub async fn restart(&mut self) {
        let Services { config, ledger, vault, recorder, clock, .. } = &*self.services;
        let now = config.borrow().clone();
        let mut recovered = crate::intake::recover(vault, ledger, clock, &self.key, &now).await.unwrap();
        let intake = Intake::new(config.clone(), vault.clone(), ledger.clone(), clock.clone(), self.key.clone());
        intake.adopt(&mut recovered).await;
        let services = Services {
            config: config.clone(),
            intake,
            ledger: ledger.clone(),
            vault: vault.clone(),
            recorder: recorder.clone(),
            clock: clock.clone(),
            contract: Default::default(),
        };
        std::mem::forget(std::mem::replace(&mut self.services, Arc::new(services)));
    }

    async fn principal(&self, account: &str) -> Principal {
        let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let mut arrival = self.access.arrive(address).await.unwrap();
        let (_, key) = self.accounts.iter().find(|(name, _)| name == account).unwrap();
        let client = "SSH-2.0-OpenSSH_9.9";
        match self.access.admit(&mut arrival, &listener(), account, key.public_key(), client).await {
            Admission::Admitted(principal) => principal,
            _ => panic!("{account} was not admitted"),
        }
    }

    /// A client of `account` that has said INIT.
    pub async fn client(&self, account: &str) -> Client {
        let mut client = self.silent_client(account).await;
        client.send(&packet(1, &3u32.to_be_bytes())).await.unwrap();
        client.out.clear();
        client
    }

    pub async fn silent_client(&self, account: &str) -> Client {
        let (late, answers) = mpsc::channel(64);
        let session = Session::new(self.principal(account).await, self.services.clone(), late, true);
        Client { session: Some(session), answers, out: Vec::new(), lines: Vec::new(), replies: Vec::new(), id: 0 }
    }

    pub async fn events(&self, kind: Kind) -> Vec<Logged> {
        // A recorded event is in the ledger some time after it was handed over: after a verb it certainly is.
        let flush = crate::audit::Event::new(self.services.clock.now(), Kind::OperatorCommand, Actor::gateway());
        self.services.ledger.record(flush).await.unwrap();
        self.services.ledger.events(&Filter { kind: Some(kind), ..Filter::default() }).await.unwrap()
    }

    /// Waits for an event.
    pub async fn event(&self, kind: Kind) -> Logged {
        let found = async {
            loop {
                match self.events(kind).await.pop() {
                    Some(event) => return event,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("the event comes")
    }
}

pub(super) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 1).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(body);
    bytes
}

/// A field of a request.
pub(super) fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    string(&mut bytes, text.as_ref());
    bytes
}

/// One answer: kind, and what follows the id.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub kind: u8,
    pub id: u32,
    pub body: Vec<u8>,
}

impl Reply {
    /// The status code; 0 is OK.
    pub fn code(&self) -> u32 {
        assert_eq!(self.kind, 101, "not a status: {self:?}");
        u32::from_be_bytes(self.body[..4].try_into().unwrap())
    }
    pub fn message(&self) -> String {
        let length = u32::from_be_bytes(self.body[4..8].try_into().unwrap()) as usize;
        String::from_utf8(self.body[8..8 + length].to_vec()).unwrap()
    }
    pub fn handle(&self) -> Vec<u8> {
        assert_eq!(self.kind, 102, "not a handle: {}", self.message());
        self.body[4..].to_vec()
    }
    pub fn data(&self) -> &[u8] {
        assert_eq!(self.kind, 103, "not data: {self:?}");
        &self.body[4..]
    }
    /// The size that ATTRS tell.
    pub fn size(&self) -> u64 {
        assert_eq!(self.kind, 105, "not attributes: {self:?}");
        u64::from_be_bytes(self.body[4..12].try_into().unwrap())
    }
}

pub(super) struct Client {
    pub session: Option<Session>,
    pub answers: mpsc::Receiver<Out>,
    pub out: Vec<Out>,
    pub lines: Vec<String>,
    replies: Vec<Reply>,
    id: u32,
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.session.as_mut().unwrap().data(bytes, ROOM, &mut self.out).await
    }

    /// A request's packet, and its id.
    pub fn request(&mut self, kind: u8, body: &[u8]) -> (u32, Vec<u8>) {
        self.id += 1;
        (self.id, packet(kind, &[&self.id.to_be_bytes()[..], body].concat()))
    }

    pub async fn ask(&mut self, kind: u8, body: &[u8]) -> Reply {
        let (id, bytes) = self.request(kind, body);
        self.send(&bytes).await.unwrap();
        self.reply(id).await
    }

    /// The answer to request `id`, at once or late.
    pub async fn reply(&mut self, id: u32) -> Reply {
        loop {
            let out = std::mem::take(&mut self.out);
            out.into_iter().for_each(|out| self.sort(out));
            if let Some(at) = self.replies.iter().position(|reply| reply.id == id) {
                return self.replies.remove(at);
            }
            let late = tokio::time::timeout(Duration::from_secs(20), self.answers.recv());
            self.out.push(late.await.expect("an answer comes").expect("the session goes on"));
        }
    }

    /// Every answer that came so far.
    pub fn all(&mut self) -> Vec<Reply> {
        let out = std::mem::take(&mut self.out);
        out.into_iter().for_each(|out| self.sort(out));
        std::mem::take(&mut self.replies)
    }

    fn sort(&mut self, out: Out) {
        let mut bytes = match out {
            Out::Line(line) => return self.lines.push(line),
            Out::Data(bytes) => bytes,
        };
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let rest = bytes.split_off(4 + length);
            let id = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
            self.replies.push(Reply { kind: bytes[4], id, body: bytes[9..].to_vec() });
            bytes = rest;
        }
    }

    pub async fn open(&mut self, path: &str, flags: u32) -> Reply {
        self.ask(3, &[&text(path)[..], &flags.to_be_bytes(), &[0; 4]].concat()).await
    }
    pub async fn create(&mut self, path: &str) -> Vec<u8> {
        self.open(path, 0x1a).await.handle()
    }
    pub fn write_body(handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
        [&text(handle)[..], &offset.to_be_bytes(), &text(data)].concat()
    }
    pub async fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Reply {
        self.ask(6, &Self::write_body(handle, offset, data)).await
    }
    pub async fn close(&mut self, handle: &[u8]) -> Reply {
        self.ask(4, &text(handle)).await
    }
    pub async fn stat(&mut self, path: &str) -> Reply {
        self.ask(17, &text(path)).await
    }
    pub async fn put(&mut self, path: &str, data: &[u8]) -> Reply {
        let handle = self.create(path).await;
        for (n, part) in data.chunks(200_000).enumerate() {
            self.write(&handle, n as u64 * 200_000, part).await;
        }
        self.close(&handle).await
    }
    pub async fn read(&mut self, handle: &[u8], offset: u64, length: u32) -> Reply {
        self.ask(5, &[&text(handle)[..], &offset.to_be_bytes(), &length.to_be_bytes()].concat()).await
    }
    pub async fn get(&mut self, path: &str) -> Vec<u8> {
        let handle = self.open(path, 1).await.handle();
        let mut data = Vec::new();
        loop {
            let reply = self.read(&handle, data.len() as u64, 1 << 20).await;
            if reply.kind == 101 {
                assert_eq!(reply.code(), 1);
                return data;
            }
            data.extend_from_slice(reply.data());
        }
    }

    /// The names in a directory, without `.` and `..`.
    pub async fn list(&mut self, path: &str) -> Vec<String> {
        let handle = self.ask(11, &text(path)).await.handle();
        let mut names = Vec::new();
        loop {
            let reply = self.ask(12, &text(&handle)).await;
            if reply.kind == 101 {
                assert_eq!(reply.code(), 1);
                break;
            }
            let mut fields = Reader::new(&reply.body);
            for _ in 0..fields.u32().unwrap() {
                let name = String::from_utf8(fields.string().unwrap().to_vec()).unwrap();
                let long = String::from_utf8(fields.string().unwrap().to_vec()).unwrap();
                assert!(long.ends_with(&name), "{long:?}");
                fields.attrs().unwrap();
                names.push(name);
            }
            fields.end().unwrap();
        }
        self.close(&handle).await;
        assert_eq!(names[..2], [".", ".."]);
        names.split_off(2)
    }
}
