use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// `trace span sampled` of what was read; `-` where there is nothing.
fn read(lines: &[(&'static str, &str)]) -> String {
    let incoming = Incoming::read(&headers(lines));
    let ids = incoming.trace.map_or_else(|| "- -".to_owned(), |(trace, span)| format!("{trace} {span}"));
    let sampled = incoming.sampled.map_or("-", |sampled| if sampled { "1" } else { "0" });
    format!("{ids} {sampled}")
}

#[test]
fn reads_w3c_and_takes_nothing_that_is_malformed() {
    let good = format!("{TRACE} {SPAN}");
    for (value, want) in [
        (format!("00-{TRACE}-{SPAN}-01"), format!("{good} 1")),
        (format!("00-{TRACE}-{SPAN}-00"), format!("{good} 0")),
        (format!("00-{TRACE}-{SPAN}-03"), format!("{good} 1")),
        (format!("00-{TRACE}-{SPAN}-fe"), format!("{good} 0")),
        (format!("cc-{TRACE}-{SPAN}-01"), format!("{good} 1")),
        (format!("cc-{TRACE}-{SPAN}-01-what-comes"), format!("{good} 1")),
        (format!("cc-{TRACE}-{SPAN}-01.x"), "- - -".to_owned()),
        (format!("00-{TRACE}-{SPAN}-01-x"), "- - -".to_owned()),
        (format!("ff-{TRACE}-{SPAN}-01"), "- - -".to_owned()),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), "- - -".to_owned()),
        (format!("00-{}-{SPAN}-01", "0".repeat(32)), "- - -".to_owned()),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), "- - -".to_owned()),
        (format!("00-{TRACE}-{SPAN}-0"), "- - -".to_owned()),
        (format!("00-{TRACE}-{SPAN}-0x"), "- - -".to_owned()),
        (format!("00-{TRACE}-{SPAN}-"), "- - -".to_owned()),
        (format!("0-{TRACE}-{SPAN}-001"), "- - -".to_owned()),
        (format!("00-{}-{SPAN}0-01", &TRACE[1..]), "- - -".to_owned()),
        (format!("00{TRACE}{SPAN}01"), "- - -".to_owned()),
        (format!(" 00-{TRACE}-{SPAN}-01"), "- - -".to_owned()),
        (format!("+0-{TRACE}-{SPAN}-01"), "- - -".to_owned()),
        (format!("00-{TRACE}-{SPAN}-é"), "- - -".to_owned()),
        (String::new(), "- - -".to_owned()),
        ("-".repeat(60_000), "- - -".to_owned()),
    ] {
        assert_eq!(read(&[("traceparent", &value)]), want, "{}", &value[..value.len().min(80)]);
    }
}

#[test]
fn two_contexts_are_none() {
    let one = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(read(&[("traceparent", &one), ("traceparent", &one)]), "- - -");
}

#[test]
fn reads_b3_in_one_header() {
    let wide = format!("{TRACE} {SPAN}");
    let narrow = format!("{:0>32} {SPAN}", &TRACE[..16]);
    for (value, want) in [
        (format!("{TRACE}-{SPAN}-1"), format!("{wide} 1")),
        (format!("{TRACE}-{SPAN}-0"), format!("{wide} 0")),
        (format!("{TRACE}-{SPAN}-d"), format!("{wide} 1")),
        (format!("{TRACE}-{SPAN}"), format!("{wide} -")),
        (format!("{TRACE}-{SPAN}-1-{SPAN}"), format!("{wide} 1")),
        (format!("{}-{SPAN}-1", &TRACE[..16]), format!("{narrow} 1")),
        (format!("{}-{SPAN}-1", TRACE.to_uppercase()), format!("{wide} 1")),
        ("0".to_owned(), "- - 0".to_owned()),
        ("1".to_owned(), "- - 1".to_owned()),
        ("x".to_owned(), "- - -".to_owned()),
        (format!("{TRACE}-{SPAN}-2"), "- - -".to_owned()),
        (format!("{TRACE}-{SPAN}-1-{SPAN}-1"), "- - -".to_owned()),
        (format!("{TRACE}-{SPAN}-1-x"), "- - -".to_owned()),
        (TRACE.to_owned(), "- - -".to_owned()),
        (format!("{}-{SPAN}-1", &TRACE[..15]), "- - -".to_owned()),
        (format!("{}-{SPAN}-1", "0".repeat(16)), "- - -".to_owned()),
        (String::new(), "- - -".to_owned()),
    ] {
        assert_eq!(read(&[("b3", &value)]), want, "{value}");
    }
}

#[test]
fn reads_b3_in_several_headers() {
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let good = format!("{TRACE} {SPAN}");
    for (more, want) in [
        (&[("x-b3-sampled", "1")][..], format!("{good} 1")),
        (&[("x-b3-sampled", "true")], format!("{good} 1")),
        (&[("x-b3-sampled", "0")], format!("{good} 0")),
        (&[("x-b3-flags", "1")], format!("{good} 1")),
        (&[("x-b3-flags", "1"), ("x-b3-sampled", "0")], format!("{good} 1")),
        (&[], format!("{good} -")),
        (&[("x-b3-sampled", "maybe")], "- - -".to_owned()),
        (&[("x-b3-spanid", SPAN)], "- - -".to_owned()),
    ] {
        assert_eq!(read(&[&ids[..], more].concat()), want, "{more:?}");
    }
    assert_eq!(read(&[("x-b3-sampled", "0")]), "- - 0");
    assert_eq!(read(&ids[..1]), "- - -");
}

#[test]
fn w3c_counts_before_b3_and_b3_where_w3c_is_broken() {
    let other = "1".repeat(32);
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let b3 = format!("{other}-{SPAN}-1");
    assert_eq!(read(&[("traceparent", &parent), ("b3", &b3)]), format!("{TRACE} {SPAN} 0"));
    assert_eq!(read(&[("traceparent", "broken"), ("b3", &b3)]), format!("{other} {SPAN} 1"));
}

/// The context headers that go out for those that came in.
fn sent(ratio: f64, lines: &[(&'static str, &str)]) -> (TraceContext, HeaderMap) {
    let mut headers = headers(lines);
    let context = Sampler::new(ratio).begin(&Incoming::read(&headers), true);
    context.inject(&mut headers);
    (context, headers)
}

#[test]
fn a_sampled_trace_goes_on_with_a_span_between() {
    let parent = format!("00-{TRACE}-{SPAN}-03");
    let state = [("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "user=7")];
    let (context, headers) = sent(0.0, &[&[("traceparent", &*parent)], &state[..]].concat());

    assert_eq!(context.trace_id.to_string(), TRACE);
    assert_eq!(context.parent.unwrap().to_string(), SPAN);
    assert!(context.sampled);
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-03", context.span_id));
    assert_ne!(context.span_id.to_string(), SPAN);
    assert_eq!(headers.get_all("tracestate").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(headers["baggage"], "user=7");
    assert!(!headers.contains_key("b3"));
}

#[test]
fn a_decision_against_sampling_is_honoured_and_passed_on_untouched() {
    for (name, value) in [("traceparent", format!("00-{TRACE}-{SPAN}-00")), ("b3", format!("{TRACE}-{SPAN}-0"))] {
        let (context, headers) = sent(1.0, &[(name, &value)]);
        assert!(!context.sampled);
        assert_eq!(headers[name], value);
        assert_eq!(headers.len(), 1);
    }
    let (context, headers) = sent(1.0, &[("b3", "0")]);
    assert!(!context.sampled);
    assert_eq!(headers["b3"], "0");
}

#[test]
fn where_nobody_has_decided_and_no_span_is_recorded_nothing_is_said() {
    let deferred = format!("{TRACE}-{SPAN}");
    for lines in [
        &[][..],
        &[("b3", &*deferred)],
        &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)],
        &[("traceparent", "broken"), ("tracestate", "a=1")],
        &[("baggage", "user=7")],
    ] {
        let (context, sent) = sent(0.0, lines);
        assert!(!context.sampled);
        assert_eq!(sent, headers(lines), "{lines:?}");
    }
}

#[test]
fn a_trace_begins_where_a_request_enters_the_mesh() {
    let nothing = Incoming::default();
    assert!(Sampler::new(1.0).begin(&nothing, true).sampled);
    assert!(!Sampler::new(1.0).begin(&nothing, false).sampled);
    let (there, here) = (Sampler::new(1.0).begin(&nothing, true), Sampler::new(0.0).begin(&nothing, true));
    assert!(there.is_known() && !here.is_known());
}

#[test]
fn a_new_trace_is_told_in_w3c_form() {
    let (context, headers) = sent(1.0, &[("tracestate", "of=another"), ("baggage", "user=7")]);
    assert_eq!(context.parent, None);
    assert_eq!(headers["traceparent"], format!("00-{}-{}-01", context.trace_id, context.span_id));
    assert!(!headers.contains_key("tracestate"), "it belongs to a trace that is not ours");
    assert_eq!(headers["baggage"], "user=7");
}

#[test]
fn a_broken_context_is_replaced() {
    let (context, headers) = sent(1.0, &[("traceparent", "broken"), ("traceparent", "twice"), ("tracestate", "a=1")]);
    assert_eq!(headers.get_all("traceparent").iter().count(), 1);
    assert_eq!(headers["traceparent"], format!("00-{}-{}-01", context.trace_id, context.span_id));
    assert!(!headers.contains_key("tracestate"));
}

#[test]
fn b3_goes_out_in_the_form_that_it_came_in() {
    let (context, headers) = sent(0.0, &[("b3", &format!("{}-{SPAN}-1", &TRACE[..16]))]);
    assert_eq!(headers["b3"], format!("{}-{}-1", &TRACE[..16], context.span_id));
    assert!(!headers.contains_key("traceparent"));

    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1"), ("x-b3-parentspanid", "old")];
    let (context, headers) = sent(0.0, &ids);
    assert_eq!(headers["x-b3-traceid"], TRACE);
    assert_eq!(headers["x-b3-spanid"], context.span_id.to_string());
    assert_eq!(headers["x-b3-parentspanid"], SPAN);
    assert_eq!(headers["x-b3-sampled"], "1");
    assert_eq!(headers.len(), 4);
}

#[test]
fn attempts_are_siblings() {
    let context = Sampler::new(1.0).begin(&Incoming::default(), true);
    let next = context.sibling();
    assert_eq!((next.trace_id, next.parent), (context.trace_id, context.parent));
    assert_ne!(next.span_id, context.span_id);
}

#[test]
fn the_ratio_is_kept_and_one_trace_is_decided_alike_everywhere() {
    for (ratio, range) in [
        (0.0, 0..=0),
        (0.25, 4_700..=5_300),
        (1.0, 20_000..=20_000),
        (-1.0, 0..=0),
        (f64::NAN, 0..=0),
        (7.0, 20_000..=20_000),
    ] {
        let sampler = Sampler::new(ratio);
        let sampled = (0..20_000).filter(|_| sampler.begin(&Incoming::default(), true).sampled).count();
        assert!(range.contains(&sampled), "{ratio}: {sampled}");
    }
    let deferred = Incoming::read(&headers(&[("b3", &format!("{TRACE}-{SPAN}"))]));
    let decisions: HashSet<bool> = (0..10).map(|_| Sampler::new(0.5).begin(&deferred, false).sampled).collect();
    assert_eq!(decisions.len(), 1);
}

#[test]
fn ids_differ_between_threads_and_draws() {
    let draw = || (0..1000).map(|_| TraceId::random()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
    let ids: HashSet<TraceId> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ids.len(), 4000);
}

proptest! {
    #[test]
    fn whatever_comes_in_one_well_formed_context_goes_out_or_what_came(
        parent in prop::collection::vec(any::<u8>().prop_filter("header", |b| *b >= 32 && *b != 127), 0..70),
        b3 in "[0-9a-fd-]{0,70}",
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_bytes(&parent).unwrap());
        headers.insert("b3", HeaderValue::from_str(&b3).unwrap());
        let came = headers.clone();
        let context = Sampler::new(1.0).begin(&Incoming::read(&headers), true);
        context.inject(&mut headers);

        if context.sampled {
            let out = Incoming::read(&headers);
            prop_assert_eq!(out.trace.unwrap(), (context.trace_id, context.span_id));
            prop_assert_eq!(out.sampled, Some(true));
        } else {
            prop_assert_eq!(headers, came);
        }
    }
}
