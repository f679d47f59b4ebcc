//! The one line in which a process writes what decides: admissions, deferrals, pauses. Compare-and-append on the ledger is
//! the point where guardrails hold over all replicas; who loses the compare looks again.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use flyball_core::action::ActionRequest;
use flyball_core::deny::DenyReason;
use flyball_core::guardrail::{Admitted, Objections, Verdict};
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::intent::Writer;
use flyball_core::policy::PolicySet;
use flyball_core::ports::{AppendError, Write};
use flyball_core::record::{Admission, Record, Topic};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Mutex as Line, oneshot};

use crate::ledger::Book;

/// Lost compares in a row before a request is deferred: by then others admit faster than this replica can look.
const LOSSES: u32 = 8;
/// Admissions in one entry: it stays far below a message's size (1 MiB) with the largest template (some 20 KiB each).
const BATCH: usize = 32;

/// What became of a request at the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Admittance {
    /// It is an intent now.
    Recorded(IntentId),
    /// It has to wait.
    Deferred(Objections),
    /// It was denied on the last look.
    Denied(Objections),
}

struct Ask {
    admitted: Admitted,
    policies: Arc<PolicySet>,
    answer: oneshot::Sender<Admittance>,
}

/// The line.
pub struct Admitter {
    book: Arc<Book>,
    cluster: Arc<str>,
    writer: Writer,
    asked: Mutex<Vec<Ask>>,
    line: Line<()>,
}

impl Admitter {
    /// An admitter for one cluster; `writer` signs what it admits.
    pub fn new(book: Arc<Book>, cluster: Arc<str>, writer: Writer) -> Self {
        Self { book, cluster, writer, asked: Mutex::default(), line: Line::new(()) }
    }

    /// Who signs.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Records an admission, or says why not after all. Whoever comes to the head of the line takes all that stand in it.
    pub async fn admit(&self, admitted: Admitted, policies: Arc<PolicySet>) -> Admittance {
        let (answer, mut answered) = oneshot::channel();
        let request = admitted.request().clone();
        self.asked().push(Ask { admitted, policies, answer });
        let _head = self.line.lock().await;
        loop {
            match answered.try_recv() {
                Ok(admittance) => return admittance,
                Err(TryRecvError::Empty) => {}
                // Whoever stood at the head for us was cut off: what became of the append is on the ledger.
                Err(TryRecvError::Closed) => return self.cut_off(request),
            }
            let batch: Vec<Ask> = {
                let mut asked = self.asked();
                asked.sort_by_key(|ask| Reverse(ask.admitted.request().priority));
                let size = asked.len().min(BATCH);
                asked.drain(..size).collect()
            };
            self.record(batch).await;
        }
    }

    fn cut_off(&self, request: ActionRequest) -> Admittance {
        let id = request.id(&self.cluster);
        if self.book.history().knows(id) {
            return Admittance::Recorded(id);
        }
        let reasons = vec![DenyReason::StateUnavailable { detail: "the admission was cut off".to_owned() }];
        Admittance::Deferred(Objections { request, reasons })
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<Ask>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn record(&self, mut batch: Vec<Ask>) {
        for loss in 0.. {
            batch = self.screened(batch, loss);
            if batch.is_empty() {
                return;
            }
            let (expect, admissions) = {
                let history = self.book.history();
                let ids: Vec<IntentId> = batch.iter().map(|ask| self.id(ask)).collect();
                let held: Vec<Admission> = history.reserved().filter(|it| ids.contains(&it.id)).cloned().collect();
                (history.admit_head(), held)
            };
            let write = Write { topic: Topic::Admit, expect: Some(expect), record: Record::Admitted(admissions) };
            match self.book.append(write).await {
                Ok(_) => {}
                Err(AppendError::Lost) => self.book.catch_up(Topic::Admit, expect.revision).await,
                Err(error) => {
                    tracing::warn!(%error, "Settling an unanswered admission");
                    self.book.settle(Topic::Admit, expect).await;
                }
            }
            batch = self.answered(batch);
        }
    }

    fn id(&self, ask: &Ask) -> IntentId {
        ask.admitted.request().id(&self.cluster)
    }

    /// Screens each against the fold with the places of those before it held, and answers those that do not pass.
    fn screened(&self, batch: Vec<Ask>, losses: u32) -> Vec<Ask> {
        let now = self.book.now();
        let mut history = self.book.history_mut();
        let mut passed = Vec::new();
        for ask in batch {
            let intent = self.id(&ask);
            if history.knows(intent) {
                let (request, reasons) = (ask.admitted.request().clone(), vec![DenyReason::DuplicateSignal { intent }]);
                answer(ask, Admittance::Denied(Objections { request, reasons }));
                continue;
            }
            let verdict = ask.admitted.still_clear(&history, &ask.policies.guardrails, now);
            match verdict {
                Verdict::Pass(()) if losses < LOSSES => {
                    history.reserve(self.admission(&ask));
                    passed.push(ask);
                }
                Verdict::Pass(()) => {
                    let detail = format!("{LOSSES} lost compares in a row at the ledger");
                    let reasons = vec![DenyReason::StateUnavailable { detail }];
                    let request = ask.admitted.request().clone();
                    answer(ask, Admittance::Deferred(Objections { request, reasons }));
                }
                Verdict::Defer(objections) => answer(ask, Admittance::Deferred(objections)),
                Verdict::Deny(objections) => answer(ask, Admittance::Denied(objections)),
            }
        }
        passed
    }

    fn admission(&self, ask: &Ask) -> Admission {
        Admission {
            id: self.id(ask),
            request: ask.admitted.request().clone(),
            change: ask.admitted.change().clone(),
            adds: ask.admitted.adds(),
            writer: self.writer.clone(),
        }
    }

    /// Answers those that the fold now knows as ours; the others give their places back and go round again.
    fn answered(&self, batch: Vec<Ask>) -> Vec<Ask> {
        let mut history = self.book.history_mut();
        let mut again = Vec::new();
        for ask in batch {
            let id = self.id(&ask);
            if history.intent(id).is_some_and(|it| it.writer().process == self.writer.process) {
                answer(ask, Admittance::Recorded(id));
            } else {
                history.unreserve(id);
                again.push(ask);
            }
        }
        again
    }

    /// Writes an entry that decides but is no admission. `make` sees the fold that the entry is compared with, and may find
    /// that nothing is to be written any more.
    pub async fn write(&self, make: impl Fn(&History) -> Option<Record> + Send) -> bool {
        let _head = self.line.lock().await;
        loop {
            let (expect, record) = {
                let history = self.book.history();
                (history.admit_head(), make(&history))
            };
            let Some(record) = record else { return false };
            match self.book.append(Write { topic: Topic::Admit, expect: Some(expect), record }).await {
                Ok(_) => return true,
                Err(AppendError::Lost) => self.book.catch_up(Topic::Admit, expect.revision).await,
                Err(error) => {
                    tracing::warn!(%error, "Settling an unanswered entry");
                    self.book.settle(Topic::Admit, expect).await;
                }
            }
        }
    }
}

fn answer(ask: Ask, admittance: Admittance) {
    // A caller that went away is driven by the ledger all the same.
    let _ = ask.answer.send(admittance);
}
