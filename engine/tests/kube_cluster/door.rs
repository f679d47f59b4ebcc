//! How often a request is made, and for how long it is waited for: against a server that does as it is told.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use flyball::cluster::{ConnectError, KubeCluster, Observer, Options};
use flyball_core::action::{Action, ActionRequest};
use flyball_core::intent::{Attempt, Execution};
use flyball_core::plan::{Change, Edit};
use flyball_core::ports::{Cluster as _, PortError};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::Timestamp;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{attempt_at, request};

/// What the server does with every request.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers with this status and these further headers.
    Says(&'static str, &'static str),
    /// Closes the connection.
    HangsUp,
    /// Takes the request and never answers.
    Sleeps,
}

type Heard = Arc<Mutex<Vec<String>>>;

/// Starts it; returns its address and the lines and headers that it heard.
async fn server(manner: Manner) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let log = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, log.clone()));
        }
    });
    (url, heard)
}

async fn serve(stream: TcpStream, manner: Manner, heard: Heard) {
    let mut stream = BufReader::new(stream);
    let (mut preamble, mut length) = (String::new(), 0);
    loop {
        let start = preamble.len();
        match stream.read_line(&mut preamble).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let line = preamble[start..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    heard.lock().unwrap().push(preamble);
    match manner {
        Manner::Says(status, headers) => {
            let body = r#"{"kind":"Status","message":"as told"}"#;
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Manner::HangsUp => {}
        Manner::Sleeps => std::future::pending().await,
    }
}

fn kubeconfig(url: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [{"name": "it", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    });
    file.write_all(text.to_string().as_bytes()).unwrap();
    file
}

/// Notes every call in a line.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn call(
        &self,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
        outcome: Result<u16, &str>,
        _: SystemTime,
        _: Duration,
    ) {
        let outcome = outcome.map_or_else(str::to_owned, |status| status.to_string());
        self.0.lock().unwrap().push(format!("{verb} {resource} {namespace} {outcome}"));
    }
}

async fn kube(url: &str) -> (KubeCluster, Arc<Notes>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (file, notes) = (kubeconfig(url), Arc::new(Notes::default()));
    let path = Some(file.path().to_owned());
    let options = Options { kubeconfig: path, observer: notes.clone(), ..Options::default() };
    (KubeCluster::connect(options).await.unwrap(), notes)
}

fn asked() -> ActionRequest {
    request(&Workload::new(WorkloadKind::Deployment, "shop", "cart"), Action::Restart)
}

fn some_attempt() -> Attempt {
    let apply = json!({"spec": {"replicas": 2}});
    let edit = Edit::Fields { summary: "replicas 1 -> 2".into(), apply, revert: None };
    let change = Change { uid: "u".into(), resource_version: "1".into(), generation: 1, base: "b".into(), edit };
    attempt_at(&asked(), change, Timestamp::now())
}

#[tokio::test]
async fn a_change_is_sent_once_whatever_comes_back() {
    for (manner, noted) in [
        (Manner::Says("503 Service Unavailable", "retry-after: 1\r\n"), "patch deployments shop 503"),
        (Manner::Says("504 Gateway Timeout", ""), "patch deployments shop 504"),
        (Manner::Says("500 Internal Server Error", ""), "patch deployments shop 500"),
        (Manner::HangsUp, "patch deployments shop transport"),
    ] {
        let (url, heard) = server(manner).await;
        let (kube, notes) = kube(&url).await;
        let sent = kube.execute(some_attempt()).await;
        assert!(matches!(sent, Execution::Unknown(_)), "{sent:?}");
        // A retry would be hidden inside the call, which has returned: nothing can follow.
        assert_eq!(heard.lock().unwrap().len(), 1, "{noted}");
        assert_eq!(*notes.0.lock().unwrap(), [noted]);
    }
    let (url, heard) = server(Manner::Says("429 Too Many Requests", "retry-after: 1\r\n")).await;
    let sent = kube(&url).await.0.execute(some_attempt()).await;
    assert_eq!(sent, Execution::Conflict("throttled: as told".into()));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1);
    let path = "PATCH /apis/apps/v1/namespaces/shop/deployments/cart?&fieldManager=flyball HTTP/1.1";
    assert!(heard[0].starts_with(path), "{}", heard[0]);
    let preamble = heard[0].to_ascii_lowercase();
    assert!(preamble.contains("content-type: application/merge-patch+json"), "{preamble}");
    assert!(preamble.contains(concat!("user-agent: flyball/", env!("CARGO_PKG_VERSION"))), "{preamble}");
}

#[tokio::test]
async fn a_read_is_tried_twice_at_the_servers_pace() {
    let (url, heard) = server(Manner::Says("429 Too Many Requests", "retry-after: 1\r\n")).await;
    let (kube, notes) = kube(&url).await;
    let began = Instant::now();
    let said = kube.ready().await;
    assert_eq!(said, Err(PortError::Unavailable("the API server answered 429: as told".into())));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(heard.lock().unwrap().len(), 2);
    assert_eq!(*notes.0.lock().unwrap(), ["get version  429", "get version  429"]);
    for (status, times) in [("503 Service Unavailable", 2), ("404 Not Found", 1), ("400 Bad Request", 1)] {
        let (url, heard) = server(Manner::Says(status, "")).await;
        kube_ready(&url).await.unwrap_err();
        assert_eq!(heard.lock().unwrap().len(), times, "{status}");
    }
}

async fn kube_ready(url: &str) -> Result<(), PortError> {
    kube(url).await.0.ready().await
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_longer_than_ten_seconds() {
    let (url, _) = server(Manner::Sleeps).await;
    let (kube, notes) = kube(&url).await;
    let said = format!("{url}/: no answer within 10 s");
    assert_eq!(kube.ready().await, Err(PortError::Unavailable(said.clone())));
    assert_eq!(kube.execute(some_attempt()).await, Execution::Unknown(said));
    assert_eq!(*notes.0.lock().unwrap(), ["get version  timeout", "patch deployments shop timeout"]);
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let url = format!("http://127.0.0.1:{}", flyball_devcluster::free_port());
    let (kube, notes) = kube(&url).await;
    let said = kube.ready().await.unwrap_err().to_string();
    assert!(said.starts_with(&url) && said.contains("refused"), "{said}");
    assert_eq!(*notes.0.lock().unwrap(), ["get version  connect", "get version  connect"]);
    assert!(matches!(kube.snapshot(&asked()).await, Err(PortError::Unavailable(_))));
    assert!(matches!(kube.execute(some_attempt()).await, Execution::Unknown(_)));
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_named() {
    let options = Options { kubeconfig: Some("/nowhere/config".into()), ..Options::default() };
    match KubeCluster::connect(options).await.err() {
        Some(error @ ConnectError::Kubeconfig { .. }) => {
            assert!(error.to_string().contains("/nowhere/config"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
