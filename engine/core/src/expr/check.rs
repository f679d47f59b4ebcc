//! Whether an expression means something: CEL has no type checker, so names are looked up in the tree, and every condition is evaluated
//! once on facts that were made for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo, operators};
use jiff::Timestamp;

use super::facts::{Facts, TargetView};
use super::pattern::Pattern;
use super::{Unevaluated, Wrong, evaluate};
use crate::id::SignalId;
use crate::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use crate::workload::{Workload, WorkloadKind};

/// Which signals an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Anomalies.
    Anomaly,
    /// Root cause analyses.
    Rca,
}

const EVERY: [&str; 9] =
    ["id", "kind", "service", "namespace", "name", "workloadKind", "windowId", "observedAt", "pod"];
const ANOMALY: [&str; 3] = ["type", "score", "isAnomaly"];
const RCA: [&str; 2] = ["confidence", "causes"];
const CAUSE: [&str; 4] = ["cause", "probability", "name", "namespace"];
const TARGET: [&str; 5] = ["kind", "name", "namespace", "replicas", "labels"];
const REPLICAS: [&str; 4] = ["desired", "updated", "ready", "available"];
const NAMES: [&str; 4] = ["signal", "cause", "target", "now"];

/// The source, and where each node of the tree was in it.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) places: &'a SourceInfo,
}

impl Source<'_> {
    pub(super) fn wrong(&self, node: &IdedExpr, message: impl Into<String>, hint: impl Into<String>) -> Wrong {
        // Bytes, and each stop is a last one: of a quote, a bracket or a word, which are never longer than one.
        let byte = |at: u32| usize::try_from(at).map_or(self.text.len(), |at| at.min(self.text.len()));
        let (start, stop) = self.span(node).unwrap_or((0, 0));
        let at = byte(start)..byte(stop.saturating_add(1));
        Wrong { message: message.into(), hint: hint.into(), at }
    }

    /// A node knows only where its operator stands: what it joins is around that.
    fn span(&self, node: &IdedExpr) -> Option<(u32, u32)> {
        // Of a selection it is the dot.
        let field = if let Expr::Select(it) = &node.expr { it.field.len() } else { 0 };
        let wide = |(start, stop): (u32, u32)| (start, stop.saturating_add(u32::try_from(field).unwrap_or(u32::MAX)));
        let mut span = self.places.offset_for(node.id).map(wide);
        let _ = each_child(node, &mut |child| {
            let wider = |(start, stop): (u32, u32)| span.map_or((start, stop), |it| (it.0.min(start), it.1.max(stop)));
            span = self.span(child).map(wider).or(span);
            Ok(())
        });
        span
    }
}

/// Calls `visit` with each child of a node, in the order of the source.
pub(super) fn each_child(node: &IdedExpr, visit: &mut dyn FnMut(&IdedExpr) -> Result<(), Wrong>) -> Result<(), Wrong> {
    let entry = |it: &EntryExpr, visit: &mut dyn FnMut(&IdedExpr) -> Result<(), Wrong>| match it {
        EntryExpr::StructField(field) => visit(&field.value),
        EntryExpr::MapEntry(entry) => visit(&entry.key).and_then(|()| visit(&entry.value)),
    };
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
        Expr::Call(it) => it.target.as_deref().into_iter().chain(&it.args).try_for_each(visit),
        Expr::List(it) => it.elements.iter().try_for_each(visit),
        Expr::Select(it) => visit(&it.operand),
        Expr::Map(it) => it.entries.iter().try_for_each(|it| entry(&it.expr, visit)),
        Expr::Struct(it) => it.entries.iter().try_for_each(|it| entry(&it.expr, visit)),
        Expr::Comprehension(it) => {
            [&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result].into_iter().try_for_each(visit)
        }
    }
}

/// The same of a tree that may be changed.
pub(super) fn each_child_mut(
    node: &mut IdedExpr,
    visit: &mut dyn FnMut(&mut IdedExpr) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let entry = |it: &mut EntryExpr, visit: &mut dyn FnMut(&mut IdedExpr) -> Result<(), Wrong>| match it {
        EntryExpr::StructField(field) => visit(&mut field.value),
        EntryExpr::MapEntry(entry) => visit(&mut entry.key).and_then(|()| visit(&mut entry.value)),
    };
    match &mut node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
        Expr::Call(it) => it.target.as_deref_mut().into_iter().chain(&mut it.args).try_for_each(visit),
        Expr::List(it) => it.elements.iter_mut().try_for_each(visit),
        Expr::Select(it) => visit(&mut it.operand),
        Expr::Map(it) => it.entries.iter_mut().try_for_each(|it| entry(&mut it.expr, visit)),
        Expr::Struct(it) => it.entries.iter_mut().try_for_each(|it| entry(&mut it.expr, visit)),
        Expr::Comprehension(it) => {
            let all = [&mut it.iter_range, &mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result];
            all.into_iter().try_for_each(visit)
        }
    }
}

/// Whether a name occurs.
pub(super) fn mentions(tree: &IdedExpr, name: &str) -> bool {
    if matches!(&tree.expr, Expr::Ident(it) if it == name) {
        return true;
    }
    let mut found = false;
    let _ = each_child(tree, &mut |child| {
        found |= mentions(child, name);
        Ok(())
    });
    found
}

/// Looks every name up: variables, and the fields that are selected of them.
pub(super) fn names(tree: &IdedExpr, about: About, source: &Source<'_>) -> Result<(), Wrong> {
    Names { about, source, bound: Vec::new() }.visit(tree)
}

struct Names<'a> {
    about: About,
    source: &'a Source<'a>,
    /// Variables of the comprehensions around.
    bound: Vec<String>,
}

impl Names<'_> {
    fn visit(&mut self, node: &IdedExpr) -> Result<(), Wrong> {
        match &node.expr {
            Expr::Ident(name) => self.variable(node, name),
            Expr::Select(it) => {
                self.visit(&it.operand)?;
                self.field(node, &it.operand, &it.field)
            }
            Expr::Comprehension(it) => {
                self.visit(&it.iter_range)?;
                let before = self.bound.len();
                self.bound.extend([&it.iter_var, &it.accu_var].map(String::clone));
                self.bound.extend(it.iter_var2.clone());
                for part in [&it.accu_init, &it.loop_cond, &it.loop_step, &it.result] {
                    self.visit(part)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
            _ => each_child(node, &mut |child| self.visit(child)),
        }
    }

    fn variable(&self, node: &IdedExpr, name: &str) -> Result<(), Wrong> {
        let types = ["bool", "bytes", "double", "int", "list", "map", "string", "uint", "type", "null_type"];
        if NAMES.contains(&name) || types.contains(&name) || self.bound.iter().any(|it| it == name) {
            return Ok(());
        }
        Err(self.source.wrong(node, format!("there is no `{name}` here"), meant(name, &NAMES)))
    }

    fn field(&self, node: &IdedExpr, of: &IdedExpr, field: &str) -> Result<(), Wrong> {
        let known: Vec<&str> = match &of.expr {
            Expr::Ident(name) if self.bound.contains(name) => return Ok(()),
            Expr::Ident(name) if name == "signal" => {
                let own: &[&str] = if self.about == About::Anomaly { &ANOMALY } else { &RCA };
                EVERY.iter().chain(own).copied().collect()
            }
            Expr::Ident(name) if name == "cause" => CAUSE.to_vec(),
            Expr::Ident(name) if name == "target" => TARGET.to_vec(),
            Expr::Select(it)
                if it.field == "replicas" && matches!(&it.operand.expr, Expr::Ident(of) if of == "target") =>
            {
                REPLICAS.to_vec()
            }
            _ => return Ok(()),
        };
        if known.contains(&field) {
            return Ok(());
        }
        let elsewhere = match self.about {
            About::Anomaly => RCA.contains(&field).then_some("an rca"),
            About::Rca => ANOMALY.contains(&field).then_some("an anomaly"),
        };
        let message = match elsewhere {
            Some(kind) => format!("`{field}` is a field of {kind}, and this policy is about the other kind of signal"),
            None => format!("there is no field `{field}` here"),
        };
        Err(self.source.wrong(node, message, meant(field, &known)))
    }
}

fn meant(word: &str, known: &[&str]) -> String {
    crate::policy::nearest(word, known.iter().copied())
        .map_or_else(|| format!("one of {}", known.join(", ")), |near| format!("did you mean `{near}`?"))
}

/// Evaluates every condition on facts that were made for it, so that a wrong type is found wherever it is.
pub(super) fn types(tree: &IdedExpr, patterns: &[Pattern], about: About, source: &Source<'_>) -> Result<(), Wrong> {
    let made = Made::new(about);
    let facts = made.facts();
    conditions(tree, &mut |condition| {
        match evaluate(condition, patterns, &facts) {
            // Every field was looked up already: what is missing is a label, or an item, which may be there in life.
            Ok(_) | Err(Unevaluated::Missing(_)) => Ok(()),
            Err(Unevaluated::Senseless(why)) => {
                let hint =
                    "`score`, `confidence` and `probability` are doubles, `replicas` are ints; `double(x)` converts";
                Err(source.wrong(condition, why, hint))
            }
        }
    })
}

/// The parts that are true or false by themselves: what `&&`, `||`, `!` and `?:` join, which would hide one another.
pub(super) fn conditions(node: &IdedExpr, visit: &mut dyn FnMut(&IdedExpr) -> Result<(), Wrong>) -> Result<(), Wrong> {
    match &node.expr {
        Expr::Call(it)
            if [operators::LOGICAL_AND, operators::LOGICAL_OR, operators::LOGICAL_NOT, operators::CONDITIONAL]
                .contains(&it.func_name.as_str()) =>
        {
            it.args.iter().try_for_each(|it| conditions(it, visit))
        }
        _ => visit(node),
    }
}

/// A signal and a target with every field, made up.
struct Made {
    signal: Signal,
    target: TargetView,
}

impl Made {
    fn new(about: About) -> Self {
        let workload = Workload::new(WorkloadKind::Deployment, "shop", "cart");
        let causes = vec![RankedCause { target: workload.clone(), cause: "memory_leak".into(), probability: 0.9 }];
        let kind = match about {
            About::Anomaly => SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 0.9, kind: AnomalyKind::Latency }),
            About::Rca => SignalKind::Rca(Rca { causes, confidence: 0.9 }),
        };
        let signal = Signal {
            id: SignalId("made".into()),
            kind,
            subject: workload.clone(),
            service: "cart".into(),
            pod: Some("cart-0".into()),
            window_id: "w1".into(),
            observed_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            trace: TraceContext::default(),
            sequence: 1,
        };
        let target = TargetView {
            workload,
            desired: 3,
            updated: 3,
            ready: 3,
            available: 3,
            labels: Arc::new(BTreeMap::from([("app".to_owned(), "cart".to_owned())])),
        };
        Self { signal, target }
    }

    fn facts(&self) -> Facts<'_> {
        let cause = if let SignalKind::Rca(rca) = &self.signal.kind { rca.causes.first() } else { None };
        Facts { signal: &self.signal, cause, target: Some(&self.target), now: Timestamp::UNIX_EPOCH }
    }
}
