//! The server binary: arguments in, a configuration and a log out, and then the library runs.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use pubsub_server::cli::{Cli, Command, SourceArgs, token};
use pubsub_server::config::{self, Config, LogFormat, LogLevel, Problems};
use pubsub_server::metrics::process::heap_counted_by;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Gives memory back after a storm, which the system's allocator does not; its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What was asked for cannot be done as it stands; clap ends with the same code.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    heap_counted_by(allocated_bytes);
    let cli = Cli::from_process();
    match cli.command {
        None => run(&cli.sources),
        Some(Command::Checkconfig { file, sources }) => {
            check(&SourceArgs { config: file.or(sources.config), ..sources })
        }
        Some(Command::Defaultconfig { format }) => print(&config::default_config(format)),
        Some(Command::Configdoc) => print(&config::markdown()),
        Some(Command::Gentoken(arguments)) => {
            answer(arguments.sources.load(), |config| token::connection(&arguments, config, now()))
        }
        Some(Command::Gensubtoken(arguments)) => {
            answer(arguments.sources.load(), |config| token::subscription(&arguments, config, now()))
        }
    }
}

/// What jemalloc has handed out. It sums up its counts only when asked to.
fn allocated_bytes() -> Option<u64> {
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    tikv_jemalloc_ctl::stats::allocated::read().ok().map(|bytes| bytes as u64)
}

fn run(sources: &SourceArgs) -> ExitCode {
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    if let Err(error) = start_log(&loaded.config) {
        return refuse(&error);
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for notice in &loaded.notices {
        tracing::info!("{notice}");
    }
    match pubsub_server::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pubsub-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(sources: &SourceArgs) -> ExitCode {
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    for notice in &loaded.notices {
        eprintln!("{notice}");
    }
    print("the configuration is good\n")
}

fn answer(loaded: Result<config::Loaded, Problems>, make: impl FnOnce(&Config) -> anyhow::Result<String>) -> ExitCode {
    match loaded {
        Err(problems) => refuse(&problems),
        Ok(loaded) => match make(&loaded.config) {
            Ok(token) => print(&format!("{token}\n")),
            Err(error) => refuse(&error),
        },
    }
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("pubsub-server: {error}");
    ExitCode::from(MISTAKE)
}

/// A reader that has gone away, as `head` does, is no mistake.
fn print(text: &str) -> ExitCode {
    match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => refuse(&error),
        _ => ExitCode::SUCCESS,
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn start_log(config: &Config) -> Result<(), String> {
    let level = match config.log.level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Fatal => LevelFilter::ERROR,
        LogLevel::None => LevelFilter::OFF,
    };
    let ansi = config.log.file.is_none() && io::stderr().is_terminal();
    let writer = match &config.log.file {
        None => BoxMakeWriter::new(io::stderr),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            BoxMakeWriter::new(file.map_err(|error| format!("log.file: {} cannot be opened: {error}", path.display()))?)
        }
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer).with_ansi(ansi);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
