//! What goes wrong, where and how often.

use std::time::Duration;

use super::path::ApiPath;

/// One way in which a server fails to answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 401: the token is not, or no longer, valid.
    Unauthorized,
    /// 403, worded for the very request that was made.
    Forbidden,
    /// 404 as `text/plain`.
    PlainNotFound,
    /// 410: the continue token expired.
    Gone,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// Seconds, as the header says.
        retry_after_seconds: u64,
    },
    /// 500 with a `Status`.
    InternalError,
    /// 503 in plain text, as a proxy before a dead server answers it.
    Unavailable,
    /// A page of HTML, as a login portal answers.
    Html {
        /// HTTP status, 200 from many portals.
        code: u16,
    },
    /// The request is taken and never answered.
    Hang,
    /// The answer stops in its middle, and the connection stays open.
    HangMidBody,
    /// A TCP reset instead of an answer.
    Reset,
    /// The answer stops in its middle with a TCP reset.
    ResetMidBody,
    /// A complete HTTP response that holds the first half of the JSON.
    TruncatedJson,
    /// JSON that is not what was asked for.
    WrongShape,
    /// A list that never ends, well-formed as far as one reads it.
    EndlessBody,
    /// The right answer, this much later.
    Slow(Duration),
}

impl Failure {
    /// At this request path and no other.
    pub fn at(self, path: &str) -> Fault {
        Fault::new(self, Place::Path(path.to_owned()))
    }

    /// At this request path and all paths below it.
    pub fn under(self, path: &str) -> Fault {
        Fault::new(self, Place::Tree(path.trim_end_matches('/').to_owned()))
    }

    /// At every list and object of a resource such as `secrets`, in whatever namespace and group.
    pub fn of(self, resource: &str) -> Fault {
        Fault::new(self, Place::Resource(resource.to_owned()))
    }

    /// At every request.
    pub fn everywhere(self) -> Fault {
        self.under("/")
    }
}

/// A [`Failure`] with its place; see [`Failure::at`] and its siblings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    failure: Failure,
    place: Place,
    page: Option<usize>,
    times: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Path(String),
    Tree(String),
    Resource(String),
}

impl Fault {
    fn new(failure: Failure, place: Place) -> Self {
        Self {
            failure,
            place,
            page: None,
            times: None,
        }
    }

    /// Only on this page of a list, counted from 1.
    #[must_use]
    pub fn on_page(mut self, page: usize) -> Self {
        self.page = Some(page);
        self
    }

    /// Only the first `times` times; then the server recovers.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// The failure, if it is due for this request. Counts down.
    pub(super) fn strike(&mut self, path: &str, page: Option<usize>) -> Option<Failure> {
        let here = match &self.place {
            Place::Path(at) => path == at,
            Place::Tree(root) => path
                .strip_prefix(root.as_str())
                .is_some_and(|r| r.is_empty() || r.starts_with('/')),
            Place::Resource(resource) => ApiPath::parse(path).is_some_and(|p| p.resource == *resource),
        };
        if !here || (self.page.is_some() && self.page != page) || self.times == Some(0) {
            return None;
        }
        self.times = self.times.map(|left| left - 1);
        Some(self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_in_its_place_only() {
        let mut tree = Failure::Forbidden.under("/api/v1/");
        assert!(tree.strike("/api/v1", None).is_some());
        assert!(tree.strike("/api/v1/nodes", None).is_some());
        assert!(tree.strike("/api/v10", None).is_none());
        assert!(Failure::Hang.everywhere().strike("/version", None).is_some());

        let mut resource = Failure::Forbidden.of("secrets");
        assert!(resource.strike("/api/v1/secrets", Some(1)).is_some());
        assert!(
            resource
                .strike("/api/v1/namespaces/kube-system/secrets/cilium-ca", None)
                .is_some()
        );
        assert!(resource.strike("/api/v1/namespaces/secrets/pods", Some(1)).is_none());
    }

    #[test]
    fn strikes_on_its_page_and_as_often_as_said() {
        let mut fault = Failure::Gone.at("/api/v1/pods").on_page(2).times(1);
        assert_eq!(fault.strike("/api/v1/pods", Some(1)), None);
        assert_eq!(fault.strike("/api/v1/pods", Some(2)), Some(Failure::Gone));
        assert_eq!(fault.strike("/api/v1/pods", Some(2)), None);
    }
}
