//! What a run does, as a value: written beside each result, read back by `replay`, made smaller by the shrinker.
//!
//! Times are seconds since the plan began, whatever clock that is: the same plan drives a paused clock and real sockets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Seed;

/// A whole run: everything follows from this value and the code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// All chance comes from here.
    pub seed: Seed,
    /// Who is there.
    #[serde(default)]
    pub topology: Topology,
    /// What they do.
    #[serde(default)]
    pub workload: Workload,
    /// What is done to them.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

impl Plan {
    /// The same without what is done to the node, which no stream can do.
    #[must_use]
    pub fn of_streams(&self) -> Self {
        let faults = self.faults.iter().filter(|fault| !fault.kind.is_of_node()).cloned().collect();
        Self { faults, ..self.clone() }
    }
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topology {
    /// Connections, numbered from 0.
    pub connections: u64,
    /// Channels, numbered from 0. Connection `c` subscribes to channel `(c + i) % channels` for each `i` below
    /// `subscriptions_each`.
    pub channels: u64,
    /// Subscriptions of each connection.
    pub subscriptions_each: u64,
    /// Publications a channel keeps. 0: none, and then nothing can be recovered.
    pub history_size: u64,
    /// How long it keeps them.
    #[serde(with = "seconds")]
    pub history_ttl: Duration,
    /// How long it is known where the channel's stream stands. Only runs in virtual time set their server by it.
    #[serde(with = "seconds")]
    pub history_meta_ttl: Duration,
    /// What the connections are held to. Only runs in virtual time set their server by it.
    pub sessions: Sessions,
}

/// What connections are held to by their server, and how long they stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// Time between two pings of the server.
    #[serde(with = "seconds")]
    pub ping_interval: Duration,
    /// Time for the pong.
    #[serde(with = "seconds")]
    pub pong_timeout: Duration,
    /// Bytes that may wait for one connection.
    pub queue_bytes: usize,
    /// How long a token is good for; it is renewed before. `None`: nobody shows one.
    #[serde(with = "seconds::optional")]
    pub token_ttl: Option<Duration>,
    /// Members that leave, per second altogether: most for good, with a new one in their place later, some to unsubscribe
    /// only.
    pub departures: f64,
    /// How long their place is empty.
    #[serde(with = "seconds")]
    pub away: Duration,
    /// Requests for history and presence, per second altogether.
    pub requests: f64,
    /// Publications that are due at one moment, by publishers in turn; the next so many come when the rate allows.
    pub burst: u64,
    /// Share of the publishers whose publications carry an idempotency key and are sent again until answered.
    pub keyed: f64,
    /// Share of the publishers that publish as a backend does, by the server's API.
    pub by_api: f64,
    /// Share of the members and publishers that speak protobuf; the others speak JSON.
    pub protobuf: f64,
    /// Subscribers on the wire, who mend nothing; number `w` is on channel `w % channels`.
    pub wires: u64,
    /// After about how long each of them leaves its channel, and comes back. Zero: they stay.
    #[serde(with = "seconds")]
    pub wires_stay: Duration,
    /// Shards of the server.
    pub shards: usize,
    /// How long the engine hesitates at most, before and after what it does.
    #[serde(with = "seconds")]
    pub hesitates: Duration,
    /// Publications that a recovery hands out at most.
    pub recovery_max: u64,
    /// Share of the connections that break as they are accepted.
    pub accept_failures: f64,
    /// Events that a member may leave unread in one subscription.
    pub mailbox: usize,
    /// How long a member pauses at most before it reads one.
    #[serde(with = "seconds")]
    pub reader_pauses: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            queue_bytes: 1 << 20,
            token_ttl: None,
            departures: 0.0,
            away: Duration::from_secs(1),
            requests: 0.0,
            burst: 1,
            keyed: 0.0,
            by_api: 0.0,
            protobuf: 0.0,
            wires: 0,
            wires_stay: Duration::ZERO,
            shards: 1,
            hesitates: Duration::ZERO,
            recovery_max: 300,
            accept_failures: 0.0,
            mailbox: 1_024,
            reader_pauses: Duration::ZERO,
        }
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            connections: 1,
            channels: 1,
            subscriptions_each: 1,
            history_size: 1_000,
            history_ttl: Duration::from_secs(300),
            history_meta_ttl: Duration::from_secs(360),
            sessions: Sessions::default(),
        }
    }
}

impl Topology {
    /// How many channels each connection subscribes to: no more than there are.
    #[must_use]
    pub fn each(&self) -> u64 {
        self.subscriptions_each.min(self.channels.max(1))
    }

    /// How many subscriptions all connections have together.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        self.connections * self.each()
    }

    /// The channels that `connection` subscribes to. Neighbours share some, unless there are enough for all.
    pub fn channels_of(&self, connection: u64) -> impl Iterator<Item = u64> + use<> {
        let channels = self.channels.max(1);
        let stride = (channels / self.connections.max(1)).max(1);
        (0..self.each()).map(move |i| (connection * stride + i) % channels)
    }
}

/// What they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Publishers, numbered from 0; publisher `p` publishes to channel `p % channels`.
    pub publishers: u64,
    /// Publications altogether.
    pub publications: u64,
    /// Publications per second altogether. 0: as fast as they are acknowledged.
    pub rate: f64,
    /// Bytes of one payload, envelope included where it is larger than that.
    pub payload_bytes: usize,
}

impl Default for Workload {
    fn default() -> Self {
        Self { publishers: 1, publications: 100, rate: 100.0, payload_bytes: 128 }
    }
}

/// One way of hurting, from one moment until another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Names it in reports, and its chances: two faults with the same id draw the same numbers.
    pub id: String,
    /// The moment it waits for.
    #[serde(default)]
    pub aim: Aim,
    /// Whom it hurts.
    #[serde(default)]
    pub target: Target,
    /// Which way of the stream, seen from the client.
    #[serde(default)]
    pub direction: Direction,
    /// What it does.
    pub kind: Kind,
    /// When it begins to hold, after the plan's beginning.
    #[serde(default, with = "seconds")]
    pub from: Duration,
    /// When it is healed. `None`: with the run.
    #[serde(default, with = "seconds::optional")]
    pub until: Option<Duration>,
}

impl Fault {
    /// A fault that holds at once, for everybody, both ways, until its guard goes.
    #[must_use]
    pub fn new(id: impl Into<String>, kind: Kind) -> Self {
        Self {
            id: id.into(),
            aim: Aim::default(),
            target: Target::default(),
            direction: Direction::default(),
            kind,
            from: Duration::ZERO,
            until: None,
        }
    }

    /// Waits for `aim`.
    #[must_use]
    pub fn aimed(mut self, aim: Aim) -> Self {
        self.aim = aim;
        self
    }

    /// Hurts `target` only.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Works in one direction only.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Holds between the two moments.
    #[must_use]
    pub fn between(mut self, from: Duration, until: Duration) -> Self {
        (self.from, self.until) = (from, Some(until));
        self
    }
}

/// The moment a fault waits for on each connection it holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// No moment of the conversation: as soon as the fault holds ([`Fault::from`]).
    #[default]
    At,
    /// Before there is a stream: the connect itself.
    Connect,
    /// The first byte of the HTTP upgrade, or of its answer.
    Handshake,
    /// Just before the frame with a command of this name (`subscribe`, `publish`, …) leaves.
    Command(String),
    /// Just before the frame with a reply to such a command arrives; `push` for publications.
    Reply(String),
    /// Just before frame number `n` of that direction, counted from 0 after the handshake.
    Frame(u64),
    /// Just before byte number `k` of that direction, counted from 0 with the handshake.
    Byte(u64),
    /// In the header of the next data frame, behind its first byte.
    MidHeader,
    /// In the middle of the payload of the next data frame with at least two bytes.
    MidPayload,
    /// In the middle of a subscribe reply that carries recovered publications.
    RecoveredBatch,
    /// Just before the first publication after such a reply.
    FirstLiveAfterRecovery,
    /// The server has taken a publish and its acknowledgement is about to arrive.
    PublishUnacked,
    /// Just before a ping arrives (or a pong leaves).
    Ping,
    /// Just before a close frame.
    Close,
}

impl Aim {
    /// Whether one has to know where frames begin to see this moment.
    #[must_use]
    pub fn needs_frames(&self) -> bool {
        !matches!(self, Self::At | Self::Connect | Self::Handshake | Self::Byte(_))
    }

    /// Its row in the matrix of faults and aim points.
    #[must_use]
    pub fn family(&self) -> &'static str {
        match self {
            Self::At => "at",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Command(_) => "command",
            Self::Reply(_) => "reply",
            Self::Frame(_) => "frame",
            Self::Byte(_) => "byte",
            Self::MidHeader => "mid_header",
            Self::MidPayload => "mid_payload",
            Self::RecoveredBatch => "recovered_batch",
            Self::FirstLiveAfterRecovery => "first_live_after_recovery",
            Self::PublishUnacked => "publish_unacked",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }

    /// All families, in the order of a conversation.
    pub const FAMILIES: [&'static str; 14] = [
        "at",
        "connect",
        "handshake",
        "command",
        "reply",
        "frame",
        "byte",
        "mid_header",
        "mid_payload",
        "recovered_batch",
        "first_live_after_recovery",
        "publish_unacked",
        "ping",
        "close",
    ];
}

/// Whom a fault hurts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every connection.
    #[default]
    All,
    /// These.
    Connections(Vec<u64>),
    /// So many per cent of the plan's connections, drawn once, by the fault's id.
    Percent(f64),
    /// Those subscribed to this channel, by the plan's topology.
    Channel(u64),
}

impl Target {
    /// The connections meant, among those of `topology`. `None`: all, also those it does not number.
    #[must_use]
    pub fn resolve(&self, seed: Seed, fault: &str, topology: &Topology) -> Option<Vec<u64>> {
        match self {
            Self::All => None,
            Self::Connections(ids) => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                Some(ids)
            }
            Self::Percent(percent) => Some(seed.pick_percent(fault, 0..topology.connections, *percent)),
            Self::Channel(channel) => {
                Some((0..topology.connections).filter(|&c| topology.channels_of(c).any(|ch| ch == *channel)).collect())
            }
        }
    }
}

/// Which way of a stream, seen from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards the client.
    In,
    /// Away from the client.
    Out,
    /// Both ways.
    #[default]
    Both,
}

impl Direction {
    /// Whether `self` covers the one direction `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// F12, F14: data takes time, order and throughput stay.
    Latency(Latency),
    /// F14: a link that is good most of the time and then, for a while, is not (Gilbert and Elliott): each piece
    /// of data then takes one of `delays` longer, as retransmission would.
    Spikes {
        /// Chance per piece to turn bad.
        turn_bad: f64,
        /// Chance per piece to turn good again.
        turn_good: f64,
        /// Extra delays, one drawn for each piece while bad.
        #[serde(with = "seconds::list")]
        delays: Vec<Duration>,
    },
    /// F11: so many bytes a second, `burst` at once.
    Bandwidth {
        /// Refill of the bucket.
        bytes_per_second: u64,
        /// Its size.
        burst: u64,
        /// One bucket for all connections of the fault, not one each.
        shared: bool,
    },
    /// F4, F9: `bytes` every `every`, no more.
    Drip {
        /// At most so many.
        bytes: u64,
        /// In each such interval.
        #[serde(with = "seconds")]
        every: Duration,
    },
    /// N1: no read or write moves more than so many bytes.
    Slices {
        /// The bound, at least 1.
        bytes: usize,
    },
    /// N2: what comes within one window arrives together, at its end.
    Coalesce {
        /// Its length.
        #[serde(with = "seconds")]
        window: Duration,
    },
    /// N4: with this chance a poll says "not yet" and wakes at once.
    Yields {
        /// Per poll.
        chance: f64,
    },
    /// F9 (in), F10 (out): nothing moves; the kernel's buffers fill, then the other side feels it.
    Stall,
    /// F5: both ways pend, nobody is woken, until healed.
    HalfOpen,
    /// F6: the connection is reset.
    Reset,
    /// F7, F8: FIN without a close frame. Out: only our half closes. In: only we believe it. Both: it is over.
    Fin,
    /// F16: one bit is not what it was.
    Corrupt(Corruption),
    /// Not a network fault but a planted bug (a TCP stream never does this): whole frames go wrong.
    Mutant(Mutation),
    /// F1: the connect is refused.
    Refuse,
    /// F2: the connect hangs.
    Blackhole,
    /// F18: the node is gone at once, with all that it had in memory, and back at the end of the fault.
    Kill,
    /// F20: the node asks everybody to come back, ends, and is back at the end of the fault.
    Restart,
    /// F19: the node's process stands still until the end of the fault. Virtual time has no process.
    Pause,
}

impl Kind {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Spikes { .. } => "spikes",
            Self::Bandwidth { .. } => "bandwidth",
            Self::Drip { .. } => "drip",
            Self::Slices { .. } => "slices",
            Self::Coalesce { .. } => "coalesce",
            Self::Yields { .. } => "yields",
            Self::Stall => "stall",
            Self::HalfOpen => "half_open",
            Self::Reset => "reset",
            Self::Fin => "fin",
            Self::Corrupt(_) => "corrupt",
            Self::Mutant(_) => "mutant",
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Pause => "pause",
        }
    }

    /// All names, in the order of the definition.
    pub const NAMES: [&'static str; 18] = [
        "latency",
        "spikes",
        "bandwidth",
        "drip",
        "slices",
        "coalesce",
        "yields",
        "stall",
        "half_open",
        "reset",
        "fin",
        "corrupt",
        "mutant",
        "refuse",
        "blackhole",
        "kill",
        "restart",
        "pause",
    ];

    /// Whether it is done to the node and not to the streams.
    #[must_use]
    pub fn is_of_node(&self) -> bool {
        matches!(self, Self::Kill | Self::Restart | Self::Pause)
    }

    /// Whether it takes a process of the system's: in virtual time there is none.
    #[must_use]
    pub fn takes_a_process(&self) -> bool {
        matches!(self, Self::Pause)
    }

    /// Names of those that virtual time can do.
    pub fn virtual_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(|name| *name != Self::Pause.name())
    }

    /// Whether it is a state of the link (healed with the guard) rather than one blow.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Reset | Self::Fin | Self::Corrupt(_) | Self::Mutant(_))
    }
}

/// A delay's distribution; see [`crate::LatencySimulator`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest.
    #[serde(with = "seconds")]
    pub min: Duration,
    /// The longest.
    #[serde(with = "seconds")]
    pub max: Duration,
    /// Correlation of neighbours. 0: each for itself.
    #[serde(default)]
    pub correlation: f64,
}

/// Where in a frame a bit is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// The length field.
    Length,
    /// The opcode, into a reserved one.
    Opcode,
    /// A reserved bit.
    Rsv,
    /// The mask bit: a client's frame arrives unmasked, a server's masked.
    Mask,
    /// A payload byte, into one that no UTF-8 text has.
    Utf8,
    /// A payload byte, its lowest bit.
    Payload,
    /// Whatever byte the aim names ([`Aim::Byte`]), handshake included.
    Byte,
}

/// What goes wrong with whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mutation {
    /// The frame never arrives; the next one does.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It changes places with the next.
    Swap,
    /// It arrives again after so many others.
    Replay(u32),
    /// Its first half never arrives, the rest does.
    LoseBytes,
    /// It arrives at the next connection instead.
    WrongSocket,
    /// From here on frames with publications vanish, all others arrive.
    SilentStall,
}

/// Durations as seconds with a fraction; nanoseconds survive for runs below 100 days.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    /// Writes seconds.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        duration.as_secs_f64().serialize(serializer)
    }

    /// Reads seconds.
    ///
    /// # Errors
    /// On a negative number, or one that is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// The same for a duration that may be missing.
    pub mod optional {
        use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};
        use serde::de::Error as _;

        /// Writes seconds, or null.
        ///
        /// # Errors
        /// The serializer's.
        pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            duration.map(|d| d.as_secs_f64()).serialize(serializer)
        }

        /// Reads seconds, or null.
        ///
        /// # Errors
        /// On a negative number, or one that is none.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            let seconds = Option::<f64>::deserialize(deserializer)?;
            seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
        }
    }

    /// The same for several.
    pub mod list {
        use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};
        use serde::de::Error as _;

        /// Writes a list of seconds.
        ///
        /// # Errors
        /// The serializer's.
        pub fn serialize<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
            durations.iter().map(Duration::as_secs_f64).collect::<Vec<_>>().serialize(serializer)
        }

        /// Reads a list of seconds.
        ///
        /// # Errors
        /// On a negative number, or one that is none.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
            let seconds = Vec::<f64>::deserialize(deserializer)?;
            seconds.into_iter().map(|s| Duration::try_from_secs_f64(s).map_err(D::Error::custom)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Plan {
        Plan {
            seed: Seed(u64::MAX - 3),
            topology: Topology { connections: 10, channels: 5, subscriptions_each: 2, ..Topology::default() },
            workload: Workload::default(),
            faults: vec![
                Fault::new("late", Kind::Latency(Latency { min: MS, max: 500 * MS, correlation: 0.5 }))
                    .target(Target::Percent(30.0))
                    .between(3 * MS, 123_456_789 * MS / 1000),
                Fault::new("cut", Kind::Reset).aimed(Aim::Command("publish".into())).direction(Direction::Out),
                Fault::new("swap", Kind::Mutant(Mutation::Replay(3))).aimed(Aim::Frame(7)),
                Fault::new("bad", Kind::Spikes { turn_bad: 0.1, turn_good: 0.5, delays: vec![200 * MS, 400 * MS] }),
            ],
        }
    }
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_plan_survives_being_written_down() {
        let text = serde_json::to_string_pretty(&sample()).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), sample(), "{text}");
    }

    #[test]
    fn what_a_plan_leaves_out_has_a_default() {
        let plan: Plan = serde_json::from_str(r#"{"seed":1,"faults":[{"id":"x","kind":"reset"}]}"#).unwrap();
        assert_eq!(plan.faults, [Fault::new("x", Kind::Reset)]);
        assert!(serde_json::from_str::<Plan>(r#"{"seed":1,"faults":[{"id":"x","kind":"reset","from":-1}]}"#).is_err());
    }

    #[test]
    fn targets_resolve_by_seed_id_and_topology() {
        let topology = sample().topology;
        let resolve = |target: Target| target.resolve(Seed(1), "late", &topology);
        assert_eq!(resolve(Target::All), None);
        assert_eq!(resolve(Target::Connections(vec![4, 2])), Some(vec![2, 4]));
        assert_eq!(resolve(Target::Percent(30.0)).unwrap().len(), 3);
        assert_eq!(resolve(Target::Channel(0)), Some(vec![0, 4, 5, 9]));
    }
}
