//! What an expression may cost, from its tree alone. CEL has no unbounded loops, so the bound is sound: nodes, times the length of
//! what each comprehension goes through.

use cel::common::ast::{Expr, IdedExpr};

use super::Wrong;
use super::check::{Source, each_child};

/// Nodes that one evaluation may visit: some 100 microseconds.
const MAX_STEPS: u64 = 20_000;
/// Causes, or labels, that a signal or a target may have as far as the bound goes.
const LONGEST_LIST: u64 = 64;
/// Comprehensions inside comprehensions.
const MAX_NESTED: u32 = 2;

/// Refuses an expression that may cost too much.
pub(super) fn bounded(tree: &IdedExpr, source: &Source<'_>) -> Result<(), Wrong> {
    let steps = steps(tree, source, 0)?;
    if steps > MAX_STEPS {
        let message = format!("the expression may take {steps} steps, more than the {MAX_STEPS} allowed");
        return Err(source.wrong(tree, message, "use fewer comprehensions (`exists`, `all`, `map`, `filter`)"));
    }
    Ok(())
}

fn steps(node: &IdedExpr, source: &Source<'_>, nested: u32) -> Result<u64, Wrong> {
    let mut sum = 1_u64;
    if let Expr::Comprehension(it) = &node.expr {
        if nested == MAX_NESTED {
            let message = format!("more than {MAX_NESTED} comprehensions inside each other");
            return Err(source.wrong(node, message, "each goes through its list once for every item of the outer one"));
        }
        let length = if let Expr::List(list) = &it.iter_range.expr { list.elements.len() as u64 } else { LONGEST_LIST };
        for once in [&it.iter_range, &it.accu_init, &it.result] {
            sum = sum.saturating_add(steps(once, source, nested)?);
        }
        for each in [&it.loop_cond, &it.loop_step] {
            sum = sum.saturating_add(steps(each, source, nested + 1)?.saturating_mul(length));
        }
        return Ok(sum);
    }
    each_child(node, &mut |child| {
        sum = sum.saturating_add(steps(child, source, nested)?);
        Ok(())
    })?;
    Ok(sum)
}
