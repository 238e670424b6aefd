//! `status` and `receipt`: what came of an organisation's uploads, for its scripts.
//!
//! Must never tell of another organisation, nor of uploads that are no longer listed. Called by `mod`.

use serde_json::json;

use super::Answer;
use super::words::split;
use crate::audit::{Event, Form, Kind, Receipt};
use crate::intake::DraftView;
use crate::ledger::{Filter, UploadRow};
use crate::sftp::provider::{self, listed_since};
use crate::sftp::shared::{Shared, ledger_failed};
use crate::types::{Place, Refusal, UploadId};

/// Uploads that `status` tells of.
const USUAL: usize = 20;
const MOST: usize = 100;
/// Least characters of an id's beginning: with fewer, two uploads of a month could not be told apart.
const PREFIX_MIN: usize = 8;
/// A UUID, hyphenated.
const ID_LENGTH: usize = 36;

const STATUS: &str = "usage: status [-n N] [--json]";
const RECEIPT: &str = "usage: receipt ID [--json]";

pub(super) async fn status(rest: &str, shared: &Shared, answer: &mut Answer) {
    let (count, json) = match status_options(rest) {
        Ok(options) => options,
        Err(wrong) => return answer.error(2, format!("status: {wrong}; {STATUS}")),
    };
    let told = async {
        let org = shared.principal.org();
        let config = shared.config();
        let of = provider::org(&config, shared)?;
        let since = Some(listed_since(of, shared.now()));
        let filter = Filter { org: Some(org.clone()), since, limit: Some(count), ..Filter::default() };
        let uploads = shared.services.ledger.uploads(&filter).await.map_err(ledger_failed)?;
        let places = std::iter::once(Place::Inbox).chain(of.datasets.iter().cloned().map(Place::Dataset));
        let drafts: Vec<_> = places
            .flat_map(|place| {
                let drafts = shared.services.intake.drafts(org, &place);
                drafts.into_iter().map(move |draft| (place.clone(), draft))
            })
            .collect();
        Ok::<_, Refusal>((uploads, drafts))
    };
    let (uploads, drafts) = match told.await {
        Ok(told) => told,
        Err(refusal) => return answer.error(1, format!("status: {}", refusal.reason)),
    };
    for row in &uploads {
        if json { answer.line(upload_json(row)) } else { upload_lines(row, answer) }
    }
    for (place, draft) in drafts.iter().rev().take(count).rev() {
        answer.line(if json { draft_json(place, draft) } else { draft_line(place, draft) });
    }
    if uploads.is_empty() && drafts.is_empty() && !json {
        answer.line("no uploads");
    }
}

fn status_options(rest: &str) -> Result<(usize, bool), String> {
    let (mut count, mut json) = (USUAL, false);
    let mut words = split(rest)?.into_iter();
    while let Some(word) = words.next() {
        let number = match word.as_str() {
            "--json" => {
                json = true;
                continue;
            }
            "-n" => words.next().ok_or("-n wants a number")?,
            other => match other.strip_prefix("-n") {
                Some(number) => number.to_owned(),
                None => return Err(format!("{other:?} is not known")),
            },
        };
        count = number.parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or(format!("-n is 1 to {MOST}"))?;
    }
    Ok((count, json))
}

/// One line, and for what was rejected its reasons below it.
fn upload_lines(row: &UploadRow, answer: &mut Answer) {
    if row.erased.is_some() {
        let Receipt { time, upload, .. } = &row.receipt;
        let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
        return answer.line(format!("{time}  {:<10}  {:>12}  {upload}", "erased", ""));
    }
    let Receipt { time, verdict, size, name, upload, reasons, .. } = &row.receipt;
    let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    let remarks = match row.receipt.report.flags.len() {
        0 => "",
        _ => " (with remarks)",
    };
    answer.line(format!("{time}  {:<10}  {size:>12}  {upload}  {}{name}{remarks}", verdict.as_str(), row.place));
    for reason in reasons {
        answer.line(format!("    {reason}"));
    }
}

fn upload_json(row: &UploadRow) -> String {
    let receipt = &row.receipt;
    if row.erased.is_some() {
        return json!({
            "upload": receipt.upload, "state": "erased", "time": receipt.time, "dataset": receipt.dataset,
            "erased": row.erased,
        })
        .to_string();
    }
    json!({
        "upload": receipt.upload, "state": receipt.verdict, "time": receipt.time, "dataset": receipt.dataset,
        "path": format!("{}{}", row.place, receipt.name), "size": receipt.size, "sha256": receipt.sha256,
        "account": receipt.account, "supersedes": receipt.supersedes, "reasons": receipt.reasons,
        "remarks": receipt.report.flag_names(),
    })
    .to_string()
}

fn draft_line(place: &Place, draft: &DraftView) -> String {
    let time = draft.modified.strftime("%Y-%m-%dT%H:%M:%SZ");
    let DraftView { size, upload, name, .. } = draft;
    format!("{time}  {:<10}  {size:>12}  {upload}  {}{name}", "unfinished", place.path())
}

fn draft_json(place: &Place, draft: &DraftView) -> String {
    json!({
        "upload": draft.upload, "state": "unfinished", "time": draft.modified,
        "path": format!("{}{}", place.path(), draft.name), "size": draft.size,
    })
    .to_string()
}

pub(super) async fn receipt(rest: &str, shared: &Shared, answer: &mut Answer) {
    let (id, form) = match receipt_options(rest) {
        Ok(options) => options,
        Err(wrong) => return answer.error(2, format!("receipt: {wrong}; {RECEIPT}")),
    };
    match find(&id, shared).await {
        Ok(receipt) => {
            let event = Event::new(shared.now(), Kind::ReceiptRead, shared.principal.actor().clone())
                .dataset(&receipt.dataset)
                .upload(receipt.upload)
                .with("name", receipt.name.as_str());
            shared.services.recorder.record(event).await;
            answer.text(&receipt.file(form));
        }
        Err(refusal) => answer.error(1, format!("receipt: {}", refusal.reason)),
    }
}

fn receipt_options(rest: &str) -> Result<(String, Form), String> {
    let (mut ids, mut form) = (Vec::new(), Form::Text);
    for word in split(rest)? {
        match word.as_str() {
            "--json" => form = Form::Json,
            option if option.starts_with('-') => return Err(format!("{option:?} is not known")),
            _ => ids.push(word),
        }
    }
    match <[String; 1]>::try_from(ids) {
        Ok([id]) => Ok((id.to_lowercase(), form)),
        Err(ids) if ids.is_empty() => Err("the upload's id is missing".into()),
        Err(_) => Err("one id at a time".into()),
    }
}

/// The organisation's upload whose id begins so.
async fn find(beginning: &str, shared: &Shared) -> Result<Receipt, Refusal> {
    let since = listed_since(provider::org(&shared.config(), shared)?, shared.now());
    let (ledger, org) = (&shared.services.ledger, shared.principal.org());
    if let Ok(id) = beginning.parse::<UploadId>() {
        let found = ledger.receipt(org, id, since).await.map_err(ledger_failed)?;
        return found.ok_or_else(|| none(beginning));
    }
    let after = least(beginning).ok_or_else(|| {
        Refusal::rejected(format!(
            "{beginning:?} is not an id, nor the first {PREFIX_MIN} or more characters of one: 'status' lists them"
        ))
    })?;
    // Of a long beginning that id itself may be meant.
    let exact = ledger.receipt(org, after, since).await.map_err(ledger_failed)?;
    let page = ledger.receipts(org, since, Some(after), 2).await.map_err(ledger_failed)?;
    let mut fitting = exact.into_iter().chain(page).filter(|receipt| receipt.upload.to_string().starts_with(beginning));
    match (fitting.next(), fitting.next()) {
        (Some(receipt), None) => Ok(receipt),
        (None, _) => Err(none(beginning)),
        (Some(_), Some(_)) => {
            Err(Refusal::rejected(format!("more than one upload's id begins with {beginning:?}: give more of it")))
        }
    }
}

fn none(beginning: &str) -> Refusal {
    Refusal::not_found(format!("no upload {beginning:?} is listed here: 'status' tells of the latest"))
}

/// The least id that begins so; none when no id can begin so.
fn least(beginning: &str) -> Option<UploadId> {
    if !(PREFIX_MIN..ID_LENGTH).contains(&beginning.len()) || !beginning.is_ascii() {
        return None;
    }
    const ZEROS: &str = "00000000-0000-0000-0000-000000000000";
    format!("{beginning}{}", &ZEROS[beginning.len()..]).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_an_id_is_filled_up_with_zeros() {
        let filled = |beginning| least(beginning).map(|id| id.to_string());
        assert_eq!(filled("019dbd3c").as_deref(), Some("019dbd3c-0000-0000-0000-000000000000"));
        assert_eq!(filled("019dbd3c-6d80-7").as_deref(), Some("019dbd3c-6d80-7000-0000-000000000000"));
        for wrong in ["019dbd3", "", "019dbd3c6", "019dbdxy", "019dbd3c-6d8ü", "019DBD3C"] {
            assert_eq!(filled(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_are_read_and_bounded() {
        assert_eq!(status_options(""), Ok((20, false)));
        assert_eq!(status_options("--json -n 5"), Ok((5, true)));
        assert_eq!(status_options("-n100"), Ok((100, false)));
        for wrong in ["-n", "-n 0", "-n 101", "-n x", "--all", "5"] {
            assert!(status_options(wrong).is_err(), "{wrong}");
        }
        assert_eq!(receipt_options("019DBD3C --json"), Ok(("019dbd3c".into(), Form::Json)));
        for wrong in ["", "a b", "--xml a"] {
            assert!(receipt_options(wrong).is_err(), "{wrong}");
        }
    }
}
