//! A shard's members of each channel, and where in the channel's stream the shard stands. No I/O.
//!
//! Publications of a channel arrive here in order. A member whose subscription is answered up to some offset
//! gets what lies after it; one whose answer is still being made (its marker has come, the engine has not
//! answered) has its publications held back until then. Both stand among the *waiting*, and move to the
//! *live* members, who simply get everything, as soon as the shard has caught up with them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ahash::RandomState;
use pubsub_protocol::Format;
use smallvec::SmallVec;

use super::channels::Channels;
use super::inbox::Delivery;
use crate::hub::Encoded;
use crate::planted::{self, Bug};

/// Members by channel.
#[derive(Debug)]
pub struct Members {
    channels: Channels<Channel>,
    held_bytes_max: usize,
}

/// One channel.
#[derive(Debug, Default)]
struct Channel {
    live: SmallVec<[u32; 4]>,
    /// Where the shard stands: offset and epoch tag of the last publication it saw. Epoch 0: not known.
    offset: u64,
    epoch: u64,
    /// The shard has not seen that publication itself. It goes by an answer, and all members, live every one of
    /// them, were answered up to there: what still comes before is for none of them.
    assumed: bool,
    /// How many of the members want to be told of joins and leaves.
    listeners: u32,
    #[allow(clippy::box_collection, reason = "nearly always absent: 8 bytes instead of 24, in every channel")]
    waiting: Option<Box<Vec<Waiting>>>,
}

/// A member that does not simply get everything yet.
#[derive(Debug)]
struct Waiting {
    slot: u32,
    join: u64,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    /// Its answer speaks up to this offset of this epoch.
    UpTo { offset: u64, epoch: u64 },
    /// Not made yet; what came since its marker, and its size in the member's format.
    Pending { held: Vec<Held>, bytes: usize, format: Format },
    /// Not made yet, and more came meanwhile than may be held back.
    Overrun,
}

/// Something held back.
#[derive(Clone, Debug)]
pub enum Held {
    /// A publication.
    Publication(Delivery),
    /// A join or leave.
    PresenceEvent(Encoded),
}

/// What an answer sets free.
#[derive(Debug)]
pub enum Answered {
    /// Nothing: the marker has not come yet, and the member will enter as answered.
    NotEntered,
    /// What was held back does not continue the answer, or was too much to be held back.
    Broken,
    /// The member goes on.
    Free {
        /// What was held back and is not in the answer, in order.
        held: Vec<Held>,
        /// The member, if it is live from now on.
        live: Option<Live>,
    },
}

/// How far a subscription is when its marker arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Answered, in a channel without positions (or by a subscription without one).
    Everything,
    /// Answered up to an offset of an epoch.
    After(u64, u64),
    /// Not answered yet; the member is spoken to in this format.
    Unanswered(Format),
}

/// What a publication does to those who wait.
#[derive(Debug, Default)]
pub struct Settled {
    /// It is the first that is for them: they get it, and from now on everything.
    pub live: SmallVec<[Live; 2]>,
    /// They get it, and wait on.
    pub ready: SmallVec<[u32; 2]>,
    /// It does not continue what their answer says: their position is lost.
    pub lost: SmallVec<[u32; 2]>,
}

/// A member that became live, and the place it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// The connection.
    pub slot: u32,
    /// Its place among the channel's members, to be given back on [`Members::leave`].
    pub member: u32,
}

/// How a publication continues the stream as this shard saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nobody here, or seen before: to be dropped.
    Nothing,
    /// The next one, or one without a place in a stream.
    Next,
    /// Publications are missing before it, or the stream began anew: positions are lost.
    Gap,
}

/// A member that is not live has no place.
pub const NO_PLACE: u32 = u32::MAX;

impl Members {
    /// No members. `hasher` keys the hashing of names; `held_bytes_max` bounds what is held back for one member.
    pub fn new(hasher: RandomState, held_bytes_max: usize) -> Self {
        Self { channels: Channels::new(hasher), held_bytes_max }
    }

    /// A member enters with its marker. `listens`: it wants to be told of joins and leaves. `demoted` is called for
    /// members that are no longer live because of it, and says what number their subscription has.
    pub fn enter(
        &mut self,
        name: &Arc<str>,
        slot: u32,
        join: u64,
        entry: Entry,
        listens: bool,
        demoted: impl FnMut(u32) -> u64,
    ) -> Option<Live> {
        let channel = self.channels.get_or_default(name);
        channel.listeners += u32::from(listens);
        if channel.assumed && entry != Entry::After(channel.offset, channel.epoch) {
            // It may be due what comes up to there.
            channel.stop_assuming(demoted);
        }
        let answer = match entry {
            Entry::Everything => return Some(channel.go_live(slot)),
            Entry::After(offset, epoch) => {
                if channel.live.is_empty() && channel.waiting.is_none() {
                    // The first here: whatever comes up to that offset is for nobody, as long as it is alone.
                    (channel.offset, channel.epoch, channel.assumed) = (offset, epoch, true);
                }
                if channel.epoch != 0 && (channel.offset, channel.epoch) == (offset, epoch) {
                    return Some(channel.go_live(slot));
                }
                Answer::UpTo { offset, epoch }
            }
            Entry::Unanswered(format) => Answer::Pending { held: Vec::new(), bytes: 0, format },
        };
        channel.waiting.get_or_insert_default().push(Waiting { slot, join, answer });
        None
    }

    /// A member is answered.
    pub fn answer(&mut self, name: &str, join: u64, mut after: Option<(u64, u64)>) -> Answered {
        let Some(channel) = self.channels.get_mut(name) else { return Answered::NotEntered };
        let Some(waiting) = &mut channel.waiting else { return Answered::NotEntered };
        let Some(i) = waiting.iter().position(|member| member.join == join) else { return Answered::NotEntered };
        let mut held = match &mut waiting[i].answer {
            Answer::Pending { held, .. } => std::mem::take(held),
            Answer::Overrun if planted::is(Bug::LagSwallowed) => {
                after = Some((channel.offset, channel.epoch));
                Vec::new()
            }
            Answer::Overrun => return Answered::Broken,
            Answer::UpTo { .. } => return Answered::NotEntered,
        };
        let mut caught_up = true;
        if let Some((mut offset, epoch)) = after {
            let mut whole = true;
            held.retain(|held| match held {
                Held::Publication(delivery) if delivery.offset == 0 => true,
                Held::Publication(delivery) if delivery.epoch == epoch && delivery.offset <= offset => {
                    planted::is(Bug::NoDeduplication)
                }
                Held::Publication(delivery) => {
                    whole &= delivery.epoch == epoch && delivery.offset == offset + 1;
                    offset = delivery.offset;
                    true
                }
                Held::PresenceEvent(_) => true,
            });
            if !whole {
                return Answered::Broken;
            }
            caught_up = (channel.offset, channel.epoch) == (offset, epoch);
            waiting[i].answer = Answer::UpTo { offset, epoch };
        }
        // Without a position all that came since its marker is held: it is as far as the shard.
        let live = caught_up.then(|| waiting.remove(i).slot);
        if waiting.is_empty() {
            channel.waiting = None;
        }
        let live = live.map(|slot| channel.go_live(slot));
        Answered::Free { held, live }
    }

    /// Takes a member out: by its place if it is live, by its number if it waits. Returns the live member that
    /// took over the place, if one did. One whose marker has not come yet is not in.
    pub fn leave(&mut self, name: &str, member: u32, join: u64, listens: bool) -> Option<Live> {
        let channel = self.channels.get_mut(name)?;
        let mut moved = None;
        if member == NO_PLACE {
            let waiting = channel.waiting.as_mut()?;
            let before = waiting.len();
            waiting.retain(|waiting| waiting.join != join);
            if waiting.len() == before {
                return None;
            }
            if waiting.is_empty() {
                channel.waiting = None;
            }
            channel.listeners -= u32::from(listens);
        } else {
            channel.listeners -= u32::from(listens);
            let place = member as usize;
            channel.live.swap_remove(place);
            moved = channel.live.get(place).map(|&slot| Live { slot, member });
            if channel.live.spilled() && channel.live.len() * 4 < channel.live.capacity() {
                channel.live.shrink_to_fit();
            }
        }
        if channel.live.is_empty() && channel.waiting.is_none() {
            self.channels.remove(name);
        }
        moved
    }

    /// Moves the channel on to this publication.
    pub fn advance(&mut self, delivery: &Delivery) -> Continuity {
        let Some(channel) = self.channels.get_mut(&delivery.channel) else { return Continuity::Nothing };
        if delivery.offset == 0 {
            return Continuity::Next;
        }
        let known = channel.epoch != 0;
        let same = channel.epoch == delivery.epoch;
        if known && same && delivery.offset <= channel.offset {
            return Continuity::Nothing;
        }
        let next = !known || same && delivery.offset == channel.offset + 1;
        (channel.offset, channel.epoch, channel.assumed) = (delivery.offset, delivery.epoch, false);
        if next { Continuity::Next } else { Continuity::Gap }
    }

    /// Who gets everything.
    pub fn live(&self, name: &str) -> &[u32] {
        self.channels.get(name).map_or(&[], |channel| &channel.live)
    }

    /// The members of another channel, as if its name fell into one place with this one's: a planted bug.
    pub(super) fn colliding(&self, name: &str) -> &[u32] {
        let others = self.channels.iter().filter(|(other, _)| other.len() == name.len() && *other != name);
        others.min_by_key(|(other, _)| *other).map_or(&[], |(_, channel)| &channel.live)
    }

    /// Gives the publication the channel was just moved on to, to those who wait: it is held back, or in their
    /// answer already, or the first that is for them, and then they are live.
    pub fn settle(&mut self, delivery: &Delivery) -> Settled {
        let mut settled = Settled::default();
        let Some(channel) = self.channels.get_mut(&delivery.channel) else { return settled };
        let Some(mut waiting) = channel.waiting.take() else { return settled };
        waiting.retain_mut(|member| {
            let Answer::UpTo { offset, epoch } = member.answer else {
                member.hold(Held::Publication(delivery.clone()), self.held_bytes_max);
                return true;
            };
            match delivery.offset {
                // It has no place in the stream, and so says nothing about how far the member is.
                0 => settled.ready.push(member.slot),
                o if delivery.epoch == epoch && o <= offset => {}
                o if delivery.epoch == epoch && o == offset + 1 => {
                    settled.live.push(channel.go_live(member.slot));
                    return false;
                }
                _ => settled.lost.push(member.slot),
            }
            true
        });
        if !waiting.is_empty() {
            channel.waiting = Some(waiting);
        }
        settled
    }

    /// Whether anybody in the channel wants to be told of joins and leaves.
    pub fn has_listeners(&self, name: &str) -> bool {
        self.channels.get(name).is_some_and(|channel| channel.listeners > 0)
    }

    /// Those who wait for their answer hold a join or leave back; the others get it at once. Returns these.
    pub fn presence_event(&mut self, name: &str, push: &Encoded) -> SmallVec<[u32; 2]> {
        let mut ready = SmallVec::new();
        let waiting = self.channels.get_mut(name).and_then(|channel| channel.waiting.as_mut());
        for member in waiting.into_iter().flat_map(|waiting| waiting.iter_mut()) {
            match &mut member.answer {
                Answer::UpTo { .. } => ready.push(member.slot),
                _ => member.hold(Held::PresenceEvent(push.clone()), self.held_bytes_max),
            }
        }
        ready
    }

    /// How many channels have members here, how many members those are, and how many of them wait.
    pub fn census(&self) -> (usize, usize, usize) {
        self.channels.iter().fold((0, 0, 0), |(channels, members, waiting), (_, channel)| {
            let waits = channel.waiting.as_ref().map_or(0, |waiting| waiting.len());
            (channels + 1, members + channel.live.len() + waits, waiting + waits)
        })
    }
}

impl Waiting {
    /// Holds something back until the answer is there, unless too much waits already. As in the outbox the bound is looked at
    /// before: one that is larger than it still passes.
    fn hold(&mut self, what: Held, bytes_max: usize) {
        let Answer::Pending { held, bytes, format } = &mut self.answer else { return };
        if *bytes > bytes_max {
            self.answer = Answer::Overrun;
            return;
        }
        let (Held::Publication(Delivery { push, .. }) | Held::PresenceEvent(push)) = &what;
        // What others are spoken to in is no burden of this one.
        *bytes += size_of::<Held>() + push.frame(*format).size();
        held.push(what);
    }
}

impl Channel {
    /// From now on the shard goes by what it has seen, which is nothing yet. Those who were live wait for the stream to
    /// come past their answers.
    fn stop_assuming(&mut self, mut demoted: impl FnMut(u32) -> u64) {
        let answer = |slot| (slot, Answer::UpTo { offset: self.offset, epoch: self.epoch });
        let waiting =
            self.live.drain(..).map(answer).map(|(slot, answer)| Waiting { slot, join: demoted(slot), answer });
        self.waiting = Some(Box::new(waiting.collect()));
        (self.offset, self.epoch, self.assumed) = (0, 0, false);
    }

    fn go_live(&mut self, slot: u32) -> Live {
        let member = u32::try_from(self.live.len()).expect("slots are 32 bits wide");
        self.live.push(slot);
        Live { slot, member }
    }
}
