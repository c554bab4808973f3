//! The lexer and parser of label selectors' string form.
//!
//! Invariant: accepts and refuses exactly what upstream does, with its words, including its odd spots (an empty
//! value in `(a,)`, keywords as plain values).

use super::label::{LabelSelectorError, Operator, Requirement, check_key};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Identifier,
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    Not,
    Comma,
    Open,
    Close,
    End,
    Error,
}

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Every requirement of a selector, in the order written.
pub fn requirements(text: &str) -> Result<Vec<Requirement>, LabelSelectorError> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut out = Vec::new();
    loop {
        let (token, literal) = parser.peek_value();
        match token {
            Token::Identifier | Token::Not => {
                let requirement = parser.requirement().map_err(|error| {
                    LabelSelectorError(format!("unable to parse requirement: {}", error.0))
                })?;
                out.push(requirement);
                match parser.next_value() {
                    (Token::End, _) => return Ok(out),
                    (Token::Comma, _) => {
                        let (token, literal) = parser.peek_value();
                        if !matches!(token, Token::Identifier | Token::Not) {
                            return refuse(format!("found '{literal}', expected: identifier after ','"));
                        }
                    }
                    (_, literal) => {
                        return refuse(format!("found '{literal}', expected: ',' or 'end of string'"));
                    }
                }
            }
            Token::End => return Ok(out),
            _ => return refuse(format!("found '{literal}', expected: !, identifier, or 'end of string'")),
        }
    }
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    /// Where a value is due, `in` and `notin` are plain words.
    fn peek_value(&self) -> (Token, &'a str) {
        match self.peek() {
            (Token::In | Token::NotIn, literal) => (Token::Identifier, literal),
            other => other,
        }
    }

    fn next(&mut self) -> (Token, &'a str) {
        let out = self.peek();
        self.at += 1;
        out
    }

    fn next_value(&mut self) -> (Token, &'a str) {
        let out = self.peek_value();
        self.at += 1;
        out
    }

    fn requirement(&mut self) -> Result<Requirement, LabelSelectorError> {
        let (mut token, mut key) = self.next_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next_value();
        }
        if token != Token::Identifier {
            return refuse(format!("found '{key}', expected: identifier"));
        }
        check_key(key, "<nil>")?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, vec![]);
        }
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, vec![]);
        }
        let operator = match self.next() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals | Token::DoubleEquals, _) => Operator::Equals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::GreaterThan, _) => Operator::GreaterThan,
            (Token::LessThan, _) => Operator::LessThan,
            (_, literal) => return refuse(format!("found '{literal}', expected: {BINARY_OPERATORS}")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, LabelSelectorError> {
        if matches!(self.peek_value().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, literal) => Ok(literal.to_owned()),
            (_, literal) => refuse(format!("found '{literal}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        match self.next_value() {
            (Token::Open, _) => {}
            (_, literal) => return refuse(format!("found '{literal}' expected: '('")),
        }
        match self.peek_value() {
            (Token::Identifier | Token::Comma, first) => {
                let values = self.identifiers()?;
                match self.next_value() {
                    (Token::Close, _) => Ok(values),
                    _ => refuse(format!("found '{first}', expected: ')'")),
                }
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(vec![String::new()])
            }
            (_, literal) => refuse(format!("found '{literal}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<Vec<String>, LabelSelectorError> {
        let mut out = Vec::new();
        loop {
            match self.next_value() {
                (Token::Identifier, literal) => {
                    out.push(literal.to_owned());
                    match self.peek_value() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, literal) => return refuse(format!("found '{literal}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.push(String::new());
                    }
                    match self.peek_value().0 {
                        Token::Close => {
                            out.push(String::new());
                            return Ok(out);
                        }
                        Token::Comma => {
                            self.at += 1;
                            out.push(String::new());
                        }
                        _ => {}
                    }
                }
                (_, literal) => return refuse(format!("found '{literal}', expected: ',', or identifier")),
            }
        }
    }
}

fn scan(text: &str) -> Vec<(Token, &str)> {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if is_space(*byte) {
            at += 1;
            continue;
        }
        let start = at;
        if is_symbol(*byte) {
            let (token, length) = symbol(&text[at..]);
            at += length;
            out.push((token, &text[start..at]));
            continue;
        }
        while bytes.get(at).is_some_and(|byte| !is_space(*byte) && !is_symbol(*byte)) {
            at += 1;
        }
        let word = &text[start..at];
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ => Token::Identifier,
        };
        out.push((token, word));
    }
    out
}

fn symbol(text: &str) -> (Token, usize) {
    for (literal, token) in [("==", Token::DoubleEquals), ("!=", Token::NotEquals)] {
        if text.starts_with(literal) {
            return (token, literal.len());
        }
    }
    let token = match text.as_bytes().first() {
        Some(b'=') => Token::Equals,
        Some(b'!') => Token::Not,
        Some(b'>') => Token::GreaterThan,
        Some(b'<') => Token::LessThan,
        Some(b',') => Token::Comma,
        Some(b'(') => Token::Open,
        Some(b')') => Token::Close,
        _ => Token::Error,
    };
    (token, 1)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn refuse<T>(message: String) -> Result<T, LabelSelectorError> {
    Err(LabelSelectorError(message))
}
