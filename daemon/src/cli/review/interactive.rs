//! One example after the other, with a key for each decision.

use std::collections::BTreeSet;
use std::io::BufRead;

use autodidact_client::{Client, v1};

use super::decide::{Verdict, decide, tell};
use super::{Place, editor, show};
use crate::cli::{Failure, output};

/// What to do with an example.
#[derive(Debug, PartialEq)]
enum Key {
    Accept,
    Reject,
    Edit,
    Skip,
    Quit,
}

impl Key {
    /// Reads a typed line; nothing where it is none of them.
    fn read(line: &str) -> Option<Self> {
        match line.trim().to_lowercase().as_str() {
            "a" | "accept" => Some(Self::Accept),
            "r" | "reject" => Some(Self::Reject),
            "e" | "edit" => Some(Self::Edit),
            "s" | "skip" => Some(Self::Skip),
            "q" | "quit" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Asks about one example after the other until none is left or the user has enough.
pub(super) async fn run(client: &Client, place: &Place, reviewer: &str) -> Result<(), Failure> {
    let mut skipped = BTreeSet::new();
    loop {
        let Some(item) = next(client, place, &skipped).await? else {
            let left = match skipped.len() {
                0 => String::new(),
                count => format!("; {count} were skipped"),
            };
            return output::line(format!("nothing more is to be reviewed{left}"));
        };
        show::item(&item)?;
        let id = item.example.clone().unwrap_or_default().id;
        let there = Place {
            workflow: Some(item.workflow.clone()),
            round: Some(item.round),
        };
        let Some((verdict, note)) = ask(&item).await? else {
            return Ok(());
        };
        let Some(verdict) = verdict else {
            skipped.insert((item.workflow, item.round, id));
            continue;
        };
        let answer = decide(client, &id, &there, &verdict, reviewer, &note).await;
        match answer {
            Ok(answer) => {
                tell(&answer)?;
                let stats = answer.stats.unwrap_or_default();
                output::line(format!("{}\n", stats.message))?;
            }
            // An edit that cannot be is told, and the example asked about again.
            Err(failure) => {
                failure.report(false);
            }
        }
    }
}

/// Asks what to do with an example; nothing where the user has enough, no verdict where it is skipped.
async fn ask(item: &v1::ReviewItem) -> Result<Option<(Option<Verdict>, String)>, Failure> {
    loop {
        output::text("[a]ccept  [r]eject  [e]dit  [s]kip  [q]uit > ")?;
        let Some(line) = read_line().await else {
            output::line("")?;
            return Ok(None);
        };
        let verdict = match Key::read(&line) {
            Some(Key::Accept) => return Ok(Some((Some(Verdict::Accept), String::new()))),
            Some(Key::Reject) => Verdict::Reject,
            Some(Key::Edit) => {
                match editor::change(&item.example.clone().unwrap_or_default()).await {
                    Ok(edit) => Verdict::Edit(edit),
                    Err(failure) => {
                        failure.report(false);
                        continue;
                    }
                }
            }
            Some(Key::Skip) => return Ok(Some((None, String::new()))),
            Some(Key::Quit) => return Ok(None),
            None => continue,
        };
        output::text("why (Enter for nothing) > ")?;
        let note = read_line().await.unwrap_or_default();
        return Ok(Some((Some(verdict), note.trim().to_string())));
    }
}

/// Finds the next example that was not skipped.
async fn next(
    client: &Client,
    place: &Place,
    skipped: &BTreeSet<(String, u32, String)>,
) -> Result<Option<v1::ReviewItem>, Failure> {
    let mut request = v1::NextReviewRequest {
        workflow: place.workflow.clone().unwrap_or_default(),
        round: place.round,
        record: String::new(),
        page_size: 20,
        page_token: String::new(),
    };
    loop {
        let page = client.reviews().next(request.clone()).await?.into_inner();
        let is_new = |item: &v1::ReviewItem| {
            let id = item.example.clone().unwrap_or_default().id;
            !skipped.contains(&(item.workflow.clone(), item.round, id))
        };
        if let Some(item) = page.items.into_iter().find(is_new) {
            return Ok(Some(item));
        }
        if page.next_page_token.is_empty() {
            return Ok(None);
        }
        request.page_token = page.next_page_token;
    }
}

/// Reads a line when it is wanted, and not before: an editor may need the keyboard in between.
async fn read_line() -> Option<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.ok().filter(|bytes| *bytes > 0).map(|_| line)
    });
    read.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_or_words_and_nothing_else_decides() {
        assert_eq!(Key::read("a\n"), Some(Key::Accept));
        assert_eq!(Key::read(" Reject "), Some(Key::Reject));
        assert_eq!(Key::read("E"), Some(Key::Edit));
        assert_eq!(Key::read("s"), Some(Key::Skip));
        assert_eq!(Key::read("q"), Some(Key::Quit));
        for line in ["", "y", "aa", "accept all"] {
            assert_eq!(Key::read(line), None, "{line:?}");
        }
    }
}
