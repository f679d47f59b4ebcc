//! A nats-server with JetStream. It knows how one is started and when it answers, no subject and no stream.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::guardian::Guardian;
use crate::port::free_port;
use crate::process::{Program, Server};
use crate::tools::Tools;
use crate::wait::wait_while_alive;

/// It takes some 50 ms; the rest is for busy machines and long recoveries.
const START: Duration = Duration::from_secs(20);
const GREETING: Duration = Duration::from_secs(1);

/// Additions to the server's configuration, in its own language.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Lines for the `jetstream` block, for example `sync_interval: always`.
    pub jetstream: String,
    /// Lines for the top level, for example an `authorization` block.
    pub config: String,
}

/// One server. Port and store survive kills and restarts; both go when it is dropped.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    port: u16,
    folder: TempDir,
}

impl NatsServer {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(&NatsOptions::default())
    }

    /// Starts one with additions to its configuration and waits until it answers.
    pub fn start_with(options: &NatsOptions) -> Result<Self> {
        let tools = Tools::ensure()?;
        let folder =
            tempfile::Builder::new().prefix("flyball-nats-").tempdir().context("making a folder for nats-server")?;
        let guardian = Arc::new(Guardian::start(folder.path())?);
        let (port, at) = (free_port(), folder.path());
        let config = at.join("nats.conf");
        let text = format!(
            "server_name: devcluster-{port}\nlisten: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: {:?}\n{}\n}}\n{}\n",
            at.join("store").display().to_string(),
            options.jetstream,
            options.config
        );
        fs::write(&config, text).context("writing the configuration of nats-server")?;
        let program = Program {
            name: "nats-server".into(),
            path: tools.path("nats-server"),
            args: vec!["-c".into(), config.display().to_string()],
            log: at.join("nats.log"),
        };
        let nats = Self { server: Server::start(program, guardian)?, port, folder };
        nats.wait_ready()?;
        Ok(nats)
    }

    /// `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder JetStream keeps its streams in.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// What the server printed.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("nats.log")
    }

    /// The process: for its pid, and to hurt it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// SIGKILL: what was not synced to disk is still in the page cache, so this is a crash of the server, not of the machine.
    pub fn kill(&self) -> Result<()> {
        self.server.kill()
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn stop(&self) -> Result<()> {
        self.server.stop()
    }

    /// SIGCONT.
    pub fn cont(&self) -> Result<()> {
        self.server.cont()
    }

    /// SIGTERM: an orderly end.
    pub fn terminate(&self) -> Result<()> {
        self.server.terminate()
    }

    /// Starts it again on the same port and store, killing it first when it runs, and waits until it answers.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()?;
        self.wait_ready()
    }

    /// It greets a client only after JetStream has recovered its streams.
    fn wait_ready(&self) -> Result<()> {
        wait_while_alive(
            || self.server.ensure_running(),
            "nats-server to greet",
            START,
            || {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
                let socket = TcpStream::connect_timeout(&address, GREETING)?;
                socket.set_read_timeout(Some(GREETING))?;
                let mut greeting = String::new();
                BufReader::new(socket).read_line(&mut greeting)?;
                ensure!(greeting.starts_with("INFO {"), "it said {greeting:?}");
                Ok(())
            },
        )
    }
}
