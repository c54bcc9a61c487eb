//! Pages of lists: opaque tokens, bounded in items and bytes.

use autodidact_proto::v1::ErrorReason;
use prost::Message;
use tonic::Status;

use crate::status::refuse;

const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1000;
/// A page ends when it reaches this, so that with one more item it stays below the message cap in all but odd cases.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// Reads a wanted page size: 0 takes the default, too much is cut.
pub(crate) fn page_size(wanted: u32) -> usize {
    match wanted {
        0 => DEFAULT_PAGE_SIZE,
        _ => MAX_PAGE_SIZE.min(wanted as usize),
    }
}

/// A page being filled.
pub(crate) struct Page<T> {
    items: Vec<T>,
    size: usize,
    bytes: usize,
}

impl<T: Message> Page<T> {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            items: Vec::new(),
            size,
            bytes: 0,
        }
    }

    /// Adds an item; gives it back when the page is full.
    pub(crate) fn push(&mut self, item: T) -> Result<(), T> {
        let bytes = item.encoded_len();
        let full = self.items.len() >= self.size
            || (!self.items.is_empty() && self.bytes + bytes > MAX_PAGE_BYTES);
        if full {
            return Err(item);
        }
        self.bytes += bytes;
        self.items.push(item);
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= self.size
    }

    pub(crate) fn into_items(self) -> Vec<T> {
        self.items
    }
}

/// Cuts a page out of a list sorted by name. The token is the last name of the page before, so that what is added or
/// removed meanwhile neither repeats nor hides another item.
pub(crate) fn page_by_name<S, T: Message>(
    sorted: Vec<S>,
    name: impl Fn(&S) -> &str,
    convert: impl Fn(&S) -> T,
    wanted: u32,
    token: &str,
) -> Result<(Vec<T>, String), Status> {
    let start = match token {
        "" => 0,
        _ => {
            let after = token.strip_prefix("n.").ok_or_else(|| bad_token(token))?;
            sorted.partition_point(|item| name(item) <= after)
        }
    };
    let mut page = Page::new(page_size(wanted));
    for (index, item) in sorted.iter().enumerate().skip(start) {
        if page.push(convert(item)).is_err() {
            return Ok((page.into_items(), format!("n.{}", name(&sorted[index - 1]))));
        }
    }
    Ok((page.into_items(), String::new()))
}

/// Writes a token of a place in something that only grows: what it is (a version, say) and the next position.
pub(crate) fn position_token(what: u32, position: u64) -> String {
    format!("p.{what}.{position}")
}

/// Reads a [`position_token`]; none for an empty one.
pub(crate) fn read_position_token(token: &str) -> Result<Option<(u32, u64)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts = token
        .strip_prefix("p.")
        .and_then(|rest| rest.split_once('.'));
    let read =
        parts.and_then(|(what, position)| Some((what.parse().ok()?, position.parse().ok()?)));
    read.map(Some).ok_or_else(|| bad_token(token))
}

pub(crate) fn bad_token(token: &str) -> Status {
    let token: String = token.chars().take(80).collect();
    refuse(
        ErrorReason::BadPageToken,
        format!("page token {token:?} was not given out by this list; start without one"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(names: &[&str], size: u32) -> Vec<Vec<String>> {
        let mut token = String::new();
        let mut pages = Vec::new();
        loop {
            let (page, next) = page_by_name(
                names.to_vec(),
                |name| name,
                |name| (*name).to_string(),
                size,
                &token,
            )
            .unwrap();
            pages.push(page);
            if next.is_empty() {
                return pages;
            }
            token = next;
        }
    }

    #[test]
    fn pages_cover_a_list_once() {
        assert_eq!(
            pages(&["a", "b", "c", "d", "e"], 2),
            [vec!["a", "b"], vec!["c", "d"], vec!["e"]]
        );
        assert_eq!(pages(&["a", "b"], 2), [vec!["a", "b"]]);
        assert_eq!(pages(&[], 2), [Vec::<String>::new()]);
    }

    #[test]
    fn a_page_ends_before_it_outgrows_a_message() {
        let long = "x".repeat(900 << 10);
        let names = [format!("a{long}"), format!("b{long}"), format!("c{long}")];
        let pages = pages(&names.iter().map(String::as_str).collect::<Vec<_>>(), 10);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        assert_eq!(
            read_position_token(&position_token(3, 99)).unwrap(),
            Some((3, 99))
        );
        for bad in ["p.", "p.x.1", "p.1", "n.a", "p.1.-2", "ü"] {
            assert!(read_position_token(bad).is_err(), "{bad}");
        }
        assert!(page_by_name(vec!["a"], |n| n, |n| (*n).to_string(), 1, "zzz").is_err());
    }
}
