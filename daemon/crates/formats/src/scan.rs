//! Finding where JSON values end without parsing them, so that one bad record does not cost the others.

/// Where a scan for the end of a value stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The offset of the first byte that does not belong to the value.
    pub(crate) end: usize,
    /// Whether the value is whole: its brackets close, the last as the first, before the text ends.
    pub(crate) closed: bool,
    /// The deepest nesting of brackets in it.
    pub(crate) depth: usize,
}

/// Scans one value from the start of `bytes`. An object or list ends with its last bracket; anything else before the next
/// comma, closing bracket or line end.
///
/// Brackets are counted, and only the kinds of the first and last compared; the parser refuses what is wrong between. A string
/// ends with its line, closed or not, since JSON allows no line end in one.
pub(crate) fn scan_value(bytes: &[u8]) -> Scanned {
    let mut open = 0usize;
    let mut first = 0;
    let mut depth = 0;
    let mut in_string = false;
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        if in_string {
            match byte {
                b'\\' if bytes.get(position + 1).is_some_and(|&next| next != b'\n') => {
                    position += 1
                }
                b'"' => in_string = false,
                b'\n' => {
                    in_string = false;
                    continue;
                }
                _ => {}
            }
            position += 1;
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                if open == 0 {
                    first = byte;
                }
                open += 1;
                depth = depth.max(open);
            }
            b'}' | b']' if open == 0 => break,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return Scanned {
                        end: position + 1,
                        closed: (first == b'{') == (byte == b'}'),
                        depth,
                    };
                }
            }
            b',' | b'\n' if open == 0 => break,
            _ => {}
        }
        position += 1;
    }
    Scanned {
        end: position,
        closed: open == 0,
        depth,
    }
}

/// A field of an object as it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'text> {
    /// Its name, as it is written between the quotation marks.
    pub(crate) key: &'text str,
    /// Where its value starts.
    pub(crate) value: usize,
    /// Where it ends, or the text does.
    pub(crate) end: usize,
}

/// Lists the fields of the object that a text starts with, up to what is wrong in it.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    let blanks = |from: usize| text[from..].len() - text[from..].trim_start().len();
    let start = blanks(0);
    let mut position = text[start..].starts_with('{').then_some(start + 1);
    std::iter::from_fn(move || {
        let mut at = position.take()?;
        at += blanks(at);
        if text[at..].starts_with(',') {
            at += 1;
            at += blanks(at);
        }
        let key_start = at + text[at..].strip_prefix('"').map(|_| 1)?;
        let key_end = key_start + end_of_string(&text.as_bytes()[key_start..])?;
        at = key_end + 1;
        at += blanks(at);
        at += text[at..].strip_prefix(':').map(|_| 1)?;
        at += blanks(at);
        let scanned = scan_value(&text.as_bytes()[at..]);
        let end = at + scanned.end;
        position = scanned.closed.then_some(end);
        Some(Entry {
            key: &text[key_start..key_end],
            value: at,
            end,
        })
    })
}

/// Finds the quotation mark that ends a string.
fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    bytes.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_close() {
        let check = |text: &str, end: usize, closed: bool, depth: usize| {
            assert_eq!(
                scan_value(text.as_bytes()),
                Scanned { end, closed, depth },
                "{text:?}"
            );
        };
        check(r#"{"a": [1, {}]}, 2"#, 14, true, 3);
        check(r#"{"a": "}\"}"} x"#, 13, true, 1);
        check(r#"{"a": "b"#, 8, false, 1);
        check("{\"a\": \"b\n}, {", 10, true, 1);
        check("\"a\\\nb", 3, true, 0);
        check("12, 3", 2, true, 0);
        check("{ x ]", 5, false, 1);
        check("true]", 4, true, 0);
        check("\"a,b\"\n", 5, true, 0);
        check("", 0, true, 0);
        check("\"\\", 2, true, 0);
    }

    #[test]
    fn an_object_s_fields_are_listed_up_to_what_is_wrong() {
        let check = |text: &str, expect: &[(&str, &str)]| {
            let found: Vec<(&str, &str)> = entries(text)
                .map(|entry| (entry.key, &text[entry.value..entry.end]))
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check(
            " {\"a\": [1, {\"b\": 2}], \n \"c d\": \"x, y\" , \"e\": 3}",
            &[("a", "[1, {\"b\": 2}]"), ("c d", "\"x, y\" "), ("e", "3")],
        );
        check("{\"a\\\"b\": 1, \"c\" 2}", &[("a\\\"b", "1")]);
        check("{\"a\": [1", &[("a", "[1")]);
        check("{\"写\": null, 7: 1}", &[("写", "null")]);
        check("[1]", &[]);
        check("{\"a", &[]);
        check("", &[]);
    }
}
