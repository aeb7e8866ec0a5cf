//! The server as a child process, and what can be seen of it from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::frame::PATIENCE;

/// A running server. Dropping it kills it.
pub(crate) struct Victim {
    child: Child,
    pub(crate) address: SocketAddr,
    pid: u32,
    /// What it writes to its standard error: nothing, unless something is wrong with it.
    said: File,
}

impl Victim {
    /// Starts one, open to everyone, with these `key=value`s.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let said = tempfile::tempfile().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pubsub-server"))
            .env_clear()
            // Servers and crowd share the processors, and the kernel puts both threads of one on one of them now and then.
            .args(["--open", "--port", "0", "--log-level", "none", "--set", "http_server.pin_shards=true"])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdout(Stdio::piped())
            .stderr(said.try_clone().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        timeout(PATIENCE, stdout.read_line(&mut line)).await.expect("it says where it listens").unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        let pid = child.id().unwrap();
        Self { child, address: address.parse().unwrap(), pid, said }
    }

    /// Whether it still runs, and the end of what it wrote to its standard error.
    pub(crate) fn said(&mut self) -> String {
        let ended = self.child.try_wait().unwrap();
        let mut said = String::new();
        self.said.rewind().unwrap();
        self.said.read_to_string(&mut said).unwrap();
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("\nthe server {}\n{}", ended.map_or("runs".to_owned(), |s| format!("ended: {s}")), last.join("\n"))
    }

    /// Memory that is really in use, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process that lives");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Descriptors that are open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Processor time used since its start, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    /// How long its threads stood in line for a processor since its start: that is the machine's part of what it is late.
    pub(crate) fn queued(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        let queued = tasks.filter_map(|task| {
            let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            stat.split(' ').nth(1)?.parse::<u64>().ok()
        });
        Duration::from_nanos(queued.sum::<u64>())
    }

    /// All metrics, by name and labels.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the metrics, in time").unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// The sum of some metrics.
    pub(crate) async fn counted(&self, names: &[&str]) -> f64 {
        let metrics = self.metrics().await;
        names.iter().map(|&name| metrics.get(name).copied().unwrap_or(0.0)).sum()
    }

    /// The sum of a metric over all its labels.
    pub(crate) async fn counted_in_all(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        metrics.iter().filter(|(sample, _)| sample.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }

    /// Waits until some metrics together have reached a value, and returns it.
    pub(crate) async fn counts_up_to(&self, names: &[&str], wanted: f64) -> f64 {
        let until = Instant::now() + PATIENCE;
        loop {
            let counted = self.counted(names).await;
            if counted >= wanted || Instant::now() > until {
                return counted;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Still there, and still answering.
    pub(crate) async fn is_well(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the server has ended");
        self.metrics().await;
    }
}
