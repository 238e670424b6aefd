use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;
use crate::audit::{Kind, Note};
use crate::ledger::testing::{event, put_back, signer};
use crate::publish::tests::Study;
use crate::publish::witness::tests::cosign;

type Replies = Box<dyn Fn(&str) -> (u16, String) + Send>;

/// A witness of the test's own: answers as it is told, and keeps what it was asked.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(replies: Replies) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/w1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let (mut line, mut length) = (String::new(), 0);
                reader.read_line(&mut line).unwrap();
                assert!(line.starts_with("POST /w1/add-checkpoint "), "{line}");
                loop {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body = String::from_utf8(body).unwrap();
                let (status, answer) = replies(&body);
                heard.lock().unwrap().push(body);
                let length = answer.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                reader.get_mut().write_all(format!("{head}{answer}").as_bytes()).unwrap();
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// The note's text in a request.
fn text_of(body: &str) -> String {
    let note: Note = body.split_once("\n\n").unwrap().1.parse().unwrap();
    note.text
}

fn conversation(study: &Study, url: &str) -> Conversation {
    let witness = Witness { url: url.to_owned(), key: cosign(1, "").0 };
    Conversation::new(witness, study.source.clone(), Common::default())
}

#[tokio::test]
async fn a_cosignature_is_kept_and_the_next_request_goes_on_from_there() {
    let study = Study::new();
    let fake = Fake::start(Box::new(|body| (200, cosign(1, &text_of(body)).1)));
    let mut talk = conversation(&study, &fake.url);
    assert_eq!(talk.once().await, EVERY, "an empty log has nothing to cosign");
    study.tell(3, "first").await;
    assert_eq!(talk.once().await, BETWEEN);
    assert_eq!(talk.once().await, EVERY, "the same checkpoint is not asked for twice");
    study.tell(4, "second").await;
    assert_eq!(talk.once().await, BETWEEN);
    // After a restart it goes on from what is in the ledger.
    let mut talk = conversation(&study, &fake.url);
    assert_eq!(talk.once().await, EVERY);
    study.tell(1, "third").await;
    assert_eq!(talk.once().await, BETWEEN);
    let olds: Vec<_> = fake.asked.lock().unwrap().iter().map(|body| body.lines().next().unwrap().to_owned()).collect();
    assert_eq!(olds, ["old 0", "old 3", "old 7"]);
    let kept = study.desk.ledger.cosignatures().await.unwrap();
    assert_eq!((kept.len(), kept[0].size), (1, 8));
    study.desk.assert_whole().await;
}

#[tokio::test]
async fn a_witness_that_knows_another_size_is_asked_again_from_there() {
    let study = Study::new();
    study.tell(9, "first").await;
    let fake = Fake::start(Box::new(|body| match body.starts_with("old 4\n") {
        true => (200, cosign(1, &text_of(body)).1),
        false => (409, "4\n".into()),
    }));
    let mut talk = conversation(&study, &fake.url);
    assert_eq!(talk.once().await, BETWEEN);
    assert_eq!(fake.asked(), 2);
    let proof = study.desk.ledger.consistency(4, 9).await.unwrap();
    let asked = fake.asked.lock().unwrap()[1].clone();
    let lines: Vec<_> = asked.lines().skip(1).take_while(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(lines, proof.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[tokio::test]
async fn liars_get_nothing_into_the_ledger_and_are_asked_ever_more_rarely() {
    let study = Study::new();
    study.tell(3, "first").await;
    let lies: Vec<Replies> = vec![
        Box::new(|body| (200, cosign(2, &text_of(body)).1)),
        Box::new(|_| (200, cosign(1, "another text\n").1)),
        Box::new(|_| (200, "x".repeat(1 << 20))),
        Box::new(|_| (500, String::new())),
        Box::new(|body| (409, if body.starts_with("old 1\n") { "2\n".into() } else { "1\n".into() })),
    ];
    for lie in lies {
        let fake = Fake::start(lie);
        let mut talk = conversation(&study, &fake.url);
        let pauses = [talk.once().await.as_secs(), talk.once().await.as_secs(), talk.once().await.as_secs()];
        assert_eq!(pauses, [1, 2, 4]);
        assert!(fake.asked() <= 6);
    }
    // Nobody there at all.
    let mut talk = conversation(&study, "http://127.0.0.1:1");
    assert_eq!(talk.once().await.as_secs(), 1);
    assert!(study.desk.ledger.cosignatures().await.unwrap().is_empty());
    assert_eq!(study.contradictions().await.0, 0);
}

#[tokio::test]
async fn a_witness_that_has_seen_another_log_is_a_contradiction_told_once() {
    let study = Study::new();
    study.tell(3, "first").await;
    let says: Vec<(Replies, &str)> = vec![
        (Box::new(|_| (409, "1000\n".into())), "it has seen 1000 events of this log, and the ledger has"),
        (Box::new(|_| (409, "0\n".into())), "the first 0 events"),
        (Box::new(|_| (422, String::new())), "does not continue"),
    ];
    for (round, (reply, word)) in says.into_iter().enumerate() {
        let fake = Fake::start(reply);
        let mut talk = conversation(&study, &fake.url);
        for _ in 0..3 {
            talk.once().await;
        }
        let (count, why) = study.contradictions().await;
        assert!(count == round + 1 && why.contains(word), "{count} times, {why}");
    }
}

#[tokio::test]
async fn witnesses_are_asked_for_the_same_checkpoints_and_one_that_was_away_joins_in() {
    let study = Study::new();
    let common = Common::default();
    let talk = |number: u8, url: &str| {
        let witness = Witness { url: url.to_owned(), key: cosign(number, "").0 };
        Conversation::new(witness, study.source.clone(), common.clone())
    };
    let fakes = [1, 2].map(|number| Fake::start(Box::new(move |body| (200, cosign(number, &text_of(body)).1))));
    let (mut one, mut two) = (talk(1, &fakes[0].url), talk(2, &fakes[1].url));
    let sizes = |fake: &Fake| -> Vec<u64> {
        fake.asked.lock().unwrap().iter().map(|body| text_of(body).parse::<Checkpoint>().unwrap().size).collect()
    };
    study.tell(3, "first").await;
    assert_eq!(one.once().await, BETWEEN);
    study.tell(1, "second").await;
    assert_eq!(two.once().await, BETWEEN);
    assert_eq!(
        (sizes(&fakes[0]), sizes(&fakes[1])),
        (vec![3], vec![3]),
        "not the newest, which the first was not asked for"
    );
    // Whoever is first brings the newest; the other was away meanwhile, and joins in at the last.
    for _ in 0..3 {
        assert_eq!(one.once().await, BETWEEN);
        study.tell(2, "more").await;
    }
    assert_eq!(two.once().await, BETWEEN);
    assert_eq!((sizes(&fakes[0]), sizes(&fakes[1])), (vec![3, 4, 6, 8], vec![3, 8]));
    assert_eq!((two.once().await, one.once().await), (BETWEEN, BETWEEN));
    assert_eq!((sizes(&fakes[0])[4..].to_vec(), sizes(&fakes[1])[2..].to_vec()), (vec![10], vec![10]));
    assert_eq!((two.once().await, one.once().await), (EVERY, EVERY));
    study.desk.assert_whole().await;
}

#[tokio::test]
async fn a_ledger_that_went_back_is_told_and_no_witness_is_asked() {
    let study = Study::new();
    study.tell(2, "first").await;
    let older = study.desk.file.with_extension("older");
    study.desk.copy_to(&older);
    let fake = Fake::start(Box::new(|body| (200, cosign(1, &text_of(body)).1)));
    let mut talk = conversation(&study, &fake.url);
    study.tell(3, "second").await;
    assert_eq!(talk.once().await, BETWEEN);
    put_back(&study.desk.file, &older);
    assert!(
        matches!(talk.step().await, Step::Contradicted(why) if why.contains("5 events were cosigned, and the ledger has 2"))
    );
    // As long again, by a hand that saw nothing of it: another log, of the very size that was cosigned.
    let fresh = crate::ledger::Ledger::open(&study.desk.file, signer()).unwrap();
    for _ in 0..3 {
        fresh.record(event(Kind::SessionEnded)).await.unwrap();
    }
    assert!(
        matches!(talk.step().await, Step::Contradicted(why) if why.contains("5 events that were cosigned are others"))
    );
    assert_eq!(fake.asked(), 1);
}
