//! Servers that others have made, as Debian packages them, each configured as its manual says for this kind of work; and one
//! that anybody would write in an afternoon.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::peer::{CommandOn, Peer};
use super::process::free_port;
use super::words::Words;

/// Those that are installed here, and the names of those that are not.
///
/// # Errors
/// When this program can not find itself.
pub fn all() -> anyhow::Result<(Vec<Peer>, Vec<&'static str>)> {
    let mut found = vec![naive()?];
    let mut missing = Vec::new();
    for (package, peer) in
        [("nats-server", nats()), ("nginx with libnginx-mod-nchan", nchan()), ("mosquitto", mosquitto())]
    {
        match peer {
            Some(peer) => found.push(peer),
            None => missing.push(package),
        }
    }
    Ok((found, missing))
}

/// axum and a `broadcast` channel: this program, asked to be such a server.
fn naive() -> anyhow::Result<Peer> {
    let program = std::env::current_exe()?;
    let version = "axum 0.8, one broadcast channel of tokio for each topic, no settings; so Nagle's algorithm is on, as nowhere else here".to_owned();
    let command: CommandOn = Box::new(move |port, _| Ok((program.clone(), vec!["naive".to_owned(), port.to_string()])));
    Ok(Peer::new("naive axum", version, Words::Raw, "/", command))
}

fn nats() -> Option<Peer> {
    let program = which("nats-server")?;
    let version = first_line(Command::new(&program).arg("--version"));
    let command: CommandOn = Box::new(move |port, folder| {
        let config = format!(
            "listen: 127.0.0.1:-1\nmax_pending: 256MB\n\
             websocket {{ listen: \"127.0.0.1:{port}\", no_tls: true, compression: false }}\n"
        );
        Ok((program.clone(), vec!["-c".to_owned(), written(folder, "nats.conf", &config)?]))
    });
    Some(Peer::new("nats-server", version, Words::Nats, "/", command))
}

fn nchan() -> Option<Peer> {
    let program = which("nginx")?;
    let module = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
    if !module.is_file() {
        return None;
    }
    let version = format!("{}, one worker", package_version("libnginx-mod-nchan"));
    let command: CommandOn = Box::new(move |port, folder| {
        let (module, folder_shown) = (module.display(), folder.display());
        // Whoever may change its user starts as one who can not write into our folder.
        let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let config = format!(
            "{user}load_module {module};\ndaemon off;\npid {folder_shown}/pid;\nerror_log /dev/null crit;\n\
             worker_processes 1;\nworker_rlimit_nofile 20000;\n\
             events {{ worker_connections 19900; multi_accept on; }}\n\
             http {{ access_log off; client_body_temp_path {folder_shown}/body; proxy_temp_path {folder_shown}/proxy; \
             fastcgi_temp_path {folder_shown}/fastcgi; uwsgi_temp_path {folder_shown}/uwsgi; scgi_temp_path {folder_shown}/scgi; \
             nchan_shared_memory_size 512M; keepalive_requests 100000000; keepalive_timeout 3600;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096;\n\
             location ~ ^/sub/(\\w+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; \
             nchan_subscriber_first_message newest; }}\n\
             location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 2000; \
             nchan_message_timeout 20s; }}\n}} }}\n"
        );
        let prefix = vec!["-p".to_owned(), folder.display().to_string(), "-e".to_owned(), "/dev/null".to_owned()];
        let file = vec!["-c".to_owned(), written(folder, "nginx.conf", &config)?];
        Ok((program.clone(), [prefix, file].concat()))
    });
    Some(Peer::new("nginx with nchan", version, Words::Nchan, "/sub/{c}", command))
}

fn mosquitto() -> Option<Peer> {
    let program = which("mosquitto")?;
    let version = format!("{}, no persistence, QoS 0", package_version("mosquitto"));
    let command: CommandOn = Box::new(move |port, folder| {
        // It does not start with WebSocket alone.
        let plain = free_port()?;
        let local = Ipv4Addr::LOCALHOST;
        let config = format!(
            "per_listener_settings false\nallow_anonymous true\npersistence false\nuser root\nlog_dest none\n\
             max_queued_messages 0\nmax_queued_bytes 0\nsys_interval 0\nset_tcp_nodelay true\n\
             listener {plain} {local}\nlistener {port} {local}\nprotocol websockets\nsocket_domain ipv4\n"
        );
        Ok((program.clone(), vec!["-c".to_owned(), written(folder, "mosquitto.conf", &config)?]))
    });
    Some(Peer::new("mosquitto", version, Words::Mqtt, "/mqtt", command))
}

fn written(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let file = folder.join(name);
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn package_version(package: &str) -> String {
    first_line(Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]))
}

fn first_line(command: &mut Command) -> String {
    let output =
        command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().next().unwrap_or("unknown").to_owned()
}
