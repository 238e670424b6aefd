use std::path::Path;

use tlog_tiles as theirs;

use super::*;
use crate::audit::tiles::decode_entries;
use crate::audit::tree::leaf_hash;
use crate::audit::{Kind, Signer};
use crate::ledger::Ledger;
use crate::ledger::testing::{event, put_back, signer};
use crate::publish::tests::Study;

/// The published files, as another implementation reads them.
struct Published_(PathBuf);

impl theirs::TileReader for Published_ {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[theirs::Tile]) -> Result<Vec<Vec<u8>>, theirs::Error> {
        Ok(tiles
            .iter()
            .map(|tile| std::fs::read(self.0.join(tile.path().replace("tile/8/", "tile/"))).unwrap())
            .collect())
    }
    fn save_tiles(&self, _: &[theirs::Tile], _: &[Vec<u8>]) {}
}

/// Reads the directory with nothing but independent code and the log's key; returns its entries.
fn read_independently(directory: &Path) -> Vec<String> {
    use theirs::HashReader as _;
    let note = std::fs::read(directory.join("checkpoint")).unwrap();
    let key = signer().verifier_key().to_string();
    let verifier = signed_note::StandardVerifier::new(&key).unwrap();
    let note = signed_note::Note::from_bytes(&note).unwrap();
    note.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)])).unwrap();
    let checkpoint = theirs::Checkpoint::from_bytes(note.text()).unwrap();
    let size = checkpoint.size();
    let reader = Published_(directory.to_owned());
    let hashes = theirs::TileHashReader::new(size, *checkpoint.hash(), &reader);
    assert_eq!(theirs::tree_hash(size, &hashes).unwrap().0, checkpoint.hash().0);
    let mut entries = Vec::new();
    for tile in Tile::between(0, size).filter(|tile| tile.content == Content::Entries) {
        let bundle = std::fs::read(directory.join(tile.path())).unwrap();
        for entry in decode_entries(&bundle, tile.width).unwrap() {
            let index = theirs::stored_hash_index(0, entries.len() as u64);
            // Each hash is proven to be in the tree of the checkpoint before it is given out.
            assert_eq!(hashes.read_hashes(&[index]).unwrap()[0].0, leaf_hash(entry).0);
            entries.push(String::from_utf8(entry.to_vec()).unwrap());
        }
    }
    assert_eq!(entries.len() as u64, size);
    entries
}

fn keys() -> Vec<VerifierKey> {
    vec![signer().verifier_key().clone()]
}

async fn publish(study: &Study, directory: &Path) -> Result<(), Fault> {
    Publisher::new(directory.to_owned()).bring_up_to_date(&study.source, &keys()).await
}

fn files(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn the_directory_follows_the_ledger_and_is_read_by_independent_code() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    let directory = folder.path().join("audit");
    let mut publisher = Publisher::new(directory.clone());
    publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
    assert!(files(&directory).is_empty(), "an empty log has no checkpoint");
    for count in [1, 2, 250, 5, 300] {
        study.tell(count, "first").await;
        publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
        let entries = read_independently(&directory);
        let leaves = study.desk.ledger.leaves(1, 1000).await.unwrap();
        assert!(entries.iter().eq(leaves.iter().map(|row| &row.leaf)));
    }
    // Two full tiles, whose partial ones went, and the right edge.
    let expected = [
        "checkpoint",
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/46",
        "tile/1/000.p/1",
        "tile/1/000.p/2",
        "tile/entries/000",
        "tile/entries/001",
        "tile/entries/002.p/46",
    ];
    assert_eq!(files(&directory), expected);
    // Nothing new: nothing is written.
    let before = std::fs::metadata(directory.join("checkpoint")).unwrap().modified().unwrap();
    publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
    assert_eq!(std::fs::metadata(directory.join("checkpoint")).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn a_new_start_mends_what_is_missing_and_catches_up() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    study.tell(300, "first").await;
    publish(&study, folder.path()).await.unwrap();
    // A crash between tiles and checkpoint, and a hand that removed something.
    std::fs::remove_file(folder.path().join("tile/entries/000")).unwrap();
    std::fs::create_dir_all(folder.path().join("tile/0/000.p")).unwrap();
    std::fs::write(folder.path().join("tile/0/000.p/7"), b"old").unwrap();
    std::fs::write(folder.path().join("tile/0/.001.new"), b"half").unwrap();
    study.tell(300, "second").await;
    publish(&study, folder.path()).await.unwrap();
    assert_eq!(read_independently(folder.path()).len(), 600);
    assert!(!folder.path().join("tile/0/000.p").exists());
    // Without its checkpoint, it is written again over the tiles that are there.
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    publish(&study, folder.path()).await.unwrap();
    assert_eq!(read_independently(folder.path()).len(), 600);
}

#[tokio::test]
async fn a_directory_that_another_hand_emptied_is_filled_again() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    let directory = folder.path().join("audit");
    study.tell(300, "first").await;
    let mut publisher = Publisher::new(directory.clone());
    publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    study.tell(1, "second").await;
    publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
    assert_eq!(read_independently(&directory).len(), 301);
    // Another gateway publishes to it: neither overwrites the other.
    let other = Study::new();
    other.tell(3, "other").await;
    std::fs::remove_dir_all(&directory).unwrap();
    publish(&other, &directory).await.unwrap();
    study.tell(1, "third").await;
    assert!(matches!(publisher.bring_up_to_date(&study.source, &keys()).await, Err(Fault::Contradiction(_))));
    assert_eq!(read_independently(&directory).len(), 3);
}

#[tokio::test]
async fn what_contradicts_the_ledger_is_told_once_and_left_alone() {
    // The same key signs another log, longer or as long; and another key.
    let (study, other) = (Study::new(), Study::new());
    study.tell(20, "this").await;
    other.tell(20, "that").await;
    let cases: [(&str, usize, &str); 3] = [
        ("fork", 0, "are others than the ledger's"),
        ("ahead", 30, "50 events were published, and the ledger has 2"),
        ("foreign", 0, "none of this log"),
    ];
    for (round, (name, more, word)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        if more > 0 {
            other.tell(more, "that").await;
        }
        publish(&other, folder.path()).await.unwrap();
        if name == "foreign" {
            let (signer, _) = Signer::generate(signer().name()).unwrap();
            let note = std::fs::read_to_string(folder.path().join("checkpoint")).unwrap();
            let forged = Checkpoint::read(&note).unwrap().0.sign(&signer);
            std::fs::write(folder.path().join("checkpoint"), forged).unwrap();
        }
        let (before, note) = (files(folder.path()), std::fs::read(folder.path().join("checkpoint")).unwrap());
        let mut publisher = Publisher::new(folder.path().to_owned());
        for _ in 0..3 {
            publisher.follow(&study.source, &keys()).await;
        }
        let (count, why) = study.contradictions().await;
        assert!(count == round + 1 && why.contains(word), "{name}: {count} times, {why}");
        assert_eq!(files(folder.path()), before);
        assert_eq!(std::fs::read(folder.path().join("checkpoint")).unwrap(), note);
    }
    // A tile that another hand changed is found at the next start, and named.
    let folder = tempfile::tempdir().unwrap();
    publish(&study, folder.path()).await.unwrap();
    let tile = std::fs::read_dir(folder.path().join("tile/entries/000.p")).unwrap().next().unwrap().unwrap().path();
    let mut bent = std::fs::read(&tile).unwrap();
    bent[10] ^= 1;
    std::fs::write(&tile, &bent).unwrap();
    Publisher::new(folder.path().to_owned()).follow(&study.source, &keys()).await;
    let (_, why) = study.contradictions().await;
    assert!(why.contains("tile/entries/000.p/") && why.contains("events 1 to"), "{why}");
    assert_eq!(std::fs::read(&tile).unwrap(), bent);
}

#[tokio::test]
async fn a_former_key_is_recognised_and_cosignatures_are_published_with_their_checkpoint() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    study.tell(5, "first").await;
    publish(&study, folder.path()).await.unwrap();
    let (fresh, _) = Signer::generate(signer().name()).unwrap();
    let keys = [fresh.verifier_key().clone(), signer().verifier_key().clone()];
    let mut publisher = Publisher::new(folder.path().to_owned());
    publisher.bring_up_to_date(&study.source, &keys).await.unwrap();

    let note = study.desk.ledger.checkpoint().await.unwrap().unwrap();
    let text = Checkpoint::read(&note).unwrap().0.to_string();
    let (key, line) = crate::publish::witness::tests::cosign(1, &text);
    study.desk.ledger.cosigned(note.clone(), vec![(key, line.trim_end().parse().unwrap())]).await.unwrap();
    publisher.bring_up_to_date(&study.source, &keys).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("checkpoint")).unwrap(), format!("{note}{line}"));
    study.desk.ledger.record(event(Kind::SessionEnded)).await.unwrap();
    publisher.bring_up_to_date(&study.source, &keys).await.unwrap();
    assert_eq!(read_independently(folder.path()).len(), 6);
}

#[tokio::test]
async fn a_disk_that_fails_is_no_contradiction_and_is_tried_again() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    study.tell(3, "first").await;
    let blocked = folder.path().join("audit");
    std::fs::write(&blocked, b"a file in the way").unwrap();
    let mut publisher = Publisher::new(blocked.clone());
    assert_eq!(publisher.follow(&study.source, &keys()).await, Duration::from_secs(1));
    assert_eq!(publisher.follow(&study.source, &keys()).await, Duration::from_secs(2));
    assert_eq!(study.contradictions().await.0, 0);
    std::fs::remove_file(&blocked).unwrap();
    assert_eq!(publisher.follow(&study.source, &keys()).await, EVERY);
    assert_eq!(read_independently(&blocked).len(), 3);
}

#[tokio::test]
async fn a_ledger_that_goes_back_or_is_another_while_it_is_published_is_told_and_not_published() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    let directory = folder.path().join("audit");
    study.tell(6, "first").await;
    let older = study.desk.file.with_extension("older");
    study.desk.copy_to(&older);
    let mut publisher = Publisher::new(directory.clone());
    study.tell(5, "second").await;
    publisher.bring_up_to_date(&study.source, &keys()).await.unwrap();
    let there = || (files(&directory), std::fs::read(directory.join("checkpoint")).unwrap());
    let before = there();

    let why = async |publisher: &mut Publisher| match publisher.bring_up_to_date(&study.source, &keys()).await {
        Err(Fault::Contradiction(why)) => why,
        other => panic!("{other:?}"),
    };
    put_back(&study.desk.file, &older);
    let told = why(&mut publisher).await;
    assert!(told.contains("11 events were published, and the ledger has 6"), "{told}");
    // A process that saw nothing of it makes another log of it, and a longer one.
    let fresh = Ledger::open(&study.desk.file, signer()).unwrap();
    for _ in 0..9 {
        fresh.record(event(Kind::SessionEnded)).await.unwrap();
        why(&mut publisher).await;
    }
    let told = why(&mut publisher).await;
    assert!(told.contains("the 11 events that were published are others"), "{told}");
    assert_eq!(there(), before);
    // Not even into a directory that was emptied meanwhile; a fault before it changes nothing of that.
    std::fs::remove_dir_all(&directory).unwrap();
    publisher.follow(&study.source, &keys()).await;
    publisher.follow(&study.source, &keys()).await;
    assert!(!directory.exists());
}

#[tokio::test]
async fn partial_tiles_beside_the_checkpoint_tell_of_a_history_that_is_gone() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    study.tell(6, "first").await;
    let older = study.desk.file.with_extension("older");
    study.desk.copy_to(&older);
    publish(&study, folder.path()).await.unwrap();
    let note = std::fs::read(folder.path().join("checkpoint")).unwrap();
    study.tell(5, "second").await;
    publish(&study, folder.path()).await.unwrap();
    // Ledger and checkpoint are of yesterday; the tiles are not.
    put_back(&study.desk.file, &older);
    std::fs::write(folder.path().join("checkpoint"), &note).unwrap();
    let start = async || match publish(&study, folder.path()).await {
        Err(Fault::Contradiction(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = start().await;
    assert!(why.contains(".p/11 was published, and the ledger has 6 events"), "{why}");
    // And when the ledger has grown to that size again.
    let fresh = Ledger::open(&study.desk.file, signer()).unwrap();
    for _ in 0..9 {
        fresh.record(event(Kind::SessionEnded)).await.unwrap();
    }
    let why = start().await;
    assert!(why.contains(".p/11, of events 1 to 11, is another one"), "{why}");
    assert_eq!(std::fs::read(folder.path().join("checkpoint")).unwrap(), note);
}

#[tokio::test]
async fn a_checkpoint_that_nobody_signed_is_not_published() {
    let (study, folder) = (Study::new(), tempfile::tempdir().unwrap());
    study.tell(6, "first").await;
    publish(&study, folder.path()).await.unwrap();
    let before = std::fs::read(folder.path().join("checkpoint")).unwrap();
    study.tell(1, "second").await;
    let note = study.desk.ledger.checkpoint().await.unwrap().unwrap();
    let (checkpoint, _) = Checkpoint::read(&note).unwrap();
    let forged = checkpoint.sign(&Signer::generate(signer().name()).unwrap().0);
    rusqlite::Connection::open(&study.desk.file).unwrap().execute("UPDATE tree SET checkpoint = ?", [forged]).unwrap();
    let fault = publish(&study, folder.path()).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Failure(error) if error.to_string().contains("not signed by the log's key")),
        "{fault:?}"
    );
    assert_eq!(std::fs::read(folder.path().join("checkpoint")).unwrap(), before);
}
