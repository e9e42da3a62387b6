//! Which requests are copied, and where to.

use std::num::NonZeroU32;

use outrigger_proto::ServicePort;
use outrigger_proto::model::{BackendRef, Filter};

/// A place that some of the requests are copied to.
#[derive(Debug)]
pub struct Mirror<B> {
    /// What its service was resolved to when the routes were compiled.
    pub to: B,
    numerator: u32,
    denominator: NonZeroU32,
}

impl<B> Mirror<B> {
    /// Compiles the mirrors of a list of filters. One that leads nowhere is left out: its rule goes on without it.
    pub(crate) fn compile(filters: &[Filter], mut resolve: impl FnMut(&ServicePort) -> B) -> Box<[Self]> {
        let mirror = |filter: &Filter| match filter {
            Filter::Mirror(mirror) => match &mirror.to {
                BackendRef::Service(service) if mirror.numerator > 0 => {
                    let (numerator, denominator) = (mirror.numerator, mirror.denominator);
                    Some(Self { to: resolve(service), numerator, denominator })
                }
                BackendRef::Service(_) | BackendRef::Invalid(_) => None,
            },
            Filter::RequestHeaders(_)
            | Filter::ResponseHeaders(_)
            | Filter::Redirect(_)
            | Filter::Rewrite(_)
            | Filter::Cors(_) => None,
        };
        filters.iter().filter_map(mirror).collect()
    }

    /// Says whether one request is copied; `random` is evenly distributed over all values.
    #[must_use]
    pub fn takes(&self, random: u64) -> bool {
        random % u64::from(self.denominator.get()) < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use outrigger_proto::model;

    use super::*;

    fn mirror(to: BackendRef, numerator: u32, denominator: u32) -> Filter {
        Filter::Mirror(model::Mirror { to, numerator, denominator: denominator.try_into().unwrap() })
    }

    fn service(name: &str) -> BackendRef {
        let port = 80.try_into().unwrap();
        BackendRef::Service(ServicePort { namespace: "shop".into(), name: name.into(), port })
    }

    #[test]
    fn takes_exactly_its_share() {
        for (numerator, denominator) in [(1, 1), (0, 100), (30, 100), (100, 100), (1, 3)] {
            let all = Mirror::compile(&[mirror(service("a"), numerator, denominator)], |_| ());
            let taken = (0..denominator).filter(|random| all.iter().any(|m| m.takes(u64::from(*random)))).count();
            assert_eq!(taken, numerator as usize, "{numerator} of {denominator}");
        }
    }

    #[test]
    fn keeps_those_that_lead_somewhere_in_order() {
        let filters = [
            mirror(service("a"), 1, 1),
            mirror(BackendRef::Invalid("gone".into()), 1, 1),
            mirror(service("b"), 1, 2),
            mirror(service("c"), 0, 2),
        ];

        let kept: Vec<String> =
            Mirror::compile(&filters, |s| s.name.to_string()).into_iter().map(|mirror| mirror.to).collect();

        assert_eq!(kept, ["a", "b"]);
    }
}
