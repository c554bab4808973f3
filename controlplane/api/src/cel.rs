//! CEL, the expressions of rules and policies: read, checked, and run with a budget.
//!
//! ```text
//!   text ─► lex ─► parse (macros) ─► check (names, types, what it may cost) ─► Program ─► eval (budget) ─► Value
//! ```
//!
//! Why it is ours: what there is for Rust knows no costs, and a rule is a program of whoever may write a definition, run at
//! every write. Here every step is paid for, and the object is borrowed, not copied.
//!
//! Not here: protobuf messages and enumerations (the messages `Object` and `JSONPatch` of policies are maps); time zones by name.
//! Invariants: no expression runs longer than its budget; none panics; evaluation has no effects.
//! Reference: cel-spec; Kubernetes "Common Expression Language"; apiserver `cel/library` 1.36 by behaviour.

mod check;
mod eval;
mod functions;
mod lex;
mod parse;
mod value;

pub use check::Type;
pub(crate) use check::most_parts;
pub(crate) use parse::is_reserved;
pub use value::Value;

use std::fmt;

use eval::Scope;
use parse::Expr;

/// What one expression may cost at most when it runs.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all rules of one object may cost together.
pub const OBJECT_LIMIT: u64 = 10_000_000;
/// What an expression may be estimated to cost at most.
pub const ESTIMATE_LIMIT: u64 = 10_000_000;
/// What all expressions of a schema may be estimated to cost together.
pub const ESTIMATE_TOTAL: u64 = 100_000_000;
/// An expression is at most this long.
const MOST_BYTES: usize = 100_000;

const OF_TYPE: &str = "must evaluate to ";

/// Why an expression is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

impl CompileError {
    /// Whether it is a program, but of another type than is wanted.
    pub fn is_of_type(&self) -> bool {
        self.0.starts_with(OF_TYPE)
    }

    /// With the line and where in it, as cel-go shows it.
    fn at(source: &str, at: usize, why: String) -> CompileError {
        let at = at.min(source.len());
        let begin = source[..at].rfind('\n').map_or(0, |end| end + 1);
        let (line, column) = (source[..at].matches('\n').count() + 1, source[begin..at].chars().count());
        let text = source[begin..].lines().next().unwrap_or_default();
        CompileError(format!(
            "ERROR: <input>:{line}:{}: {why}\n | {text}\n | {}^",
            column + 1,
            ".".repeat(column)
        ))
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError(String);

const OUT_OF_BUDGET: &str = "operation cancelled: actual cost limit exceeded";

impl EvalError {
    /// What a function of [`Opaque`] fails with.
    pub fn new(why: impl Into<String>) -> EvalError {
        EvalError(why.into())
    }

    fn no_overload() -> EvalError {
        EvalError("no such overload".into())
    }

    fn overflow() -> EvalError {
        EvalError("integer overflow".into())
    }

    /// Whether nothing can make up for it.
    fn is_fatal(&self) -> bool {
        self.0 == OUT_OF_BUDGET
    }

    /// Whether the budget was at its end.
    pub fn is_out_of_budget(&self) -> bool {
        self.is_fatal()
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EvalError {}

/// What is left to spend.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    /// Small steps that make no whole one yet.
    small: usize,
}

impl Budget {
    pub fn new(limit: u64) -> Budget {
        Budget { left: limit, small: 0 }
    }

    pub fn left(&self) -> u64 {
        self.left
    }

    /// Steps of which ten cost one: what upstream's costs do not count, but takes time all the same.
    fn spend_small(&mut self, steps: usize) -> Result<(), EvalError> {
        self.small = self.small.saturating_add(steps);
        let whole = self.small / 10;
        self.small %= 10;
        self.spend(whole as u64)
    }

    fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(EvalError(OUT_OF_BUDGET.into()))
            }
        }
    }
}

/// A value that expressions only hand to functions: the authorizer.
pub trait Opaque: fmt::Debug + Send + Sync {
    fn type_name(&self) -> &'static str;
    fn field(&self, name: &str) -> Option<Value<'static>>;
    /// A function of it.
    ///
    /// # Errors
    /// Where it has no such function, or that fails.
    fn call<'a>(&self, name: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError>;
    fn to_json(&self) -> Option<serde_json::Value> {
        None
    }
}

/// The type that an expression has where the names have these; it is not made a program.
///
/// # Errors
/// In cel-go's words.
pub fn type_of<'s>(source: &str, names: &[(&str, Type<'s>)]) -> Result<Type<'s>, CompileError> {
    let expr = parsed(source)?;
    Ok(check::check(source, &expr, names, false)?.of)
}

fn parsed(source: &str) -> Result<Expr, CompileError> {
    if source.len() > MOST_BYTES {
        return Err(CompileError(format!("expression is longer than {MOST_BYTES} bytes")));
    }
    parse::parse(source)
}

/// An expression that was checked.
#[derive(Clone, Debug)]
pub struct Program {
    expr: Expr,
    /// What it costs at most, by estimate.
    pub estimate: u64,
    mentions: Vec<String>,
}

impl Program {
    /// Reads and checks an expression that must have a result of a type ([`Type::Dyn`]: of any).
    ///
    /// # Errors
    /// In cel-go's words.
    pub fn compile(
        source: &str,
        names: &[(&str, Type<'_>)],
        result: &Type<'_>,
    ) -> Result<Program, CompileError> {
        Program::compile_with(source, names, result, false)
    }

    /// The same where expressions may give names to values, `cel.bind(name, value, expression)`: those that choose devices.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_binding(
        source: &str,
        names: &[(&str, Type<'_>)],
        result: &Type<'_>,
    ) -> Result<Program, CompileError> {
        Program::compile_with(source, names, result, true)
    }

    fn compile_with(
        source: &str,
        names: &[(&str, Type<'_>)],
        result: &Type<'_>,
        binds: bool,
    ) -> Result<Program, CompileError> {
        let expr = parsed(source)?;
        let checked = check::check(source, &expr, names, binds)?;
        if !checked.of.fits(result) {
            return Err(CompileError(format!("{OF_TYPE}{result} but got {}", checked.of)));
        }
        Ok(Program { expr, estimate: checked.cost, mentions: checked.mentions })
    }

    /// Whether a name is used.
    pub fn mentions(&self, name: &str) -> bool {
        self.mentions.iter().any(|known| known == name)
    }

    /// Its value, where names stand for these values.
    ///
    /// # Errors
    /// Where it has none, or costs too much.
    pub fn run<'a>(&self, names: &[(&str, Value<'a>)], budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        let scope = Scope { outer: None, names: names.to_vec() };
        eval::eval(&self.expr, &scope, budget)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// As [`Program::run`], and where it is neither true nor false.
    pub fn holds(&self, names: &[(&str, Value<'_>)], budget: &mut Budget) -> Result<bool, EvalError> {
        match self.run(names, budget)? {
            Value::Bool(flag) => Ok(flag),
            _ => Err(EvalError::no_overload()),
        }
    }
}

#[cfg(test)]
mod tests;
