//! What becomes of audits over time: pure, as judging is. Times come in with what is fed; nothing here looks at a clock.
//!
//! * [`life`]: since when a finding is what it is: began, changed, resolved, flapping; [`lives`]: a report fed to all lives of a group
//! * [`drift`]: what changed against what was accepted, and whether it breaks, weakens, mends or does nothing
//! * [`measure`]: what one audit measured of a path; [`excursion`]: measures held against budget and against their own past
//! * [`silence`]: agents that were heard before and are not any more

pub mod drift;
pub mod excursion;
pub mod life;
pub mod lives;
pub mod measure;
pub mod silence;
