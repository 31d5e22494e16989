//! [`side_by_side`]: many files in the time that half or a quarter of them takes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Threads at most: each holds one document of up to [`MAX_BYTES`](crate::load::MAX_BYTES) while it reads.
const MAX_THREADS: usize = 4;
/// As much as the main thread has, so that no document is too deep for one and not for the other.
const STACK_BYTES: usize = 8 << 20;

/// What `make` makes of each item, in their order.
pub(crate) fn side_by_side<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return made };
            made.push((index, make(item)));
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let helpers = processors.min(MAX_THREADS).min(items.len()).saturating_sub(1);
    let mut made = thread::scope(|scope| {
        // A helper that the system refuses is not missed: this thread goes on until all is done.
        let helpers: Vec<_> = (0..helpers)
            .filter_map(|_| {
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, work).ok()
            })
            .collect();
        let mut made = work();
        for helper in helpers {
            made.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_made_once_and_order_stays() {
        for count in [0, 1, 2, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let made = side_by_side(&items, |item| item * 2);
            assert_eq!(made, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
