//! A fault that lasts: told once and not each second, tried again ever more rarely, and its end told too.

use std::time::Duration;

/// The first pause after a fault.
const FIRST: Duration = Duration::from_secs(1);

/// What is wrong with one receiver at the moment.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What was told last.
    told: Option<String>,
    pause: Duration,
    longest: Duration,
}

impl Trouble {
    /// `longest` bounds the pause between two tries.
    pub fn new(longest: Duration) -> Self {
        Self { told: None, pause: FIRST, longest }
    }

    /// Notes a fault; true when it is another one than the last, which the caller then tells.
    pub fn is_news(&mut self, what: &str) -> bool {
        let news = self.told.as_deref() != Some(what);
        if news {
            self.told = Some(what.to_owned());
        }
        news
    }

    /// How long to wait before the next try: 1 s at first, then double each time.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        pause
    }

    /// Notes that all is well; true when it was not.
    pub fn is_over(&mut self) -> bool {
        self.pause = FIRST;
        self.told.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_and_tried_ever_more_rarely() {
        let mut trouble = Trouble::new(Duration::from_secs(3));
        assert!(!trouble.is_over());
        assert!(trouble.is_news("no answer"));
        assert!(!trouble.is_news("no answer"));
        assert!(trouble.is_news("refused"));
        let pauses: Vec<u64> = (0..4).map(|_| trouble.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 3, 3]);
        assert!(trouble.is_over() && !trouble.is_over());
        assert_eq!(trouble.pause().as_secs(), 1);
        assert!(trouble.is_news("refused"));
    }
}
