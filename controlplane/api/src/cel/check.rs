//! Names and types of an expression, and what it may cost at most.
//!
//! Of what no schema describes everything may be (`dyn`), and is only checked when it runs. Sizes are those that a schema
//! bounds, or what fits into the largest request.

mod bounds;
mod signatures;
mod typing;

pub(crate) use bounds::most_parts;
pub use typing::Type;

use bounds::REQUEST_BYTES;

use super::CompileError;
use super::eval::BIND_COST;
use super::functions;
use super::parse::{Expr, Loop, Node};
use super::value::unescaped;
use crate::structural::{Additional, Structural};

/// What is known of an expression.
#[derive(Clone, Debug)]
pub(super) struct Checked<'s> {
    pub of: Type<'s>,
    pub cost: u64,
    pub mentions: Vec<String>,
}

/// Checks an expression.
pub(super) fn check<'s>(
    source: &str,
    expr: &Expr,
    names: &[(&str, Type<'s>)],
    binds: bool,
) -> Result<Checked<'s>, CompileError> {
    let known = names.iter().map(|(name, of)| ((*name).to_owned(), of.clone(), bound(of))).collect();
    let mut walk = Walk { source, names: known, mentions: Vec::new(), binds };
    let found = walk.node(expr)?;
    Ok(Checked { of: found.of, cost: found.cost, mentions: walk.mentions })
}

struct Walk<'e, 's> {
    source: &'e str,
    names: Vec<(String, Type<'s>, Bounds<'s>)>,
    mentions: Vec<String>,
    /// Whether `cel.bind` is there.
    binds: bool,
}

/// How large a value may be, and the schema that says so.
#[derive(Clone, Copy, Debug)]
struct Bounds<'s> {
    size: u64,
    inner: u64,
    schema: Option<&'s Structural>,
}

#[derive(Clone, Debug)]
struct Found<'s> {
    of: Type<'s>,
    cost: u64,
    size: u64,
    inner: u64,
    /// What the value lies under, to know the sizes below it.
    schema: Option<&'s Structural>,
}

fn bound<'s>(of: &Type<'s>) -> Bounds<'s> {
    match of {
        Type::Object(schema, _) => Bounds { size: 1, inner: 1, schema: Some(schema) },
        Type::Text | Type::Bytes | Type::Dyn => {
            Bounds { size: REQUEST_BYTES, inner: REQUEST_BYTES, schema: None }
        }
        Type::List(_) | Type::Map(_) => {
            Bounds { size: REQUEST_BYTES / 3, inner: REQUEST_BYTES, schema: None }
        }
        _ => Bounds { size: 1, inner: 1, schema: None },
    }
}

type Outcome<'s> = Result<Found<'s>, CompileError>;

impl<'s> Walk<'_, 's> {
    fn fail<T>(&self, at: usize, why: impl Into<String>) -> Result<T, CompileError> {
        Err(CompileError::at(self.source, at, why.into()))
    }

    fn no_overload<T>(
        &self,
        at: usize,
        function: &str,
        target: Option<&Found<'s>>,
        args: &[Found<'s>],
    ) -> Result<T, CompileError> {
        let shown: Vec<String> = args.iter().map(|arg| arg.of.to_string()).collect();
        let shown = match target {
            Some(target) => format!("{}.({})", target.of, shown.join(", ")),
            None => format!("({})", shown.join(", ")),
        };
        self.fail(at, format!("found no matching overload for '{function}' applied to '{shown}'"))
    }

    fn plain(of: Type<'s>, cost: u64) -> Found<'s> {
        let bounds = bound(&of);
        Found { of, cost, size: bounds.size, inner: bounds.inner, schema: bounds.schema }
    }

    fn node(&mut self, expr: &Expr) -> Outcome<'s> {
        let sized =
            |of: Type<'s>, size: usize| Found { of, cost: 0, size: size as u64, inner: 1, schema: None };
        Ok(match &expr.node {
            Node::Null => Self::plain(Type::Null, 0),
            Node::Bool(_) => Self::plain(Type::Bool, 0),
            Node::Int(_) => Self::plain(Type::Int, 0),
            Node::Uint(_) => Self::plain(Type::Uint, 0),
            Node::Double(_) => Self::plain(Type::Double, 0),
            Node::Text(text) => sized(Type::Text, text.len()),
            Node::Bytes(bytes) => sized(Type::Bytes, bytes.len()),
            Node::Ident(name) => return self.ident(name, expr.at),
            Node::Select { operand, field, optional } => {
                if let Some(name) = dotted(expr)
                    && functions::constant(&name).is_some()
                {
                    return Ok(Self::plain(Type::Other("type"), 0));
                }
                let operand = self.node(operand)?;
                let found = self.field(operand, field, expr.at)?;
                if *optional { Found { of: Type::Optional(Box::new(found.of)), ..found } } else { found }
            }
            Node::Has { operand, field } => {
                let operand = self.node(operand)?;
                let cost = self.field(operand, field, expr.at)?.cost;
                Self::plain(Type::Bool, cost)
            }
            Node::Index { operand, index, optional } => {
                let (operand, index) = (self.node(operand)?, self.node(index)?);
                let found = self.indexed(operand, &index, expr.at)?;
                if *optional { Found { of: Type::Optional(Box::new(found.of)), ..found } } else { found }
            }
            Node::List(items) => {
                let mut of: Option<Type<'s>> = None;
                let (mut cost, mut inner) = (10u64, 1);
                for (item, _) in items {
                    let item = self.node(item)?;
                    cost = item.cost.saturating_add(cost);
                    inner = inner.max(item.size);
                    of = Some(of.map_or(item.of.clone(), |known| known.joined(item.of)));
                }
                let of = Type::List(Box::new(of.unwrap_or(Type::Dyn)));
                Found { of, cost, size: items.len() as u64, inner, schema: None }
            }
            Node::Map(entries) => {
                let mut cost = 30u64;
                let mut of: Option<Type<'s>> = None;
                for (key, value, _) in entries {
                    let (key, value) = (self.node(key)?, self.node(value)?);
                    cost = key.cost.saturating_add(value.cost).saturating_add(cost);
                    of = Some(of.map_or(value.of.clone(), |known| known.joined(value.of)));
                }
                let of = Type::Map(Box::new(of.unwrap_or(Type::Dyn)));
                Found { of, cost, size: entries.len() as u64, inner: REQUEST_BYTES, schema: None }
            }
            Node::Not(inner) => {
                let inner = self.node(inner)?;
                if !inner.of.fits(&Type::Bool) {
                    return self.no_overload(expr.at, "!_", None, &[inner]);
                }
                Self::plain(Type::Bool, inner.cost.saturating_add(1))
            }
            Node::Negate(inner) => {
                let inner = self.node(inner)?;
                if !matches!(inner.of, Type::Int | Type::Double | Type::Dyn) {
                    return self.no_overload(expr.at, "-_", None, &[inner]);
                }
                Self::plain(inner.of, inner.cost.saturating_add(1))
            }
            Node::And(left, right) => return self.logic("_&&_", left, right, expr.at),
            Node::Or(left, right) => return self.logic("_||_", left, right, expr.at),
            Node::Condition(test, yes, no) => {
                let (test, yes, no) = (self.node(test)?, self.node(yes)?, self.node(no)?);
                if !test.of.fits(&Type::Bool) || !yes.of.fits(&no.of) {
                    return self.no_overload(expr.at, "_?_:_", None, &[test, yes, no]);
                }
                let cost = test.cost.saturating_add(yes.cost.max(no.cost));
                let (size, inner) = (yes.size.max(no.size), yes.inner.max(no.inner));
                Found { of: yes.of.joined(no.of), cost, size, inner, schema: yes.schema }
            }
            Node::Binary(sign, left, right) => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                return self.binary(sign, left, right, expr.at);
            }
            Node::Call { function, target, args } => {
                return self.call(function, target.as_deref(), args, expr.at);
            }
            Node::Loop { kind, range, first, second, filter, body } => {
                let range = self.node(range)?;
                let parts = (first.as_str(), second.as_deref(), filter.as_deref(), &**body);
                return self.each(*kind, range, parts, expr.at);
            }
            Node::OptionalMap { flat, operand, variable, body } => {
                let operand = self.node(operand)?;
                let inner = match operand.of.clone() {
                    Type::Optional(inner) => *inner,
                    Type::Dyn => Type::Dyn,
                    _ => return self.no_overload(expr.at, "optMap", Some(&operand), &[]),
                };
                let bounds = Bounds { size: operand.size, inner: operand.inner, schema: operand.schema };
                self.names.push((variable.clone(), inner, bounds));
                let body = self.node(body);
                self.names.pop();
                let body = body?;
                let of = if *flat { body.of } else { Type::Optional(Box::new(body.of)) };
                Found { of, cost: operand.cost.saturating_add(body.cost), ..Self::plain(Type::Dyn, 0) }
            }
            Node::Bind { .. } if !self.binds => {
                return self.fail(expr.at, "undeclared reference to 'cel' (in container '')");
            }
            Node::Bind { variable, value, body } => {
                let value = self.node(value)?;
                let bounds = Bounds { size: value.size, inner: value.inner, schema: value.schema };
                self.names.push((variable.clone(), value.of, bounds));
                let body = self.node(body);
                self.names.pop();
                let body = body?;
                Found { cost: body.cost.saturating_add(value.cost).saturating_add(BIND_COST), ..body }
            }
        })
    }

    fn ident(&mut self, name: &str, at: usize) -> Outcome<'s> {
        if let Some((_, of, bounds)) = self.names.iter().rev().find(|(known, ..)| known == name) {
            let found = Found {
                of: of.clone(),
                cost: 1,
                size: bounds.size,
                inner: bounds.inner,
                schema: bounds.schema,
            };
            if !self.mentions.iter().any(|known| known == name) {
                self.mentions.push(name.to_owned());
            }
            return Ok(found);
        }
        if functions::type_named(name).is_some() {
            return Ok(Self::plain(Type::Other("type"), 1));
        }
        self.fail(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    /// A value described by a schema.
    fn described(schema: &'s Structural, cost: u64) -> Found<'s> {
        let inner = match (&schema.items, &schema.additional) {
            (Some(items), _) => most_parts(items),
            (_, Additional::Each(each)) => most_parts(each),
            _ => REQUEST_BYTES,
        };
        Found { of: Type::of(schema, false), cost, size: most_parts(schema), inner, schema: Some(schema) }
    }

    fn field(&self, operand: Found<'s>, field: &str, at: usize) -> Outcome<'s> {
        let cost = operand.cost.saturating_add(1);
        match &operand.of {
            Type::Object(schema, root) => {
                let name = unescaped(field);
                match (name.as_str(), schema.properties.get(&name)) {
                    ("apiVersion" | "kind", _) if *root => {
                        Ok(Found { size: 64, ..Self::plain(Type::Text, cost) })
                    }
                    ("metadata", _) if *root => Ok(Self::plain(Type::Map(Box::new(Type::Dyn)), cost)),
                    (_, Some(below)) => Ok(Self::described(below, cost)),
                    (_, None) => match &schema.additional {
                        Additional::Each(each) => Ok(Self::described(each, cost)),
                        _ => self.fail(at, format!("undefined field '{field}'")),
                    },
                }
            }
            Type::Map(value) => {
                Ok(Found { of: (**value).clone(), cost, size: operand.inner, ..below(operand.schema) })
            }
            Type::Fields(fields) => match fields.get(field) {
                Some(of) => Ok(Self::plain(of.clone(), cost)),
                None => self.fail(at, format!("undefined field '{field}'")),
            },
            Type::Optional(inner) => {
                let inner = Found { of: (**inner).clone(), ..operand.clone() };
                let found = self.field(inner, field, at)?;
                Ok(Found { of: Type::Optional(Box::new(found.of)), ..found })
            }
            Type::Dyn | Type::Other(_) => Ok(Self::plain(Type::Dyn, cost)),
            other => self.fail(at, format!("type '{other}' does not support field selection")),
        }
    }

    fn indexed(&self, operand: Found<'s>, index: &Found<'s>, at: usize) -> Outcome<'s> {
        let cost = operand.cost.saturating_add(index.cost).saturating_add(1);
        let of = match (&operand.of, &index.of) {
            (Type::List(item), Type::Int | Type::Dyn) => (**item).clone(),
            (Type::Map(value), Type::Text | Type::Dyn) => (**value).clone(),
            (Type::Dyn, _) | (Type::Object(..), _) | (Type::Optional(_), _) => {
                return Ok(Self::plain(Type::Dyn, cost));
            }
            (Type::Map(value), _) => (**value).clone(),
            _ => return self.no_overload(at, "_[_]", None, &[operand.clone(), index.clone()]),
        };
        Ok(Found { of, cost, size: operand.inner, ..below(operand.schema) })
    }

    fn logic(&mut self, name: &str, left: &Expr, right: &Expr, at: usize) -> Outcome<'s> {
        let (left, right) = (self.node(left)?, self.node(right)?);
        if !left.of.fits(&Type::Bool) || !right.of.fits(&Type::Bool) {
            return self.no_overload(at, name, None, &[left, right]);
        }
        Ok(Self::plain(Type::Bool, left.cost.saturating_add(right.cost)))
    }

    fn binary(&self, sign: &str, left: Found<'s>, right: Found<'s>, at: usize) -> Outcome<'s> {
        let shorter = left.size.min(right.size).div_ceil(10);
        let cost = left.cost.saturating_add(right.cost).saturating_add(1);
        let dynamic = left.of.is_dyn() || right.of.is_dyn();
        let refuse =
            |walk: &Self| walk.no_overload(at, &format!("_{sign}_"), None, &[left.clone(), right.clone()]);
        match sign {
            "==" | "!=" if left.of.fits(&right.of) || (left.of.is_number() && right.of.is_number()) => {
                Ok(Self::plain(Type::Bool, cost.saturating_add(shorter)))
            }
            "<" | "<=" | ">" | ">=" => {
                let ordered = |of: &Type<'_>| {
                    of.is_number()
                        || matches!(
                            of,
                            Type::Text
                                | Type::Bytes
                                | Type::Bool
                                | Type::Timestamp
                                | Type::Duration
                                | Type::Dyn
                        )
                };
                let fits = left.of.fits(&right.of) || (left.of.is_number() && right.of.is_number());
                if !fits || !ordered(&left.of) || !ordered(&right.of) {
                    return refuse(self);
                }
                Ok(Self::plain(Type::Bool, cost.saturating_add(shorter)))
            }
            "in" => match &right.of {
                Type::List(item) if left.of.fits(item) || (left.of.is_number() && item.is_number()) => {
                    Ok(Self::plain(Type::Bool, cost.saturating_add(right.size)))
                }
                Type::Map(_) | Type::Object(..) | Type::Dyn => Ok(Self::plain(Type::Bool, cost)),
                _ => refuse(self),
            },
            "==" | "!=" => refuse(self),
            _ => {
                let of =
                    match (&left.of, &right.of, sign) {
                        _ if dynamic => Type::Dyn,
                        (a, b, _)
                            if a.is_number() && a.fits(b) && !(sign == "%" && matches!(a, Type::Double)) =>
                        {
                            a.clone()
                        }
                        (Type::Text, Type::Text, "+") => Type::Text,
                        (Type::Bytes, Type::Bytes, "+") => Type::Bytes,
                        (Type::List(_), Type::List(_), "+") => left.of.clone().joined(right.of.clone()),
                        (Type::Timestamp, Type::Duration, "+" | "-")
                        | (Type::Duration, Type::Timestamp, "+") => Type::Timestamp,
                        (Type::Timestamp, Type::Timestamp, "-")
                        | (Type::Duration, Type::Duration, "+" | "-") => Type::Duration,
                        _ => return refuse(self),
                    };
                let size = left.size.saturating_add(right.size);
                let walked = if of.is_number() { 0 } else { size.div_ceil(10) };
                let inner = left.inner.max(right.inner);
                Ok(Found { of, cost: cost.saturating_add(walked), size, inner, schema: None })
            }
        }
    }

    fn call(&mut self, function: &str, target: Option<&Expr>, args: &[Expr], at: usize) -> Outcome<'s> {
        let library = target.and_then(dotted).map(|prefix| format!("{prefix}.{function}"));
        let library = library.filter(|name| functions::is_qualified(name));
        let target = match (target, &library) {
            (Some(target), None) => Some(self.node(target)?),
            _ => None,
        };
        self.literals(function, args)?;
        let args = args.iter().map(|arg| self.node(arg)).collect::<Result<Vec<_>, _>>()?;
        let name = library.as_deref().unwrap_or(function);
        let all: Vec<&Found<'s>> = target.iter().chain(&args).collect();
        let cost = all.iter().fold(1u64, |sum, part| sum.saturating_add(part.cost));
        let largest = all.first().map_or(1, |part| part.size);
        let Some(of) = signatures::result(name, target.as_ref().map(|found| &found.of), &args) else {
            if !signatures::is_known(name) {
                return self.fail(at, format!("undeclared reference to '{name}' (in container '')"));
            }
            return self.no_overload(at, name, target.as_ref(), &args);
        };
        let walked = match name {
            "matches" => {
                largest.div_ceil(10).saturating_mul(args.last().map_or(1, |arg| arg.size).div_ceil(4).max(1))
            }
            "distinct" | "sets.contains" | "sets.equivalent" | "sets.intersects" => {
                largest.saturating_mul(args.last().map_or(largest, |arg| arg.size))
            }
            "size" | "hasValue" | "value" | "orValue" | "or" | "optional.of" => 0,
            _ => largest.div_ceil(10),
        };
        let (size, inner) = match (&of, name) {
            (Type::Text, "replace") => {
                (largest.saturating_mul(args.last().map_or(1, |arg| arg.size).max(1)), 1)
            }
            (Type::Text, "join") => (largest.saturating_mul(all.first().map_or(1, |part| part.inner)), 1),
            (Type::Text | Type::List(_), _) => {
                (largest, all.first().map_or(1, |part| part.inner.max(part.size)))
            }
            (Type::Dyn | Type::Optional(_) | Type::Map(_), _) => {
                (largest, all.first().map_or(1, |part| part.inner))
            }
            _ => (1, 1),
        };
        Ok(Found { of, cost: cost.saturating_add(walked), size, inner, schema: None })
    }

    /// What is written down for a function to read must be readable.
    fn literals(&self, function: &str, args: &[Expr]) -> Result<(), CompileError> {
        let (Some(at), Some(Node::Text(text))) =
            (args.last().map(|arg| arg.at), args.last().map(|arg| &arg.node))
        else {
            return Ok(());
        };
        let valid = match function {
            "duration" => functions::duration(text).is_some(),
            "timestamp" => text.parse::<jiff::Timestamp>().is_ok(),
            "matches" => crate::structural::compile_pattern(text).is_ok(),
            _ => true,
        };
        if valid { Ok(()) } else { self.fail(at, format!("invalid {function} argument")) }
    }

    fn each(
        &mut self,
        kind: Loop,
        range: Found<'s>,
        (first, second, filter, body): (&str, Option<&str>, Option<&Expr>, &Expr),
        at: usize,
    ) -> Outcome<'s> {
        let (key, value) = match range.of.clone() {
            Type::List(item) => (Type::Int, *item),
            Type::Map(value) => (Type::Text, *value),
            Type::Object(..) | Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                return self.fail(
                    at,
                    format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                );
            }
        };
        let under = below(range.schema).schema;
        let bounds = Bounds {
            size: range.inner,
            inner: under.map_or(REQUEST_BYTES, |schema| {
                schema.items.as_ref().map_or(REQUEST_BYTES, |items| most_parts(items))
            }),
            schema: under,
        };
        let small = Bounds { size: 64, inner: 1, schema: None };
        let depth = self.names.len();
        match second {
            Some(second) => {
                self.names.push((first.to_owned(), key, small));
                self.names.push((second.to_owned(), value, bounds));
            }
            None if matches!(range.of, Type::Map(_)) => self.names.push((first.to_owned(), key, small)),
            None => self.names.push((first.to_owned(), value.clone(), bounds)),
        }
        let filtered = filter.map(|filter| self.node(filter));
        let inner = self.node(body);
        self.names.truncate(depth);
        let (filtered, inner) = (filtered.transpose()?, inner?);
        let tests = matches!(kind, Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter);
        let bad = (tests && !inner.of.fits(&Type::Bool))
            || filtered.as_ref().is_some_and(|filtered| !filtered.of.fits(&Type::Bool));
        if bad {
            return self.no_overload(at, "_&&_", None, &[Self::plain(Type::Bool, 0), inner]);
        }
        let turn = inner.cost.saturating_add(filtered.map_or(0, |filtered| filtered.cost)).saturating_add(3);
        let cost = range.cost.saturating_add(range.size.saturating_mul(turn)).saturating_add(1);
        Ok(match kind {
            Loop::All | Loop::Exists | Loop::ExistsOne => Self::plain(Type::Bool, cost),
            Loop::Filter if matches!(range.of, Type::Map(_)) => Found {
                of: Type::List(Box::new(Type::Text)),
                cost,
                size: range.size,
                inner: 64,
                schema: None,
            },
            Loop::Filter => Found { cost, ..range },
            Loop::Map | Loop::TransformList => Found {
                of: Type::List(Box::new(inner.of)),
                cost,
                size: range.size,
                inner: inner.size,
                schema: None,
            },
            Loop::SortBy => Found { cost, ..range },
            Loop::TransformMapEntry => Found {
                of: match inner.of {
                    Type::Map(value) => Type::Map(value),
                    Type::Dyn | Type::Object(..) => Type::Map(Box::new(Type::Dyn)),
                    _ => return self.no_overload(at, "cel.@mapInsert", None, &[inner]),
                },
                cost,
                size: range.size.saturating_mul(inner.size),
                inner: inner.inner,
                schema: None,
            },
            Loop::TransformMap => Found {
                of: Type::Map(Box::new(inner.of)),
                cost,
                size: range.size,
                inner: inner.size,
                schema: None,
            },
        })
    }
}

/// What lies below a list or map with a schema.
fn below<'s>(schema: Option<&'s Structural>) -> Found<'s> {
    let each = schema.and_then(|schema| match (&schema.items, &schema.additional) {
        (Some(items), _) => Some(&**items),
        (_, Additional::Each(each)) => Some(&**each),
        _ => None,
    });
    match each {
        Some(each) => Walk::described(each, 0),
        None => Found { of: Type::Dyn, cost: 0, size: REQUEST_BYTES, inner: REQUEST_BYTES, schema: None },
    }
}

/// `a.b` where it is nothing but names.
fn dotted(expr: &Expr) -> Option<String> {
    match &expr.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select { operand, field, optional: false } => Some(format!("{}.{field}", dotted(operand)?)),
        _ => None,
    }
}
