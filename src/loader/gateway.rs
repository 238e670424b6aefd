//! The client half of SSH: connect, check the host key, log in, run a command, open SFTP.
//!
//! Must never talk to a host whose key is not known, nor sign with SHA-1. Knows nothing of deliveries: `queue` speaks the
//! verbs over it. Called by the rest of `loader` and by `cli` (`quickstart`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Config, DisconnectReason, Handle, Handler, Msg};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, cipher, compression};
use russh_sftp::client::SftpSession;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::known_hosts::KnownHosts;
use super::login::{self, KeyRing};
use crate::types::{AccountName, Invalid};

/// Bytes of a command's standard output that are kept at most; a claim's line is a few KiB.
const OUTPUT_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a command's standard error that are kept at most.
const ERRORS_MAX: usize = 16 * 1024;
/// Reads under way at once. Eight of 255 KiB fill a long fat link, and always fit the window below, so that the gateway
/// never has replies it cannot send.
const READS: usize = 8;
const WINDOW: u32 = 8 * 1024 * 1024;

/// Where a gateway is and who calls: `ssh://ACCOUNT@HOST[:PORT]`, port 22 when none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub account: AccountName,
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "ssh://{}@[{}]:{}", self.account, self.host, self.port);
        }
        write!(f, "ssh://{}@{}:{}", self.account, self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong =
            |why: &str| Invalid(format!("{text:?} is not a gateway's address: {why}; write ssh://ACCOUNT@HOST:PORT"));
        let rest = text.strip_prefix("ssh://").ok_or_else(|| wrong("it does not start with ssh://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (account, place) = rest.split_once('@').ok_or_else(|| wrong("the account is missing"))?;
        if account.contains(':') {
            return Err(wrong("a password has no place in it, accounts log in with keys"));
        }
        let account = account.parse().map_err(|e: Invalid| wrong(&e.0))?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| wrong("the ']' is missing"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong("between [ and ] stands no IPv6 address"))?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or_else(|| wrong("after ']' comes only ':PORT'"))?),
                };
                (host, port)
            }
            None => match place.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(wrong("an IPv6 address stands in [ and ]")),
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.starts_with('-') || !(host.contains(':') || host.chars().all(plain)) {
            return Err(wrong("the host is not a name or an IP address"));
        }
        let port = match port {
            None => 22,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(wrong("the port is not a number from 1 to 65535")),
            },
        };
        Ok(Self { account, host: host.to_ascii_lowercase(), port })
    }
}

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Trying again is no use before a person changes something: an unknown host key, a refused login.
    #[error("{0}")]
    Setup(String),
    /// The network or the gateway went away; the same may work later.
    #[error("{0}")]
    Broken(String),
}

impl From<russh::Error> for GatewayError {
    fn from(error: russh::Error) -> Self {
        match error {
            russh::Error::NoCommonAlgo { kind, .. } => Self::Setup(format!(
                "the gateway and this program share no {kind:?} algorithm: ask the gateway's operator which it offers"
            )),
            russh::Error::WrongServerSig => {
                Self::Setup("the host cannot prove that it holds its key: do not trust this connection".into())
            }
            error => Self::Broken(format!("the connection broke: {error}")),
        }
    }
}

/// How to connect: everything but the moment.
#[derive(Debug)]
pub struct Door {
    pub address: Address,
    pub known_hosts: PathBuf,
    /// Like OpenSSH's `StrictHostKeyChecking accept-new`: a host not seen before is remembered, a changed key refused.
    pub accept_new: bool,
    pub keys: KeyRing,
    /// For each of: the TCP connection, the key exchange, the login.
    pub patience: Duration,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub lines: Vec<String>,
    pub stderr: String,
    /// None when the channel ended without one.
    pub status: Option<u32>,
}

/// Longest wait for a goodbye to go out.
const GOODBYE: Duration = Duration::from_millis(500);

/// One authenticated connection. Dropping it ends it.
pub struct Gateway {
    handle: Handle<HostKey>,
}

impl Gateway {
    /// Connects, checks the host key and logs in.
    ///
    /// # Errors
    /// `Setup` when the host key or the login is refused, `Broken` when the gateway cannot be reached.
    pub async fn connect(door: &Door) -> Result<Self, GatewayError> {
        let Address { account, host, port } = &door.address;
        let known = KnownHosts::read(&door.known_hosts).map_err(GatewayError::Setup)?;
        let slow = |what: &str| {
            GatewayError::Broken(format!("{what} {host} port {port} took longer than {:?}", door.patience))
        };

        let socket = timeout(door.patience, TcpStream::connect((host.as_str(), *port)))
            .await
            .map_err(|_| slow("connecting to"))?
            .map_err(|e| GatewayError::Broken(format!("cannot connect to {host} port {port}: {e}")))?;
        // Without it Nagle's algorithm waits for replies that are waiting for us. A socket that refuses still works.
        let _ = socket.set_nodelay(true);

        let config = Arc::new(config(&known.algorithms(host, *port)));
        let check = HostKey {
            known,
            address: door.address.clone(),
            file: door.known_hosts.clone(),
            accept_new: door.accept_new,
        };
        let mut handle = timeout(door.patience, russh::client::connect_stream(config, socket, check))
            .await
            .map_err(|_| slow("the key exchange with"))??;
        timeout(door.patience, login::log_in(&mut handle, account, &door.keys))
            .await
            .map_err(|_| slow("logging in to"))??;
        Ok(Self { handle })
    }

    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Runs one command and waits for its end, at most `patience`.
    ///
    /// # Errors
    /// `Broken` when the connection ends first or the answer never comes.
    pub async fn exec(&self, command: &str, patience: Duration) -> Result<Answer, GatewayError> {
        timeout(patience, self.run(command))
            .await
            .map_err(|_| GatewayError::Broken(format!("the gateway did not answer within {patience:?}")))?
    }

    async fn run(&self, command: &str) -> Result<Answer, GatewayError> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let mut status = None;
        let mut ended = false;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    if output.len() + data.len() > OUTPUT_MAX {
                        return Err(GatewayError::Broken("the gateway's answer is too long".into()));
                    }
                    output.extend_from_slice(&data);
                }
                ChannelMsg::ExtendedData { data, .. } => {
                    let room = ERRORS_MAX.saturating_sub(errors.len());
                    errors.extend_from_slice(&data[..data.len().min(room)]);
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::Failure => {
                    return Err(GatewayError::Setup(format!(
                        "the gateway does not know this command: {command:?}; is this account a loader?"
                    )));
                }
                ChannelMsg::Close => ended = true,
                _ => {}
            }
        }
        if status.is_none() && !ended {
            return Err(GatewayError::Broken("the connection ended before the gateway's answer".into()));
        }
        let lines = String::from_utf8_lossy(&output).lines().map(str::to_owned).collect();
        Ok(Answer { lines, stderr: String::from_utf8_lossy(&errors).trim().to_owned(), status })
    }

    /// Opens the SFTP subsystem.
    ///
    /// # Errors
    /// `Broken` when the gateway refuses it or the connection ends.
    pub async fn sftp(&self) -> Result<SftpSession, GatewayError> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        accepted(&mut channel).await?;
        let config = russh_sftp::client::Config {
            max_concurrent_reads: READS,
            // A CLOSE of a large upload is answered when it is durable; a slow link takes its time for a window of reads.
            request_timeout_secs: 120,
            ..Default::default()
        };
        SftpSession::new_with_config(channel.into_stream(), config)
            .await
            .map_err(|e| GatewayError::Broken(format!("SFTP did not start: {e}")))
    }

    /// Says goodbye, and waits until it went out; errors do not matter any more.
    pub async fn close(&self) {
        let said = async {
            if self.handle.disconnect(Disconnect::ByApplication, "done", "en").await.is_err() {
                return;
            }
            while !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, said).await;
    }
}

async fn accepted(channel: &mut Channel<Msg>) -> Result<(), GatewayError> {
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Success => return Ok(()),
            ChannelMsg::Failure | ChannelMsg::Close => break,
            _ => {}
        }
    }
    Err(GatewayError::Broken("the gateway did not open SFTP".into()))
}

/// Algorithms: russh's, without SHA-1 signatures and compression, the fast AEADs first, and those host keys first that we
/// can check.
fn config(known: &[Algorithm]) -> Config {
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    // Stable: the order above stays within each half.
    keys.sort_by_key(|algorithm| !known.iter().any(|k| k == algorithm || (is_rsa(k) && is_rsa(algorithm))));
    let preferred = Preferred {
        key: Cow::Owned(keys),
        cipher: Cow::Borrowed(&[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_128_CTR,
        ]),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    };
    Config {
        window_size: WINDOW,
        maximum_packet_size: 65_535,
        preferred,
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

/// Decides on the host key during the key exchange.
pub struct HostKey {
    known: KnownHosts,
    address: Address,
    file: PathBuf,
    accept_new: bool,
}

impl Handler for HostKey {
    type Error = GatewayError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, GatewayError> {
        // Certificates are not asked for; a host that sends one all the same is judged by the key inside.
        let key = offered.public_key();
        let Address { host, port, .. } = &self.address;
        self.known
            .admit(host, *port, &key, &self.file, self.accept_new)
            .map(|()| true)
            .map_err(|refusal| GatewayError::Setup(refusal.to_string()))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<GatewayError>) -> Result<(), GatewayError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                tracing::debug!(disconnect.message = %said.message, "the gateway said goodbye");
                Ok(())
            }
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// `host` as known_hosts and ssh write it: an address other than on port 22 as `[host]:port`.
pub fn host_label(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// Whether `host` is an address of this machine's loopback.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_names_account_host_and_port() {
        let address = parsed("ssh://datateam-loader@sftp.example.org:2222");
        assert_eq!(
            (address.account.as_str(), address.host.as_str(), address.port),
            ("datateam-loader", "sftp.example.org", 2222)
        );
        assert_eq!(parsed("ssh://a@host").port, 22);
        assert_eq!(parsed("ssh://a@host/").host, "host");
        assert_eq!(parsed("ssh://a@[::1]:2222").host, "::1");
        assert_eq!(parsed("ssh://a@Host.Example").host, "host.example");
    }

    #[test]
    fn an_address_shows_as_it_was_written() {
        for text in ["ssh://a@host:2222", "ssh://a@[::1]:22", "ssh://a@127.0.0.1:65535"] {
            assert_eq!(parsed(text).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for text in [
            "host",
            "http://a@host",
            "ssh://host",
            "ssh://a:secret@host",
            "ssh://@host",
            "ssh://a@",
            "ssh://a@-oProxyCommand=x",
            "ssh://a@host:0",
            "ssh://a@host:65536",
            "ssh://a@host:port",
            "ssh://a@::1",
            "ssh://a@[::1",
            "ssh://a@[host]:22",
            "ssh://a@ho st",
            "ssh://a@host/path",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("write ssh://ACCOUNT@HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn host_keys_we_can_check_are_asked_for_first() {
        let rsa = Algorithm::Rsa { hash: None };
        let config = config(&[rsa]);
        assert!(is_rsa(&config.preferred.key[0]));
        assert!(!config.preferred.key.contains(&Algorithm::Rsa { hash: None }), "never SHA-1");
    }
}
