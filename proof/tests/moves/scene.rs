//! Where a process dies: at a message on its wire to NATS, or when a file that it writes has changed so many times.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use flyball_proof::proxy::{Direction, Message, NatsAct, NatsProxy, Rule, Trigger};
use flyball_proof::rig::{Replica, SOON, shared_nats};
use futures::StreamExt;
use tempfile::TempDir;

use super::bed::{client, runtime};

/// Nobody listens there.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";
/// Cases at once: a part of each is waiting.
const JOBS: usize = 4;
/// Between two looks at a file that changes in each millisecond.
const GLANCE: Duration = Duration::from_micros(200);
/// Between two looks at whether it is dead.
const LOOK: Duration = Duration::from_millis(20);

/// What passes, or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The request that makes the new stream.
    Create,
    /// So many entries go up, to the new stream.
    Entry(usize),
    /// So many entries come down, from the old one.
    Delivery(usize),
    /// What closes the old stream for good, or says that the new one is whole.
    Update,
    /// The first append of an engine that works on the new stream.
    Own,
    /// The new file has changed so many times.
    File(usize),
    /// The high-water mark is another one.
    Mark,
}

/// How far the message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It never arrives.
    Seen,
    /// The server carries it out, and the process never hears of it.
    Done,
    /// The process is answered, and dies at once.
    Answered,
    /// It arrives when everything is over.
    Held,
}

/// Where and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point(pub(crate) What, pub(crate) How);

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.0, self.1)
    }
}

/// One case: a name of its own for the cluster, a wire, and a folder.
pub(crate) struct Scene {
    pub(crate) cluster: String,
    pub(crate) proxy: NatsProxy,
    pub(crate) folder: TempDir,
    /// Messages count from when it is set.
    pub(crate) armed: Arc<AtomicBool>,
}

/// What is held on the wire, and where its answer will go.
pub(crate) struct Late {
    trigger: Trigger,
    inbox: Arc<Mutex<Option<String>>>,
}

/// How the first process ended.
pub(crate) enum End {
    /// Killed at the point.
    Killed(Option<Late>),
    /// It came to its end before, with this code.
    Over(i32),
}

impl Scene {
    pub(crate) fn new() -> Result<Self> {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        Ok(Self {
            cluster: format!("m{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed)),
            proxy: NatsProxy::to(shared_nats().port())?,
            folder: TempDir::new()?,
            armed: Arc::new(AtomicBool::new(true)),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `flyball …` of this cluster, not started yet.
    pub(crate) fn process(&self, arguments: &[&str]) -> Arc<Replica> {
        let mut process = Replica::new("flyball", self.path("log"));
        let cluster = ["--cluster", &self.cluster];
        process.arguments = arguments.iter().chain(&cluster).map(Into::into).collect();
        Arc::new(process)
    }

    /// Puts a rule on the wire that kills the process there; then lets it `begin`, and waits for its end.
    pub(crate) fn dies(&self, process: &Arc<Replica>, point: Point, begin: impl FnOnce() -> Result<()>) -> Result<End> {
        let Point(what, how) = point;
        let (died, dead) = channel();
        let inbox: Arc<Mutex<Option<String>>> = Arc::default();
        let kill = {
            let (process, inbox, died) = (process.clone(), inbox.clone(), Mutex::new(died));
            move |message: &Message| {
                inbox.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&message.reply);
                process.kill();
                // The case may have given up by now.
                let _ = died.lock().unwrap_or_else(PoisonError::into_inner).send(());
            }
        };
        let nth = if let What::Entry(nth) | What::Delivery(nth) = what { nth } else { 1 };
        let (cluster, armed) = (self.cluster.clone(), self.armed.clone());
        let rule = Rule::on(move |it: &Message| armed.load(Ordering::SeqCst) && is_there(it, what, &cluster)).nth(nth);
        let rule = match how {
            How::Seen => rule.before(kill).act(NatsAct::Drop),
            How::Done => rule.before(kill).act(NatsAct::swallow_answer()),
            How::Answered => rule.after(kill).act(NatsAct::Answer(Box::new(NatsAct::Pass))),
            How::Held => rule.before(kill).act(NatsAct::Hold),
        };
        let trigger = self.proxy.add(rule);
        begin()?;
        let deadline = Instant::now() + SOON;
        while dead.recv_timeout(LOOK).is_err() {
            if let Ok(code) = process.exit_code() {
                return Ok(End::Over(code));
            }
            ensure!(Instant::now() < deadline, "nobody came to {point}: {}", process.said());
        }
        self.proxy.clear();
        Ok(End::Killed((how == How::Held).then_some(Late { trigger, inbox })))
    }

    /// Kills the process when what lies at `path` has changed so many times.
    pub(crate) fn dies_after(process: &Arc<Replica>, path: &Path, changes: usize) -> Result<End> {
        let mut seen = state(path);
        process.launch();
        let deadline = Instant::now() + SOON;
        for _ in 0..changes {
            while state(path) == seen {
                if let Ok(code) = process.exit_code() {
                    return Ok(End::Over(code));
                }
                ensure!(Instant::now() < deadline, "{} does not change: {}", path.display(), process.said());
                std::thread::park_timeout(GLANCE);
            }
            seen = state(path);
        }
        process.kill();
        Ok(End::Killed(None))
    }
}

fn state(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    fs::metadata(path).ok().map(|it| (it.len(), it.modified().ok()))
}

fn is_there(message: &Message, what: What, cluster: &str) -> bool {
    let up = message.direction == Direction::Up;
    let asks = |what: &str| up && message.subject == format!("$JS.API.STREAM.{what}.FLYBALL_LEDGER_{cluster}");
    let entry = message.subject.starts_with(&format!("flyball.ledger.{cluster}."));
    match what {
        What::Create => asks("CREATE"),
        What::Update => asks("UPDATE"),
        What::Entry(_) => up && entry,
        What::Delivery(_) => !up && entry,
        // What is copied from a file has no writer.
        What::Own => up && entry && String::from_utf8_lossy(&message.headers).contains("Flyball-Writer"),
        What::File(_) | What::Mark => false,
    }
}

impl Late {
    /// Lets it go, and waits for what the server says to it.
    pub(crate) fn arrives(&self) -> Result<String> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let inbox = inbox.context("it asks for an answer")?;
        runtime().block_on(async {
            let client = client().await?;
            let mut answers = client.subscribe(inbox).await?;
            client.flush().await?;
            self.trigger.release();
            let answer = tokio::time::timeout(SOON, answers.next()).await.context("no answer to what was held")?;
            Ok(String::from_utf8_lossy(&answer.context("an answer")?.payload).into_owned())
        })
    }
}

/// Runs it to its end: the code, and all that it says.
pub(crate) fn ends(process: &Replica) -> Result<(i32, String)> {
    let output = process.command().stdin(std::process::Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code().with_context(|| format!("it was ended by a signal: {said}"))?, said))
}

/// As [`ends`], and says what it has to.
pub(crate) fn says(process: &Replica, code: i32, words: &str) -> Result<()> {
    let (found, said) = ends(process)?;
    ensure!(found == code && said.contains(words), "code {found} instead of {code}, and {words:?} in: {said}");
    Ok(())
}

/// Runs all cases, some of them at once, prints what each came to, and fails with those that failed.
pub(crate) fn each(what: &str, cases: Vec<Point>, run: impl Fn(Point) -> Result<String> + Sync) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(cases));
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some(point) = next() {
                    match run(point) {
                        Ok(told) => println!("{what}, {point}: {told}"),
                        Err(error) => {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push(format!("{what}, {point}: {error:#}"));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("{}", failed.join("\n\n"));
    }
    Ok(())
}
