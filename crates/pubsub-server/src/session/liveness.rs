//! Pings, pongs, and everything that runs out.

use pubsub_protocol::{DisconnectCode, UnsubscribeCode};

use super::effect::{Effect, Refusal};
use super::rules::Rules;
use super::{Context, Phase, Session};
use crate::clock::{Now, millis};
use crate::planted::{self, Bug};

/// When a connection that opens now, and never connects, is closed.
pub(super) fn stale_ms(rules: &Rules, now: Now) -> u64 {
    match millis(rules.client.stale_close_delay) {
        0 => u64::MAX,
        delay => now.ms.saturating_add(delay),
    }
}

/// Of a ping that has yet to leave.
pub(super) const NOT_LEFT: u32 = u32::MAX;

impl Session {
    /// When [`Session::tick`] has something to do, in [`crate::clock::Now::ms`]; `None`: never.
    pub fn deadline(&self, pong_timeout_ms: u64, ping_interval_ms: u64) -> Option<u64> {
        let phase = match self.phase {
            Phase::New | Phase::Connecting | Phase::Refused => self.due_ms,
            Phase::Connected if self.pongs_due > 0 && pong_timeout_ms > 0 => {
                // One that has not left yet is looked at from then on: nobody tells when it leaves.
                let after = if self.ping_left_after_ms == NOT_LEFT { 0 } else { self.ping_left_after_ms };
                self.due_ms.min(self.last_ping(ping_interval_ms).saturating_add(u64::from(after) + pong_timeout_ms))
            }
            Phase::Connected => self.due_ms,
            Phase::Closed => return None,
        };
        let connection = self.identity.as_ref().map(|identity| identity.expires_ms).filter(|&ms| ms > 0);
        let subscriptions = self.subscriptions.iter().filter_map(|subscription| subscription.expires_ms());
        subscriptions.chain(connection).chain(Some(phase)).min().filter(|&ms| ms < u64::MAX)
    }

    /// The peer said something that is no command, on a connection that never gets any (`/echo`): its time to connect
    /// begins anew, and so is a limit of its silence.
    pub fn postpone(&mut self, cx: &Context<'_>) {
        if self.phase == Phase::New {
            self.due_ms = stale_ms(cx.rules, cx.now);
        }
    }

    fn last_ping(&self, ping_interval_ms: u64) -> u64 {
        self.due_ms.saturating_sub(ping_interval_ms)
    }

    /// By when the latest ping has to be answered: who has not been given it yet has all the time.
    fn pong_due(&self, ping_interval_ms: u64, pong_timeout_ms: u64) -> u64 {
        match self.ping_left_after_ms {
            NOT_LEFT => u64::MAX,
            after => self.last_ping(ping_interval_ms).saturating_add(u64::from(after) + pong_timeout_ms),
        }
    }

    /// All pings are with the network now.
    pub fn ping_left(&mut self, now_ms: u64, ping_interval_ms: u64) {
        let after = now_ms.saturating_sub(self.last_ping(ping_interval_ms));
        self.ping_left_after_ms = u32::try_from(after).unwrap_or(NOT_LEFT - 1);
    }

    /// Does what the time demands. `deaf`: what the peer says is not read at the moment, for our own sake, so that
    /// its silence proves nothing.
    pub fn tick(&mut self, deaf: bool, cx: &mut Context<'_>) {
        let client = &cx.rules.client;
        let ping_interval = millis(client.ping_interval);
        match self.phase {
            Phase::Closed => {}
            Phase::New if deaf && cx.now.ms >= self.due_ms => self.due_ms = stale_ms(cx.rules, cx.now),
            Phase::New | Phase::Connecting | Phase::Refused if cx.now.ms >= self.due_ms => {
                // Who has said in time what it wants may try again; that the answer does not come is our doing.
                let code = match self.phase {
                    Phase::Connecting => DisconnectCode::ServerError,
                    _ => DisconnectCode::Stale,
                };
                self.close(code.into(), cx);
            }
            Phase::New | Phase::Connecting | Phase::Refused => {}
            Phase::Connected => {
                let pong_due = self.pong_due(ping_interval, millis(client.pong_timeout));
                let deaf = deaf || planted::is(Bug::HalfOpenKept);
                if self.pongs_due > 0 && !deaf && !client.pong_timeout.is_zero() && cx.now.ms >= pong_due {
                    if planted::is(Bug::PresenceKeptOnNoPong) {
                        self.subscriptions.iter_mut().for_each(|subscription| subscription.traits.present = false);
                    }
                    return self.close(DisconnectCode::NoPong.into(), cx);
                }
                if cx.now.ms >= self.due_ms {
                    cx.effects.push_back(Effect::Ping { native: self.native_ping });
                    self.pongs_due = self.pongs_due.saturating_add(1);
                    self.ping_left_after_ms = NOT_LEFT;
                    // Counted from now: after a standstill no pings are made up for.
                    self.due_ms = cx.now.ms + ping_interval;
                }
                self.expire(cx);
            }
        }
    }

    fn expire(&mut self, cx: &mut Context<'_>) {
        let connection = self.identity.as_ref().map_or(0, |identity| identity.expires_ms);
        if connection > 0 && cx.now.ms >= connection {
            return self.close(DisconnectCode::Expired.into(), cx);
        }
        let expired = self.subscriptions.iter().filter(|s| s.expires_ms().is_some_and(|ms| cx.now.ms >= ms));
        let expired: Vec<_> = expired.map(|s| (s.channel.clone(), s.join)).collect();
        for (channel, join) in expired {
            self.lose(&channel, join, UnsubscribeCode::Expired, cx);
        }
    }

    /// A pong of the protocol.
    pub(super) fn pong(&mut self) -> Result<(), Refusal> {
        if self.pongs_due == 0 || self.native_ping {
            return Err(DisconnectCode::BadRequest.into());
        }
        self.pongs_due -= 1;
        Ok(())
    }

    /// A pong frame of WebSocket. One that nobody asked for is no offence there (RFC 6455, 5.5.3).
    pub fn native_pong(&mut self) {
        if self.native_ping {
            self.pongs_due = 0;
        }
    }
}
