//! Facts as the values that CEL works on. A string is lent, a number costs a box, and what nobody asks for costs nothing.

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Sizer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelTimestamp, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use jiff::Timestamp;

use super::facts::{Facts, TargetView};
use super::pattern::Pattern;
use crate::signal::{RankedCause, Signal, SignalKind};

/// The names in scope.
pub(super) struct Scope<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) patterns: &'a [Pattern],
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let node = |it: Option<Node<'b>>| it.map_or_else(|| CowVal::owned(CelNull), CowVal::owned);
        match name {
            "signal" => Some(node(Some(Node::Signal(self.facts.signal)))),
            "cause" => Some(node(self.facts.cause.map(Node::Cause))),
            "target" => Some(node(self.facts.target.map(Node::Target))),
            "now" => Some(moment(self.facts.now)),
            other => Pattern::find(self.patterns, other).map(|it| CowVal::Borrowed(it as &dyn Val)),
        }
    }
}

/// A thing with fields.
#[derive(Clone, Copy, Debug)]
enum Node<'a> {
    Signal(&'a Signal),
    Cause(&'a RankedCause),
    Target(&'a TargetView),
    Replicas(&'a TargetView),
    Labels(&'a TargetView),
}

fn text(it: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(it))
}

fn int<'v>(it: i32) -> CowVal<'v, 'v> {
    CowVal::owned(CelInt::from(i64::from(it)))
}

fn moment<'v>(at: Timestamp) -> CowVal<'v, 'v> {
    let time = chrono::DateTime::from_timestamp(at.as_second(), u32::try_from(at.subsec_nanosecond()).unwrap_or(0));
    CowVal::owned(CelTimestamp::from(time.unwrap_or_default().fixed_offset()))
}

impl<'a> Node<'a> {
    fn field(self, name: &str) -> Option<CowVal<'a, 'a>> {
        match self {
            Self::Signal(it) => signal(it, name),
            Self::Cause(it) => match name {
                "cause" => Some(text(&it.cause)),
                "probability" => Some(CowVal::owned(CelDouble::from(it.probability))),
                "name" => Some(text(&it.target.name)),
                "namespace" => Some(text(&it.target.namespace)),
                _ => None,
            },
            Self::Target(it) => match name {
                "kind" => Some(text(it.workload.kind.as_str())),
                "name" => Some(text(&it.workload.name)),
                "namespace" => Some(text(&it.workload.namespace)),
                "replicas" => Some(CowVal::owned(Self::Replicas(it))),
                "labels" => Some(CowVal::owned(Self::Labels(it))),
                _ => None,
            },
            Self::Replicas(it) => match name {
                "desired" => Some(int(it.desired)),
                "updated" => Some(int(it.updated)),
                "ready" => Some(int(it.ready)),
                "available" => Some(int(it.available)),
                _ => None,
            },
            Self::Labels(it) => it.labels.get(name).map(|it| text(it)),
        }
    }
}

fn signal<'a>(it: &'a Signal, name: &str) -> Option<CowVal<'a, 'a>> {
    match (name, &it.kind) {
        ("id", _) => Some(text(&it.id.0)),
        ("kind", kind) => Some(text(kind.as_str())),
        ("service", _) => Some(text(&it.service)),
        ("namespace", _) => Some(text(&it.subject.namespace)),
        ("name", _) => Some(text(&it.subject.name)),
        ("workloadKind", _) => Some(text(it.subject.kind.as_str())),
        ("windowId", _) => Some(text(&it.window_id)),
        ("observedAt", _) => Some(moment(it.observed_at)),
        ("pod", _) => it.pod.as_deref().map(text),
        ("type", SignalKind::Anomaly(of)) => Some(text(of.kind.as_str())),
        ("score", SignalKind::Anomaly(of)) => Some(CowVal::owned(CelDouble::from(of.score))),
        ("isAnomaly", SignalKind::Anomaly(of)) => Some(CowVal::owned(CelBool::from(of.is_anomaly))),
        ("confidence", SignalKind::Rca(of)) => Some(CowVal::owned(CelDouble::from(of.confidence))),
        ("causes", SignalKind::Rca(of)) => {
            let causes: Vec<Box<dyn Val + 'a>> = of.causes.iter().map(|it| Box::new(Node::Cause(it)) as _).collect();
            Some(CowVal::owned(CelList::from(causes)))
        }
        _ => None,
    }
}

impl Val for Node<'_> {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        matches!(self, Self::Labels(_)).then_some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl<'a> Indexer for Node<'a> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = index.downcast_ref::<CelString<'_>>().map_or("", CelString::inner);
        // A field lives as long as the facts, which outlive every borrow of this node.
        let found: Option<CowVal<'a, 'a>> = self.field(name);
        found.ok_or_else(|| ExecutionError::no_such_key(name))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Node<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(value.downcast_ref::<CelString<'_>>().is_some_and(|it| self.field(it.inner()).is_some()))
    }
}

impl Sizer for Node<'_> {
    fn size(&self) -> CelInt {
        let count = if let Self::Labels(it) = self { it.labels.len() } else { 0 };
        CelInt::from(i64::try_from(count).unwrap_or(i64::MAX))
    }
}
