use super::*;
use crate::ledger::testing::event;
use crate::publish::tests::Study;

struct Receiver {
    /// The standard library's: tokio's tells of what came only after a turn of its loop.
    socket: std::os::unix::net::UnixDatagram,
    path: PathBuf,
}

impl Receiver {
    fn new(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = std::os::unix::net::UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path: path.to_owned() }
    }

    /// The sequences of the messages that have come.
    fn taken(&self) -> Vec<u64> {
        let mut taken = Vec::new();
        let mut buffer = vec![0; 1 << 18];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..size].to_vec()).unwrap();
            let body = &text[text.find(" {").unwrap()..];
            taken.push(serde_json::from_str::<serde_json::Value>(body).unwrap()["sequence"].as_u64().unwrap());
        }
        taken
    }
}

fn copier(study: &Study, receiver: &Receiver) -> Copier {
    let to = EventCopy::Socket(receiver.path.clone());
    study.configure(|audit| audit.syslog = Some(to));
    Copier { source: study.source.clone(), position: None, trouble: Trouble::new(LONGEST) }
}

#[tokio::test]
async fn each_event_comes_once_and_in_order_over_restarts() {
    let study = Study::new();
    let receiver = Receiver::new(&study.desk._dir.path().join("log"));
    study.tell(3, "before the first start").await;
    study.desk.ledger.record(event(Kind::DaemonStarted)).await.unwrap();
    study.tell(2, "after it").await;
    let mut copy = copier(&study, &receiver);
    assert_eq!(copy.follow().await, EVERY);
    assert_eq!(receiver.taken(), [4, 5, 6], "what came before the daemon's start is not poured out");
    study.tell(2, "more").await;
    copy.follow().await;
    assert_eq!(receiver.taken(), [7, 8]);
    // Another start goes on where this one ended.
    study.tell(1, "while it was down").await;
    copier(&study, &receiver).follow().await;
    assert_eq!(receiver.taken(), [9]);
    let root = study.desk.ledger.root(9).await.unwrap();
    assert_eq!(std::fs::read_to_string(study.desk._dir.path().join("audit.copied")).unwrap(), format!("9 {root}\n"));
    assert_eq!(study.contradictions().await.0, 0);
}

#[tokio::test]
async fn what_a_dead_receiver_missed_is_sent_when_it_is_back() {
    let study = Study::new();
    let path = study.desk._dir.path().join("log");
    let receiver = Receiver::new(&path);
    study.tell(1, "first").await;
    let mut copy = copier(&study, &receiver);
    copy.follow().await;
    study.tell(1, "second").await;
    copy.follow().await;
    assert_eq!(receiver.taken(), [2], "without a start in the log, it begins with what is new");
    drop(receiver);
    study.tell(3, "missed").await;
    assert_eq!(copy.follow().await.as_secs(), 1);
    assert_eq!(copy.follow().await.as_secs(), 2);
    let receiver = Receiver::new(&path);
    assert_eq!(copy.follow().await, EVERY);
    assert_eq!(receiver.taken(), [3, 4, 5]);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_loses_nothing() {
    let study = Study::new();
    let receiver = Receiver::new(&study.desk._dir.path().join("log"));
    let mut copy = copier(&study, &receiver);
    copy.follow().await;
    // More than a socket's queue holds.
    study.tell(400, "many").await;
    assert_eq!(copy.follow().await.as_secs(), 1, "its buffer is full: nobody waits for it for long");
    // It reads again, and slowly: what was sent is not sent again.
    let mut taken = Vec::new();
    let slowly = async {
        while taken.len() < 400 {
            taken.extend(receiver.taken());
            tokio::task::yield_now().await;
        }
    };
    let (pause, ()) = tokio::join!(copy.follow(), slowly);
    assert_eq!(pause, EVERY);
    assert!(taken.iter().copied().eq(1..=400), "{taken:?}");
}

#[tokio::test]
async fn an_event_that_is_too_large_for_a_datagram_comes_without_its_body() {
    let study = Study::new();
    let receiver = Receiver::new(&study.desk._dir.path().join("log"));
    let mut copy = copier(&study, &receiver);
    copy.follow().await;
    study.desk.ledger.record(event(Kind::SessionEnded).with("what", "x".repeat(1 << 20))).await.unwrap();
    study.tell(1, "small").await;
    copy.follow().await;
    assert_eq!(receiver.taken(), [1, 2]);
}

#[tokio::test]
async fn a_copy_that_was_turned_off_goes_on_where_it_ended() {
    let study = Study::new();
    let receiver = Receiver::new(&study.desk._dir.path().join("log"));
    let mut copy = copier(&study, &receiver);
    copy.follow().await;
    study.tell(1, "first").await;
    copy.follow().await;
    study.configure(|audit| audit.syslog = None);
    study.tell(1, "unheard").await;
    copy.follow().await;
    assert_eq!(receiver.taken(), [1]);
    copier(&study, &receiver).follow().await;
    assert_eq!(receiver.taken(), [2]);
}

#[tokio::test]
async fn a_ledger_that_is_behind_the_copy_or_another_one_is_told_and_followed() {
    let other = Study::new();
    other.tell(5, "that").await;
    let behind = "5 events were copied, and the ledger has 3";
    let fork = "the 2 events that were copied are others than the ledger's";
    // What came of it: what was new of the fork, and the event that tells of it.
    for (size, why, come) in [(5, behind, vec![4]), (2, fork, vec![3, 4])] {
        for at_start in [true, false] {
            let study = Study::new();
            let receiver = Receiver::new(&study.desk._dir.path().join("log"));
            study.tell(3, "this").await;
            let copied = Seen { size, root: other.desk.ledger.root(size).await.unwrap() };
            let mut copy = copier(&study, &receiver);
            match at_start {
                true => note(&study.desk._dir.path().join("audit.copied"), copied).unwrap(),
                false => copy.position = Some(copied),
            }
            copy.follow().await;
            assert_eq!(receiver.taken(), come);
            let (count, told) = study.contradictions().await;
            assert!(count == 1 && told.contains(why), "{told}");
            study.tell(1, "new").await;
            copy.follow().await;
            assert_eq!(receiver.taken(), [5]);
            copier(&study, &receiver).follow().await;
            assert_eq!(study.contradictions().await.0, 1, "once");
        }
    }
}
