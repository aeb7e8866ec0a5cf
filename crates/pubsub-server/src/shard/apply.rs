//! What a shard does with the effects of sessions, and with messages for members.

use std::sync::Arc;

use pubsub_protocol::push::{PushBody, Subscribed};
use pubsub_protocol::reply::{Answer, ErrorReply, SubscribeResult};
use pubsub_protocol::websocket::Opcode;
use pubsub_protocol::{DisconnectCode, ErrorCode, Push, Reply, UnsubscribeCode};

use super::connection::{Connection, Stage};
use super::inbox::{Delivery, Marker};
use super::input::close_deadline;
use super::members::{Answered, Continuity, Entry, Held, Live, NO_PLACE, Settled};
use super::turn::Fate;
use super::{Shard, at};
use crate::hub::Encoded;
use crate::outbox::Frame;
use crate::planted::{self, Bug};
use crate::session::effect::{Close, Effect};
use crate::session::id::ClientId;
use crate::session::subscriptions::{Stage as SubscriptionStage, Subscription};
use crate::transport::frame::{encode_close, encode_control, encode_reply};
use crate::transport::socket::Socket;

impl<S: Socket> Shard<S> {
    /// Does what a session wants done, in order.
    pub(super) fn apply(&mut self, slot: u32, connection: &mut Connection<S>) {
        while let Some(effect) = self.desk.effects.pop_front() {
            match effect {
                Effect::Answer { id, method, channel, outcome } => {
                    self.count(connection.session.id(), method, &outcome);
                    self.answer(connection, channel.as_deref(), id, outcome);
                    self.mark_dirty(slot, connection);
                }
                Effect::Push(reply) => {
                    if let Reply::Push(Push { body: PushBody::Unsubscribe(unsubscribe), .. }) = &reply {
                        self.cells().unsubscribe(unsubscribe.code);
                    }
                    self.push(slot, connection, encode_reply(connection.format, &reply));
                }
                Effect::Begun { channel, result } => self.tell_begun(slot, connection, &channel, result),
                Effect::Ping { native } if connection.stage == Stage::Open => {
                    connection.outbox.ping(if native {
                        encode_control(Opcode::Ping, &[])
                    } else {
                        encode_reply(connection.format, &Reply::Ping)
                    });
                    self.mark_dirty(slot, connection);
                }
                Effect::Ping { .. } => {}
                Effect::Run(operation) => self.start(slot, connection, operation),
                Effect::Activate { channel, join, after } => self.activate(slot, connection, &channel, join, after),
                Effect::End(subscription) => self.leave(slot, connection, &subscription),
                Effect::Close(close) => self.begin_close(slot, connection, &close),
            }
        }
    }

    fn answer(
        &mut self,
        connection: &mut Connection<S>,
        channel: Option<&str>,
        id: u32,
        outcome: Result<Answer, ErrorReply>,
    ) {
        let with_publications = matches!(outcome, Ok(Answer::Subscribe(_) | Answer::Connect(_) | Answer::History(_)));
        let (format, reply) = (connection.format, Reply::Answer { id, outcome });
        if with_publications {
            connection.outbox.answer_in_pieces(self.batches.encode(format, &reply, channel));
        } else {
            connection.outbox.answer(encode_reply(format, &reply));
        }
    }

    /// Tells of a subscription that the server made.
    fn tell_begun(&mut self, slot: u32, connection: &mut Connection<S>, channel: &Arc<str>, result: SubscribeResult) {
        if connection.stage != Stage::Open {
            return;
        }
        self.cells().recovery(&result);
        let SubscribeResult { recoverable, epoch, offset, positioned, data, publications, .. } = result;
        let body = PushBody::Subscribe(Subscribed { recoverable, epoch, offset, positioned, data });
        // A subscribe push has no room for what was recovered: it follows as if it were live.
        for body in std::iter::once(body).chain(publications.into_iter().map(PushBody::Publication)) {
            let reply = Reply::Push(Push { channel: channel.to_string(), body });
            connection.outbox.answer(encode_reply(connection.format, &reply));
        }
        self.mark_dirty(slot, connection);
    }

    /// Counts what came of a command.
    fn count(&self, connection_id: ClientId, method: &str, outcome: &Result<Answer, ErrorReply>) {
        let cells = self.cells();
        match outcome {
            Ok(Answer::Subscribe(result)) => cells.recovery(result),
            Ok(Answer::Connect(result)) => result.subs.values().for_each(|result| cells.recovery(result)),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%connection_id, method, code = error.code, "command refused");
                cells.reply_error(method, error.code);
                if error.code == ErrorCode::UnrecoverablePosition.code() && method == "subscribe" {
                    cells.recovery_rejected();
                }
            }
        }
    }

    /// Puts a push into the outbox, or ends a connection that has no room for it. Returns whether it is in.
    fn push(&mut self, slot: u32, connection: &mut Connection<S>, frame: Frame) -> bool {
        if connection.stage != Stage::Open {
            return false;
        }
        let pushed = connection.outbox.push(frame, self.settings.queue_bytes_max).is_ok();
        if pushed {
            self.mark_dirty(slot, connection);
        } else if !connection.session.is_closed() {
            connection.session.close(DisconnectCode::Slow.into(), &mut self.desk.context());
        }
        pushed
    }

    /// A subscription is answered: what was held back for it follows, and it goes live.
    fn activate(
        &mut self,
        slot: u32,
        connection: &mut Connection<S>,
        channel: &Arc<str>,
        join: u64,
        after: Option<(u64, u64)>,
    ) {
        self.cells().subscriptions_opened.increment();
        if connection.session.subscriptions().get(channel).is_none_or(|subscription| subscription.join != join) {
            // What was pushed before this has ended it already.
            return;
        }
        match self.members.answer(channel, join, after) {
            Answered::NotEntered => drop(self.answers.insert(join, after)),
            Answered::Broken => {
                let code = UnsubscribeCode::Insufficient;
                connection.session.lose(channel, join, code, &mut self.desk.context());
            }
            Answered::Free { held, live } => {
                let Some(subscription) = connection.session.subscriptions_mut().get_mut(channel) else { return };
                // First of all: a push can end the connection, and then its place is what it is taken out by.
                if let Some(live) = live {
                    subscription.member = live.member;
                }
                let told_of_presence = subscription.traits.join_leave;
                for held in held {
                    let delivered = match held {
                        Held::Publication(Delivery { push, .. }) => {
                            self.push(slot, connection, push.frame(connection.format).clone())
                        }
                        Held::PresenceEvent(push) => {
                            if told_of_presence {
                                self.push(slot, connection, push.frame(connection.format).clone());
                            }
                            false
                        }
                    };
                    self.cells().deliveries.add(delivered.into());
                }
            }
        }
    }

    /// A subscription is over.
    fn leave(&mut self, slot: u32, connection: &mut Connection<S>, subscription: &Subscription) {
        self.ended += 1;
        if subscription.stage == SubscriptionStage::Subscribed {
            self.cells().subscriptions_closed.increment();
        }
        self.answers.remove(&subscription.join);
        if let Some(moved) = self.members.leave(
            &subscription.channel,
            subscription.member,
            subscription.join,
            subscription.traits.join_leave,
        ) && !planted::is(Bug::MovedMemberForgotten)
        {
            self.settle(moved, &subscription.channel);
        }
        let slow = connection.outbox.bytes() > self.settings.queue_bytes_max;
        if !(slow && planted::is(Bug::SlowKeptInHub)) {
            let node = &self.desk.node;
            let is_last = node.hub.leave(usize::from(self.index), &subscription.channel);
            if is_last && subscription.traits.positioned {
                node.vacated(&subscription.channel);
            }
        }
        if subscription.traits.present || subscription.traits.announced {
            self.depart(slot, connection, subscription);
        }
    }

    /// Notes where a live member stands.
    fn settle(&mut self, live: Live, channel: &str) {
        let connection = self.connections.get_mut(at(live.slot)).and_then(Option::as_mut);
        let subscription = connection.and_then(|connection| connection.session.subscriptions_mut().get_mut(channel));
        if let Some(subscription) = subscription {
            subscription.member = live.member;
        }
    }

    /// Our close frame is the last thing we say.
    fn begin_close(&mut self, slot: u32, connection: &mut Connection<S>, close: &Close) {
        if connection.stage != Stage::Open {
            return;
        }
        let connection_id = connection.session.id();
        tracing::debug!(%connection_id, code = close.code, reason = close.reason, "closing");
        self.cells().disconnect(close.code);
        // Whoever is cut for reading too slowly would otherwise have to read all of it to learn why.
        if [DisconnectCode::Slow, DisconnectCode::WriteError].map(|code| Close::from(code).code).contains(&close.code) {
            connection.outbox.discard();
        }
        Self::abandon(connection);
        connection.unread = None;
        connection.outbox.answer(encode_close(close.code, &close.reason));
        connection.stage = Stage::Closing { until_ms: close_deadline(self.desk.now.ms) };
        self.mark_dirty(slot, connection);
    }

    /// A marker: from here on the channel's publications are for this member too.
    pub(super) fn enter(&mut self, marker: &Marker) {
        let answers = &mut self.answers;
        let Some(connection) = self.connections.get_mut(at(marker.slot)).and_then(Option::as_mut) else { return };
        let format = connection.format;
        let subscription = connection.session.subscriptions_mut().get_mut(&marker.channel);
        let Some(subscription) = subscription.filter(|subscription| subscription.join == marker.join) else { return };
        // All who are in a channel share its name.
        subscription.channel = marker.channel.clone();
        subscription.member = NO_PLACE;
        let entry = match subscription.stage {
            SubscriptionStage::Subscribing => Entry::Unanswered(format),
            SubscriptionStage::Subscribed => match answers.remove(&marker.join).flatten() {
                Some((offset, epoch)) => Entry::After(offset, epoch),
                None => Entry::Everything,
            },
        };
        let listens = subscription.traits.join_leave;
        let connections = &mut self.connections;
        let demoted = |slot| {
            let connection = connections.get_mut(at(slot)).and_then(Option::as_mut);
            let subscription = connection.and_then(|c| c.session.subscriptions_mut().get_mut(&marker.channel));
            subscription.map_or(0, |subscription| {
                subscription.member = NO_PLACE;
                subscription.join
            })
        };
        let live = self.members.enter(&marker.channel, marker.slot, marker.join, entry, listens, demoted);
        if let Some(live) = live {
            self.settle(live, &marker.channel);
        }
    }

    /// Hands a publication to all members: each gets a reference to the same frame.
    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        match self.members.advance(delivery) {
            Continuity::Nothing => return,
            Continuity::Next => {}
            Continuity::Gap => {
                for slot in self.members.live(&delivery.channel).to_vec() {
                    self.lose(slot, &delivery.channel, UnsubscribeCode::Insufficient);
                }
            }
        }
        let mut slow = Vec::new();
        let mut deliveries = 0;
        let members = self.members.live(&delivery.channel);
        self.delivered += members.len();
        for &slot in members {
            let Some(connection) = self.connections.get_mut(at(slot)).and_then(Option::as_mut) else { continue };
            if connection.stage != Stage::Open {
                continue;
            }
            let frame = delivery.push.frame(connection.format).clone();
            if connection.outbox.push(frame, self.settings.queue_bytes_max).is_err() {
                slow.push(slot);
                continue;
            }
            deliveries += 1;
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push_back(slot);
            }
        }
        let Settled { live, ready, lost } = self.members.settle(delivery);
        // All of them first: a push can end a connection, and that moves others to new places.
        for &live in &live {
            self.settle(live, &delivery.channel);
        }
        for slot in live.into_iter().map(|live| live.slot).chain(ready) {
            deliveries += u64::from(self.push_to(slot, &delivery.push));
        }
        self.cells().deliveries.add(deliveries);
        if planted::is(Bug::HubCollision) {
            for slot in self.members.colliding(&delivery.channel).to_vec() {
                self.push_to(slot, &delivery.push);
            }
        }
        for slot in slow {
            self.close(slot, DisconnectCode::Slow.into());
        }
        for slot in lost {
            self.lose(slot, &delivery.channel, UnsubscribeCode::Insufficient);
        }
    }

    fn push_to(&mut self, slot: u32, push: &Encoded) -> bool {
        let mut pushed = false;
        self.with(slot, |shard, connection| {
            pushed = shard.push(slot, connection, push.frame(connection.format).clone());
            Fate::Keep
        });
        pushed
    }

    /// A member whose position is watched loses its subscription; others do not notice.
    pub(super) fn lose(&mut self, slot: u32, channel: &Arc<str>, code: UnsubscribeCode) {
        self.with(slot, |shard, connection| {
            let subscription = connection.session.subscriptions().get(channel);
            if let Some(join) = subscription.filter(|s| s.traits.positioned).map(|s| s.join) {
                connection.session.lose(channel, join, code, &mut shard.desk.context());
            }
            Fate::Keep
        });
    }

    /// Hands a join or leave to the members that asked for such.
    pub(super) fn tell_presence(&mut self, channel: &Arc<str>, push: &Encoded) {
        if !self.members.has_listeners(channel) {
            return;
        }
        let mut slots = self.members.live(channel).to_vec();
        slots.extend(self.members.presence_event(channel, push));
        self.delivered += slots.len();
        for slot in slots {
            let connection = self.connections.get(at(slot)).and_then(Option::as_ref);
            let subscription = connection.and_then(|connection| connection.session.subscriptions().get(channel));
            if subscription.is_some_and(|subscription| subscription.traits.join_leave) {
                self.push_to(slot, push);
            }
        }
    }
}
