//! From words to a tree, macros expanded.
//!
//! Reference: cel-spec `langdef.md`, grammar and macros.

mod macros;

use super::CompileError;
use super::lex::{Token, lex};

/// Nesting beyond this is refused.
const DEPTH_MAX: usize = 100;
/// A tree higher than this is refused, as cel-go does: everything that walks or drops one recurses. A chain of operators or
/// fields is as high as it is long; one of `&&` or `||` is balanced, and long ones are fine.
const HEIGHT_MAX: u16 = 250;

/// A node and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub at: usize,
    pub node: Node,
    /// Nodes on the longest way down, itself included.
    height: u16,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Ident(String),
    /// `operand.field`; `optional`: `operand.?field`.
    Select {
        operand: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(operand.field)`.
    Has {
        operand: Box<Expr>,
        field: String,
    },
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// A function, with its receiver where it has one.
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    /// Items; the flag marks `?item`.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Condition(Box<Expr>, Box<Expr>, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// A macro over a range; of maps and transformations with two variables the second is the value.
    Loop {
        kind: Loop,
        range: Box<Expr>,
        first: String,
        second: Option<String>,
        filter: Option<Box<Expr>>,
        body: Box<Expr>,
    },
    /// `optMap` and `optFlatMap`.
    OptionalMap {
        flat: bool,
        operand: Box<Expr>,
        variable: String,
        body: Box<Expr>,
    },
    /// `cel.bind(variable, value, body)`.
    Bind {
        variable: String,
        value: Box<Expr>,
        body: Box<Expr>,
    },
}

impl Node {
    /// The highest of the trees below it.
    fn height_below(&self) -> u16 {
        let highest = |all: &[&Expr]| all.iter().map(|expr| expr.height).max().unwrap_or(0);
        match self {
            Node::Null | Node::Bool(_) | Node::Int(_) | Node::Uint(_) | Node::Double(_) => 0,
            Node::Text(_) | Node::Bytes(_) | Node::Ident(_) => 0,
            Node::Select { operand, .. } | Node::Has { operand, .. } => operand.height,
            Node::Not(operand) | Node::Negate(operand) => operand.height,
            Node::Index { operand, index, .. } => highest(&[operand, index]),
            Node::And(left, right) | Node::Or(left, right) | Node::Binary(_, left, right) => {
                highest(&[left, right])
            }
            Node::Condition(test, yes, no) => highest(&[test, yes, no]),
            Node::Call { target, args, .. } => {
                let args = args.iter().chain(target.as_deref());
                args.map(|expr| expr.height).max().unwrap_or(0)
            }
            Node::List(items) => items.iter().map(|(item, _)| item.height).max().unwrap_or(0),
            Node::Map(entries) => {
                entries.iter().map(|(key, value, _)| highest(&[key, value])).max().unwrap_or(0)
            }
            Node::Loop { range, filter, body, .. } => {
                highest(&[range, body]).max(filter.as_ref().map_or(0, |filter| filter.height))
            }
            Node::OptionalMap { operand, body, .. } => highest(&[operand, body]),
            Node::Bind { value, body, .. } => highest(&[value, body]),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
    SortBy,
}

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Expr, CompileError> {
    let mut parser = Parser { source, tokens: lex(source)?, at: 0, depth: 0 };
    let expr = parser.condition()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

const TOO_DEEP: &str = "expression recursion limit exceeded";
const RELATIONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];
/// Whether a name is that of a message: `Object`, `Object.spec...` and `JSONPatch`, which admission policies make. Both are
/// maps here; which fields there are the object's type says when it is merged.
fn is_message(expr: &Expr) -> bool {
    match &expr.node {
        Node::Ident(name) => matches!(name.as_str(), "Object" | "JSONPatch"),
        Node::Select { operand, optional: false, .. } => is_message(operand),
        _ => false,
    }
}

/// The name of no variable: a word of the language, or a literal.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(name, "true" | "false" | "null") || RESERVED.contains(&name)
}

const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.source.len(), |(_, place)| *place)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, sign: &'static str) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        self.at += usize::from(found);
        found
    }

    fn want(&mut self, sign: &'static str) -> Result<(), CompileError> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> CompileError {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Name(name) => name.clone(),
            Token::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        self.fail(format!("Syntax error: mismatched input '{found}' expecting {wanted}"))
    }

    fn fail(&self, why: String) -> CompileError {
        CompileError::at(self.source, self.place(), why)
    }

    fn expr(&self, at: usize, node: Node) -> Result<Expr, CompileError> {
        let height = node.height_below() + 1;
        if height > HEIGHT_MAX {
            return Err(CompileError::at(self.source, at, TOO_DEEP.into()));
        }
        Ok(Expr { at, node, height })
    }

    fn condition(&mut self) -> Result<Expr, CompileError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fail(TOO_DEEP.into()));
        }
        let test = self.or()?;
        let place = self.place();
        let expr = if self.eat("?") {
            let yes = self.or()?;
            self.want(":")?;
            let no = self.condition()?;
            self.expr(place, Node::Condition(Box::new(test), Box::new(yes), Box::new(no)))?
        } else {
            test
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn or(&mut self) -> Result<Expr, CompileError> {
        let (mut operands, mut places) = (vec![self.and()?], vec![self.place()]);
        while self.eat("||") {
            operands.push(self.and()?);
            places.push(self.place());
        }
        self.balanced(operands, places, Node::Or)
    }

    fn and(&mut self) -> Result<Expr, CompileError> {
        let (mut operands, mut places) = (vec![self.relation()?], vec![self.place()]);
        while self.eat("&&") {
            operands.push(self.relation()?);
            places.push(self.place());
        }
        self.balanced(operands, places, Node::And)
    }

    /// One tree of all operands, in their order. Behind each is where its operator stands.
    fn balanced(
        &self,
        mut operands: Vec<Expr>,
        mut places: Vec<usize>,
        join: fn(Box<Expr>, Box<Expr>) -> Node,
    ) -> Result<Expr, CompileError> {
        while operands.len() > 1 {
            let (mut joined, mut behind) = (Vec::new(), Vec::new());
            let mut rest = operands.into_iter().zip(places);
            while let Some((left, at)) = rest.next() {
                let (expr, place) = match rest.next() {
                    Some((right, place)) => (self.expr(at, join(Box::new(left), Box::new(right)))?, place),
                    None => (left, at),
                };
                joined.push(expr);
                behind.push(place);
            }
            (operands, places) = (joined, behind);
        }
        operands.pop().ok_or_else(|| self.unexpected("an operand"))
    }

    fn relation(&mut self) -> Result<Expr, CompileError> {
        let mut left = self.sum()?;
        loop {
            let at = self.place();
            let sign = match self.peek() {
                Token::Sign(sign) if RELATIONS.contains(sign) => *sign,
                Token::Name(name) if name == "in" => "in",
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.sum()?;
            left = self.expr(at, Node::Binary(sign, Box::new(left), Box::new(right)))?;
        }
    }

    fn sum(&mut self) -> Result<Expr, CompileError> {
        let mut left = self.product()?;
        loop {
            let at = self.place();
            let sign = match self.peek() {
                Token::Sign(sign @ ("+" | "-")) => *sign,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.product()?;
            left = self.expr(at, Node::Binary(sign, Box::new(left), Box::new(right)))?;
        }
    }

    fn product(&mut self) -> Result<Expr, CompileError> {
        let mut left = self.unary()?;
        loop {
            let at = self.place();
            let sign = match self.peek() {
                Token::Sign(sign @ ("*" | "/" | "%")) => *sign,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.unary()?;
            left = self.expr(at, Node::Binary(sign, Box::new(left), Box::new(right)))?;
        }
    }

    fn unary(&mut self) -> Result<Expr, CompileError> {
        let at = self.place();
        let mut signs = Vec::new();
        while let Token::Sign(sign @ ("!" | "-")) = self.peek() {
            signs.push(*sign);
            self.at += 1;
            if signs.len() > DEPTH_MAX {
                return Err(self.fail(TOO_DEEP.into()));
            }
        }
        let mut expr = self.member()?;
        for sign in signs.into_iter().rev() {
            let node = match (sign, expr.node) {
                ("-", Node::Int(number)) => Node::Int(number.wrapping_neg()),
                ("-", Node::Double(number)) => Node::Double(-number),
                ("-", node) => Node::Negate(Box::new(self.expr(expr.at, node)?)),
                (_, node) => Node::Not(Box::new(self.expr(expr.at, node)?)),
            };
            expr = self.expr(at, node)?;
        }
        Ok(expr)
    }

    fn member(&mut self) -> Result<Expr, CompileError> {
        let mut expr = self.primary()?;
        loop {
            let at = self.place();
            if self.eat(".") || self.eat(".?") {
                let optional = matches!(self.tokens.get(self.at - 1), Some((Token::Sign(".?"), _)));
                let field = self.name()?;
                expr = if !optional && self.eat("(") {
                    let args = self.arguments(")")?;
                    self.method(expr, field, args, at)?
                } else {
                    self.expr(at, Node::Select { operand: Box::new(expr), field, optional })?
                };
            } else if self.eat("[") || self.eat("[?") {
                let optional = matches!(self.tokens.get(self.at - 1), Some((Token::Sign("[?"), _)));
                let index = self.condition()?;
                self.want("]")?;
                let node = Node::Index { operand: Box::new(expr), index: Box::new(index), optional };
                expr = self.expr(at, node)?;
            } else if is_message(&expr) && self.eat("{") {
                let fields = self.fields()?;
                expr = self.expr(at, fields)?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// The fields of a message: a map whose keys are their names.
    fn fields(&mut self) -> Result<Node, CompileError> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            if !entries.is_empty() {
                self.want(",")?;
                if self.eat("}") {
                    break;
                }
            }
            let (optional, at) = (self.eat("?"), self.place());
            let name = Node::Text(self.name()?);
            let key = self.expr(at, name)?;
            self.want(":")?;
            entries.push((key, self.condition()?, optional));
        }
        Ok(Node::Map(entries))
    }

    fn name(&mut self) -> Result<String, CompileError> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn arguments(&mut self, end: &'static str) -> Result<Vec<Expr>, CompileError> {
        let mut args = Vec::new();
        while !self.eat(end) {
            if !args.is_empty() {
                self.want(",")?;
            }
            args.push(self.condition()?);
        }
        Ok(args)
    }

    fn primary(&mut self) -> Result<Expr, CompileError> {
        let at = self.place();
        let node = match self.take() {
            Token::Int(number) => Node::Int(number),
            Token::Uint(number) => Node::Uint(number),
            Token::Double(number) => Node::Double(number),
            Token::Text(text) => Node::Text(text),
            Token::Bytes(bytes) => Node::Bytes(bytes),
            Token::Name(name) => match name.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                "null" => Node::Null,
                _ if RESERVED.contains(&name.as_str()) => {
                    self.at -= 1;
                    return Err(self.fail(format!("reserved identifier: {name}")));
                }
                _ if self.eat("(") => {
                    let args = self.arguments(")")?;
                    self.call(name, args, at)?
                }
                _ => Node::Ident(name),
            },
            Token::Sign("(") => {
                let inner = self.condition()?;
                self.want(")")?;
                return Ok(inner);
            }
            // A leading dot says "from the root", where everything is.
            Token::Sign(".") => Node::Ident(self.name()?),
            Token::Sign(sign @ ("[" | "[?")) => {
                let mut items = Vec::new();
                let mut optional = sign == "[?";
                while !self.eat("]") {
                    if !items.is_empty() {
                        self.want(",")?;
                        if self.eat("]") {
                            break;
                        }
                    }
                    optional |= self.eat("?");
                    items.push((self.condition()?, std::mem::take(&mut optional)));
                }
                Node::List(items)
            }
            Token::Sign("{") => self.map()?,
            _ => {
                self.at -= 1;
                return Err(self.unexpected("{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"));
            }
        };
        self.expr(at, node)
    }

    fn map(&mut self) -> Result<Node, CompileError> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            if !entries.is_empty() {
                self.want(",")?;
                if self.eat("}") {
                    break;
                }
            }
            let optional = self.eat("?");
            let key = self.condition()?;
            self.want(":")?;
            entries.push((key, self.condition()?, optional));
        }
        Ok(Node::Map(entries))
    }
}
