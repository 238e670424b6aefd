//! The door from outside: a real listener, the OpenSSH client and russh's, and a house that is only painted on.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::behind::{Behind, Door, Subsystem};
use super::{HostKeys, listener};
use crate::access::fixture::{account, config, key, listener as any_listener};
use crate::access::{Access, Principal};
use crate::audit::{Event, Kind, Recorder};
use crate::config::Config;
use crate::queue;
use crate::sftp::{Broken, Out};
use crate::types::{Clock, Role};

const SOON: Duration = Duration::from_secs(60);

/// Knows the commands `count N` (N lines), `wait` (for ever) and `fail`; its SFTP answers each byte by a rule.
#[derive(Clone, Default)]
struct House {
    /// Commands and SFTP sessions that live.
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}
impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers `e` with `E`, `l` with a late `L`, `s` with a line on standard error, `r` with a READ's worth that waits for
/// room, `x` with as much at once, `b` by breaking, `p` by panicking.
struct Toy {
    late: mpsc::Sender<Out>,
    waiting: usize,
    _alive: Alive,
}

const READ: usize = 200_000;

impl Toy {
    fn serve(&mut self, mut room: usize, out: &mut Vec<Out>) {
        // The last one goes past the room, as with the real thing.
        while self.waiting > 0 && room > 0 {
            out.push(Out::Data(vec![b'R'; READ]));
            self.waiting -= 1;
            room = room.saturating_sub(READ);
        }
    }
}

impl Subsystem for Toy {
    async fn data(&mut self, bytes: &[u8], room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        for byte in bytes {
            match byte {
                b'e' => out.push(Out::Data(vec![b'E'])),
                b's' => out.push(Out::Line("said".into())),
                b'x' => out.push(Out::Data(vec![b'X'; 20_000])),
                b'r' => self.waiting += 1,
                b'b' => return Err(Broken("that was too much".into())),
                b'p' => panic!("a toy may break"),
                b'l' => {
                    let late = self.late.clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(50)).await;
                        let _ = late.send(Out::Data(vec![b'L'])).await;
                    });
                }
                _ => {}
            }
        }
        self.serve(room, out);
        Ok(())
    }
    async fn writable(&mut self, room: usize, out: &mut Vec<Out>) -> Result<(), Broken> {
        assert_ne!(room, 0);
        self.serve(room, out);
        Ok(())
    }
    async fn eof(&mut self, room: usize, out: &mut Vec<Out>) -> Result<bool, Broken> {
        self.serve(room, out);
        Ok(self.waiting == 0)
    }
}

impl Behind for House {
    type Sftp = Toy;

    fn sftp(&self, _principal: Principal, late: mpsc::Sender<Out>, _openssh: bool) -> Toy {
        Toy { late, waiting: 0, _alive: Alive::new(&self.alive) }
    }
    fn knows(&self, _principal: &Principal, command: &str) -> bool {
        ["count", "wait", "fail"].contains(&command.split(' ').next().unwrap())
    }
    fn run(
        &self,
        _principal: Principal,
        command: String,
        _input: tokio::sync::watch::Receiver<crate::sftp::Input>,
        out: mpsc::Sender<queue::Out>,
    ) -> impl Future<Output = u32> + Send + 'static {
        let alive = Alive::new(&self.alive);
        async move {
            let _alive = alive;
            match command.split_once(' ') {
                Some(("count", n)) => {
                    for i in 0..n.parse::<u64>().unwrap() {
                        out.send(queue::Out::Line(i.to_string())).await.unwrap();
                    }
                    0
                }
                _ if command == "wait" => std::future::pending().await,
                _ => {
                    out.send(queue::Out::Line("so far".into())).await.unwrap();
                    out.send(queue::Out::Error("no further".into())).await.unwrap();
                    3
                }
            }
        }
    }
}

struct Failing {
    socket: TcpListener,
    failures: usize,
}

impl listener::Source for Failing {
    async fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::Error::from_raw_os_error(24));
        }
        self.socket.accept().await
    }
}

struct Gateway {
    address: SocketAddr,
    config: watch::Sender<Arc<Config>>,
    events: Arc<StdMutex<Vec<Event>>>,
    access: Access,
    house: House,
    stop: CancellationToken,
    end: CancellationToken,
    directory: tempfile::TempDir,
    key: PrivateKey,
}

impl Gateway {
    async fn open(change: impl FnOnce(&mut Config)) -> Self {
        Self::open_failing(change, 0).await
    }

    /// Its first `failures` accepts fail as if no descriptors were left.
    async fn open_failing(change: impl FnOnce(&mut Config), failures: usize) -> Self {
        let own = key();
        let mut config = config([account("harbour-nightly", "harbour", Role::Provider, &[own.public_key()])]);
        change(&mut config);
        let (recorder, mut received) = Recorder::new(64);
        let events = Arc::new(StdMutex::new(Vec::new()));
        tokio::spawn({
            let events = events.clone();
            async move {
                while let Some(event) = received.recv().await {
                    events.lock().unwrap().push(event);
                }
            }
        });
        let (sender, live) = watch::channel(Arc::new(config));
        let (stop, end, house, clock) =
            (CancellationToken::new(), CancellationToken::new(), House::default(), Clock::system());
        let access = Access::new(live.clone(), recorder.clone(), clock.clone());
        tokio::spawn({
            let (access, end) = (access.clone(), end.clone());
            async move { access.follow_reloads(end).await }
        });
        let (socket, address): (TcpListener, _) = super::bind(&any_listener()).await.unwrap();
        let door = Door { config: live, access: access.clone(), recorder, clock, behind: house.clone() };
        let keys = Arc::new(HostKeys { keys: vec![key()] });
        tokio::spawn({
            let (stop, end) = (stop.clone(), end.clone());
            let source = Failing { socket, failures };
            async move { listener::accept(source, Arc::new(any_listener()), Arc::new(door), keys, stop, end).await }
        });
        let directory = tempfile::tempdir().unwrap();
        let gateway = Self { address, config: sender, events, access, house, stop, end, directory, key: own };
        gateway.write_key("id", &gateway.key);
        gateway
    }

    fn write_key(&self, name: &str, key: &PrivateKey) {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.path().join(name);
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
        io::Write::write_all(&mut file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    }

    fn change(&self, change: impl FnOnce(&mut Config)) {
        self.config.send_modify(|config| {
            let mut next = Config::clone(config);
            change(&mut next);
            *config = Arc::new(next);
        });
    }

    fn ssh(&self, user: &str, options: &[&str], command: &[&str]) -> tokio::process::Command {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "IdentityAgent=none"])
            .arg("-i")
            .arg(self.directory.path().join("id"))
            .args(["-p", &self.address.port().to_string()])
            .args(options)
            .arg(format!("{user}@127.0.0.1"))
            .args(command)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        ssh
    }

    async fn run(&self, options: &[&str], command: &[&str]) -> Output {
        let mut ssh = self.ssh("harbour-nightly", options, command);
        timeout(SOON, ssh.output()).await.expect("ssh hangs").unwrap()
    }

    async fn client(&self) -> client::Handle<Trusting> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.client_on(stream, Arc::default()).await
    }

    async fn client_on(&self, stream: TcpStream, config: Arc<client::Config>) -> client::Handle<Trusting> {
        let mut client = client::connect_stream(config, stream, Trusting).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(self.key.clone()), None);
        assert!(client.authenticate_publickey("harbour-nightly", key).await.unwrap().success());
        client
    }

    /// Waits for an event of this kind that fits.
    async fn event(&self, kind: Kind, fits: impl Fn(&Event) -> bool) -> Event {
        let begun = Instant::now();
        loop {
            let found = self.events.lock().unwrap().iter().find(|event| event.kind == kind && fits(event)).cloned();
            if let Some(event) = found {
                return event;
            }
            assert!(begun.elapsed() < SOON, "no such {kind:?} among {:?}", self.events.lock().unwrap());
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn refused(&self, reason: &str) -> Event {
        self.event(Kind::SessionRefused, |event| event.detail["reason"] == reason).await
    }

    async fn request_refused(&self, request: &str) -> Event {
        self.event(Kind::RequestRefused, |event| event.detail["request"] == request).await
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < SOON, "never: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        self.end.cancel();
    }
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a channel gives until it closes: data, standard error, exit status, and whether EOF came before CLOSE.
async fn all_of(channel: &mut russh::Channel<client::Msg>) -> (Vec<u8>, String, Option<u32>, bool) {
    let (mut data, mut error, mut status, mut eof) = (Vec::new(), String::new(), None, false);
    loop {
        match timeout(SOON, channel.wait()).await.expect("the channel hangs") {
            Some(ChannelMsg::Data { data: more }) => data.extend_from_slice(&more),
            Some(ChannelMsg::ExtendedData { data: more, .. }) => error.push_str(&String::from_utf8_lossy(&more)),
            Some(ChannelMsg::ExitStatus { exit_status }) => status = Some(exit_status),
            Some(ChannelMsg::Eof) => eof = true,
            Some(ChannelMsg::Close) | None => return (data, error, status, eof),
            Some(_) => {}
        }
    }
}

async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end as good as any.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    bytes
}

#[tokio::test]
async fn openssh_runs_a_named_command_and_the_session_is_audited_from_admission_to_end() {
    let gateway = Gateway::open(|_| {}).await;
    let output = gateway.run(&[], &["count", "3"]).await;
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"0\n1\n2\n".to_vec()), "{:?}", output.stderr);
    let admitted = gateway.event(Kind::SessionAdmitted, |_| true).await;
    assert_eq!(admitted.actor.account, "harbour-nightly");
    assert!(admitted.actor.client.as_deref().unwrap().starts_with("OpenSSH"));
    let ended = gateway.event(Kind::SessionEnded, |event| event.actor.session == admitted.actor.session).await;
    assert!(ended.detail["received_bytes"].as_u64().unwrap() > 500, "{ended:?}");
    assert_eq!(ended.detail["refused_requests"].as_u64(), Some(0));
    gateway.until("no session is left", |gateway| gateway.access.sessions() == 0).await;
}

#[tokio::test]
async fn a_command_gives_its_exit_status_and_both_streams() {
    let gateway = Gateway::open(|_| {}).await;
    let output = gateway.run(&[], &["fail"]).await;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout, output.stderr), (b"so far\n".to_vec(), b"no further\n".to_vec()));
}

#[tokio::test]
async fn a_long_output_arrives_whole() {
    let gateway = Gateway::open(|_| {}).await;
    let output = gateway.run(&[], &["count", "300000"]).await;
    let expected: String = (0..300_000).map(|i| format!("{i}\n")).collect();
    assert!(output.stdout == expected.as_bytes(), "{} of {} bytes", output.stdout.len(), expected.len());
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_key_look_and_last_the_same() {
    let gateway = Gateway::open(|_| {}).await;
    let stranger = key();
    gateway.write_key("id", &stranger);
    let mut answers = Vec::new();
    for user in ["harbour-nightly", "nobody-knows"] {
        let mut lasted = Vec::new();
        // A machine under load may be slow once.
        while lasted.last().is_none_or(|lasted| *lasted >= Duration::from_secs(4)) {
            assert!(lasted.len() < 3, "{user}: {lasted:?}");
            let begun = Instant::now();
            let output = timeout(SOON, gateway.ssh(user, &[], &["count", "1"]).output()).await.unwrap().unwrap();
            lasted.push(begun.elapsed());
            assert!(begun.elapsed() > Duration::from_millis(900), "{user}: {lasted:?}");
            answers.push((output.status.code(), stderr(&output).replace(user, "USER")));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[0].1.contains("Permission denied (publickey)"), "{answers:?}");
    let event = gateway.refused("unknown account").await;
    assert_eq!((event.actor.account.as_str(), event.actor.org), ("nobody-knows", None));
    gateway.refused("the key is not one of the account's").await;
}

#[tokio::test]
async fn a_password_is_refused_and_audited_under_the_name_that_was_claimed() {
    let gateway = Gateway::open(|_| {}).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut client = client::connect_stream(Arc::default(), stream, Trusting).await.unwrap();
    assert!(!client.authenticate_password("harbour-nightly", "hunter2").await.unwrap().success());
    assert!(
        !client
            .authenticate_keyboard_interactive_start("harbour-nightly", None)
            .await
            .is_ok_and(|reply| { matches!(reply, client::KeyboardInteractiveAuthResponse::Success) })
    );
    let refused = gateway.refused("tried a password, a certificate or another way than a public key").await;
    assert_eq!(refused.actor.account, "harbour-nightly");
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_login_does_not_wait_for_the_rejection_of_none() {
    let gateway = Gateway::open(|_| {}).await;
    // Most of them: a machine under load is slow now and then.
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(gateway.run(&[], &["count", "1"]).await.status.success());
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[2] < Duration::from_millis(900), "{times:?}");
}

#[tokio::test]
async fn whether_a_key_exists_cannot_be_asked() {
    let gateway = Gateway::open(|_| {}).await;
    let mut verbose = gateway.ssh("nobody-knows", &["-v", "-o", "LogLevel=DEBUG1"], &["count", "1"]);
    let output = timeout(SOON, verbose.output()).await.unwrap().unwrap();
    // The server said "that key would do" to a key that lets nobody in.
    assert!(stderr(&output).contains("Server accepts key"), "{}", stderr(&output));
    assert!(!output.status.success());
}

#[tokio::test]
async fn a_shell_is_refused_in_words_and_ends_with_or_without_a_terminal() {
    let gateway = Gateway::open(|_| {}).await;
    for (options, request) in [(&["-T"][..], "shell"), (&["-tt"], "pty")] {
        let output = gateway.run(options, &[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("use 'sftp', or see /help.txt"), "{}", stderr(&output));
        let refused = gateway.request_refused(request).await;
        let same = |event: &Event| event.actor.session == refused.actor.session;
        let ended = gateway.event(Kind::SessionEnded, same).await;
        assert_eq!(ended.detail["refused_requests"].as_u64(), Some(1));
    }
}

#[tokio::test]
async fn other_commands_are_refused_with_what_to_do_instead() {
    let gateway = Gateway::open(|_| {}).await;
    for (command, words) in [
        ("scp -t /", "without -O"),
        ("rsync --server . /", "rclone"),
        ("/usr/lib/openssh/sftp-server", "subsystem"),
        ("rm -rf /", "a few commands"),
    ] {
        let output = gateway.run(&[], &[command]).await;
        assert_eq!(output.status.code(), Some(1), "{command}");
        // In the protocol of scp words go over standard output, after a byte that says what they are.
        let said = String::from_utf8(output.stdout.clone()).unwrap() + &stderr(&output);
        assert!(said.contains(words) && said.starts_with('\u{2}') == command.starts_with("scp"), "{command}: {said}");
        gateway.event(Kind::RequestRefused, |event| event.detail["asked"] == command).await;
    }
}

#[tokio::test]
async fn forwarding_agent_and_environment_are_refused_and_audited() {
    let gateway = Gateway::open(|_| {}).await;
    let output = gateway.run(&["-o", "SetEnv=CANARY=1", "-o", "SetEnv=SECOND=2"], &["count", "1"]).await;
    assert_eq!(output.stdout, b"0\n");
    assert_eq!(gateway.request_refused("environment").await.detail["asked"], "CANARY");

    let output = gateway.run(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"], &["count", "1"]).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(stderr(&output).contains("remote port forwarding failed"), "{}", stderr(&output));
    let output = gateway.run(&["-W", "127.0.0.1:22"], &[]).await;
    assert!(stderr(&output).contains("stdio forwarding failed"), "{}", stderr(&output));
    gateway.event(Kind::RequestRefused, |event| event.detail["asked"] == "127.0.0.1:22").await;

    let client = gateway.client().await;
    let channel = client.channel_open_session().await.unwrap();
    channel.agent_forward(true).await.unwrap();
    gateway.request_refused("agent").await;
    assert!(client.channel_open_direct_streamlocal("/run/secret").await.is_err());
}

#[tokio::test]
async fn refused_requests_get_a_bounded_number_of_events_and_are_counted() {
    let gateway = Gateway::open(|_| {}).await;
    let client = gateway.client().await;
    for port in 0..50 {
        assert!(client.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 1).await.is_err());
    }
    client.disconnect(russh::Disconnect::ByApplication, "", "").await.unwrap();
    let ended = gateway.event(Kind::SessionEnded, |_| true).await;
    assert_eq!(ended.detail["refused_requests"].as_u64(), Some(50));
    let told = gateway.events.lock().unwrap().iter().filter(|event| event.kind == Kind::RequestRefused).count();
    assert_eq!(told, 16);
}

#[tokio::test]
async fn a_channel_has_one_use_and_a_connection_its_number_of_channels() {
    let gateway = Gateway::open(|config| config.limits.channels_per_connection = 2).await;
    let client = gateway.client().await;
    let mut first = client.channel_open_session().await.unwrap();
    first.request_subsystem(true, "sftp").await.unwrap();
    assert!(matches!(first.wait().await, Some(ChannelMsg::Success)));
    first.exec(true, "count 1").await.unwrap();
    assert!(matches!(first.wait().await, Some(ChannelMsg::Failure)));
    let mut second = client.channel_open_session().await.unwrap();
    assert!(client.channel_open_session().await.is_err());
    second.request_subsystem(true, "netconf").await.unwrap();
    assert!(matches!(second.wait().await, Some(ChannelMsg::Failure)));
    second.exec(true, "count 1").await.unwrap();
    assert_eq!(all_of(&mut second).await.2, Some(0));
    // Its place is free again.
    gateway.until("the command is over", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 1).await;
    let mut third = client.channel_open_session().await;
    let begun = Instant::now();
    while third.is_err() && begun.elapsed() < SOON {
        third = client.channel_open_session().await;
    }
    assert!(third.is_ok());
}

#[tokio::test]
async fn a_command_is_cancelled_when_its_channel_or_connection_closes() {
    let gateway = Gateway::open(|_| {}).await;
    let client = gateway.client().await;
    let channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "wait").await.unwrap();
    let other = client.channel_open_session().await.unwrap();
    other.exec(true, "wait").await.unwrap();
    gateway.until("both run", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 2).await;
    channel.close().await.unwrap();
    gateway.until("one is left", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 1).await;
    drop((client, channel, other));
    gateway.until("none is left", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn limits_close_a_connection_without_a_byte_and_places_come_back() {
    let gateway = Gateway::open(|config| config.limits.unauthenticated = 1).await;
    let mut first = TcpStream::connect(gateway.address).await.unwrap();
    let mut banner = [0; 8];
    first.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    let second = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(closed(second).await, b"");
    gateway.refused("too many connections that have not authenticated").await;
    drop(first);
    let begun = Instant::now();
    while !gateway.run(&[], &["count", "1"]).await.status.success() {
        assert!(begun.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_peer_that_never_authenticates_is_cut_at_the_deadline() {
    let gateway = Gateway::open(|config| config.limits.authentication = Duration::from_millis(300)).await;
    let mut lasted = Vec::new();
    // A machine under load may be slow once.
    while lasted.last().is_none_or(|lasted| *lasted >= Duration::from_secs(3)) {
        assert!(lasted.len() < 3, "{lasted:?}");
        let begun = Instant::now();
        let silent = TcpStream::connect(gateway.address).await.unwrap();
        let mut dripping = TcpStream::connect(gateway.address).await.unwrap();
        dripping.write_all(b"SSH-2.0-Slow\r\n").await.unwrap();
        assert!(closed(silent).await.starts_with(b"SSH-2.0-Nightsafe\r\n"));
        closed(dripping).await;
        lasted.push(begun.elapsed());
    }
    gateway.refused("not authenticated in time").await;
}

#[tokio::test]
async fn a_reload_that_takes_the_key_away_ends_the_session_within_a_second_in_words() {
    let mut lasted = Vec::new();
    // A machine under load may be slow once.
    while lasted.last().is_none_or(|lasted| *lasted >= Duration::from_secs(1)) {
        assert!(lasted.len() < 3, "{lasted:?}");
        lasted.push(ended_by_a_reload().await);
    }
}

/// How long a session lives on after the configuration took its key away.
async fn ended_by_a_reload() -> Duration {
    let gateway = Gateway::open(|_| {}).await;
    let mut ssh = gateway.ssh("harbour-nightly", &[], &["wait"]);
    let running = ssh.stderr(std::process::Stdio::piped()).spawn().unwrap();
    gateway.until("the command runs", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 1).await;
    let begun = Instant::now();
    gateway.change(|config| config.accounts.values_mut().for_each(|account| account.keys.clear()));
    let output = timeout(SOON, running.wait_with_output()).await.unwrap().unwrap();
    let lasted = begun.elapsed();
    assert!(stderr(&output).contains("the key is not one of the account's"), "{}", stderr(&output));
    let ended = gateway.event(Kind::SessionEnded, |_| true).await;
    assert_eq!(ended.detail["reason"], "the key is not one of the account's");
    gateway.until("nothing is left", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 0).await;
    lasted
}

#[tokio::test]
async fn too_many_sessions_are_told_in_words_to_who_holds_the_key() {
    let gateway = Gateway::open(|config| config.limits.sessions_per_account = 1).await;
    let _first = gateway.client().await;
    let output = gateway.run(&["-v"], &["count", "1"]).await;
    assert!(!output.status.success());
    assert!(stderr(&output).contains("all the sessions that it may have"), "{}", stderr(&output));
    gateway.refused("the account has too many sessions").await;
}

#[tokio::test]
async fn the_accept_loop_survives_failing_accepts() {
    let gateway = Gateway::open_failing(|_| {}, 5).await;
    assert!(gateway.run(&[], &["count", "1"]).await.status.success());
}

#[tokio::test]
async fn an_idle_connection_is_ended_though_it_answers_keepalives_but_not_one_that_works() {
    let gateway = Gateway::open(|config| {
        config.limits.idle = Duration::from_secs(3);
        config.limits.keepalive = Duration::from_millis(200);
    })
    .await;
    let working = gateway.client().await;
    let channel = working.channel_open_session().await.unwrap();
    channel.exec(true, "wait").await.unwrap();
    let idle = gateway.client().await;
    gateway
        .event(Kind::SessionEnded, |event| event.detail["reason"].as_str().unwrap().starts_with("nothing was done"))
        .await;
    gateway.until("the idle one is gone", |_| idle.is_closed()).await;
    assert!(!working.is_closed());
}

#[tokio::test]
async fn at_the_end_every_connection_is_ended_in_words() {
    let gateway = Gateway::open(|_| {}).await;
    let mut ssh = gateway.ssh("harbour-nightly", &[], &["wait"]);
    let running = ssh.stderr(std::process::Stdio::piped()).spawn().unwrap();
    gateway.until("the command runs", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 1).await;
    gateway.stop.cancel();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(gateway.access.sessions(), 1, "stop alone ends nobody");
    gateway.end.cancel();
    let output = timeout(SOON, running.wait_with_output()).await.unwrap().unwrap();
    assert!(stderr(&output).contains("the gateway is stopping"), "{}", stderr(&output));
    gateway.until("no session is left", |gateway| gateway.access.sessions() == 0).await;
}

#[tokio::test]
async fn openssh_gets_gcm_and_a_client_without_it_is_let_in_as_another() {
    let gateway = Gateway::open(|_| {}).await;
    // Most of them: a client that takes longer than the gateway waits for its name is offered what others are, and on a
    // loaded machine one may, now and then.
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(stderr(&gateway.run(&["-v", "-o", "LogLevel=DEBUG1"], &["count", "1"]).await));
    }
    let agreed = said.iter().filter(|said| said.contains("cipher: aes128-gcm@openssh.com")).count();
    assert!(agreed >= 3, "{said:#?}");
    let mut config = client::Config::default();
    config.preferred.cipher = vec![russh::cipher::AES_128_CTR].into();
    config.preferred.mac = vec![russh::mac::HMAC_SHA256].into();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    gateway.client_on(stream, Arc::new(config)).await;

    let mut refused = 0;
    for _ in 0..5 {
        let output = gateway.run(&["-o", "Ciphers=chacha20-poly1305@openssh.com"], &["count", "1"]).await;
        refused += u32::from(!output.status.success());
    }
    assert!(refused >= 3, "a cipher that OpenSSH is not to be offered is agreed on");
    gateway.refused("no algorithm in common").await;
}

async fn sftp(client: &client::Handle<Trusting>) -> russh::Channel<client::Msg> {
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    loop {
        match timeout(SOON, channel.wait()).await.unwrap() {
            Some(ChannelMsg::Success) => return channel,
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_sftp_channel_ends_with_status_eof_and_close_after_its_last_late_reply() {
    let gateway = Gateway::open(|_| {}).await;
    let client = gateway.client().await;
    let mut channel = sftp(&client).await;
    channel.data(&b"eels"[..]).await.unwrap();
    channel.eof().await.unwrap();
    let (data, error, status, eof) = all_of(&mut channel).await;
    assert_eq!((data.as_slice(), error.as_str(), status, eof), (&b"EEL"[..], "said\n", Some(0), true));
    gateway.until("the session is dropped", |gateway| gateway.house.alive.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn reads_beyond_the_window_are_served_without_another_word_of_the_client() {
    let gateway = Gateway::open(|_| {}).await;
    for window in [64 << 10, 1 << 20, 1 << 30] {
        let config = client::Config { window_size: window, ..client::Config::default() };
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let client = gateway.client_on(stream, Arc::new(config)).await;
        let mut channel = sftp(&client).await;
        // As long a file as it takes to owe more than the limit, were what was taken not forgotten.
        channel.data(&[b'r'; 400][..]).await.unwrap();
        let mut got = 0;
        while got < 400 * READ {
            match timeout(SOON, channel.wait()).await.unwrap_or_else(|_| panic!("stalled at {got} with {window}")) {
                Some(ChannelMsg::Data { data }) => got += data.len(),
                Some(_) => {}
                None => panic!("closed at {got}"),
            }
        }
        channel.data(&[b'r'; 7][..]).await.unwrap();
        channel.eof().await.unwrap();
        let (data, _, status, eof) = all_of(&mut channel).await;
        assert_eq!((data.len(), status, eof), (7 * READ, Some(0), true));
    }
}

#[tokio::test]
async fn a_session_that_breaks_ends_its_channel_alone() {
    let gateway = Gateway::open(|_| {}).await;
    let client = gateway.client().await;
    let (mut breaks, mut stays) = (sftp(&client).await, sftp(&client).await);
    breaks.data(&b"eb"[..]).await.unwrap();
    let (_, error, status, eof) = all_of(&mut breaks).await;
    assert_eq!((error.as_str(), status, eof), ("that was too much\n", Some(1), true));
    stays.data(&b"e"[..]).await.unwrap();
    stays.eof().await.unwrap();
    assert_eq!(all_of(&mut stays).await.0, b"E");
}

#[tokio::test]
async fn a_client_that_takes_no_replies_is_disconnected_with_bounded_memory() {
    let gateway = Gateway::open(|config| config.limits.reply_debt = 64 << 10).await;
    let config = client::Config { window_size: 16 << 10, channel_buffer_size: 1, ..client::Config::default() };
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let client = gateway.client_on(stream, Arc::new(config)).await;
    let channel = sftp(&client).await;
    // The channel is never read: russh's client stops taking data.
    for _ in 0..1000 {
        if timeout(Duration::from_secs(2), channel.data(&b"x"[..])).await.is_err() || client.is_closed() {
            break;
        }
    }
    let ended = gateway.event(Kind::SessionEnded, |_| true).await;
    assert!(ended.detail["reason"].as_str().unwrap().contains("replies were not taken"), "{ended:?}");
}

#[tokio::test]
async fn a_panic_ends_its_session_alone() {
    let gateway = Gateway::open(|_| {}).await;
    let stays = gateway.client().await;
    let panics = gateway.client().await;
    let channel = sftp(&panics).await;
    channel.data(&b"p"[..]).await.unwrap();
    gateway.event(Kind::SessionEnded, |event| event.detail["reason"] == "internal error").await;
    assert!(!stays.is_closed());
    assert!(gateway.run(&[], &["count", "1"]).await.status.success());
    gateway.until("its place is free", |gateway| gateway.access.sessions() == 1).await;
}

#[tokio::test]
async fn a_listener_admits_only_its_roles() {
    let gateway = Gateway::open(|config| config.server.listeners[0].roles = BTreeSet::from([Role::Loader])).await;
    assert!(!gateway.run(&[], &["count", "1"]).await.status.success());
    gateway.refused("the listener does not admit the account's role").await;
}
