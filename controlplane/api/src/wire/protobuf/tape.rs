//! JSON text as a tape: its values in the order of the text, each with the place where it stands.
//!
//! ```text
//! {"a":[1,"x"],"b":null}   ─►   object, "a", array, 1, "x", "b", null
//! ```
//!
//! Nothing is copied, and the tape is kept from text to text, so reading costs no allocation. Not for text from outside: control
//! characters in strings and odd numbers pass here, and whoever takes a value looks at it.
//!
//! Invariant: `next` of a value is behind all that the value holds, so what is not wanted is skipped in one step.

use std::borrow::Cow;

use super::ProtobufError;

/// Nesting beyond this is refused. Objects that are served are nested far less.
pub const DEPTH_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Null,
    True,
    False,
    Number,
    /// A string that stands for itself.
    Text,
    /// A string with escapes.
    Escaped,
    Array,
    /// Names and values by turns.
    Object,
}

/// A value: what it is, and where its text is, without the quotes of a string.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub token: Token,
    start: u32,
    end: u32,
    /// The index behind the value and all that it holds.
    pub next: u32,
}

/// The values of one text.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    open: Vec<u32>,
}

/// A tape with its text.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a> {
    text: &'a str,
    nodes: &'a [Node],
}

impl Tape {
    /// Reads one JSON value.
    pub fn read<'a>(&'a mut self, text: &'a [u8]) -> Result<Json<'a>, ProtobufError> {
        self.nodes.clear();
        self.open.clear();
        let text = std::str::from_utf8(text).map_err(|_| ProtobufError::Utf8("JSON".into()))?;
        let end = u32::try_from(text.len()).map_err(|_| ProtobufError::Value("too long".into()))?;
        let mut scan = Scan { text: text.as_bytes(), at: 0, tape: self };
        scan.values().ok_or_else(|| {
            ProtobufError::Value(format!("not JSON, or nested too deeply, at byte {} of {end}", scan.at))
        })?;
        Ok(Json { text, nodes: &self.nodes })
    }
}

impl<'a> Json<'a> {
    pub fn node(self, index: u32) -> Node {
        self.nodes[index as usize]
    }

    /// The text of a number or of a string without escapes.
    pub fn plain(self, node: Node) -> &'a str {
        &self.text[node.start as usize..node.end as usize]
    }

    /// The text of a value as it stands there, quotes included.
    pub fn raw(self, node: Node) -> &'a str {
        let quote = usize::from(matches!(node.token, Token::Text | Token::Escaped));
        &self.text[node.start as usize - quote..node.end as usize + quote]
    }

    /// What a string says.
    pub fn string(self, node: Node) -> Result<Cow<'a, str>, ProtobufError> {
        match node.token {
            Token::Text => Ok(self.plain(node).into()),
            Token::Escaped => serde_json::from_str::<String>(self.raw(node))
                .map(Cow::Owned)
                .map_err(|error| ProtobufError::Value(error.to_string())),
            _ => Err(ProtobufError::Value(format!("{} is no string", self.raw(node)))),
        }
    }
}

/// `None` is what is no JSON.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    tape: &'a mut Tape,
}

impl Scan<'_> {
    fn values(&mut self) -> Option<()> {
        loop {
            if self.value()? {
                continue;
            }
            // Behind a value: whatever ends here is closed.
            loop {
                let Some(&open) = self.tape.open.last() else {
                    return self.peek().is_none().then_some(());
                };
                let is_object = self.tape.nodes[open as usize].token == Token::Object;
                match (self.peek()?, is_object) {
                    (b',', _) => {
                        self.at += 1;
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => self.close(open),
                    _ => return None,
                }
            }
        }
    }

    /// A value, or the beginning of one that holds others: then the first of them is next.
    fn value(&mut self) -> Option<bool> {
        match self.peek()? {
            b'"' => self.string()?,
            b'{' => return self.begin(Token::Object, b'}'),
            b'[' => return self.begin(Token::Array, b']'),
            b't' => self.literal(b"true", Token::True)?,
            b'f' => self.literal(b"false", Token::False)?,
            b'n' => self.literal(b"null", Token::Null)?,
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                let rest = &self.text[start..];
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                self.at += rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                self.push(Token::Number, start, self.at);
            }
            _ => return None,
        }
        Some(false)
    }

    fn begin(&mut self, token: Token, end: u8) -> Option<bool> {
        let open = self.tape.nodes.len() as u32;
        self.push(token, self.at, self.at);
        self.at += 1;
        if self.peek()? == end {
            self.close(open);
            return Some(false);
        }
        if self.tape.open.len() == DEPTH_MAX {
            return None;
        }
        self.tape.open.push(open);
        if token == Token::Object {
            self.name()?;
        }
        Some(true)
    }

    fn close(&mut self, open: u32) {
        self.at += 1;
        let next = self.tape.nodes.len() as u32;
        let node = &mut self.tape.nodes[open as usize];
        (node.end, node.next) = (self.at as u32, next);
        if self.tape.open.last() == Some(&open) {
            self.tape.open.pop();
        }
    }

    fn name(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at + 1;
        let (mut at, mut token) = (start, Token::Text);
        loop {
            let rest = self.text.get(at..)?;
            at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.text[at] == b'"' {
                break;
            }
            token = Token::Escaped;
            at += 2;
        }
        self.push(token, start, at);
        self.at = at + 1;
        Some(())
    }

    fn literal(&mut self, word: &[u8], token: Token) -> Option<()> {
        if !self.text[self.at..].starts_with(word) {
            return None;
        }
        self.push(token, self.at, self.at + word.len());
        self.at += word.len();
        Some(())
    }

    fn push(&mut self, token: Token, start: usize, end: usize) {
        let next = self.tape.nodes.len() as u32 + 1;
        self.tape.nodes.push(Node { token, start: start as u32, end: end as u32, next });
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The value that a tape stands for.
    fn value(json: Json<'_>, at: u32) -> Value {
        let node = json.node(at);
        let mut below = Vec::new();
        let mut next = at + 1;
        while next < node.next {
            below.push(next);
            next = json.node(next).next;
        }
        match node.token {
            Token::Array => below.into_iter().map(|at| value(json, at)).collect(),
            Token::Object => {
                let name = |at: u32| json.string(json.node(at)).unwrap().into_owned();
                Value::Object(below.chunks(2).map(|pair| (name(pair[0]), value(json, pair[1]))).collect())
            }
            Token::Text | Token::Escaped => json.string(node).unwrap().into(),
            _ => serde_json::from_str(json.raw(node)).unwrap(),
        }
    }

    fn read(text: &[u8]) -> Option<Value> {
        Tape::default().read(text).ok().map(|json| value(json, 0))
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|number| (f64::from(number) / 8.0).into()),
            any::<String>().prop_map(Value::from),
            "[a-z\"\\\\\n]{0,6}".prop_map(Value::from),
        ];
        scalar.prop_recursive(5, 40, 5, |inner| {
            let object = proptest::collection::vec(("[a-c\"\\\\]{0,3}", inner.clone()), 0..5);
            prop_oneof![
                proptest::collection::vec(inner, 0..5).prop_map(Value::from),
                object.prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tape_says_what_its_text_says(wanted in any_value()) {
            prop_assert_eq!(read(wanted.to_string().as_bytes()), Some(wanted.clone()));
            prop_assert_eq!(read(&serde_json::to_vec_pretty(&wanted).unwrap()), Some(wanted));
        }

        #[test]
        fn no_bytes_panic(text in "[\\[\\]{}:,\"\\\\a1-9tfn u-]{0,40}", bytes: Vec<u8>) {
            for text in [text.as_bytes(), &bytes] {
                let mut tape = Tape::default();
                if let Ok(json) = tape.read(text) {
                    for at in 0..json.nodes.len() {
                        let node = json.nodes[at];
                        assert!(node.next as usize > at && node.next as usize <= json.nodes.len());
                        let _ = (json.raw(node), json.string(node));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\" 1}",
            "{1:1}",
            "[}",
            "{]",
            "[1]]",
            "tru",
            "\"a",
            "\"a\\",
            "1 2",
            "{\"a\":1,}",
            "[,]",
            "\"\\\"",
            "x",
        ] {
            assert!(Tape::default().read(text.as_bytes()).is_err(), "{text}");
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(nested(DEPTH_MAX).as_bytes()).is_some());
        assert!(Tape::default().read(nested(DEPTH_MAX + 2).as_bytes()).is_err());
        assert!(Tape::default().read(b"\"\xff\"").is_err());
    }
}
