//! Configuration as written to configuration as meant. The only reader of files and environment: flags win over
//! `FLYBALL_…`, which wins over the file; the names are the same in all three.

mod origin;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Args, ValueEnum};
use flyball_core::workload::Workload;
use serde::Deserialize;

pub use origin::Origin;

use crate::intake::ForeignStream;
use crate::ledger::Retention;

/// Flags of `run` and `dev`. Every one can be given as `FLYBALL_…` or in the file, under the same name.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file (YAML) with the same names as the flags
    #[arg(long, value_name = "FILE", env = "FLYBALL_CONFIG")]
    pub config: Option<PathBuf>,
    /// NATS server, for signals and the ledger
    #[arg(long, value_name = "URL", env = "FLYBALL_NATS")]
    pub nats: Option<String>,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE", env = "FLYBALL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the ledger is kept: `nats`, or a file for a single replica
    #[arg(long, value_name = "nats|FILE", env = "FLYBALL_LEDGER")]
    pub ledger: Option<String>,
    /// How long the ledger keeps what nothing needs any more, at least 2d [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = Retention::parse, env = "FLYBALL_LEDGER_KEEP")]
    pub ledger_keep: Option<Retention>,
    /// File or directory of policies
    #[arg(long, value_name = "PATH", env = "FLYBALL_POLICIES")]
    pub policies: Option<PathBuf>,
    /// Name of the cluster, as in the signals' subjects [default: local]
    #[arg(long, value_name = "NAME", env = "FLYBALL_CLUSTER")]
    pub cluster: Option<String>,
    /// Stable name of this replica [default: the host's name]
    #[arg(long, value_name = "NAME", env = "FLYBALL_REPLICA")]
    pub replica: Option<String>,
    /// Namespace of signals that name none [default: default]
    #[arg(long, value_name = "NAME", env = "FLYBALL_NAMESPACE")]
    pub namespace: Option<String>,
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", env = "FLYBALL_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// File with the bearer token that changing calls need; required on any address but the loopback
    #[arg(long, value_name = "FILE", env = "FLYBALL_API_TOKEN_FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Ask for no token on any address
    #[arg(long, env = "FLYBALL_NO_AUTH")]
    pub no_auth: bool,
    /// Requests a second to the API server [default: 50]
    #[arg(long, value_name = "N", env = "FLYBALL_KUBE_QPS")]
    pub kube_qps: Option<NonZeroU32>,
    /// Form of the log [default: text]
    #[arg(long, value_enum, env = "FLYBALL_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, as in RUST_LOG [default: info]
    #[arg(long, value_name = "FILTER", env = "FLYBALL_LOG")]
    pub log: Option<String>,
    /// Print the configuration in force, and where each value came from, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// The file, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawFile {
    nats: Option<String>,
    kubeconfig: Option<PathBuf>,
    ledger: Option<String>,
    ledger_keep: Option<Retention>,
    policies: Option<PathBuf>,
    cluster: Option<String>,
    replica: Option<String>,
    namespace: Option<String>,
    listen: Option<SocketAddr>,
    api_token_file: Option<PathBuf>,
    no_auth: Option<bool>,
    kube_qps: Option<NonZeroU32>,
    log_format: Option<LogFormat>,
    log: Option<String>,
    #[serde(default)]
    services: BTreeMap<String, String>,
    #[serde(default)]
    signals: RawSignals,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignals {
    #[serde(default)]
    streams: Vec<ForeignStream>,
}

/// Where the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerPlace {
    /// A JetStream stream.
    Nats,
    /// One file, for one process.
    File(PathBuf),
}

/// Configuration as meant.
#[derive(Clone, Debug)]
pub struct Config {
    /// NATS server.
    pub nats: Option<String>,
    /// Kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// Where the ledger is kept, if it was said.
    pub ledger: Option<LedgerPlace>,
    /// How long the ledger keeps what nothing needs any more.
    pub ledger_keep: Retention,
    /// Policies.
    pub policies: Option<PathBuf>,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// This replica's name.
    pub replica: Arc<str>,
    /// Namespace of signals that name none.
    pub namespace: Arc<str>,
    /// Address of the API.
    pub listen: SocketAddr,
    /// Token file.
    pub api_token_file: Option<PathBuf>,
    /// No token asked for.
    pub no_auth: bool,
    /// Requests a second to the API server.
    pub kube_qps: NonZeroU32,
    /// Form of the log.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
    /// Services that are not named like their workload.
    pub services: BTreeMap<String, Workload>,
    /// Foreign streams.
    pub streams: Vec<ForeignStream>,
    origins: Vec<(&'static str, String, Origin)>,
}

impl Config {
    /// Merges flags, environment and file. `matches` tells flags from environment; `namespace` is the default of that name.
    ///
    /// # Errors
    /// What is wrong, with the file and line where it stands.
    pub fn load(args: &RunArgs, matches: &ArgMatches, namespace: &str) -> Result<Self> {
        let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let mut seen = origin::Ledger::new(matches);
        let host = host_name();
        let config = Self {
            nats: seen.optional("nats", args.nats.clone(), file.nats),
            kubeconfig: seen.optional_path("kubeconfig", args.kubeconfig.clone(), file.kubeconfig),
            ledger: seen.optional("ledger", args.ledger.clone(), file.ledger).map(|it| match it.as_str() {
                "nats" => LedgerPlace::Nats,
                path => LedgerPlace::File(path.strip_prefix("file:").unwrap_or(path).into()),
            }),
            ledger_keep: seen.value("ledger-keep", args.ledger_keep, file.ledger_keep, Retention::default()),
            policies: seen.optional_path("policies", args.policies.clone(), file.policies),
            cluster: seen.value("cluster", args.cluster.clone(), file.cluster, "local".to_owned()).into(),
            replica: seen.value("replica", args.replica.clone(), file.replica, host).into(),
            namespace: seen.value("namespace", args.namespace.clone(), file.namespace, namespace.to_owned()).into(),
            listen: seen.value("listen", args.listen, file.listen, SocketAddr::from(([127, 0, 0, 1], 8080))),
            api_token_file: seen.optional_path("api-token-file", args.api_token_file.clone(), file.api_token_file),
            no_auth: seen.value("no-auth", args.no_auth.then_some(true), file.no_auth, false),
            kube_qps: seen.value("kube-qps", args.kube_qps, file.kube_qps, NonZeroU32::MIN.saturating_add(49)),
            log_format: seen.named("log-format", args.log_format, file.log_format, LogFormat::Text),
            log: seen.value("log", args.log.clone(), file.log, "info".to_owned()),
            services: aliases(file.services)?,
            streams: file.signals.streams,
            origins: seen.into_rows(),
        };
        config.checked()
    }

    fn checked(self) -> Result<Self> {
        for (name, value) in [("cluster", &self.cluster), ("namespace", &self.namespace)] {
            ensure!(
                flyball_signals::names::is_label(value),
                "--{name} `{value}` is no DNS label (lower-case letters, digits, `-`)"
            );
        }
        for stream in &self.streams {
            if !["anomaly", "rca"].contains(&stream.kind.as_str()) {
                bail!("signals.streams: kind `{}` of stream {} is neither anomaly nor rca", stream.kind, stream.stream);
            }
        }
        Ok(self)
    }

    /// What is in force, and where each value came from. Passwords in addresses are masked.
    pub fn describe(&self) -> String {
        use std::fmt::Write;
        // Writing into a String cannot fail.
        let mut text = String::new();
        for (name, value, origin) in &self.origins {
            let _ = writeln!(text, "{:<40} # {origin}", format!("{name}: {}", mask(value)));
        }
        for (service, target) in &self.services {
            let _ = writeln!(text, "{:<40} # file", format!("services.{service}: {target}"));
        }
        text
    }
}

fn aliases(raw: BTreeMap<String, String>) -> Result<BTreeMap<String, Workload>> {
    raw.into_iter()
        .map(|(service, target)| {
            let target = target.parse().with_context(|| format!("services.{service}"))?;
            Ok((service, target))
        })
        .collect()
}

fn read_file(path: &Path) -> Result<RawFile> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading the configuration {}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("in the configuration {}:\n{error}", path.display()))
}

fn host_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    std::env::var("HOSTNAME").ok().or_else(|| name.ok()).map_or_else(|| "flyball".into(), |it| it.trim().to_owned())
}

/// Hides the user part of an address.
fn mask(value: &str) -> String {
    match (value.split_once("://"), value.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://****{}", &value[at..]),
        _ => value.to_owned(),
    }
}
