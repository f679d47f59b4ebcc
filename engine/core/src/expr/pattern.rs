//! `matches` with patterns that were compiled when the expression was read: the stock one compiles its pattern at every call.

use std::any::Any;
use std::sync::LazyLock;

use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Env, ExecutionError};
use regex::{Regex, RegexBuilder};

use super::Wrong;
use super::check::{Source, each_child_mut};

const MATCHES: &str = "matches";
/// A compiled pattern is at most so large; what grows beyond it is a bomb.
const MAX_COMPILED_BYTES: usize = 64 << 10;

static TYPE: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("flyball.pattern"));

/// A pattern of an expression. It stands in the tree under a name that no source can spell.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    name: String,
    regex: Regex,
}

impl Pattern {
    pub(super) fn find<'a>(patterns: &'a [Self], name: &str) -> Option<&'a Self> {
        name.starts_with('@').then(|| patterns.iter().find(|it| it.name == name))?
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// Declares `text.matches(pattern)` and `matches(text, pattern)`.
pub(super) fn declare(env: &mut Env) {
    env.add_member_overload(MATCHES, "string_matches_pattern", STRING_TYPE, vec![TYPE.to_owned()], matches)
        .expect("the standard library was built without `matches`");
    env.add_overload(MATCHES, "matches_pattern", vec![STRING_TYPE, TYPE.to_owned()], matches)
        .expect("the standard library was built without `matches`");
}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = args.as_slice() else { return Err(ExecutionError::invalid_argument_count(2, args.len())) };
    match (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<Pattern>()) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(text.inner())))),
        _ => Err(ExecutionError::function_error(MATCHES, "it takes a text and a pattern")),
    }
}

/// Compiles the patterns of a tree, and puts their names in their places.
pub(super) fn take(tree: &mut IdedExpr, source: &Source<'_>) -> Result<Vec<Pattern>, Wrong> {
    let mut patterns = Vec::new();
    visit(tree, source, &mut patterns)?;
    Ok(patterns)
}

fn visit(node: &mut IdedExpr, source: &Source<'_>, patterns: &mut Vec<Pattern>) -> Result<(), Wrong> {
    if let Expr::Call(call) = &mut node.expr
        && call.func_name == MATCHES
        && let Some(pattern) = call.args.last_mut()
    {
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            let message = "`matches` needs a pattern in quotes";
            return Err(source.wrong(pattern, message, "a pattern is compiled once, when the policy is read"));
        };
        let regex = RegexBuilder::new(text.inner()).size_limit(MAX_COMPILED_BYTES).build();
        let regex = regex.map_err(|error| {
            let message = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            source.wrong(pattern, format!("this is no pattern: {message}"), "RE2 syntax, of modest size")
        })?;
        let name = format!("@pattern{}", patterns.len());
        pattern.expr = Expr::Ident(name.clone());
        patterns.push(Pattern { name, regex });
    }
    each_child_mut(node, &mut |child| visit(child, source, patterns))
}
