//! How a peer is told no: in the audit log, a bounded number of times for a session, and in words where it shows some.
//!
//! Called by `handler` alone.

use std::sync::atomic::Ordering;

use russh::server::{Auth, ChannelOpenHandle, Session};
use russh::{ChannelId, ChannelOpenFailure, Error};

use super::Handler;
use crate::access::{Principal, Why};
use crate::audit::{Event, Kind};
use crate::ssh::behind::Behind;
use crate::ssh::channel::line;
use crate::ssh::exec::{STDERR, advice, no_shell, scp_refusal};
use crate::types::{Role, deceives};

/// Refused requests of one session that get an event each; the rest is counted in the event of its end.
const EVENTS_MAX: u64 = 16;
/// Most characters kept of what was asked for.
const ASKED_MAX: usize = 200;

impl<B: Behind> Handler<B> {
    /// Audits a request that is refused.
    pub(super) async fn refused(&mut self, request: &str, asked: &str) {
        self.visit.touch();
        let before = self.visit.refused.fetch_add(1, Ordering::Relaxed);
        let repeated = request == "environment" && std::mem::replace(&mut self.told_of_environment, true);
        let Some(principal) = &self.principal else { return };
        if before >= EVENTS_MAX || repeated {
            return;
        }
        let asked: String = asked.chars().filter(|&c| !c.is_control() && !deceives(c)).take(ASKED_MAX).collect();
        // OpenSSH offers its language at each login: that stands in the audit log alone.
        if request != "environment" {
            tracing::info!(
                session.id = %principal.session(),
                peer.address = %self.visit.peer,
                account = %principal.account(),
                org = %principal.org(),
                request,
                "request refused"
            );
        }
        let mut event =
            Event::new(self.door.clock.now(), Kind::RequestRefused, principal.actor().clone()).with("request", request);
        if !asked.is_empty() {
            event = event.with("asked", asked);
        }
        self.door.recorder.record(event).await;
    }

    /// Rejects an attempt to authenticate that `access` is not even asked about, audited like those that it is.
    pub(super) async fn turn_down(&self, user: &str, why: Why) -> Result<Auth, Error> {
        let client = self.visit.wire.identification();
        self.door.access.turned_down(self.visit.peer, user, client, why).await;
        Ok(Auth::reject())
    }

    pub(super) async fn refuse_channel(&mut self, reply: ChannelOpenHandle, kind: &str, asked: &str) {
        self.refused(kind, asked).await;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }

    pub(super) async fn refuse_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        request: &str,
        asked: &str,
    ) -> Result<(), Error> {
        self.refused(request, asked).await;
        session.channel_failure(channel)
    }

    /// Plays a program that says why it cannot run, and ends. Answers no request: the caller did, or the end does.
    pub(super) fn end_with_words(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        words: &str,
    ) -> Result<(), Error> {
        session.extended_data(channel, STDERR, line(words))?;
        self.end(channel, session)
    }

    /// Ends a channel as a program would that failed.
    pub(super) fn end(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.channels.remove(&channel);
        session.exit_status_request(channel, 1)?;
        session.eof(channel)?;
        session.close(channel)
    }

    pub(super) fn no_shell(&self) -> &'static str {
        no_shell(self.principal.as_ref().map_or(Role::Provider, Principal::role))
    }

    /// A command that is none here, with what to do instead.
    pub(super) async fn refuse_command(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        command: &str,
        role: Role,
    ) -> Result<(), Error> {
        self.refused("exec", command).await;
        session.channel_success(channel)?;
        if let Some(words) = scp_refusal(command) {
            session.data(channel, words)?;
            // OpenSSH's scp would say it twice; PuTTY's looks at nothing else once the channel ends.
            if self.visit.wire.openssh() {
                return self.end(channel, session);
            }
        }
        self.end_with_words(channel, session, advice(command, role))
    }
}
