//! Connections of bytes that follow each other on the connections between two sidecars: the apps see what they would see without.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use outrigger_tests::{App, Mesh, Pod, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const DB: &str = "10.96.0.20";

/// Answers, once the client has ended its side, with how much it has said.
fn counter(pod: &Pod) -> App {
    App::tcp(pod, 5000, |mut stream| {
        Box::pin(async move {
            let mut said = Vec::new();
            if stream.read_to_end(&mut said).await.is_ok() {
                let _ = stream.write_all(format!("{} bytes", said.len()).as_bytes()).await;
            }
        })
    })
}

fn dial(client: &Pod) -> TcpStream {
    let stream = client.run_in(|| TcpStream::connect(format!("{DB}:5000"))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Says so many bytes and ends its side; what the app answers.
fn ask(client: &Pod, bytes: usize) -> String {
    let mut stream = dial(client);
    stream.write_all(&vec![7; bytes]).unwrap();
    end(stream)
}

/// Ends the client's side; what the app answers.
fn end(mut stream: TcpStream) -> String {
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Connections between the sidecars that the pod's holds open.
fn open(pod: &Pod) -> f64 {
    pod.metric("outrigger_inbound_open_connections", &[])
}

#[test]
fn connections_that_follow_each_other_share_one_between_the_sidecars() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("db", DB, 5000, 5000));
    let pod = mesh.pod_with("db-1", "db", "", &["--workers", "1"]);
    let _app = counter(&pod);
    let client = mesh.pod_with("client-1", "client", "", &["--workers", "1"]);

    for bytes in [0, 1, 70_000].into_iter().cycle().take(30) {
        assert_eq!(ask(&client, bytes), format!("{bytes} bytes"));
    }
    wait::until_true("what they shared stays open", || open(&pod) == 1.0);

    // What carries much is not shared, and what is reset takes nothing but itself along.
    assert_eq!(ask(&client, 3_000_000), "3000000 bytes");
    let reset = dial(&client);
    (&reset).write_all(b"half").unwrap();
    wait::until_true("it is there", || open(&pod) == 1.0);
    socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    wait::until_true("the app's connection is gone as well", || open(&pod) == 0.0);
    assert_eq!(ask(&client, 5), "5 bytes");

    // Those that are open at the same time have one each.
    let held: Vec<_> = (0..5).map(|_| dial(&client)).collect();
    held.iter().for_each(|mut stream| stream.write_all(b"held").unwrap());
    wait::until_true("each has one", || open(&pod) == 5.0);
    held.into_iter().for_each(|stream| assert_eq!(end(stream), "4 bytes"));
    assert_eq!(ask(&client, 5), "5 bytes");
    assert_eq!(open(&pod), 5.0, "they wait for the next ones");
}

#[test]
fn an_app_that_is_down_is_refused_and_back_over_the_same_connection() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("db", DB, 5000, 5000));
    let pod = mesh.pod_with("db-1", "db", "", &["--workers", "1"]);
    let app = counter(&pod);
    let client = mesh.pod_with("client-1", "client", "", &["--workers", "1"]);
    assert_eq!(ask(&client, 5), "5 bytes");

    drop(app);
    let ended = dial(&client).read(&mut [0; 8]);
    assert!(matches!(&ended, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{ended:?}");
    wait::until_true("its sidecar says why", || pod.log().contains("E003"));
    let _app = counter(&pod);

    assert_eq!(ask(&client, 5), "5 bytes");
    assert_eq!(open(&pod), 1.0);
}

#[test]
fn connections_that_wait_are_of_no_harm_when_their_sidecar_was_killed() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("db", DB, 5000, 5000));
    let mut pod = mesh.pod("db-1", "db");
    let _app = counter(&pod);
    let client = mesh.pod("client-1", "client");
    let held: Vec<_> = (0..5).map(|_| dial(&client)).collect();
    held.iter().for_each(|mut stream| stream.write_all(b"held").unwrap());
    wait::until_true("each has one", || open(&pod) == 5.0);
    held.into_iter().for_each(|stream| assert_eq!(end(stream), "4 bytes"));

    pod.kill_sidecar();
    pod.start_sidecar();
    pod.ready();
    for _ in 0..10 {
        assert_eq!(ask(&client, 5), "5 bytes");
    }
}

#[test]
fn a_pod_that_leaves_gets_no_more_and_ends_what_it_has() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("db", DB, 5000, 5000));
    let pods: Vec<_> = (1..=2).map(|n| mesh.pod(&format!("db-{n}"), "db")).collect();
    let greeter = |pod: &Pod, name: &'static str| {
        App::tcp(pod, 5000, move |mut stream| {
            Box::pin(async move {
                let mut byte = [0];
                while matches!(stream.read(&mut byte).await, Ok(1)) {
                    let _ = stream.write_all(name.as_bytes()).await;
                }
            })
        })
    };
    let _apps = [greeter(&pods[0], "a"), greeter(&pods[1], "b")];
    let client = mesh.pod("client-1", "client");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"?").unwrap();
        let mut name = [0];
        stream.read_exact(&mut name).unwrap();
        name[0]
    };
    let mut held: Vec<_> = (0..8).map(|_| dial(&client)).collect();
    let names: Vec<_> = held.iter_mut().map(ask).collect();
    assert!(names.contains(&b'a') && names.contains(&b'b'), "{names:?}");
    // Some wait, some are in use: of both pods, whatever the order in which they were opened.
    let mut kept = [0; 2];
    let mut all: Vec<_> = held.into_iter().zip(names).collect();
    all.retain(|(_, name)| {
        let of_pod = &mut kept[usize::from(*name == b'b')];
        *of_pod += 1;
        *of_pod <= 2
    });
    let (mut held, names): (Vec<_>, Vec<_>) = all.into_iter().unzip();

    pods[0].leave();
    // With the next byte of its app it has said so.
    assert_eq!(held.iter_mut().map(ask).collect::<Vec<_>>(), names);
    for _ in 0..20 {
        assert_eq!(ask(&mut dial(&client)), b'b');
    }
    assert_eq!(held.iter_mut().map(ask).collect::<Vec<_>>(), names, "they go on for as long as they like");
}
