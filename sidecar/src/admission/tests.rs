use std::net::Ipv4Addr;

use super::*;

/// Few places.
pub(crate) fn admission() -> Arc<Admission> {
    Arc::new(Admission::new(Limits::new(1024, 20_000)))
}

/// The place of a connection of whoever.
pub(crate) fn place() -> Arc<Place> {
    let held = admission().enter(Direction::Inbound, Ipv4Addr::LOCALHOST.into());
    held.unwrap_or_else(|why| panic!("{why:?}")).place().clone()
}

/// A connection and the task that serves it, which does nothing.
struct Open {
    held: Held,
    task: tokio::task::JoinHandle<()>,
}

fn from(admission: &Arc<Admission>, last: u8) -> Result<Open, Refused> {
    let held = admission.enter(Direction::Inbound, Ipv4Addr::new(10, 0, 0, last).into())?;
    let task = tokio::spawn(std::future::pending());
    held.place().is_served_by(task.abort_handle());
    Ok(Open { held, task })
}

async fn closed(open: &[Open]) -> usize {
    // Aborted tasks end when they come to their turn.
    tokio::task::yield_now().await;
    open.iter().filter(|open| open.task.is_finished()).count()
}

#[tokio::test]
async fn silent_strangers_never_take_the_places_of_the_own_app() {
    let admission = admission();
    let mut inbound = Vec::new();
    for n in 0..2000 {
        inbound.extend(from(&admission, (n % 200) as u8));
    }
    assert_eq!(admission.open(Direction::Inbound), admission.limits().each);

    // What is dialled for them is theirs, and takes their places.
    let dialled: Vec<_> = (0..2000).map_while(|_| admission.dial(Direction::Inbound)).collect();
    assert_eq!((dialled.len(), admission.open(Direction::Inbound)), (admission.limits().share, 0));

    let own = admission.limits().together - admission.limits().share;
    let outbound: Vec<_> =
        (0..own / 2).map_while(|_| admission.enter(Direction::Outbound, Ipv4Addr::LOCALHOST.into()).ok()).collect();
    let onward: Vec<_> = (0..own / 2).map_while(|_| admission.dial(Direction::Outbound)).collect();

    assert!(own > 100 && outbound.len() == own / 2 && onward.len() == own / 2, "{own} {}", outbound.len());
    drop((dialled, inbound, outbound, onward));
    assert_eq!(admission.descriptors.each_ref().map(|count| count.load(Ordering::Relaxed)), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_only_opens_connections_gives_way_and_one_that_works_does_not() {
    let admission = admission();
    // An ingress: one address, many connections, each with its requests.
    let mut ingress = Vec::new();
    for _ in 0..150 {
        let open = from(&admission, 1).unwrap();
        open.held.place().stranger().unwrap();
        ingress.push(open);
    }
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.extend(from(&admission, 66));
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    for n in 0..20 {
        let fresh = from(&admission, 100 + n).expect("there is room for others");
        fresh.held.place().stranger().unwrap();
        ingress.push(fresh);
        let more = from(&admission, 1).expect("there is room for more of the ingress");
        more.held.place().stranger().unwrap();
        ingress.push(more);
    }

    assert_eq!(closed(&ingress).await, 0);
    let left = silent.len() - closed(&silent).await;
    assert!(left < admission.limits().each - 150, "{left}");
    assert_eq!(admission.closed(), (silent.len() - left) as u64);
}

#[tokio::test]
async fn places_are_kept_for_peers_that_prove_who_they_are() {
    let admission = admission();
    let mut open = Vec::new();
    let mut refused = 0;
    while open.len() < admission.limits().each {
        let connection = from(&admission, 1).unwrap();
        // Strangers that work cannot be closed for others.
        match connection.held.place().stranger() {
            Ok(()) => open.push(connection),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::ConnectionLimit);
                refused += 1;
                break;
            }
        }
    }
    assert_eq!((open.len(), refused), (admission.limits().strangers, 1));

    for n in admission.limits().strangers..admission.limits().each {
        let peer = from(&admission, 2).unwrap_or_else(|why| panic!("the place of number {n}: {why:?}"));
        peer.held.place().meshed();
        open.push(peer);
    }
    assert_eq!(from(&admission, 3).err(), Some(Refused::Connections), "all places are taken by those that work");
    assert_eq!(closed(&open).await, 0);
    drop(open);
    assert_eq!((admission.open(Direction::Inbound), admission.silent()), (0, 0));
    assert_eq!(admission.strangers(), 0);
}

#[tokio::test]
async fn descriptors_are_kept_for_what_peers_of_the_mesh_have_dialled() {
    let admission = admission();
    let limits = *admission.limits();
    // Each of them has the app dialled, without a word.
    let silent: Vec<_> =
        (0..limits.each).map(|_| (from(&admission, 1).unwrap(), admission.dial(Direction::Inbound))).collect();
    let peer = from(&admission, 2).unwrap();
    peer.held.place().meshed();
    assert!(admission.dial(Direction::Inbound).is_some(), "one that is silent makes room");
    drop(silent);

    let mut strangers = Vec::new();
    let refused = loop {
        let stranger = from(&admission, 1).unwrap();
        match stranger.held.place().stranger() {
            Ok(()) => strangers.push((stranger, admission.dial(Direction::Inbound).expect("a descriptor to go on"))),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code, ErrorCode::ConnectionLimit);
    for _ in 1..limits.share / 16 {
        let peer = from(&admission, 2).expect("there is a place");
        peer.held.place().meshed();
        strangers.push((peer, admission.dial(Direction::Inbound).expect("and a descriptor to go on")));
    }
    let again = strangers[0].0.held.place().stranger();
    assert_eq!(
        again.err().map(|error| error.code),
        Some(ErrorCode::ConnectionLimit),
        "nor are there for more requests"
    );
}

#[tokio::test]
async fn strangers_that_run_can_be_closed_and_meshed_peers_cannot() {
    let admission = admission();
    let open: Vec<_> = (0..20).map(|n| from(&admission, n % 4).unwrap()).collect();
    for (n, open) in open.iter().enumerate() {
        match n % 4 {
            0 => open.held.place().meshed(),
            _ => open.held.place().stranger().unwrap(),
        }
    }
    admission.close_silent(100, Duration::ZERO);
    assert_eq!(closed(&open).await, 0);

    admission.close_strangers(4);
    assert_eq!((closed(&open).await, admission.strangers()), (4, 11));
    admission.close_strangers(100);
    assert_eq!((closed(&open).await, admission.open(Direction::Inbound)), (15, 5));
    drop(open);
    assert_eq!(admission.open(Direction::Inbound), 0);
}

#[tokio::test]
async fn what_is_closed_to_make_room_gives_back_one_place_and_gets_no_other() {
    let admission = admission();
    let open: Vec<_> = (0..admission.limits().each).map(|_| from(&admission, 1).unwrap()).collect();
    let newer = from(&admission, 2).unwrap();

    assert!(open[0].held.place().stranger().is_err(), "it is being closed");
    assert_eq!(closed(&open).await, 1);
    drop(open);
    assert_eq!(admission.open(Direction::Inbound), 1);
    drop(newer);
    assert_eq!(admission.open(Direction::Inbound), 0);
}
