//! What the model of a plain file is made of: its dice, a file's content, and a panic that can be told of.

// The flags of an OPEN.
pub(super) const WRITE: u32 = 2;
pub(super) const APPEND: u32 = 4;
pub(super) const CREAT: u32 = 8;
pub(super) const TRUNC: u32 = 16;
pub(super) const EXCL: u32 = 32;

/// xorshift64*.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % end
    }
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let salt = self.below(u64::MAX);
        (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9).wrapping_add(salt) >> 11) as u8).collect()
    }
}

/// A file's bytes, as far as they came; a plain file would have zeros where nothing was written.
#[derive(Default, Clone)]
pub(super) struct Content {
    pub bytes: Vec<u8>,
    /// Which of them were written.
    written: Vec<bool>,
    /// What a plain file would have at least: a loss has shown less of it than there was.
    pub due: usize,
    /// What its client had sent at least, before a loss.
    pub had: usize,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let to = at + bytes.len();
        self.stretch(self.len().max(to));
        self.bytes[at..to].copy_from_slice(bytes);
        self.written[at..to].fill(true);
    }
    pub(super) fn stretch(&mut self, size: usize) {
        self.bytes.resize(size, 0);
        self.written.resize(size, false);
        self.due = self.due.max(size);
    }
    /// Somebody asked for that size.
    pub(super) fn set(&mut self, size: usize) {
        self.stretch(size);
        (self.due, self.had) = (size, size);
    }
    /// A loss shows no more than that, which is less than its client has sent.
    pub(super) fn shows(&mut self, size: usize) {
        self.had = self.had.max(self.len());
        assert!(size <= self.len() && size < self.had, "{size} bytes are listed of {} of {}", self.len(), self.had);
        self.bytes.truncate(size);
        self.written.truncate(size);
    }
    /// The first bytes that were never written.
    pub(super) fn gap(&self) -> Option<(u64, u64)> {
        let from = self.written.iter().position(|written| !written)?;
        let length = self.written[from..].iter().position(|written| *written);
        Some((from as u64, length.map_or(self.len(), |length| from + length) as u64))
    }
}

#[derive(Clone)]
pub(super) struct Draft {
    pub content: Content,
    pub closed: bool,
}

/// What stands under a name.
#[derive(Default, Clone)]
pub(super) struct Named {
    pub accepted: Option<Vec<u8>>,
    pub draft: Option<Draft>,
}

pub(super) struct Handle {
    pub wire: Vec<u8>,
    pub name: &'static str,
    pub content: Content,
    pub append: bool,
    /// Something was refused: it may not be accepted any more.
    pub spoiled: bool,
    /// It stands under its name no more: that was removed, or taken by another.
    pub nameless: bool,
    /// Something was written, or its size was set.
    pub touched: bool,
    /// The draft that was opened, as it was, if one was gone on with.
    pub before: Option<Draft>,
    /// The size that a kill must not make the gateway forget: what it was, or was set to.
    pub declared: usize,
}

/// A future whose panic is an answer, so that the story before it can be told.
pub(super) struct Caught<'a, F>(pub std::panic::AssertUnwindSafe<&'a mut std::pin::Pin<Box<F>>>);

impl<F: Future> Future for Caught<'_, F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let future = &mut self.0;
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}
