//! Causes as blocks: what reads the same is said once.

use super::view::Cause;

/// What is shown in one place.
pub(super) enum Block<'a> {
    /// Causes that differ in nothing but where they are.
    Full {
        /// How many causes it stands for.
        causes: usize,
        /// All their findings.
        cause: Cause<'a>,
    },
    /// Further causes of a check that has had its full blocks.
    More(Vec<Cause<'a>>),
}

/// Up to so many causes of one check get a block each; of more, only the first does.
const IN_FULL: usize = 3;

/// Causes as blocks, in their order. With `all`, each has its own.
pub(super) fn blocks<'a>(causes: &[Cause<'a>], all: bool) -> Vec<Block<'a>> {
    if all {
        return causes
            .iter()
            .map(|cause| Block::Full {
                causes: 1,
                cause: cause.clone(),
            })
            .collect();
    }
    let mut by_code: Vec<Vec<(Cause<'a>, usize)>> = Vec::new();
    for cause in causes {
        let code = &cause.lead().code;
        let Some(known) = by_code.iter_mut().find(|known| known[0].0.lead().code == *code) else {
            by_code.push(vec![(cause.clone(), 1)]);
            continue;
        };
        match known.iter_mut().find(|(known, _)| reads_like(known, cause)) {
            Some((known, count)) => {
                known.findings.extend(&cause.findings);
                *count += 1;
            }
            None => known.push((cause.clone(), 1)),
        }
    }
    let mut blocks = Vec::new();
    for mut causes in by_code {
        let in_full = if causes.len() > IN_FULL { 1 } else { causes.len() };
        let more: Vec<Cause<'a>> = causes.drain(in_full..).map(|(cause, _)| cause).collect();
        blocks.extend(causes.into_iter().map(|(cause, causes)| Block::Full { causes, cause }));
        if !more.is_empty() {
            blocks.push(Block::More(more));
        }
    }
    blocks
}

/// Whether two causes of one check read the same in a block.
fn reads_like(one: &Cause<'_>, other: &Cause<'_>) -> bool {
    let (a, b) = (one.lead(), other.lead());
    a.remedy == b.remedy
        && a.expected == b.expected
        && a.waiver_expired == b.waiver_expired
        && one.codes() == other.codes()
}
