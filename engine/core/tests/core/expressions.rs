//! Expressions: what they may say, what is refused and where, and what they answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::expr::{About, Expression, Facts, TargetView};
use flyball_core::id::SignalId;
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::Timestamp;

fn cart() -> Workload {
    Workload::new(WorkloadKind::Deployment, "shop", "cart")
}

fn signal(kind: SignalKind) -> Signal {
    Signal {
        id: SignalId("s1".into()),
        kind,
        subject: cart(),
        service: "cart".into(),
        pod: None,
        window_id: "w1".into(),
        observed_at: "2026-01-10T10:00:00Z".parse().unwrap(),
        expires_at: None,
        trace: TraceContext::default(),
        sequence: 7,
    }
}

fn latency() -> Signal {
    signal(SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 0.93, kind: AnomalyKind::Latency }))
}

fn leak() -> Signal {
    let cause = |word: &str, probability| RankedCause { target: cart(), cause: word.into(), probability };
    signal(SignalKind::Rca(Rca { causes: vec![cause("memory_leak", 0.9), cause("gc", 0.2)], confidence: 0.8 }))
}

fn view(desired: i32) -> TargetView {
    let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
    TargetView { workload: cart(), desired, updated: 2, ready: 1, available: 1, labels: Arc::new(labels) }
}

fn about(signal: &Signal) -> About {
    if matches!(signal.kind, SignalKind::Rca(_)) { About::Rca } else { About::Anomaly }
}

/// What the expression answers: `true`, `false` or why not.
fn answer(text: &str, signal: &Signal, target: Option<&TargetView>) -> String {
    let expression = Expression::read(text, about(signal)).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
    let cause = if let SignalKind::Rca(rca) = &signal.kind { rca.causes.first() } else { None };
    let now: Timestamp = "2026-01-10T10:02:00Z".parse().unwrap();
    let holds = expression.holds(&Facts { signal, cause, target, now });
    holds.map_or_else(|error| error.to_string(), |it| it.to_string())
}

#[test]
fn an_expression_answers() {
    let target = view(3);
    for (text, signal, expected) in [
        ("signal.score >= 0.9 && signal.type == 'latency'", latency(), "true"),
        ("signal.score > 1", latency(), "false"),
        ("signal.namespace in ['shop', 'erp'] && signal.service.startsWith('ca')", latency(), "true"),
        ("signal.service.matches('^c.rt$')", latency(), "true"),
        ("matches(signal.service, '[0-9]')", latency(), "false"),
        ("target.replicas.desired < 8", latency(), "true"),
        ("target.replicas.ready + 1 < target.replicas.desired", latency(), "true"),
        ("target.labels['tier'] == 'web' && target.labels.tier != 'db'", latency(), "true"),
        ("'tier' in target.labels && !('team' in target.labels)", latency(), "true"),
        ("has(target.labels.team)", latency(), "false"),
        ("size(target.labels) == 1", latency(), "true"),
        ("now - signal.observedAt > duration('90s')", latency(), "true"),
        ("now.getHours('Europe/Berlin') == 11", latency(), "true"),
        ("has(signal.pod)", latency(), "false"),
        ("cause == null", latency(), "true"),
        ("cause.cause == 'memory_leak' && cause.probability > 0.5", leak(), "true"),
        ("signal.causes.exists(c, c.cause == 'gc' && c.probability < 0.5)", leak(), "true"),
        ("signal.causes.all(c, c.probability > 0.5)", leak(), "false"),
        ("signal.confidence >= 0.8 ? signal.causes.size() == 2 : false", leak(), "true"),
        // What an expression binds hides what has the same name.
        ("[{'size': 1}].exists(cause, cause.size == 1)", latency(), "true"),
        ("true && !(signal.service.matches('^b') || false)", latency(), "true"),
    ] {
        assert_eq!(answer(text, &signal, Some(&target)), expected, "{text}");
    }
}

#[test]
fn every_field_is_what_it_is_called() {
    let target = TargetView { updated: 4, available: 2, ..view(3) };
    let pod = |signal: Signal| Signal { pod: Some("cart-1".into()), ..signal };
    for (text, signal) in [
        ("signal.id == 's1' && signal.kind == 'anomaly'", latency()),
        ("signal.namespace == 'shop' && signal.name == 'cart' && signal.workloadKind == 'Deployment'", latency()),
        ("signal.windowId == 'w1' && signal.isAnomaly", latency()),
        ("signal.pod == 'cart-1'", pod(latency())),
        ("signal.kind == 'rca' && cause.name == 'cart' && cause.namespace == 'shop'", leak()),
        ("target.kind == 'Deployment' && target.name == 'cart' && target.namespace == 'shop'", latency()),
        ("target.replicas.desired == 3 && target.replicas.updated == 4", latency()),
        ("target.replicas.ready == 1 && target.replicas.available == 2", latency()),
    ] {
        assert_eq!(answer(text, &signal, Some(&target)), "true", "{text}");
    }
}

#[test]
fn an_expression_is_its_text() {
    let read = |text: &str| Expression::read(text, About::Anomaly).unwrap();
    assert_eq!(read("signal.score > 0.5"), read("signal.score > 0.5"));
    assert_ne!(read("signal.score > 0.5"), read("signal.score > 0.50"));
    assert_eq!(format!("{:?}", read("signal.isAnomaly")), "Expression(\"signal.isAnomaly\")");
}

#[test]
fn what_is_not_known_is_null_and_asking_it_is_an_error() {
    assert_eq!(answer("target == null", &latency(), None), "true");
    assert_eq!(answer("target == null || target.replicas.desired < 8", &latency(), None), "true");
    let why = answer("target.replicas.desired < 8", &latency(), None);
    assert!(why.contains("null"), "{why}");
    let why = answer("target.labels['team'] == 'a'", &latency(), Some(&view(3)));
    assert!(why.contains("team"), "{why}");
}

#[test]
fn an_expression_that_means_nothing_is_refused_with_its_place() {
    for (text, kind, place, message, hint) in [
        ("signal.scor > 1", latency(), "signal.scor", "there is no field `scor`", "did you mean `score`?"),
        ("sinal.score > 1.0", latency(), "sinal", "there is no `sinal` here", "did you mean `signal`?"),
        ("signal.confidence > 0.5", latency(), "signal.confidence", "is a field of an rca", "one of id"),
        ("signal.type == 'error'", leak(), "signal.type", "is a field of an anomaly", ""),
        ("target.replica.desired > 1", latency(), "target.replica", "no field `replica`", "did you mean `replicas`?"),
        ("target.replicas.wanted > 1", latency(), "wanted", "no field `wanted`", ""),
        ("true || signal.score > 'high'", latency(), "signal.score > 'high'", "no matching overload", "doubles"),
        ("signal.score + 1 > 2", latency(), "", "Unsupported binary operator", "double(x)"),
        ("(true || signal.score > 'a') ? true : false", latency(), "signal.score > 'a'", "no matching overload", ""),
        ("true ? true : signal.score > 'a'", latency(), "signal.score > 'a'", "no matching overload", ""),
        ("false ? true && signal.score : true", latency(), "signal.score", "not true or false", ""),
        ("signal.causes.exists(c, d.cause == 'gc')", leak(), "d", "there is no `d` here", "one of signal"),
        ("now.year > 1", latency(), "now.year > 1", "no matching overload", ""),
        ("signal.score", latency(), "signal.score", "not true or false", ""),
        ("signal.score > nope(1)", latency(), "", "nope", ""),
        ("signal.score >", latency(), "", "", "docs/policies.md"),
        ("", latency(), "", "", ""),
        ("signal.service.matches('a' + 'b')", latency(), "'a' + 'b'", "needs a pattern in quotes", ""),
        ("signal.service.matches('(')", latency(), "'('", "this is no pattern", ""),
        ("true && !signal.service.matches('(')", latency(), "'('", "this is no pattern", ""),
        ("signal.service.matches('(a{1,500}){1,500}')", latency(), "", "this is no pattern", "modest size"),
    ] {
        let wrong = Expression::read(text, about(&kind)).expect_err(text);
        assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        assert!(wrong.hint.contains(hint), "{text}: {wrong:?}");
        let found = &text[wrong.at.clone()];
        assert!(place.is_empty() || found.contains(place), "{text}: `{found}` of {wrong:?}");
    }
}

#[test]
fn what_the_parser_stumbles_on_is_shown_to_the_letter() {
    for (text, before, found) in [
        ("true && ~ true", "true && ", "~"),
        ("true &&\n  true ~ true", "true &&\n  true ", "~"),
        ("true &&\n  true &&\n)", "true &&\n  true &&\n", ")"),
        ("true &&\n  true &&", "true &&\n  true &&", ""),
        ("'größe€' ~ 'größe€'", "'größe€' ", "~"),
        ("'€' == 'ß' &&\n  '€' ~ 'ß'", "'€' == 'ß' &&\n  '€' ", "~"),
        ("true && €", "true && ", "€"),
        ("'größe€' == nothing && true", "'größe€' == ", "nothing"),
        ("true && signal.score > '€' && true", "true && ", "signal.score > '€'"),
    ] {
        let wrong = Expression::read(text, About::Anomaly).expect_err(text);
        assert_eq!((&text[..wrong.at.start], &text[wrong.at.clone()]), (before, found), "{text}");
    }
}

/// An unoptimised build needs more stack for the longest chain than a test has; a release needs a fifth of a worker's.
#[test]
fn what_is_just_short_and_shallow_enough_is_read() {
    let roomy = std::thread::Builder::new().stack_size(16 << 20);
    roomy.spawn(the_most_is_read_and_one_more_is_not).unwrap().join().unwrap();
}

fn the_most_is_read_and_one_more_is_not() {
    let operators = |all: usize| format!("1{} > 2", "+1".repeat(all - 1));
    let nested = |deep: usize| format!("{}1 != 2{}", "(".repeat(deep), ")".repeat(deep));
    let steps = |more: usize| {
        let (outer, list) = (vec!["1"; 43].join(","), vec!["1"; more].join(","));
        format!("[{outer}].all(a, signal.causes.all(b, b == b)) && [{list}].size() > 0")
    };
    for (most, over, at, message) in [
        (format!("{:2048}", "true"), format!("{:2049}", "true"), None, "2049 bytes, more than the 2048"),
        (operators(128), operators(129), Some(258..259), "more than 128 operators"),
        (nested(24), nested(25), Some(24..25), "nested more than 24 deep"),
        ("!".repeat(24) + "true", "!".repeat(25) + "true", Some(24..25), "nested more than 24 deep"),
        (steps(297), steps(298), None, "20001 steps, more than the 20000"),
    ] {
        Expression::read(&most, About::Rca).unwrap_or_else(|wrong| panic!("{most}: {wrong:?}"));
        let wrong = Expression::read(&over, About::Rca).expect_err(&over);
        assert!(wrong.message.contains(message), "{over}: {wrong:?}");
        assert!(at.is_none_or(|at| wrong.at == at), "{over}: {wrong:?}");
    }
    // What is closed nests nothing, and what was negated before neither.
    assert_eq!(answer(&["!(true)"; 32].join(" && "), &latency(), None), "false");
    assert_eq!(answer(&["!false"; 32].join(" && "), &latency(), None), "true");
}

#[test]
fn what_would_cost_too_much_is_refused() {
    let nested = "signal.causes.all(a, signal.causes.all(b, signal.causes.all(c, a == b && b == c)))";
    let many = ["signal.causes.all(a, signal.causes.all(b, a == b))"; 8].join(" && ");
    for (text, message) in [
        (nested.to_owned(), "inside each other"),
        (many, "steps, more than"),
        ("(".repeat(10_000), "bytes, more than"),
        ("(".repeat(1_000), "nested more than"),
        ("!".repeat(1_000), "nested more than"),
        ("- ".repeat(1_000), "nested more than"),
        (format!("{}1{}", "[".repeat(100), "]".repeat(100)), "nested more than"),
    ] {
        let wrong = Expression::read(&text, About::Rca).expect_err(&text);
        assert!(wrong.message.contains(message), "{wrong:?}");
    }
}

/// The longest chains that are read, on a stack as small as a worker's.
#[test]
fn the_longest_chain_needs_no_more_stack_than_a_worker_has() {
    for text in [
        format!("signal.score > 1.0{}", " && true".repeat(250)),
        format!("1{} > 2", "+1".repeat(1_000)),
        format!("{} == 'b'", ["signal.service"; 1].concat() + &".a".repeat(1_000)),
        format!("signal.score > 1.0{}", " ? true : false".repeat(24)),
        "true||".repeat(341) + "true",
    ] {
        let read = std::thread::Builder::new().stack_size(2 << 20);
        // What is read or refused does not matter here: that it ends does.
        let ended = read.spawn(move || drop(Expression::read(&text, About::Anomaly))).unwrap().join();
        assert!(ended.is_ok());
    }
}
