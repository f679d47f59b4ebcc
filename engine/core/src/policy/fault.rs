//! What is wrong with a policy file, told so that it can be mended: file, line, column, the line itself and a hint.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named.
    pub file: String,
    /// 1-based.
    pub line: u64,
    /// 1-based, in characters.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The offending line.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, hint, text } = self;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "error: {message}")?;
        write!(f, "{margin}--> {file}:{line}:{column}")?;
        if !text.trim().is_empty() {
            // A tab in the line is one in the margin, or the caret would point elsewhere.
            let before = text.chars().take(usize::try_from(column.saturating_sub(1)).unwrap_or(0));
            let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
            write!(f, "\n{margin} |\n{line} | {text}\n{margin} | {indent}^")?;
        }
        if let Some(hint) = hint {
            write!(f, "\n{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

/// All that is wrong with a set. A set with any fault is refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}\n")?;
        }
        let count = self.0.len();
        write!(f, "{count} fault{} in the policies; nothing was loaded", if count == 1 { "" } else { "s" })
    }
}

/// The known word nearest to `word`, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |it: &&str| distance(&word.to_lowercase(), &it.to_lowercase());
    known.into_iter().min_by_key(near).filter(|it| near(it) <= 1 + word.chars().count() / 3)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
