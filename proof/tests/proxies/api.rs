//! The wire to the API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flyball_devcluster::{Answer, Cluster, Workload};
use flyball_proof::proxy::{ApiAct, ApiProxy, Call, Rule};
use flyball_proof::rig::SOON;
use serde_json::{Value, json};

struct Bed {
    proxy: ApiProxy,
    path: String,
    namespace: String,
}

/// A Deployment without pods behind a proxy of its own.
fn bed(test: &str) -> Bed {
    let cluster = Cluster::shared();
    let namespace = cluster.namespace(test).unwrap();
    let workload = Workload::new(&namespace, "cart").replicas(0);
    cluster.api().create(&workload.deployment()).unwrap();
    let proxy = ApiProxy::to(&cluster.kubeconfig()).unwrap();
    Bed { proxy, path: workload.path("deployments"), namespace }
}

impl Bed {
    async fn send(&self, client: &reqwest::Client, label: &str) -> reqwest::Result<(u16, Value)> {
        let body = json!({"metadata": {"labels": {"test": label}}});
        let request = client
            .patch(format!("{}{}", self.proxy.url(), self.path))
            .header("content-type", "application/merge-patch+json")
            .header("user-agent", "flyball/proxy-test")
            .timeout(Duration::from_secs(2));
        let answer = request.body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await?))
    }

    fn label(&self) -> Value {
        let object = Cluster::shared().api().get(&self.path).and_then(Answer::ok).unwrap();
        object["metadata"]["labels"]["test"].clone()
    }

    /// Patches of ours in the audit log.
    fn patches(&self) -> usize {
        let ours = |it: &flyball_devcluster::AuditEntry| {
            it.namespace == self.namespace && it.user_agent == "flyball/proxy-test" && it.verb == "patch"
        };
        Cluster::shared().audit().find(ours).unwrap().len()
    }
}

fn patch(it: &Call) -> bool {
    it.verb == "patch" && it.resource == "deployments" && it.name == "cart"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_keeps_its_agent() {
    let bed = bed("apipass");
    let client = reqwest::Client::new();
    let (status, object) = bed.send(&client, "one").await.unwrap();
    assert_eq!((status, &object["metadata"]["labels"]["test"]), (200, &json!("one")));
    assert_eq!(bed.patches(), 1);
    let read = client.get(format!("{}{}", bed.proxy.url(), bed.path)).send().await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap()["metadata"]["name"], "cart");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_come_before_and_after_forwarding() {
    let bed = bed("apianswer");
    let client = reqwest::Client::new();
    bed.proxy.add(Rule::on(patch).nth(1).act(ApiAct::Refuse { status: 429, retry_after: Some(7) }));
    bed.proxy.add(Rule::on(patch).nth(1).act(ApiAct::AnswerInstead(504)));
    assert_eq!(bed.send(&client, "before").await.unwrap().0, 429);
    assert_eq!((bed.patches(), bed.label()), (0, Value::Null));
    assert_eq!(bed.send(&client, "after").await.unwrap().0, 504);
    assert_eq!((bed.patches(), bed.label()), (1, json!("after")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_get_lost_in_every_way() {
    let bed = bed("apilost");
    let client = reqwest::Client::new();
    for (act, lands) in
        [(ApiAct::Reset, false), (ApiAct::Swallow, false), (ApiAct::DropAnswer, true), (ApiAct::SwallowAnswer, true)]
    {
        let before = bed.patches();
        let trigger = bed.proxy.add(Rule::on(patch).times(1).act(act));
        assert!(bed.send(&client, "lost").await.is_err());
        trigger.wait(1, SOON).unwrap();
        trigger.lift();
        assert_eq!(bed.patches() - before, usize::from(lands));
    }
    assert_eq!(bed.send(&client, "twice").await.unwrap().0, 200);
    let before = bed.patches();
    bed.proxy.add(Rule::on(patch).times(1).act(ApiAct::Twice));
    assert_eq!(bed.send(&client, "again").await.unwrap().0, 200);
    assert_eq!(bed.patches() - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_lands_after_its_sender_is_gone() {
    let bed = bed("apiheld");
    let client = reqwest::Client::new();
    let trigger = bed.proxy.add(Rule::on(patch).times(1).act(ApiAct::Hold));
    assert!(bed.send(&client, "late").await.is_err());
    drop(client);
    assert_eq!(bed.patches(), 0);
    trigger.release();
    trigger.wait(1, SOON).unwrap();
    assert_eq!((bed.patches(), bed.label()), (1, json!("late")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_object_is_served() {
    let bed = bed("apistale");
    let client = reqwest::Client::new();
    let old = Cluster::shared().api().get(&bed.path).and_then(Answer::ok).unwrap();
    bed.send(&client, "new").await.unwrap();
    bed.proxy
        .add(Rule::on(|it: &Call| it.verb == "get" && it.name == "cart").act(ApiAct::Serve(Arc::new(old.clone()))));
    let read = client.get(format!("{}{}", bed.proxy.url(), bed.path)).send().await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap(), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_expire_end_and_leave_events_out() {
    let bed = bed("apiwatch");
    let client = reqwest::Client::new();
    let watch = format!("{}/apis/apps/v1/namespaces/{}/deployments?watch=true", bed.proxy.url(), bed.namespace);
    let first = bed.proxy.add(Rule::on(|it: &Call| it.verb == "watch").act(ApiAct::WatchExpired));
    let text = client.get(&watch).send().await.unwrap().text().await.unwrap();
    let event: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    first.lift();
    let second =
        bed.proxy.add(Rule::on(|it: &Call| it.verb == "watch").act(ApiAct::WatchFor(Duration::from_millis(500))));
    let text = client.get(&watch).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"ADDED\"") && !text.contains("ERROR"), "{text}");
    second.lift();
    let stalled = Arc::new(AtomicBool::new(false));
    let flag = stalled.clone();
    let leave_out = move |_: &Value| flag.load(Ordering::SeqCst);
    bed.proxy.add(Rule::on(|it: &Call| it.verb == "watch").act(ApiAct::WatchWithout(Arc::new(leave_out))));
    let mut live = client.get(&watch).send().await.unwrap();
    assert!(String::from_utf8_lossy(&live.chunk().await.unwrap().unwrap()).contains("ADDED"));
    stalled.store(true, Ordering::SeqCst);
    bed.send(&client, "unseen").await.unwrap();
    // Anything but silence would be an event that should have been left out.
    let heard = tokio::time::timeout(Duration::from_millis(700), async {
        while live.chunk().await.unwrap().is_some_and(|it| it.is_empty()) {}
    });
    assert!(heard.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_between_the_servers_answer_and_ours() {
    let bed = Arc::new(bed("apicall"));
    let client = reqwest::Client::new();
    let seen: Arc<std::sync::Mutex<Vec<Value>>> = Arc::default();
    let note = || {
        let (seen, bed) = (seen.clone(), bed.clone());
        move |_: &Call| seen.lock().unwrap().push(bed.label())
    };
    bed.proxy.add(Rule::on(patch).before(note()).after(note()));
    bed.send(&client, "now").await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Value::Null, json!("now")]);
}
