//! What pages and API show, as plain data: nobody who shows it judges anything, and both show the same.
//!
//! [`Reader`] gives it. What follows from a report and facts alone is worked out here, by functions that know no store: [`PairMatrix::of`],
//! [`NodeMatrix::between`], [`FlowLine::between`], [`AddressSpace::of`], [`path::points`], ...
//!
//! Times are RFC 3339 in UTC; durations and sizes name their unit. A view says of when it is ([`Freshness`]): an old one is
//! shown with its age, never as current.

pub mod address;
pub mod audit;
pub mod cluster;
pub mod drift;
pub mod finding;
pub mod fleet;
pub mod freshness;
pub mod pair;
pub mod path;
pub mod reader;

pub use address::AddressSpace;
pub use audit::{AuditLine, AuditList, AuditView};
pub use cluster::ClusterView;
pub use drift::DriftView;
pub use finding::{FindingLine, FindingList, FindingView, Life};
pub use fleet::{Fleet, Group, PairMatrix};
pub use freshness::Freshness;
pub use pair::{FlowLine, NodeMatrix, PairView};
pub use path::{PathSeries, PathsView};
pub use reader::{Actions, Changed, ReadError, Reader};
