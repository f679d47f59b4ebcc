//! The high-water mark in a ConfigMap of a real API server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flyball::cluster::Observer;
use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor as _, PortError};
use serde_json::{Value, json};

use crate::bed::{Bed, connect};

fn mark(newest: u64) -> Mark {
    Mark {
        ledger: "FLYBALL_LEDGER_x of today".into(),
        newest: Head { revision: Revision(newest), sum: Sum::of(&[b"an entry"]) },
    }
}

/// A cluster name that no other test has: the mark lies in the namespace of the kubeconfig's context.
fn cluster(bed: &Bed) -> String {
    format!("marks-{}", bed.namespace)
}

fn path(bed: &Bed) -> String {
    format!("/api/v1/namespaces/default/configmaps/flyball-{}", cluster(bed))
}

/// Keeps the calls that it hears of.
#[derive(Default)]
struct Heard(Mutex<Vec<(&'static str, &'static str, String)>>);

impl Observer for Heard {
    fn call(
        &self,
        verb: &'static str,
        resource: &'static str,
        _: &str,
        outcome: Result<u16, &str>,
        _: SystemTime,
        _: Duration,
    ) {
        let outcome = outcome.map_or_else(str::to_owned, |status| status.to_string());
        self.0.lock().unwrap().push((verb, resource, outcome));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_is_made_raised_and_compared() {
    let Some(bed) = Bed::new("mark").await else { return };
    let heard = Arc::new(Heard::default());
    let (kube, watches) = connect(bed.dev.kubeconfig(), heard.clone()).await;
    let (one, two) = (kube.anchor(&cluster(&bed)), kube.anchor(&cluster(&bed)));
    assert_eq!(one.read().await.unwrap(), None);
    assert!(!one.write(Some(mark(1)), mark(2)).await.unwrap(), "there is none to be replaced");
    assert!(one.write(None, mark(1)).await.unwrap());
    assert_eq!(two.read().await.unwrap(), Some(mark(1)));
    assert!(!two.write(None, mark(9)).await.unwrap(), "somebody was faster");
    assert!(two.write(Some(mark(1)), mark(2)).await.unwrap());
    assert!(!one.write(Some(mark(1)), mark(3)).await.unwrap(), "it was read before it was raised");
    assert_eq!(one.read().await.unwrap(), Some(mark(2)));
    // Other people's keys and labels stay.
    let theirs = json!({"metadata": {"labels": {"team": "sre"}}, "data": {"note": "theirs"}});
    bed.dev.api().patch(&path(&bed), &theirs).unwrap().ok().unwrap();
    assert!(one.write(Some(mark(2)), mark(3)).await.unwrap());
    let stored = bed.stored(&path(&bed));
    assert_eq!((&stored["data"]["note"], &stored["metadata"]["labels"]["team"]), (&json!("theirs"), &json!("sre")));
    assert_eq!((&stored["data"]["ledger"], &stored["data"]["newest"]), (&json!(&*mark(3).ledger), &json!("3")));
    // Every call was counted, as all calls are.
    let heard = heard.0.lock().unwrap().clone();
    let of = |verb: &str, outcome: &str| {
        heard.iter().filter(|it| it.0 == verb && it.1 == "configmaps" && it.2 == outcome).count()
    };
    assert_eq!((of("create", "201"), of("update", "200")), (1, 2), "{heard:?}");
    assert!(of("get", "200") > 4 && of("get", "404") >= 2, "{heard:?}");
    watches.abort();
}

/// Of many that raise the same mark one does, and no raise is lost: it is never lower than the highest that was told to be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_is_never_lowered_by_a_race() {
    let Some(bed) = Bed::new("race").await else { return };
    let anchor = Arc::new(bed.kube.anchor(&cluster(&bed)));
    assert!(anchor.write(None, mark(0)).await.unwrap());
    let raising = (1..=12_u64).map(|newest| {
        let anchor = anchor.clone();
        tokio::spawn(async move {
            loop {
                let before = anchor.read().await.unwrap();
                if before.as_ref().is_some_and(|it| it.newest.revision.0 >= newest) {
                    return;
                }
                if anchor.write(before, mark(newest)).await.unwrap() {
                    return;
                }
            }
        })
    });
    for raised in raising.collect::<Vec<_>>() {
        raised.await.unwrap();
    }
    assert_eq!(anchor.read().await.unwrap(), Some(mark(12)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_cannot_be_read_is_not_an_absent_one() {
    let Some(bed) = Bed::new("blank").await else { return };
    let anchor = bed.kube.anchor(&cluster(&bed));
    assert!(anchor.write(None, mark(5)).await.unwrap());
    let garbled: Value = json!({"data": {"newest": "five"}});
    bed.dev.api().patch(&path(&bed), &garbled).unwrap().ok().unwrap();
    for told in [anchor.read().await.map(drop), anchor.write(None, mark(6)).await.map(drop)] {
        let Err(PortError::Unavailable(why)) = told else { panic!("{told:?}") };
        assert!(why.contains("no high-water mark that can be read") && why.contains(&cluster(&bed)), "{why}");
    }
    let (kube, watches) = connect(crate::rights::account(&bed, &json!([])), Arc::new(())).await;
    match kube.anchor(&cluster(&bed)).read().await {
        Err(PortError::Forbidden(why)) => assert!(why.contains("configmaps") && why.contains(&cluster(&bed)), "{why}"),
        other => panic!("{other:?}"),
    }
    watches.abort();
}
