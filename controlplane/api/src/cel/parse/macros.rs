//! Calls that are more than calls: macros, each made into a node of its own.
//!
//! Reference: cel-spec `langdef.md`, macros; cel-go's extensions for two variables, lists, optionals and bindings.

use super::{CompileError, Expr, Loop, Node, Parser};

impl Parser<'_> {
    pub(super) fn call(
        &mut self,
        name: String,
        mut args: Vec<Expr>,
        at: usize,
    ) -> Result<Node, CompileError> {
        if name == "has" && args.len() == 1 {
            return match args.remove(0).node {
                Node::Select { operand, field, optional: false } => Ok(Node::Has { operand, field }),
                _ => Err(CompileError::at(self.source, at, "invalid argument to has() macro".into())),
            };
        }
        Ok(Node::Call { function: name, target: None, args })
    }

    pub(super) fn method(
        &mut self,
        target: Expr,
        name: String,
        args: Vec<Expr>,
        at: usize,
    ) -> Result<Expr, CompileError> {
        let kind = match (name.as_str(), args.len()) {
            ("all", 2 | 3) => Some(Loop::All),
            ("exists", 2 | 3) => Some(Loop::Exists),
            ("exists_one" | "existsOne", 2 | 3) => Some(Loop::ExistsOne),
            ("map", 2 | 3) => Some(Loop::Map),
            ("filter", 2) => Some(Loop::Filter),
            ("transformList", 3 | 4) => Some(Loop::TransformList),
            ("transformMap", 3 | 4) => Some(Loop::TransformMap),
            ("transformMapEntry", 3 | 4) => Some(Loop::TransformMapEntry),
            ("sortBy", 2) => Some(Loop::SortBy),
            _ => None,
        };
        let node = match (kind, name.as_str()) {
            (Some(kind), _) => self.range(kind, target, args, at)?,
            (None, "optMap" | "optFlatMap") if args.len() == 2 => {
                let [variable, body] =
                    <[Expr; 2]>::try_from(args).unwrap_or_else(|_| unreachable!("two were counted"));
                Node::OptionalMap {
                    flat: name == "optFlatMap",
                    operand: Box::new(target),
                    variable: self.variable(variable)?,
                    body: Box::new(body),
                }
            }
            (None, "bind")
                if args.len() == 3 && matches!(&target.node, Node::Ident(name) if name == "cel") =>
            {
                let [variable, value, body] =
                    <[Expr; 3]>::try_from(args).unwrap_or_else(|_| unreachable!("three were counted"));
                Node::Bind {
                    variable: self.variable(variable)?,
                    value: Box::new(value),
                    body: Box::new(body),
                }
            }
            _ => Node::Call { function: name, target: Some(Box::new(target)), args },
        };
        self.expr(at, node)
    }

    fn variable(&self, expr: Expr) -> Result<String, CompileError> {
        match expr.node {
            Node::Ident(name) => Ok(name),
            _ => Err(CompileError::at(self.source, expr.at, "argument must be a simple name".into())),
        }
    }

    fn range(&self, kind: Loop, range: Expr, args: Vec<Expr>, _at: usize) -> Result<Node, CompileError> {
        // `map(x, filter, body)` has one variable; everything else with one more argument has two.
        let two = match kind {
            Loop::Map | Loop::Filter | Loop::SortBy => false,
            Loop::TransformList | Loop::TransformMap | Loop::TransformMapEntry => true,
            _ => args.len() == 3,
        };
        let plain = if two { 3 } else { 2 };
        let has_filter = args.len() > plain;
        let mut args = args.into_iter();
        let mut next = || args.next().unwrap_or_else(|| unreachable!("arguments were counted"));
        let first = self.variable(next())?;
        let second = if two { Some(self.variable(next())?) } else { None };
        let filter = has_filter.then(|| Box::new(next()));
        let body = Box::new(next());
        Ok(Node::Loop { kind, range: Box::new(range), first, second, filter, body })
    }
}
