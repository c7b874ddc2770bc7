//! Independent work on several threads, whose results come in the order of the work: how many threads there were
//! shows in nothing but the time that it took.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// Does `work` on every item, in `jobs` threads that take the items in turn, and hands over each result once all
/// those of the items before it have been.
pub(crate) fn in_order<T, R: Send>(
    items: impl Iterator<Item = T> + Send,
    jobs: NonZero<usize>,
    work: impl Fn(T) -> R + Sync,
    mut each: impl FnMut(R),
) {
    let items = Mutex::new(items.enumerate());
    let next_item = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let sender = sender.clone();
            let (next_item, work) = (&next_item, &work);
            scope.spawn(move || {
                while let Some((place, item)) = next_item() {
                    if sender.send((place, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (place, result) in results {
            early.insert(place, result);
            while let Some(result) = early.remove(&due) {
                each(result);
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work_whatever_is_done_first() {
        let (last_is_done, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let mut results = Vec::new();
        in_order(
            0..10,
            NonZero::new(2).unwrap(),
            |item| {
                match item {
                    0 => wait.lock().unwrap().recv().unwrap(),
                    9 => last_is_done.send(()).unwrap(),
                    _between => {}
                }
                item
            },
            |result| results.push(result),
        );
        assert_eq!(results, (0..10).collect::<Vec<_>>());
    }
}
