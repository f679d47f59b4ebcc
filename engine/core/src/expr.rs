//! An expression of a policy: CEL, checked when it is read and evaluated on borrowed facts. No other module knows the crate
//! that evaluates it. Expressions come from policies only, never from signals.

mod check;
mod cost;
mod facts;
mod never;
mod pattern;
mod value;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, Value};
pub use check::About;
pub use facts::{Facts, TargetView};

use pattern::Pattern;

/// Longest source. Longer chains of operators overflow the parser's stack; who needs more needs two policies.
const MAX_BYTES: usize = 2_048;
/// Deepest nesting of brackets, for the same reason. The parser's own limit is 96, at which it uses most of a worker's stack.
const MAX_DEPTH: usize = 24;

/// Operators and dots: each is a level of the tree when they stand in a chain.
const MAX_OPERATORS: usize = 128;

/// The functions and macros of CEL's standard library, and `matches` with patterns that were compiled when they were read.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    pattern::declare(&mut env);
    Arc::new(env)
});

/// A boolean expression that has passed every check.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: String,
    tree: IdedExpr,
    patterns: Vec<Pattern>,
}

/// What is wrong with an expression, and where in its text (bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Where.
    pub at: Range<usize>,
}

/// An expression that could not be evaluated: in a match it does not match, in a guard it denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unevaluated {
    /// It asks for a field, a label or an item that is not there.
    #[error("{0}")]
    Missing(String),
    /// It asks for what makes no sense.
    #[error("{0}")]
    Senseless(String),
}

impl From<ExecutionError> for Unevaluated {
    fn from(error: ExecutionError) -> Self {
        match &error {
            ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => Self::Missing(error.to_string()),
            _ => Self::Senseless(error.to_string()),
        }
    }
}

impl Expression {
    /// Reads an expression about signals of one kind.
    ///
    /// # Errors
    /// It is no CEL, names what there is not, is no condition, or may cost too much.
    pub fn read(text: &str, about: About) -> Result<Self, Wrong> {
        shallow(text)?;
        let program = ENV.compile(text).map_err(|errors| syntax(text, &errors))?;
        let mut tree = program.expression().clone();
        let source = check::Source { text, places: program.source_info() };
        check::names(&tree, about, &source)?;
        cost::bounded(&tree, &source)?;
        let patterns = pattern::take(&mut tree, &source)?;
        check::types(&tree, &patterns, about, &source)?;
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), tree, patterns })))
    }

    /// Whether it holds of these facts.
    ///
    /// # Errors
    /// It asks for what is not there, such as a field of a target that is not known.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Unevaluated> {
        evaluate(&self.0.tree, &self.0.patterns, facts)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Why it can never be true, if that can be told from its text. `least`: numbers that are asked for besides, by the names that they
    /// have here.
    pub fn never(&self, least: &[(&str, f64)]) -> Option<String> {
        never::never(&self.0.tree, least)
    }

    /// The words that alone a field, such as `signal.name`, may be if it is to hold; none if that cannot be told.
    pub fn pinned(&self, field: &str) -> Option<Vec<&str>> {
        never::pinned(&self.0.tree, field)
    }

    /// Whether it asks anything of the target.
    pub fn asks_target(&self) -> bool {
        check::mentions(&self.0.tree, "target")
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text()).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

fn evaluate(tree: &IdedExpr, patterns: &[Pattern], facts: &Facts<'_>) -> Result<bool, Unevaluated> {
    let scope = value::Scope { facts, patterns };
    let mut context = Context::with_env(ENV.clone());
    context.set_variable_resolver(&scope);
    let value = Value::resolve_val(tree, &context)?;
    let answer = value.downcast_ref::<CelBool>().map(|it| *it.inner());
    answer.ok_or_else(|| Unevaluated::Senseless(format!("it is a {}, not true or false", value.get_type().name())))
}

/// What the parser would not survive is refused before it is asked.
fn shallow(text: &str) -> Result<(), Wrong> {
    if text.len() > MAX_BYTES {
        let message = format!("the expression has {} bytes, more than the {MAX_BYTES} allowed", text.len());
        return Err(Wrong { message, hint: "split it: several policies, or several guards".into(), at: 0..0 });
    }
    // Brackets in quoted text count as well: telling them apart would be a second parser, and the mistakes of that one cost a stack.
    let (mut depth, mut prefixes, mut operators) = (0_usize, 0_usize, 0_usize);
    let next = text.chars().skip(1).chain([' ']);
    for ((at, letter), next) in text.char_indices().zip(next) {
        match letter {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        operators +=
            usize::from(matches!(letter, '+' | '-' | '*' | '/' | '%' | '.' | '&' | '|' | '<' | '>' | '=' | '[' | '('));
        match letter {
            '!' if next != '=' => prefixes += 1,
            '-' => prefixes += 1,
            it if it.is_whitespace() => {}
            _ => prefixes = 0,
        }
        if depth + prefixes > MAX_DEPTH {
            let message = format!("the expression is nested more than {MAX_DEPTH} deep");
            return Err(Wrong { message, hint: "write several conditions joined by `&&`".into(), at: at..at + 1 });
        }
        if operators > MAX_OPERATORS {
            let message = format!("the expression has more than {MAX_OPERATORS} operators");
            return Err(Wrong {
                message,
                hint: "split it: several policies, or several guards".into(),
                at: at..at + 1,
            });
        }
    }
    Ok(())
}

fn syntax(text: &str, errors: &cel::ParseErrors) -> Wrong {
    let first = errors.errors.first();
    let message = first.map_or_else(|| "it cannot be read".to_owned(), |it| it.msg.clone());
    let place = first.map_or((1, 1), |it| it.pos);
    let [above, before] = [place.0, place.1].map(|it| usize::try_from(it - 1).unwrap_or(0));
    let line = text.split_inclusive('\n').take(above).map(str::len).sum::<usize>();
    // A column counts letters.
    let mut letters = text[line..].char_indices().map(|(at, _)| line + at).skip(before);
    let mut next = || letters.next().unwrap_or(text.len());
    Wrong { message, hint: "see docs/policies.md for what an expression may say".into(), at: next()..next() }
}
