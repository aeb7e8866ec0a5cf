//! `pubsub`: listen, publish and look around from the command line.
//!
//! What was asked for goes to standard output, one JSON object or value a line; everything else to standard error. The
//! exit code tells what went wrong: 1 something else, 2 the command line, 3 the server cannot be reached, 4 the token is
//! bad, 5 the server forbids it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::SelectAll;
use pubsub_client::{
    AnyConnector, Client, ClientConfig, ClientInfo, CloseReason, ConnectionState, DialError, Event, HistoryQuery,
    Payload, Publication, PublishError, Recovery, RequestError, StreamPosition, SubscribeError, SubscribeOptions,
    Subscription, TcpConnector, TlsConnector,
};
use serde::Serialize;
use serde_json::json;

/// Listen to channels, publish into them, and look around.
#[derive(Debug, Parser)]
#[command(name = "pubsub", version)]
struct Arguments {
    /// Address of the server's WebSocket endpoint.
    #[arg(long, env = "PUBSUB_URL", default_value = "ws://127.0.0.1:8000/connection/websocket", global = true)]
    url: String,
    /// Connection token (JWT), where the server wants one.
    #[arg(long, env = "PUBSUB_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// PEM file with the certificates to trust for wss:// addresses.
    #[arg(long, env = "PUBSUB_CA_FILE", default_value = "/etc/ssl/certs/ca-certificates.crt", global = true)]
    ca_file: PathBuf,
    /// Seconds that connecting, and each request, may take.
    #[arg(long, default_value = "5", value_parser = seconds, allow_negative_numbers = true, global = true)]
    timeout: Duration,
    /// Say more about what happens; twice: everything. RUST_LOG says it in detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print each publication of one or more channels as it arrives.
    Sub {
        /// Channels.
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        channels: Vec<String>,
        /// End after so many publications.
        #[arg(long)]
        count: Option<u64>,
        /// Print the data alone, without channel, offset and the rest.
        #[arg(long)]
        data_only: bool,
        /// Print also who joins and leaves.
        #[arg(long)]
        join_leave: bool,
        /// Begin with what came after this position, OFFSET@EPOCH.
        #[arg(long, value_parser = position)]
        since: Option<StreamPosition>,
        /// Subscription token, for a single channel that wants one.
        #[arg(long)]
        sub_token: Option<String>,
    },
    /// Publish into a channel: each argument, or each line of standard input. What is not JSON is sent as a string.
    Pub {
        /// Channel.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        channel: String,
        /// What to publish. None, or "-": standard input, a line each.
        #[arg(allow_negative_numbers = true)]
        data: Vec<String>,
    },
    /// Print kept publications of a channel, oldest first.
    History {
        /// Channel.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        channel: String,
        /// At most so many; -1: all that the server gives.
        #[arg(long, default_value_t = 10, allow_negative_numbers = true)]
        limit: i32,
        /// Those after this position, OFFSET@EPOCH.
        #[arg(long, value_parser = position)]
        since: Option<StreamPosition>,
        /// Newest first.
        #[arg(long)]
        reverse: bool,
    },
    /// Print who is in a channel.
    Presence {
        /// Channel.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        channel: String,
        /// Only how many.
        #[arg(long)]
        stats: bool,
    },
    /// Print what the server says of itself and of this connection.
    Info,
}

fn position(text: &str) -> Result<StreamPosition, String> {
    let (offset, epoch) = text.split_once('@').unwrap_or((text, ""));
    let offset = offset.parse().map_err(|_| "a position is OFFSET@EPOCH, as 7@kXwQmZab".to_owned())?;
    Ok(StreamPosition::new(offset, epoch))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(|| "a number above zero is wanted, as 2.5".to_owned())
}

/// What went wrong, by exit code.
#[derive(Debug)]
enum Failure {
    Unreachable(String),
    Token(String),
    Forbidden(String),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = ["warn", "pubsub_client=info", "debug"][usize::from(arguments.verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(arguments));
            // Standard input may be in the middle of a read that nothing can end.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    let (code, message) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Other(error)) if is_broken_pipe(&error) => return ExitCode::SUCCESS,
        Err(Failure::Other(error)) => (1, whole(&error)),
        Err(Failure::Unreachable(message)) => (3, message),
        Err(Failure::Token(message)) => (4, message),
        Err(Failure::Forbidden(message)) => (5, message),
    };
    // Nothing is left to be done if that fails too.
    let _ = writeln!(std::io::stderr(), "pubsub: {message}");
    ExitCode::from(code)
}

/// An error with its causes, but for those that it tells itself.
fn whole(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Whoever read our output (`head`) has had enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let timeout = arguments.timeout;
    let mut config = ClientConfig::builder(&*arguments.url)
        .connect_timeout(timeout)
        .request_timeout(timeout)
        .cleanup_interval(Duration::from_millis(100).min(timeout));
    if let Some(token) = arguments.token {
        config = config.token(token);
    }
    let connector = if arguments.url.starts_with("wss:") {
        let tls = TlsConnector::with_root_file(TcpConnector::default(), &arguments.ca_file)
            .context("the certificates to trust cannot be read; name another file with --ca-file")?;
        AnyConnector::with_tls(TcpConnector::default(), tls)
    } else {
        AnyConnector::default()
    };
    let client = Client::builder(config.build()?).connector(connector).start()?;
    // Before there is a connection: so the subscribe leaves along with the credentials.
    let subscriptions = subscriptions(&client, &arguments.command)?;
    first_connection(&client).await?;
    let outcome = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        outcome = command(&client, arguments.command, subscriptions, timeout) => outcome,
    };
    client.close().await;
    outcome
}

/// The first attempt decides: later the client comes back by itself.
async fn first_connection(client: &Client) -> Result<(), Failure> {
    let mut watch = client.watch_state();
    let decided = |state: &ConnectionState| {
        state.is_ready() || state.is_final() || matches!(state, ConnectionState::Reconnecting { .. })
    };
    let state = watch.wait_for(decided).await.map(|state| *state);
    if matches!(state, Ok(ConnectionState::Ready)) {
        return Ok(());
    }
    Err(not_connected(&client.last_loss().or(client.close_reason()).unwrap_or(CloseReason::Stopped)))
}

fn not_connected(reason: &CloseReason) -> Failure {
    match reason {
        // Of a session, too: a subscription token that is another's ends it.
        CloseReason::Dial(DialError::Closed { code: 3500, .. }) | CloseReason::Server { code: 3500, .. } => {
            Failure::Token("the token is bad: the server does not accept it (3500 invalid token)".to_owned())
        }
        CloseReason::Dial(DialError::Auth(error)) if error.code == 109 => {
            Failure::Token("the token is bad: it has expired (109)".to_owned())
        }
        CloseReason::Dial(DialError::Auth(error)) => {
            Failure::Token(format!("the server refused the connection: {error}"))
        }
        CloseReason::Dial(DialError::Closed { code: 3501, .. }) => {
            Failure::Token("the server wants a token: give one with --token or PUBSUB_TOKEN (3501)".to_owned())
        }
        CloseReason::Dial(DialError::Refused { status: 401 | 403, .. }) => Failure::Forbidden(reason.to_string()),
        CloseReason::Dial(
            DialError::Transport { .. }
            | DialError::Timeout { .. }
            | DialError::Handshake { .. }
            | DialError::Refused { .. },
        ) => Failure::Unreachable(format!("the server is unreachable: {reason}")),
        CloseReason::Server { .. } | CloseReason::Dial(DialError::Closed { .. }) => {
            Failure::Forbidden(format!("the server ended the connection: {reason}"))
        }
        _ => Failure::Other(anyhow!("{reason}")),
    }
}

fn refused(what: &str, channel: &str, error: RequestError) -> Failure {
    match error {
        RequestError::Server(error) if error.code == 103 => {
            Failure::Forbidden(format!("{what} in channel \"{channel}\" is forbidden: {error}"))
        }
        RequestError::Server(error) => Failure::Other(anyhow!("{what} in channel \"{channel}\" was refused: {error}")),
        RequestError::ConnectionClosed(reason) | RequestError::ConnectionLost { reason, .. } => not_connected(&reason),
        RequestError::Timeout { sent: false, .. } => {
            Failure::Unreachable(format!("the server is unreachable: {error}"))
        }
        error => Failure::Other(anyhow!("{what} in channel \"{channel}\": {error}")),
    }
}

/// What `sub` listens to; nothing for the others.
fn subscriptions(client: &Client, command: &Command) -> Result<Vec<Subscription>, SubscribeError> {
    let Command::Sub { channels, join_leave, since, sub_token, .. } = command else { return Ok(Vec::new()) };
    let mut options = SubscribeOptions::default().join_leave(*join_leave);
    options.since.clone_from(since);
    if let Some(token) = sub_token {
        options = options.token(&**token);
    }
    // Each once, or its publications would be printed twice.
    let channels: BTreeSet<&String> = channels.iter().collect();
    channels.into_iter().map(|channel| client.try_subscribe(&**channel, &options)).collect()
}

async fn command(
    client: &Client,
    command: Command,
    subscriptions: Vec<Subscription>,
    timeout: Duration,
) -> Result<(), Failure> {
    match command {
        Command::Sub { count, data_only, join_leave, sub_token, .. } => {
            in_force(&subscriptions, timeout, sub_token.is_some()).await?;
            listen(client, subscriptions, join_leave, count, data_only).await
        }
        Command::Pub { channel, data } => publish(client, &channel, data).await,
        Command::History { channel, limit, since, reverse } => {
            let query = HistoryQuery { limit, since, reverse };
            let history =
                client.history(&*channel, query).await.map_err(|error| refused("reading history", &channel, error))?;
            for publication in &history.publications {
                print(&Line::of(None, publication))?;
            }
            note(&format!("the stream stands at {}", history.position));
            Ok(())
        }
        Command::Presence { channel, stats: true } => {
            let stats = client.presence_stats(&*channel).await;
            let stats = stats.map_err(|error| refused("presence", &channel, error))?;
            print(&json!({"clients": stats.num_clients, "users": stats.num_users}))
        }
        Command::Presence { channel, stats: false } => {
            let presence = client.presence(&*channel).await.map_err(|error| refused("presence", &channel, error))?;
            for info in presence.values() {
                print(&serde_json::to_value(info)?)?;
            }
            Ok(())
        }
        Command::Info => {
            let session = client.session().context("the connection was lost")?;
            print(&json!({
                "client": session.client,
                "server_version": session.version,
                "ping_seconds": session.server_ping.map(|every| every.as_secs()),
                "token_expires_in_seconds": session.expires_in.map(|left| left.as_secs()),
                "server_subscriptions": session.subscriptions.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(),
                "data": session.data.as_ref().and_then(|data| data.parse::<serde_json::Value>().ok()),
            }))
        }
    }
}

/// Waits until all are in force. The first that is refused ends it.
async fn in_force(subscriptions: &[Subscription], timeout: Duration, with_token: bool) -> Result<(), Failure> {
    let hint =
        if with_token { "the server does not accept this --sub-token" } else { "private channels want --sub-token" };
    let begun = try_join_all(subscriptions.iter().map(|subscription| subscription.in_force(timeout))).await;
    begun.map(|_| ()).map_err(|error| match error {
        SubscribeError::Failed { code: 103, topic, .. } => {
            Failure::Forbidden(format!("channel \"{topic}\" is forbidden: 103 permission denied ({hint})"))
        }
        SubscribeError::ConnectionClosed(reason) => not_connected(&reason),
        error => Failure::Other(error.into()),
    })
}

async fn listen(
    client: &Client,
    subscriptions: Vec<Subscription>,
    join_leave: bool,
    count: Option<u64>,
    data_only: bool,
) -> Result<(), Failure> {
    let mut streams: SelectAll<_> = subscriptions
        .into_iter()
        .map(|subscription| {
            let topic = subscription.topic().clone();
            subscription.map(move |event| (topic.clone(), event))
        })
        .collect();
    let mut left = count.unwrap_or(u64::MAX);
    let mut ended = String::new();
    while left > 0 {
        let Some((topic, event)) = streams.next().await else {
            return Err(match client.close_reason() {
                Some(reason) => not_connected(&reason),
                None => Failure::Forbidden(ended),
            });
        };
        match event {
            Event::Publication(publication) => {
                if data_only {
                    print_text(&publication.data)?;
                } else {
                    print(&Line::of(Some(topic.as_str()), &publication))?;
                }
                left -= 1;
            }
            Event::Join(info) if join_leave => print(&json!({"channel": topic, "join": info}))?,
            Event::Leave(info) if join_leave => print(&json!({"channel": topic, "leave": info}))?,
            Event::Subscribed(subscribed) if subscribed.recovery == Recovery::NotRecovered => {
                warn(&format!("{topic}: publications were lost, the server no longer has them"));
            }
            Event::Subscribed(subscribed) => note(&format!("{topic}: subscribed, {}", subscribed.recovery)),
            Event::Lagged { missed } => warn(&format!("{topic}: {missed} publications were lost")),
            Event::Interrupted { code, reason } => note(&format!("{topic}: interrupted, {code} {reason}; coming back")),
            Event::Unsubscribed { code, reason } => {
                ended = format!("the server ended the subscription to \"{topic}\": {code} {reason}");
                note(&ended);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn publish(client: &Client, channel: &str, data: Vec<String>) -> Result<(), Failure> {
    let one = async |text: &str| {
        let payload = Payload::from_json(text).or_else(|_| Payload::to_json(text))?;
        client.publish_raw(channel, payload).await.map_err(|error| match error {
            PublishError::NotPublished(error) => refused("publishing", channel, error),
            error => Failure::Other(error.into()),
        })
    };
    if !data.is_empty() && data != ["-"] {
        for text in data {
            one(&text).await?;
        }
        return Ok(());
    }
    // On a thread of its own: a terminal can keep a reader waiting for ever.
    let (lines_tx, mut lines) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines_tx.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        one(&line.context("standard input cannot be read")?).await?;
    }
    Ok(())
}

/// A publication as it is printed. Its data stands there as it came, to the last digit.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    epoch: &'a str,
    data: &'a Payload,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a ClientInfo>,
}

impl<'a> Line<'a> {
    fn of(channel: Option<&'a str>, publication: &'a Publication) -> Self {
        let Publication { offset, epoch, data, tags, info, .. } = publication;
        Self { channel, offset: (*offset > 0).then_some(*offset), epoch, data, tags, info: info.as_deref() }
    }
}

fn print<T: Serialize>(value: &T) -> Result<(), Failure> {
    print_text(&Payload::to_json(value)?)
}

fn print_text(data: &Payload) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(data.as_bytes())?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Says something to whoever watches, where somebody does.
fn note(text: &str) {
    if std::io::stderr().is_terminal() {
        warn(text);
    } else {
        tracing::info!("{text}");
    }
}

/// Says what has to be known, whoever reads it.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "# {text}");
}
