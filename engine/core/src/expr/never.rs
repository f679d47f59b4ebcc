//! What the conjuncts of a condition say by themselves: that nothing can ever fulfil them, or which words alone can.

use std::collections::BTreeMap;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

/// What a field may still be.
#[derive(Clone, Debug)]
enum Range {
    /// From, to, and whether each end counts.
    Number((f64, bool), (f64, bool)),
    Words(Vec<String>),
}

/// Why the tree can never be true, if that can be told. `least`: numbers that other keys of the match ask for already.
pub(super) fn never(tree: &IdedExpr, least: &[(&str, f64)]) -> Option<String> {
    let mut known: BTreeMap<String, Range> = least
        .iter()
        .map(|(path, from)| ((*path).to_owned(), Range::Number((*from, true), (f64::INFINITY, true))))
        .collect();
    let mut why = None;
    each_conjunct(tree, &mut |it| {
        if why.is_none() {
            why = narrow(it, &mut known);
        }
    });
    why
}

/// The words that alone a field may be if the tree is to be true: of `field == 'a'` and `field in ['a', 'b']`. None: any.
pub(super) fn pinned<'a>(tree: &'a IdedExpr, field: &str) -> Option<Vec<&'a str>> {
    let mut found: Option<Vec<&str>> = None;
    each_conjunct(tree, &mut |node| {
        let Expr::Call(call) = &node.expr else { return };
        let [left, right] = call.args.as_slice() else { return };
        if path(left).is_some_and(|it| it == field)
            && let Some(words) = words(&call.func_name, right)
        {
            found = Some(match found.take() {
                Some(before) => before.into_iter().filter(|it| words.contains(it)).collect(),
                None => words,
            });
        }
    });
    found
}

fn each_conjunct<'a>(node: &'a IdedExpr, visit: &mut dyn FnMut(&'a IdedExpr)) {
    match &node.expr {
        Expr::Call(it) if it.func_name == operators::LOGICAL_AND => {
            it.args.iter().for_each(|it| each_conjunct(it, visit));
        }
        _ => visit(node),
    }
}

/// Takes what a conjunct says into account; why nothing is left, if nothing is.
fn narrow(node: &IdedExpr, known: &mut BTreeMap<String, Range>) -> Option<String> {
    match &node.expr {
        Expr::Literal(LiteralValue::Boolean(it)) if !*it.inner() => Some("`false` is one of its conditions".to_owned()),
        Expr::Call(call) => {
            let [left, right] = call.args.as_slice() else { return None };
            if let (Some(path), Some(words)) = (path(left), words(&call.func_name, right)) {
                return words_left(path, words, known);
            }
            let (path, operator, number) = match (path(left), number(right), number(left), path(right)) {
                (Some(path), Some(number), ..) => (path, call.func_name.as_str(), number),
                (.., Some(number), Some(path)) => (path, mirrored(&call.func_name), number),
                _ => return None,
            };
            number_left(path, operator, number, known)
        }
        _ => None,
    }
}

fn number_left(path: String, operator: &str, number: f64, known: &mut BTreeMap<String, Range>) -> Option<String> {
    let (from, to) = match operator {
        operators::GREATER => ((number, false), (f64::INFINITY, true)),
        operators::GREATER_EQUALS => ((number, true), (f64::INFINITY, true)),
        operators::LESS => ((f64::NEG_INFINITY, true), (number, false)),
        operators::LESS_EQUALS => ((f64::NEG_INFINITY, true), (number, true)),
        operators::EQUALS => ((number, true), (number, true)),
        _ => return None,
    };
    let (old_from, old_to) = match known.get(&path) {
        Some(Range::Number(from, to)) => (*from, *to),
        _ => ((f64::NEG_INFINITY, true), (f64::INFINITY, true)),
    };
    let from = if old_from.0 > from.0 || (old_from.0 >= from.0 && !old_from.1) { old_from } else { from };
    let to = if old_to.0 < to.0 || (old_to.0 <= to.0 && !old_to.1) { old_to } else { to };
    if from.0 > to.0 || (from.0 >= to.0 && !(from.1 && to.1)) {
        return Some(format!("`{path}` would have to be {} {} and {} {}", more(from.1), from.0, less(to.1), to.0));
    }
    known.insert(path, Range::Number(from, to));
    None
}

fn more(counts: bool) -> &'static str {
    if counts { "at least" } else { "more than" }
}

fn less(counts: bool) -> &'static str {
    if counts { "at most" } else { "less than" }
}

fn words_left(path: String, words: Vec<&str>, known: &mut BTreeMap<String, Range>) -> Option<String> {
    let left: Vec<String> = match known.get(&path) {
        Some(Range::Words(before)) => before.iter().filter(|it| words.contains(&it.as_str())).cloned().collect(),
        _ => words.into_iter().map(str::to_owned).collect(),
    };
    if left.is_empty() {
        return Some(format!("`{path}` would have to be two things at once"));
    }
    known.insert(path, Range::Words(left));
    None
}

/// `a.b.c`, if that is what stands there.
fn path(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        // `has(a.b)` as well: it is true or false, so what compares it with a word or a number never holds anyway.
        Expr::Select(it) => Some(format!("{}.{}", path(&it.operand)?, it.field)),
        _ => None,
    }
}

fn number(node: &IdedExpr) -> Option<f64> {
    match &node.expr {
        Expr::Literal(LiteralValue::Double(it)) => Some(*it.inner()),
        // No number that anybody writes in a policy is too large for that.
        #[allow(clippy::cast_precision_loss, reason = "a bound of a policy")]
        Expr::Literal(LiteralValue::Int(it)) => Some(*it.inner() as f64),
        _ => None,
    }
}

fn words<'a>(operator: &str, node: &'a IdedExpr) -> Option<Vec<&'a str>> {
    let word = |it: &'a IdedExpr| match &it.expr {
        Expr::Literal(LiteralValue::String(it)) => Some(it.inner()),
        _ => None,
    };
    match (operator, &node.expr) {
        (operators::EQUALS, _) => word(node).map(|it| vec![it]),
        (operators::IN, Expr::List(list)) => list.elements.iter().map(word).collect(),
        _ => None,
    }
}

fn mirrored(operator: &str) -> &str {
    match operator {
        operators::GREATER => operators::LESS,
        operators::GREATER_EQUALS => operators::LESS_EQUALS,
        operators::LESS => operators::GREATER,
        operators::LESS_EQUALS => operators::GREATER_EQUALS,
        other => other,
    }
}
