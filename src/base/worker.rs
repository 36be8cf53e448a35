//! One current-thread runtime per core, and what each of them owns alone.
//!
//! A connection pool must live on one runtime: its sockets are registered with that runtime's
//! reactor. Everything else is shared.

use std::{cell::Cell, fmt, iter::repeat_with};

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// Names the current thread as worker `index`, for its whole life.
pub fn enter(index: usize) {
    HERE.set(index);
}

/// One value for each worker thread.
pub struct PerWorker<T> {
    first: T,
    others: Vec<T>,
}

impl<T> PerWorker<T> {
    /// Makes `workers` values (at least one).
    pub fn new(workers: usize, mut make: impl FnMut() -> T) -> Self {
        let first = make();
        Self { first, others: repeat_with(make).take(workers.saturating_sub(1)).collect() }
    }

    /// The value of the worker that runs this code; the first one's elsewhere.
    pub fn here(&self) -> &T {
        let other = HERE.get().checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }
}

impl<T> fmt::Debug for PerWorker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerWorker").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_worker_has_its_own_value_and_strangers_the_first() {
        let mut next = 0..;
        let values = PerWorker::new(3, || next.next());
        let seen = |index: Option<usize>| {
            thread::scope(|scope| {
                let run = || {
                    index.into_iter().for_each(enter);
                    *values.here()
                };
                scope.spawn(run).join().unwrap()
            })
        };
        assert_eq!([0, 1, 2].map(|index| seen(Some(index))), [Some(0), Some(1), Some(2)]);
        assert_eq!(seen(None), Some(0));
        assert_eq!(seen(Some(7)), Some(0));
    }
}
