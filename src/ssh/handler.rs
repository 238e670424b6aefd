//! Answers what russh hears from one peer: authentication, channels, requests.
//!
//! Offers public keys, session channels, the `sftp` subsystem and the named commands; everything else is refused
//! politely and audited, a bounded number of times for a session. Must never decide who somebody is: `access` does.

mod refusing;

use std::collections::HashMap;
use std::sync::Arc;

use russh::keys::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Error, Pty, server};

use super::algorithms;
use super::behind::{Behind, Door};
use super::channel::SftpChannel;
use super::exec::{COMMAND_MAX, Exec};
use super::visit::Visit;
use crate::access::{Admission, Arrival, Principal, Why};
use crate::sftp::Broken;

/// Keys that a client may ask about before it proves one; all of them are answered alike.
const OFFERS_MAX: usize = 64;
/// Channels of one connection over its whole life: russh keeps a little of each until the connection ends.
const CHANNELS_MAX: usize = 1024;

pub(super) struct Handler<B: Behind> {
    door: Arc<Door<B>>,
    visit: Arc<Visit>,
    arrival: Arrival,
    principal: Option<Principal>,
    /// The key is right, but there is no place: told in words right after the authentication.
    turned_away: bool,
    offers: usize,
    opened: usize,
    channels: HashMap<ChannelId, Use<B::Sftp>>,
    /// `env` requests come with every login of some clients: one event tells it.
    told_of_environment: bool,
}

/// What a channel is used for. One use for a channel's life.
enum Use<S> {
    Nothing,
    Sftp(SftpChannel<S>),
    Exec(Exec),
}

impl<B: Behind> Handler<B> {
    pub fn new(door: Arc<Door<B>>, visit: Arc<Visit>, arrival: Arrival) -> Self {
        Self {
            door,
            visit,
            arrival,
            principal: None,
            turned_away: false,
            offers: 0,
            opened: 0,
            channels: HashMap::new(),
            told_of_environment: false,
        }
    }

    /// Whether the channel is free to be used; a second use of one is refused.
    fn is_free(&self, channel: ChannelId) -> bool {
        matches!(self.channels.get(&channel), Some(Use::Nothing))
    }

    /// The account was taken away: nothing more is done for it, the connection is about to end.
    fn is_ended(&self) -> bool {
        self.principal.as_ref().is_none_or(|principal| principal.ended().is_cancelled())
    }

    fn sftp(&mut self, channel: ChannelId) -> Option<&mut SftpChannel<B::Sftp>> {
        if self.is_ended() {
            return None;
        }
        match self.channels.get_mut(&channel) {
            Some(Use::Sftp(sftp)) => Some(sftp),
            _ => None,
        }
    }

    /// Ends an SFTP channel that broke the protocol or its limits; the connection too, when nothing else frees the
    /// replies that the client does not take.
    fn settle(&mut self, channel: ChannelId, done: Result<(), Broken>, session: &mut Session) -> Result<(), Error> {
        let Err(broken) = done else { return Ok(()) };
        let account = self.principal.as_ref().map(|principal| tracing::field::display(principal.account().clone()));
        tracing::info!(peer.address = %self.visit.peer, account, reason = broken.0, "SFTP session ended from this side");
        let Some(Use::Sftp(mut sftp)) = self.channels.remove(&channel) else { return Ok(()) };
        if !sftp.break_off(&broken, session)? {
            self.visit.end(&broken.0);
            session.disconnect(Disconnect::ByApplication, &broken.0, "")?;
        }
        Ok(())
    }
}

impl<B: Behind> server::Handler for Handler<B> {
    type Error = Error;

    /// Accepts every key alike: whether an account or a key exists cannot be asked.
    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        self.offers += 1;
        if !algorithms::accepts(offer.algorithm) {
            return self.turn_down(user, Why::SignatureAlgorithm).await;
        }
        Ok(if self.offers <= OFFERS_MAX { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        if !algorithms::accepts(key.algorithm) {
            return self.turn_down(user, Why::SignatureAlgorithm).await;
        }
        let client = self.visit.wire.identification();
        let admission =
            self.door.access.admit(&mut self.arrival, &self.visit.listener, user, key.public_key, client).await;
        match admission {
            Admission::Admitted(principal) => {
                self.visit.touch();
                self.visit.admit(principal.clone());
                self.principal = Some(principal);
                Ok(Auth::Accept)
            }
            Admission::Unknown => Ok(Auth::reject()),
            Admission::TooManySessions => {
                self.turned_away = true;
                Ok(Auth::Accept)
            }
        }
    }

    /// Certificates are not trusted here: an account is its keys.
    async fn auth_openssh_certificate(&mut self, user: &str, _certificate: &Certificate) -> Result<Auth, Error> {
        self.turn_down(user, Why::NotByPublicKey).await
    }

    /// Not offered, and asked for all the same by who tries passwords.
    async fn auth_password(&mut self, user: &str, _password: &str) -> Result<Auth, Error> {
        self.turn_down(user, Why::NotByPublicKey).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        _response: Option<Response<'a>>,
    ) -> Result<Auth, Error> {
        self.turn_down(user, Why::NotByPublicKey).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        if self.turned_away {
            let words = "this account has all the sessions that it may have: close one, or try again later";
            session.disconnect(Disconnect::TooManyConnections, words, "")?;
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.visit.touch();
        if self.is_ended() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        }
        self.channels.retain(|_, used| match used {
            Use::Nothing => true,
            Use::Sftp(sftp) => !sftp.is_over(),
            Use::Exec(exec) => !exec.is_over(),
        });
        let at_once = self.door.config.borrow().limits.channels_per_connection;
        let full = if self.channels.len() >= at_once {
            Some(format!("this connection has its {at_once} channels: close one first"))
        } else if self.opened >= CHANNELS_MAX {
            Some(format!("this connection has had its {CHANNELS_MAX} channels: connect again"))
        } else {
            None
        };
        if let Some(reason) = full {
            self.refused("channel", &reason).await;
            let code = ChannelOpenFailure::ResourceShortage.code();
            reply.reject(ChannelOpenFailure::Other { code, reason }).await;
            return Ok(());
        }
        self.opened += 1;
        self.channels.insert(channel.id(), Use::Nothing);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator: &str,
        _port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(reply, "x11", "").await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(reply, "forwarding", &format!("{host}:{port}")).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(reply, "forwarding", &format!("{host}:{port}")).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_channel(reply, "forwarding", path).await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refused("pty", "").await;
        if !self.is_free(channel) {
            return session.channel_failure(channel);
        }
        // OpenSSH leaves at once when only the terminal is refused, and would show its user nothing else.
        self.end_with_words(channel, session, self.no_shell())
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session, "x11", "").await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_request(channel, session, "environment", name).await
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Error> {
        self.refused("agent", "").await;
        Ok(false)
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _session: &mut Session) -> Result<bool, Error> {
        self.refused("forwarding", &format!("{address}:{port}")).await;
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Error> {
        self.refused("forwarding", path).await;
        Ok(false)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.refused("shell", "").await;
        if !self.is_free(channel) {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        self.end_with_words(channel, session, self.no_shell())
    }

    async fn exec_request(&mut self, channel: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Error> {
        self.visit.touch();
        let text = String::from_utf8_lossy(command);
        let exact = std::str::from_utf8(command).ok().filter(|command| command.len() <= COMMAND_MAX);
        let principal = self.principal.clone().filter(|_| !self.is_ended() && self.is_free(channel));
        let Some(principal) = principal else {
            return self.refuse_request(channel, session, "exec", &text).await;
        };
        let Some(command) = exact.filter(|command| self.door.behind.knows(&principal, command)) else {
            return self.refuse_command(channel, session, &text, principal.role()).await;
        };
        session.channel_success(channel)?;
        let exec =
            Exec::begin(&self.door.behind, &self.visit, &principal, command.to_owned(), session.handle(), channel);
        self.channels.insert(channel, Use::Exec(exec));
        Ok(())
    }

    async fn subsystem_request(&mut self, channel: ChannelId, name: &str, session: &mut Session) -> Result<(), Error> {
        self.visit.touch();
        let principal = self.principal.clone().filter(|_| !self.is_ended() && self.is_free(channel));
        let Some(principal) = principal.filter(|_| name == "sftp") else {
            return self.refuse_request(channel, session, "subsystem", name).await;
        };
        session.channel_success(channel)?;
        let debt_max = self.door.config.borrow().limits.reply_debt;
        let (cut, shown) = (self.visit.wire.cut.clone(), self.visit.wire.shows_lines());
        let sftp = SftpChannel::begin(channel, session.handle(), cut, debt_max, |late| {
            self.door.behind.sftp(principal, late, shown)
        });
        self.channels.insert(channel, Use::Sftp(sftp));
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, bytes: &[u8], session: &mut Session) -> Result<(), Error> {
        self.visit.touch();
        if let Some(Use::Exec(exec)) = self.channels.get(&channel) {
            exec.data();
        }
        let Some(sftp) = self.sftp(channel) else { return Ok(()) };
        let done = sftp.data(bytes, session).await;
        self.settle(channel, done, session)
    }

    async fn window_adjusted(&mut self, channel: ChannelId, size: u32, session: &mut Session) -> Result<(), Error> {
        self.visit.touch();
        let Some(sftp) = self.sftp(channel) else { return Ok(()) };
        let done = sftp.writable(usize::try_from(size).unwrap_or(usize::MAX), session).await;
        self.settle(channel, done, session)
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        if let Some(Use::Exec(exec)) = self.channels.get(&channel) {
            exec.eof();
        }
        let Some(sftp) = self.sftp(channel) else { return Ok(()) };
        let done = sftp.eof(session).await;
        self.settle(channel, done, session)
    }

    /// Dropping what the channel was used for ends it: a command is cancelled, uploads under way are aborted.
    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.visit.touch();
        self.channels.remove(&channel);
        Ok(())
    }
}
