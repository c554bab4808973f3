//! The words of an expression, with where each begins.

use super::CompileError;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// Longest first.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", ".?", "[?", "+", "-", "*", "/", "%", "<", ">", "!", "?", ":", "(",
    ")", "[", "]", "{", "}", ".",
];

/// Splits an expression.
pub(super) fn lex(source: &str) -> Result<Vec<(Token, usize)>, CompileError> {
    let mut lexer = Lexer { source, at: 0, out: Vec::new() };
    while lexer.next()? {}
    lexer.out.push((Token::End, source.len()));
    Ok(lexer.out)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    out: Vec<(Token, usize)>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn fail(&self, at: usize, why: impl Into<String>) -> CompileError {
        CompileError::at(self.source, at, why.into())
    }

    fn next(&mut self) -> Result<bool, CompileError> {
        loop {
            let skipped = self.rest().len() - self.rest().trim_start().len();
            self.at += skipped;
            if !self.rest().starts_with("//") {
                break;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
        let begin = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(false) };
        let token = if first.is_ascii_digit()
            || (first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            self.number()?
        } else if let Some((raw, bytes, length)) = self.text_prefix() {
            self.at += length;
            self.text(raw, bytes)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = self.rest()[..end.unwrap_or(self.rest().len())].to_owned();
            self.at += name.len();
            Token::Name(name)
        } else if first == ',' {
            self.at += 1;
            Token::Sign(",")
        } else if let Some(sign) = SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            self.at += sign.len();
            Token::Sign(sign)
        } else {
            return Err(self.fail(begin, format!("Syntax error: token recognition error at: '{first}'")));
        };
        self.out.push((token, begin));
        Ok(true)
    }

    fn number(&mut self) -> Result<Token, CompileError> {
        let begin = self.at;
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            let digits = hex[..end].to_owned();
            self.at += 2 + end;
            if self.rest().starts_with(['u', 'U']) {
                self.at += 1;
                let number = u64::from_str_radix(&digits, 16);
                return number.map(Token::Uint).map_err(|_| self.fail(begin, "invalid uint literal"));
            }
            let number = i64::from_str_radix(&digits, 16);
            return number.map(Token::Int).map_err(|_| self.fail(begin, "invalid int literal"));
        }
        let mut end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let mut double = false;
        if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
            double = true;
            end += 1;
            end += rest[end..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest[end..].len());
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let digits = &rest[end + 1 + sign..];
            let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if length > 0 {
                double = true;
                end += 1 + sign + length;
            }
        }
        let text = rest[..end].to_owned();
        self.at += end;
        if double {
            return text.parse().map(Token::Double).map_err(|_| self.fail(begin, "invalid double literal"));
        }
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return text.parse().map(Token::Uint).map_err(|_| self.fail(begin, "invalid uint literal"));
        }
        // The smallest integer has no positive twin: its digits are read as what they wrap to.
        match text.parse::<u64>() {
            Ok(number) if number <= i64::MAX.unsigned_abs() + 1 => Ok(Token::Int(number as i64)),
            _ => Err(self.fail(begin, "invalid int literal")),
        }
    }

    /// Whether a text begins here: raw, bytes, and how long its prefix is.
    fn text_prefix(&self) -> Option<(bool, bool, usize)> {
        let bytes = self.rest().as_bytes();
        let quote = |at: usize| matches!(bytes.get(at), Some(b'"' | b'\''));
        let letter = |at: usize| bytes.get(at).map(u8::to_ascii_lowercase);
        match (letter(0), letter(1)) {
            _ if quote(0) => Some((false, false, 0)),
            (Some(b'r'), _) if quote(1) => Some((true, false, 1)),
            (Some(b'b'), _) if quote(1) => Some((false, true, 1)),
            (Some(b'r'), Some(b'b')) | (Some(b'b'), Some(b'r')) if quote(2) => Some((true, true, 2)),
            _ => None,
        }
    }

    fn text(&mut self, raw: bool, bytes: bool) -> Result<Token, CompileError> {
        let begin = self.at;
        let quote = &self.rest()[..1];
        let triple = quote.repeat(3);
        let end = if self.rest().starts_with(&triple) { triple } else { quote.to_owned() };
        self.at += end.len();
        let mut out: Vec<u8> = Vec::new();
        loop {
            if self.rest().starts_with(&end) {
                self.at += end.len();
                break;
            }
            let Some(letter) = self.rest().chars().next() else {
                return Err(self.fail(begin, "Syntax error: unterminated string"));
            };
            if letter == '\n' && end.len() == 1 {
                return Err(self.fail(begin, "Syntax error: unterminated string"));
            }
            self.at += letter.len_utf8();
            if letter == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else if letter == '\\' {
                // A raw text keeps the backslash, and what follows it never ends the text.
                out.push(b'\\');
                if let Some(next) = self.rest().chars().next() {
                    self.at += next.len_utf8();
                    out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
                }
            } else {
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if bytes {
            return Ok(Token::Bytes(out));
        }
        String::from_utf8(out).map(Token::Text).map_err(|_| self.fail(begin, "Syntax error: invalid UTF-8"))
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), CompileError> {
        let begin = self.at - 1;
        let Some(letter) = self.rest().chars().next() else { return Ok(()) };
        self.at += letter.len_utf8();
        let plain = match letter {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' | '`' | '?' => letter as u8,
            _ => return self.numeric(letter, bytes, begin, out),
        };
        out.push(plain);
        Ok(())
    }

    fn numeric(
        &mut self,
        letter: char,
        bytes: bool,
        begin: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CompileError> {
        let refuse = |lexer: &Self| lexer.fail(begin, "Syntax error: invalid escape sequence");
        let (skip, digits, radix) = match letter {
            'x' | 'X' => (0, 2, 16),
            'u' if !bytes => (0, 4, 16),
            'U' if !bytes => (0, 8, 16),
            '0'..='3' => (1, 3, 8),
            _ => return Err(refuse(self)),
        };
        self.at -= skip;
        let text = self.rest().get(..digits).ok_or_else(|| refuse(self))?.to_owned();
        let number = u32::from_str_radix(&text, radix).map_err(|_| refuse(self))?;
        self.at += digits;
        if bytes {
            out.push(u8::try_from(number).map_err(|_| refuse(self))?);
        } else {
            let letter = char::from_u32(number).ok_or_else(|| refuse(self))?;
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}
